"""Where a body ends, by its length, its chunks or its connection (RFC 9112 §6 and §7). Pure.

Invariants: a head that contradicts itself has no framing, it is `Broken`; `is_done` is true exactly when the
body's last byte was taken; `has_surplus` tells of bytes that belong to no answer, so that the connection
they came on is never used again.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from fetcher.backends.blocking.head import FIELD_BYTES, MOST_FIELDS, Broken, Fields, Head
from fetcher.model import Completeness

_BODILESS: Final = frozenset({204, 304})
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\0]*)?\r")
_LINE_BYTES: Final = 4096
_MOST_DIGITS: Final = 18


class Ended(Exception):
    """The connection ended before the framing said so."""


class Framing(Protocol):
    """Takes what arrives, gives the body's bytes."""

    completeness: Completeness
    is_done: bool
    has_surplus: bool

    def take(self, data: bytes) -> bytes:
        """The bytes of the body in what came next. Raises `Broken`."""

    def end(self) -> None:
        """The connection ended. Raises `Ended` unless that is how the body ends."""


class CountedFraming:
    """As many bytes as were declared; none if there is no body."""

    def __init__(self, length: int, completeness: Completeness = "length") -> None:
        self.completeness: Completeness = completeness
        self.is_done = not length
        self.has_surplus = False
        self._left = length

    def take(self, data: bytes) -> bytes:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data
        self.is_done = True
        if left:
            self.has_surplus = True
            data = data[: self._left]
        self._left = 0
        return data

    def end(self) -> None:
        if not self.is_done:
            raise Ended


class EndlessFraming:
    """Whatever comes until the connection ends."""

    completeness: Completeness = "eof-unverified"
    has_surplus = False

    def __init__(self) -> None:
        self.is_done = False

    def take(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.is_done = True


class ChunkedFraming:
    """The chunked coding, with caps on the length of a line and on the trailer."""

    completeness: Completeness = "chunked"

    def __init__(self) -> None:
        self.is_done = self.has_surplus = False
        self._rest = b""  # of a line that is not complete
        self._left = 0  # of the chunk
        self._is_closing = False  # its CRLF is due
        self._trailer: list[int] | None = None  # the lengths of its lines so far

    def take(self, data: bytes) -> bytes:
        if self._rest:
            data = self._rest + data
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._is_closing = not self._left
                continue
            end = data.find(b"\n", at, at + FIELD_BYTES) + 1
            if not end:
                break
            line, at = data[at : end - 1], end
            if self._line(line):
                self.is_done = True
                self.has_surplus = at < size
                break
        self._rest = b"" if self.is_done else data[at:]
        if self._rest:
            self._check_rest()
        return b"".join(pieces)

    def end(self) -> None:
        if not self.is_done:
            raise Ended

    def _line(self, line: bytes) -> bool:
        """Take a line, without its LF. True if it was the last of all."""
        if self._is_closing:
            if line != b"\r":
                raise Broken("a chunk longer than its size")
            self._is_closing = False
        elif self._trailer is not None:
            if line == b"\r":
                return True
            self._trailer.append(len(line))
            if len(self._trailer) > MOST_FIELDS or sum(self._trailer) > FIELD_BYTES:
                raise Broken("trailer too large")
            if b":" not in line:
                raise Broken("bad trailer field")
        else:
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise Broken("bad chunk size")
            self._left = int(found[1], 16)
            if not self._left:
                self._trailer = []
        return False

    def _check_rest(self) -> None:
        """Part of a line: whether it can still become a good one."""
        if self._is_closing:
            if self._rest != b"\r":
                raise Broken("a chunk longer than its size")
        elif len(self._rest) > (_LINE_BYTES if self._trailer is None else FIELD_BYTES - 1):
            raise Broken("a line of the chunked coding has no end")


def framing_of(head: Head, *, is_head: bool) -> tuple[Framing, int | None]:
    """How the body behind `head` is framed, and its declared length. Raises `Broken` (RFC 9112 §6.3)."""
    codings = [value.strip().lower() for name, value in head.fields if name.lower() == b"transfer-encoding"]
    length = _length(head.fields)
    if codings and length is not None:
        raise Broken("Content-Length and Transfer-Encoding together")
    if is_head or head.status in _BODILESS:
        return CountedFraming(0, "none"), length
    if codings == [b"chunked"]:
        return ChunkedFraming(), None
    if codings and codings != [b"identity"]:
        raise Broken("a transfer-coding that nobody asked for")
    if length is None:
        return EndlessFraming(), None
    return CountedFraming(length), length


def _length(fields: Fields) -> int | None:
    declared = {value for name, value in fields if name.lower() == b"content-length"}
    if not declared:
        return None
    value = declared.pop()
    if declared or not value.isdigit() or len(value) > _MOST_DIGITS:
        raise Broken("bad Content-Length")
    return int(value)


def stays_open(head: Head) -> bool:
    """Whether the server says that the connection may be used again (RFC 9112 §9.3)."""
    options = b",".join([value for name, value in head.fields if name.lower() == b"connection"]).lower()
    tokens = {token.strip() for token in options.split(b",")}
    return b"close" not in tokens and (head.minor == 1 or b"keep-alive" in tokens)
