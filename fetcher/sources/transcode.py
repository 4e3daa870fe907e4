"""UTF-16 and UTF-32 to UTF-8, where a byte order mark says so; every other text passes as it is."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRST_BYTES = (b"\xff", b"\xfe", b"\0")
_LONGEST_MARK = 4
_NOT_TEXT = b"\xff"  # in no UTF-8: whoever reads the line says that it is bad


def utf8_blocks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks in UTF-8, none of them empty, the mark removed from what was transcoded.

    What can't be decoded becomes bytes that are not UTF-8, so that it costs its own line.
    """
    source = iter(blocks)
    head = next(source, b"")
    while head.startswith(_FIRST_BYTES) and len(head) < _LONGEST_MARK and (more := next(source, b"")):
        head += more
    mark, encoding = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", ""))
    if not mark:
        if head:
            yield head
        yield from source
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="surrogatepass")
    block = head[len(mark) :]
    while True:
        try:
            data = decoder.decode(block).encode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a number that is no character, in UTF-32
            data = _NOT_TEXT
            decoder.reset()
        if data:
            yield data
        following = next(source, None)
        if following is None:
            break
        block = following
    if decoder.getstate()[0]:  # cut within a character
        yield _NOT_TEXT
