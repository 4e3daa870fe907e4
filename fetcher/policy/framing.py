"""End of a body, by its length, its chunks or its connection (RFC 9112 §6 and §7). Pure.

Two parts: `frame_of` decides from the head, once for all backends; a `Framing` takes what arrives and gives
the bytes of the body. Invariants: a head that contradicts itself has no frame, it is `ProtocolBroken`;
`is_done` is true exactly when the body's last byte was taken; `has_surplus` tells of bytes that belong to no
answer, so that the connection they came on is never used again; nothing depends on where packets end.

Where readers of HTTP differ, curl and the browsers are followed (a list of equal lengths is one length,
`chunked` twice is once, lines of the chunked coding may end with a bare LF), but never to a body that could
be a part of one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from fetcher.model import Completeness, Headers, Response
from fetcher.policy.head import Beginning, Head, broken, parse_head, passes_over
from fetcher.policy.http import BODILESS, FIELD_BYTES, MOST_FIELDS, TRAILER_LINE_BYTES

_MOST_DIGITS: Final = 18  # of a length, leading zeros aside
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\0]*)?\r?")  # libcurl takes 16 digits, too
_PART_OF_CHUNK: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,16}[ \t]*\r?)?|[0-9A-Fa-f]{1,16}[ \t]*;[^\r\0]*\r?")
_MOST_BLANKS: Final = 256
_CLOSED: Final = (b"", b"\r")


class EndedEarly(Exception):
    """The connection ended before the framing said so."""


class Frame(NamedTuple):
    """Framing of a body, and its declared length: of HEAD and 304, that of the body that is not there."""

    completeness: Completeness
    length: int | None


def frame_of(head: Head, method: str) -> Frame:
    """Decide how the body behind `head` is framed (RFC 9112 §6.3).

    Raises:
        ProtocolBroken: it could be read in two ways, or has a transfer-coding that can't be undone.
    """
    headers = head.headers
    first = headers.first
    length = _length(headers) if b"content-length" in first else None
    is_chunked = b"transfer-encoding" in first and _is_chunked(headers)
    if is_chunked and length is not None:
        raise broken("Content-Length and Transfer-Encoding at once")
    if head.status in BODILESS or method == "HEAD":
        return Frame("none", length)
    if is_chunked:
        return Frame("chunked", None)
    if length is not None:
        return Frame("length", length)
    if head.version[0] != "1":  # HTTP/2 and HTTP/3 mark the end of a stream, as chunks do that of a body
        return Frame("chunked", None)
    return Frame("eof-unverified", None)


def check_beginning(beginning: Beginning, method: str) -> None:
    """Judge what came of a head of HTTP/1 before the connection ended.

    Raises:
        ProtocolBroken: it would not have been a good one, however it had gone on.
    """
    if beginning.lines:
        head = parse_head(beginning.lines)
        if head.version[0] != "1":
            raise broken("no valid status line")
        if not passes_over(head.status, beginning.interim):
            frame_of(head, method)


def response_of(head: Head, frame: Frame, *, resent: int = 0) -> Response:
    """Make the response that a backend tells of: its head and its framing."""
    return Response(
        status=head.status,
        headers=head.headers,
        http_version=head.version,
        reason=head.reason,
        head=head.wire,
        completeness=frame.completeness,
        length=frame.length,
        resent=resent,
    )


def stays_open(head: Head) -> bool:
    """Return True if the server lets the connection be used again (RFC 9112 §9.3)."""
    options = head.headers.find(b"connection")
    if options is None:
        return head.version != "1.0"
    if head.headers.has_duplicates:
        options = ",".join(head.headers.get_all("connection")).encode("latin-1")
    tokens = _elements(options)
    if "close" in tokens:
        return False
    if head.version == "1.0":  # and chunks in an answer of HTTP/1.0 are faulty (§6.1)
        return "keep-alive" in tokens and head.headers.find(b"transfer-encoding") is None
    return True


@lru_cache(maxsize=256)
def _elements(listed: bytes) -> frozenset[str]:
    """Return the elements of a list, in lower case, without the empty ones (RFC 9110 §5.6.1)."""
    elements = listed.decode("latin-1").lower().split(",")
    return frozenset(element for each in elements if (element := each.strip(" \t")))


def _length(headers: Headers) -> int:
    """Return the one length; equal ones are one (RFC 9110 §8.6)."""
    only = headers.find(b"content-length")
    if only is not None and only.isdigit() and len(only) <= _MOST_DIGITS and not headers.has_duplicates:
        return int(only)
    declared = {value.strip(" \t") for value in ",".join(headers.get_all("content-length")).split(",")}
    if len(declared) > 1:
        raise broken("a bad Content-Length")
    value = declared.pop()
    if not (value.isascii() and value.isdigit()):
        raise broken("a bad Content-Length")
    digits = value.lstrip("0")
    if len(digits) > _MOST_DIGITS:
        raise broken("a Content-Length beyond reason")
    return int(digits or "0")


def _is_chunked(headers: Headers) -> bool:
    """Return True for `chunked`, false where no coding is named.

    `identity` was one once (RFC 2616 §3.6); alone it says nothing, beside another it is a mistake.
    """
    codings = _elements(",".join(headers.get_all("transfer-encoding")).encode("latin-1"))
    if not codings or codings == {"identity"}:
        return False
    if codings != {"chunked"}:
        raise broken("a transfer-coding that nobody asked for")  # §7.4
    return True


class Framing(Protocol):
    """Reader of a body: takes what arrives, gives the body's bytes."""

    is_done: bool
    has_surplus: bool

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body in what came next. Raises `ProtocolBroken`."""

    def end(self) -> None:
        """The connection ended. Raises `EndedEarly` unless that is how the body ends."""


def framing_of(frame: Frame) -> Framing:
    """Return the reader of a body of HTTP/1."""
    if frame.completeness == "chunked":
        return ChunkedFraming()
    if frame.completeness == "eof-unverified":
        return EndlessFraming()
    return CountedFraming(0 if frame.completeness == "none" else frame.length or 0)


class CountedFraming:
    """Body of as many bytes as were declared; none if there is no body."""

    __slots__ = ("_left", "has_surplus", "is_done")

    def __init__(self, length: int) -> None:
        self.is_done = not length
        self.has_surplus = False
        self._left = length

    def feed(self, data: bytes) -> bytes:
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

    @property
    def left(self) -> int:
        """Number of bytes that are due."""
        return self._left

    def take(self, size: int) -> int:
        """Do as `feed`, for bytes that came to where they belong. Returns how many of them are the body's."""
        taken = min(size, self._left)
        self._left -= taken
        self.is_done = not self._left
        if taken < size:
            self.has_surplus = True
        return taken

    def end(self) -> None:
        if not self.is_done:
            raise EndedEarly


