"""Gzip streams of any number of members (RFC 1952), decompressed in blocks of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

_MAGIC = b"\x1f\x8b"


class BadGzip(Exception):
    """The stream is damaged, cut short, or followed by something else."""


def plain_blocks(read: Callable[[], bytes], size: int) -> Iterator[bytes]:
    """Yield the blocks of `read` until it returns none; decompressed if they begin as gzip does.

    Blocks are never empty. Of gzip none is longer than `size`, whatever it expands to.

    Raises:
        BadGzip: everything that came whole before was yielded.
    """
    head = read()
    while len(head) == 1 and (more := read()):
        head += more
    if head.startswith(_MAGIC):
        yield from _gunzip(head, read, size)
    else:
        while head:
            yield head
            head = read()


def _gunzip(data: bytes, read: Callable[[], bytes], size: int) -> Iterator[bytes]:
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            data = data or read()
            if not data:
                raise BadGzip("its gzip data is cut short")
            try:
                plain = member.decompress(data, size)
            except zlib.error as error:
                raise BadGzip(f"its gzip data is damaged ({error})") from error
            data = member.unconsumed_tail
            if plain:
                yield plain
        data = _next_member(member.unused_data, read)


def _next_member(data: bytes, read: Callable[[], bytes]) -> bytes:
    """Return the data that follows a member: another one, or none after the zero bytes that pad tapes."""
    data = data.lstrip(b"\0")
    while len(data) < len(_MAGIC) and (more := read()):
        data = (data + more).lstrip(b"\0")
    if data and not data.startswith(_MAGIC):
        raise BadGzip("its gzip data is followed by something else")
    return data
