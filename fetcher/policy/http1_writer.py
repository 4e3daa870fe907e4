"""A request as the bytes of HTTP/1.1 (RFC 9112 §3): the URL as given, the fields as given, and no others.

Invariant: what is returned is one request. A space or line break in the line, or a line break in a
field, raises `ValueError` before anything is sent.
"""

from __future__ import annotations

from typing import Final

from fetcher.model import Request
from fetcher.policy.http import BODY_METHODS
from fetcher.policy.urls import path_start

UNSENT: Final = ("\r", "\n", "\0")

Fields = tuple[tuple[str, str], ...]


class RequestWriter:
    """Writer of requests. It remembers the fields of the last one, which are mostly those of the next.

    `ends_connection` says of what was written last that it is to be the last on its connection.
    """

    def __init__(self) -> None:
        self.ends_connection = False
        self._fields: Fields = ()
        self._fields_wire = b""
        self._names_host = False

    def write(self, request: Request, *, relayed_for: str | None = None) -> bytes:
        """Return the whole request.

        `relayed_for` is None for the server itself. A proxy gets the absolute form, and the value of its
        Proxy-Authorization field, if that is not empty.
        """
        url = request.target.url
        slash = path_start(url)
        if slash == len(url):
            url += "/"
        line = f"{request.method} {url[slash:] if relayed_for is None else url} HTTP/1.1\r\n"
        if line.count(" ") != 2 or line.count("\n") != 1 or line.count("\r") != 1:
            raise ValueError("a space or line break in the request line")
        if request.headers is not self._fields:
            self._remember(request.headers)
        head = line.encode("ascii")
        if not self._names_host:
            head += b"Host: %b\r\n" % url[len(request.target.scheme) + 3 : slash].encode("ascii")
        head += self._fields_wire
        if relayed_for:
            head += _field("Proxy-Authorization", relayed_for)
        if request.body is None and request.method not in BODY_METHODS:
            return head + b"\r\n"
        content = request.body or b""
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content)

    def _remember(self, fields: Fields) -> None:
        self._fields_wire = b"".join([_field(name, value) for name, value in fields])
        self._names_host = any(name.lower() == "host" for name, _ in fields)
        self.ends_connection = ends_connection(fields)
        self._fields = fields


def ends_connection(fields: Fields) -> bool:
    """Return True if a request with these fields is the last on its connection (RFC 9112 §9.6)."""
    return any(
        name.lower() == "connection"
        and "close" in [option.strip(" \t") for option in value.lower().split(",")]
        for name, value in fields
    )


def _field(name: str, value: str) -> bytes:
    line = f"{name}: {value}"
    if any(mark in line for mark in UNSENT):
        raise ValueError("a line break in a header field")
    try:
        return line.encode("latin-1") + b"\r\n"  # as an answer's field was read (RFC 9110 §5.5)
    except UnicodeEncodeError:
        return line.encode() + b"\r\n"