class EndlessFraming:
    """Body that ends with the connection."""

    __slots__ = ("is_done",)

    has_surplus = False

    def __init__(self) -> None:
        self.is_done = False

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> None:
        self.is_done = True


class ChunkedFraming:
    """The chunked coding. Extensions are skipped, trailers too, with caps on their number and size.

    A trailer changes nothing, whatever it names (RFC 9110 §6.5.1).
    """

    __slots__ = ("_is_closing", "_left", "_rest", "_trailer", "has_surplus", "is_done")

    def __init__(self) -> None:
        self.is_done = self.has_surplus = False
        self._rest = b""  # of a line that is not complete
        self._left = 0  # of the chunk
        self._is_closing = False  # its line end is due
        self._trailer: list[int] | None = None  # the lengths of its lines so far

    def feed(self, data: bytes) -> bytes:
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
            end = data.find(b"\n", at) + 1
            if not end:
                break
            line, at = data[at : end - 1], end
            if self._line(line):
                self.is_done = True
                self.has_surplus = at < size
                break
        self._rest = b"" if self.is_done or at >= size else self._part_of_line(data[at:])
        return b"".join(pieces)

    def end(self) -> None:
        if not self.is_done:
            raise EndedEarly

    def _line(self, line: bytes) -> bool:
        """Take a line, without its LF. True if it was the last of all."""
        if self._is_closing:
            if line not in _CLOSED:
                raise broken("a chunk longer than its size", in_body=True)
            self._is_closing = False
        elif self._trailer is not None:
            if line in _CLOSED:
                return True
            self._trailer.append(len(line))
            if (
                len(line) > TRAILER_LINE_BYTES
                or len(self._trailer) > MOST_FIELDS
                or sum(self._trailer) > FIELD_BYTES
            ):
                raise broken("trailer too large", in_body=True)
            _check_trailer(line)
        else:
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise broken("a bad chunk size", in_body=True)
            self._left = int(found[1], 16)
            if self._left >> 63:
                raise broken("a chunk size beyond reason", in_body=True)
            if not self._left:
                self._trailer = []
        return False

    def _part_of_line(self, part: bytes) -> bytes:
        """Return the bytes to keep of an incomplete line, if it can still become a good one."""
        if self._is_closing:
            if part != b"\r":
                raise broken("a chunk longer than its size", in_body=True)
        elif self._trailer is not None:
            if len(part) > TRAILER_LINE_BYTES:
                raise broken("trailer too large", in_body=True)
            if b"\r" in part and part != b"\r":
                _check_trailer(part)
        elif _PART_OF_CHUNK.fullmatch(part) is None:
            raise broken("a bad chunk size", in_body=True)
        elif b";" in part:  # an extension may be long, and says nothing
            return part[: part.index(b";") + 1] + (b"\r" if part.endswith(b"\r") else b"")
        elif len(part) > _MOST_BLANKS:
            raise broken("a line of the chunked coding has no end", in_body=True)
        return part


def _check_trailer(line: bytes) -> None:
    """Raise `ProtocolBroken` for a line, or a part of one with a CR, that is no field."""
    field = line.removesuffix(b"\r")
    if b"\r" in field or b":" not in field:
        raise broken("a bad trailer field", in_body=True)
