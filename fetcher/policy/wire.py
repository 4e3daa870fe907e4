"""A request as the bytes of HTTP/1.1 (RFC 9112 §3): the URL as given, the fields as given, and no others.

Invariant: what is returned is one request. A space or line break in the line, or a line break in a
field, raises `ValueError` before anything is sent.
"""

from __future__ import annotations

from typing import Final

from fetcher.model import Request

_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})  # sent with a length, even of nothing
_UNSENT: Final = ("\r", "\n", "\0")

Fields = tuple[tuple[str, str], ...]


class RequestWriter:
    """Writes requests. It remembers the fields of the last one, which are mostly those of the next."""

    def __init__(self) -> None:
        self._fields: Fields = ()
        self._fields_wire = b""
        self._names_host = False

    def write(self, request: Request, *, relayed_for: str | None = None) -> bytes:
        """The whole request.

        `relayed_for` is None for the server itself. A proxy gets the absolute form, and the value of its
        Proxy-Authorization field, if that is not empty.
        """
        url = request.target.url
        start = len(request.target.scheme) + 3
        slash = url.find("/", start)
        if slash < 0:
            slash, url = len(url), url + "/"
        line = f"{request.method} {url[slash:] if relayed_for is None else url} HTTP/1.1\r\n"
        if line.count(" ") != 2 or line.count("\n") != 1 or line.count("\r") != 1:
            raise ValueError("a space or line break in the request line")
        if request.headers is not self._fields:
            self._remember(request.headers)
        head = line.encode("ascii")
        if not self._names_host:
            head += b"Host: %b\r\n" % url[start:slash].encode("ascii")
        head += self._fields_wire
        if relayed_for:
            head += _field("Proxy-Authorization", relayed_for)
        if request.body is None and request.method not in _BODY_METHODS:
            return head + b"\r\n"
        content = request.body or b""
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content)

    def _remember(self, fields: Fields) -> None:
        self._fields_wire = b"".join([_field(name, value) for name, value in fields])
        self._names_host = any(name.lower() == "host" for name, _ in fields)
        self._fields = fields


def _field(name: str, value: str) -> bytes:
    line = f"{name}: {value}"
    if any(mark in line for mark in _UNSENT):
        raise ValueError("a line break in a header field")
    try:
        return line.encode("latin-1") + b"\r\n"  # as an answer's field was read (RFC 9110 §5.5)
    except UnicodeEncodeError:
        return line.encode() + b"\r\n"
