"""From the lines of an answer's final header to a `Response`: bytes in, a value out, no I/O.

Invariant: what comes out is framed in one way only. A header whose length could be read in two ways (RFC 9112
§6.3), that holds a line which is no field, or that is larger than the limits, is not HTTP to us.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from fetcher.errors import ProtocolBroken
from fetcher.model import Completeness, Headers, Response

MOST_FIELDS: Final = 256
_FIELD_BYTES: Final = 16 * 1024
_HEAD_BYTES: Final = 1024 * 1024  # libcurl itself gives up at 300 KiB
_BODILESS: Final = frozenset({204, 304})

_ORDINARY_BYTES: Final = 4096  # of a header whose fields are remembered
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r?\n").fullmatch
_STATUS: Final = re.compile(rb"HTTP/([0-9](?:\.[0-9])?) ([1-9][0-9][0-9])(?: [^\r\n]*)?\r?\n")


@lru_cache(maxsize=256)
def parse_status(line: bytes) -> tuple[str, int]:
    """HTTP version and status of a status line; libcurl writes one for HTTP/2 and HTTP/3 too."""
    found = _STATUS.fullmatch(line)
    if found is None:
        raise ProtocolBroken("not valid HTTP: a bad status line", phase="header")
    return found[1].decode(), int(found[2])


def parse_head(lines: list[bytes], method: str) -> Response:
    """The answer that these lines begin: the status line and the fields, without the empty line.

    Raises `ProtocolBroken`.
    """
    version, status = parse_status(lines[0])
    size = sum(map(len, lines))
    if len(lines) > MOST_FIELDS + 1:
        raise ProtocolBroken(f"not valid HTTP: more than {MOST_FIELDS} header fields", phase="header")
    if size <= _ORDINARY_BYTES:
        fields = [_known_field(line) for line in lines[1:]]
    else:
        fields = [_field(line) for line in lines[1:]]
        if size > _FIELD_BYTES:
            _check_sizes(lines, size)
    headers = Headers([field for _, field in fields], {name: field[1] for name, field in reversed(fields)})
    length = _length(headers)
    coding = headers.find(b"transfer-encoding")
    completeness: Completeness
    if coding is not None and (length is not None or coding.lower() != b"chunked"):
        raise ProtocolBroken(
            "not valid HTTP: Content-Length and Transfer-Encoding at once"
            if length is not None
            else "not valid HTTP: an unknown transfer-coding",
            phase="header",
        )
    if status in _BODILESS or method == "HEAD":
        completeness = "none"
    elif length is not None:
        completeness = "length"
    elif coding is not None or version[0] != "1":
        completeness = "chunked"  # HTTP/2 and HTTP/3 mark the end of a stream, as chunks do that of a body
    else:
        completeness = "eof-unverified"
    return Response(
        status=status, headers=headers, http_version=version, completeness=completeness, length=length
    )


def _field(line: bytes) -> tuple[bytes, tuple[bytes, bytes]]:
    """A field line as its name in lower case, and the field."""
    found = _FIELD(line)
    if found is None:
        raise ProtocolBroken("not valid HTTP: a bad header field", phase="header")
    name, value = found.groups()
    return name.lower(), (name, value.rstrip(b" \t"))


_known_field = lru_cache(maxsize=1024)(_field)  # most lines of a server's answers are the same


def _length(headers: Headers) -> int | None:
    value = headers.find(b"content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise ProtocolBroken("not valid HTTP: a bad Content-Length", phase="header")
    if headers.has_duplicates and len(headers.get_all("content-length")) > 1:
        raise ProtocolBroken("not valid HTTP: Content-Length twice", phase="header")
    return int(value)


def _check_sizes(lines: list[bytes], size: int) -> None:
    if size > _HEAD_BYTES:
        raise ProtocolBroken("not valid HTTP: header larger than 1 MiB", phase="header")
    if max(map(len, lines)) > _FIELD_BYTES:
        raise ProtocolBroken(
            f"not valid HTTP: a header field larger than {_FIELD_BYTES // 1024} KiB", phase="header"
        )
