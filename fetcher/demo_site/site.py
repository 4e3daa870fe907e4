"""Small web site on the loopback, for `fetcher demo` and for trying things without a network.

`plan` decides every path and every byte from the number of pages alone, so two runs fetch the same
site. `DemoSite` serves the plan over HTTP/1.1 on a free port of 127.0.0.1 with the manners and the
faults of the real web: content-coding, validators, ranges, redirects, slow pages, a server that asks
for patience once, a connection that breaks once. A path fails at most once, so a patient fetcher gets
everything but the one page that does not exist.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from fetcher.demo_site.pages import MOVED_TO, Resource, plan

if TYPE_CHECKING:
    from aiohttp import web

PORT = 47811
_BLOCK = 64 * 1024
_LINGER_NONE = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN


@dataclass(frozen=True, slots=True)
class _Answer:
    """One representation of a resource: its bytes as they go out, and its validator."""

    body: bytes
    etag: str
    coding: str | None


def _listener() -> socket.socket:
    """The same port each time if it is free, so that a demo done again finds its own URLs."""
    try:
        return socket.create_server(("127.0.0.1", PORT))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


class DemoSite:
    """`async with DemoSite() as site:` serves until the block ends; `site.url` is its home page.

    `requests` counts what arrived, repeats included. Leaving the block ends transfers under way.
    """

    def __init__(self, pages: int = 300) -> None:
        self._plan = plan(pages)
        self._answers = {
            (path, coding): _answer(resource, coding)
            for path, resource in self._plan.items()
            for coding in (None, "gzip")
        }
        self._faults_left = {path for path, resource in self._plan.items() if resource.fault != "none"}
        self._runner: web.ServerRunner | None = None
        self.url = ""
        self.requests = 0

    async def __aenter__(self) -> Self:
        from aiohttp import web  # noqa: PLC0415  # heavy, and only the demo needs it

        server = web.Server(self._serve, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = _listener()
        await web.SockSite(self._runner, listener).start()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def urls(self) -> list[str]:
        """Return every URL that the home page leads to, one missing page and one redirect included."""
        base = self.url.removesuffix("/")
        return [base + path for path, resource in self._plan.items() if resource.is_listed]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        from aiohttp import web  # noqa: PLC0415

        self.requests += 1
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        path = request.rel_url.raw_path
        if path == "/sitemap.xml":
            return web.Response(body=self._sitemap(), content_type="application/xml")
        if path == "/robots.txt":
            lines = f"User-agent: *\nDisallow: /private/\n\nSitemap: {self.url}sitemap.xml\n"
            return web.Response(text=lines)
        resource = self._plan.get(path)
        if resource is None or resource.kind == "missing":
            return web.Response(status=404, text="Nothing is published here.\n")
        if resource.kind == "moved":
            return web.Response(status=301, headers={"Location": MOVED_TO})
        fault = self._fault(path, resource)
        if fault == "busy":
            return web.Response(status=503, headers={"Retry-After": "1"}, text="Back in a second.\n")
        if fault == "reset":
            return _reset(request)
        if resource.delay_s:
            await asyncio.sleep(resource.delay_s)
        return await self._send(request, path, resource)

    def _fault(self, path: str, resource: Resource) -> Literal["none", "busy", "reset"]:
        """Return the fault of this path, the first time only."""
        if path not in self._faults_left:
            return "none"
        self._faults_left.discard(path)
        return resource.fault

    async def _send(self, request: web.BaseRequest, path: str, resource: Resource) -> web.StreamResponse:
        from aiohttp import web  # noqa: PLC0415

        coding = "gzip" if resource.is_coded and _accepts_gzip(request.headers) else None
        answer = self._answers[path, coding]
        headers = {"ETag": answer.etag, "Last-Modified": resource.last_modified, "Accept-Ranges": "bytes"}
        if resource.is_coded:
            headers["Vary"] = "Accept-Encoding"
        if _is_unchanged(request.headers, answer, resource):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = resource.content_type
        if answer.coding is not None:
            headers["Content-Encoding"] = answer.coding
        body, status = answer.body, 200
        start = _range_start(request.headers, answer)
        if start is not None and start >= len(body):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
        if not resource.bytes_per_s or request.method == "HEAD":
            return web.Response(status=status, headers=headers, body=body)
        return await _send_slowly(request, status, headers, body, resource.bytes_per_s)

    def _sitemap(self) -> bytes:
        base = self.url.removesuffix("/")
        lines = [
            f"  <url><loc>{base}{path}</loc><lastmod>{resource.modified_on}</lastmod></url>"
            for path, resource in self._plan.items()
            if resource.kind == "page" and resource.is_listed
        ]
        opening = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        return "\n".join(
            ['<?xml version="1.0" encoding="UTF-8"?>', opening, *lines, "</urlset>", ""]
        ).encode()


def _answer(resource: Resource, coding: str | None) -> _Answer:
    tag = sha256(resource.body).hexdigest()[:16]
    if coding is None or not resource.is_coded:
        return _Answer(resource.body, f'"{tag}"', None)
    return _Answer(gzip.compress(resource.body, mtime=0), f'"{tag}-{coding}"', coding)


def _accepts_gzip(headers: Mapping[str, str]) -> bool:
    for choice in headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in {"gzip", "*"} and weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            return True
    return False


def _is_unchanged(headers: Mapping[str, str], answer: _Answer, resource: Resource) -> bool:
    """RFC 9110 §13.2.2: If-None-Match decides alone where it is present."""
    wanted = headers.get("If-None-Match")
    if wanted is not None:
        tags = {tag.strip().removeprefix("W/") for tag in wanted.split(",")}
        return answer.etag in tags or "*" in tags
    return headers.get("If-Modified-Since") == resource.last_modified


def _range_start(headers: Mapping[str, str], answer: _Answer) -> int | None:
    """Return the first byte of `Range: bytes=N-`; other ranges are ignored (RFC 9110 §14.2 allows it)."""
    if headers.get("If-Range", answer.etag) != answer.etag:
        return None
    unit, _, span = headers.get("Range", "").partition("=")
    first, dash, last = span.partition("-")
    if unit != "bytes" or not dash or last or not (first.isascii() and first.isdigit()):
        return None
    return int(first[:18])


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection with an RST, as a crashed server or an impatient middlebox does."""
    from aiohttp import web  # noqa: PLC0415

    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        transport.abort()
    return web.Response(status=500)  # never reaches anyone


async def _send_slowly(
    request: web.BaseRequest, status: int, headers: dict[str, str], body: bytes, bytes_per_s: int
) -> web.StreamResponse:
    from aiohttp import web  # noqa: PLC0415

    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    for start in range(0, len(body), _BLOCK):
        await response.write(body[start : start + _BLOCK])
        await asyncio.sleep(_BLOCK / bytes_per_s)
    await response.write_eof()
    return response
