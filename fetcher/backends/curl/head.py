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

# One search for the whole header: what it does not match leaves the numbers of lines and fields unequal.
_FIELDS: Final = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)\r?\n", re.MULTILINE)
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
    lines[0] = b""
    block = b"".join(lines)
    fields = _FIELDS.findall(block)
    if len(fields) != len(lines) - 1:
        raise ProtocolBroken("not valid HTTP: a bad header field", phase="header")
    if len(fields) > MOST_FIELDS:
        raise ProtocolBroken(f"not valid HTTP: more than {MOST_FIELDS} header fields", phase="header")
    if len(block) > _FIELD_BYTES:
        _check_sizes(lines, len(block))
    if b" \r\n" in block or b"\t\r\n" in block:
        fields = [(name, value.rstrip(b" \t")) for name, value in fields]
    headers = Headers(fields)
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


def _length(headers: Headers) -> int | None:
    value = headers.find(b"content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise ProtocolBroken("not valid HTTP: a bad Content-Length", phase="header")
    first = headers._first
    if first is not None and len(first) != len(headers.raw) and len(headers.get_all("content-length")) > 1:
        raise ProtocolBroken("not valid HTTP: Content-Length twice", phase="header")
    return int(value)


def _check_sizes(lines: list[bytes], size: int) -> None:
    if size > _HEAD_BYTES:
        raise ProtocolBroken("not valid HTTP: header larger than 1 MiB", phase="header")
    if max(map(len, lines)) > _FIELD_BYTES:
        raise ProtocolBroken(
            f"not valid HTTP: a header field larger than {_FIELD_BYTES // 1024} KiB", phase="header"
        )
