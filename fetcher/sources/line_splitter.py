"""Blocks of bytes to numbered lines, in bounded memory.

A line ends at LF; a carriage return before it stays. Between two blocks at most one unfinished line
is held, and never more of it than the limit: of a longer line only the head is kept and the rest is
skipped as it comes. A UTF-8 byte order mark at the very start is removed.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fetcher.sources.validation import BATCH

_HEAD_BYTES = 1_024  # enough for the characters that are shown of a long line
_BOM = "\ufeff"


class Lines(msgspec.Struct, frozen=True, gc=False):
    """Consecutive lines from the 1-based number `first`, with undecodable bytes as surrogates.

    `is_utf8` is false if there may be such bytes. `is_cut` says that this is one line, longer than
    the limit, of which only the head is here.
    """

    first: int
    texts: list[str]
    is_utf8: bool = True
    is_cut: bool = False


class LineSplitter:
    """Cut blocks into lines of at most `longest` bytes."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.number = 0  # lines handed out so far
        self._rest = b""
        self._is_skipping = False

    def feed(self, block: bytes) -> Iterator[Lines]:
        """Yield the lines that `block` completes, at most 4,096 at a time."""
        start = 0
        if self._is_skipping:
            start = block.find(b"\n") + 1
            if not start:
                return
            self._is_skipping = False
        end = block.rfind(b"\n", start) + 1
        if end:
            whole = self._rest + block[start:end]
            self._rest = block[end:]
            yield from self._cut(whole)
        else:
            self._rest += block[start:]
        if len(self._rest) > self.longest:
            head, self._rest, self._is_skipping = self._rest, b"", True
            yield self._long(head)

    def finish(self) -> Iterator[Lines]:
        """Yield the last line, if no LF ended it."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from self._decode(rest)

    def _cut(self, data: bytes) -> Iterator[Lines]:
        """Cut `data`, which ends with LF, around its long lines.

        Looking back for an LF from `longest` bytes ahead finds a long line without measuring each.
        """
        begin = here = 0
        while len(data) - here > self.longest:
            end = data.rfind(b"\n", here, here + self.longest + 1)
            if end < 0:
                yield from self._decode(data[begin:here])
                end = data.index(b"\n", here)
                yield self._long(data[here:end])
                begin = end + 1
            here = end + 1
        yield from self._decode(data[begin:])

    def _decode(self, data: bytes) -> Iterator[Lines]:
        if not data:
            return
        is_utf8 = True
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("utf-8", "surrogateescape")
            is_utf8 = False
        if self.number == 0:
            text = text.removeprefix(_BOM)
        texts = text.split("\n")
        if data.endswith(b"\n"):
            texts.pop()
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            first = self.number + 1
            self.number += len(some)
            yield Lines(first, some, is_utf8)

    def _long(self, line: bytes) -> Lines:
        text = line[:_HEAD_BYTES].decode("utf-8", "surrogateescape")
        if self.number == 0:
            text = text.removeprefix(_BOM)
        self.number += 1
        return Lines(self.number, [text], is_utf8=False, is_cut=True)
