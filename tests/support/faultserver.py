"""The misbehaving server of the package, with what only tests need: a proxy, echoes, credentials.

    with FaultServer(hosts=["127.0.0.2"]) as server:
        fetch(server.url("/cut?at=10&of=100"))
        assert server.count("/cut") == 1

Absolute-form and CONNECT requests are served as a proxy that reaches only the loopback: a name goes to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl as tls
from collections.abc import Iterable
from urllib.parse import urlsplit

from fetcher.demo_site import fault_scripts, fault_server
from fetcher.demo_site.fault_scripts import BLOBS, coding
from fetcher.demo_site.fault_server import BLOCK, Fields, Hit, Script, content
from fetcher.demo_site.fault_server import FaultExchange as Exchange

__all__ = [
    "BLOBS",
    "BLOCK",
    "SCRIPTS",
    "Exchange",
    "FaultServer",
    "Fields",
    "Hit",
    "Script",
    "content",
]


class FaultServer(fault_server.FaultServer):
    """Serves all scripts; `proxy_auth` is what its proxy asks for."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        hosts: Iterable[str] = (),
        *,
        port: int = 0,
        ssl: tls.SSLContext | None = None,
        proxy_auth: str | None = None,
    ) -> None:
        super().__init__(SCRIPTS, host, hosts, port=port, ssl=ssl, proxy=proxy)
        self.proxy_auth = proxy_auth


async def echo(x: Exchange) -> None:
    """/echo: JSON of the method, target, headers and body received."""
    seen = {
        "method": x.hit.method,
        "target": x.hit.target,
        "headers": x.hit.headers,
        "body": x.hit.body.decode("latin-1"),
    }
    await x.answer(200, [("Content-Type", "application/json")], json.dumps(seen).encode())


async def auth(x: Exchange) -> None:
    """/auth?user=u&password=p: 401 without that Basic Authorization."""
    pair = f"{x.query.get('user', 'user')}:{x.query.get('password', 'pass')}"
    wanted = "Basic " + base64.b64encode(pair.encode()).decode()
    if x.hit.header("authorization") == wanted:
        await x.answer(200, body=b"welcome\n")
    else:
        await x.answer(401, [("WWW-Authenticate", 'Basic realm="here"')], b"who are you\n")


async def setcookie(x: Exchange) -> None:
    """/setcookie?value=&to=: sets a cookie, and redirects if told where."""
    fields = [("Set-Cookie", x.query.get("value", "k=v; Path=/"))]
    if "to" in x.query:
        fields.append(("Location", x.query["to"]))
    await x.answer(302 if "to" in x.query else 200, fields, b"cookie\n")


async def stale(x: Exchange) -> None:
    """/stale: a good answer; the next request on its connection gets no answer, only the end."""
    await x.answer(200, body=b"fresh\n")
    x.drop_next = True


async def proxy(x: Exchange) -> None:
    """Forward an absolute-form request, or open the tunnel of a CONNECT; only the loopback is reached."""
    wanted = x.server.proxy_auth and "Basic " + base64.b64encode(x.server.proxy_auth.encode()).decode()
    if wanted and x.hit.header("proxy-authorization") != wanted:
        await x.answer(407, [("Proxy-Authenticate", 'Basic realm="proxy"')], b"pay first\n")
        return
    parts = urlsplit(x.hit.target if "://" in x.hit.target else f"//{x.hit.target}")
    name = parts.hostname or ""
    reader, writer = await asyncio.open_connection(
        name if name.startswith("127.") else "127.0.0.1", parts.port or 80
    )
    try:
        if x.hit.method == "CONNECT":
            await x.head(200)
        else:
            query = f"?{parts.query}" if parts.query else ""
            fields = "".join(f"{n}: {v}\r\n" for n, v in x.hit.headers if not n.lower().startswith("proxy-"))
            head = f"{x.hit.method} {parts.path or '/'}{query} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"
            writer.write(head.encode("latin-1") + x.hit.body)
        pumps = [asyncio.ensure_future(pump(*pair)) for pair in ((x.reader, writer), (reader, x.writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
    finally:
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()


def brotli(data: bytes) -> bytes:
    import brotli as codec

    return codec.compress(data, quality=1)


def zstd(data: bytes) -> bytes:
    from backports import zstd as codec

    return codec.compress(data)


SCRIPTS: dict[str, Script] = {
    **fault_scripts.SCRIPTS,
    "/echo": echo,
    "/auth": auth,
    "/setcookie": setcookie,
    "/stale": stale,
    "/br": coding("br", brotli),
    "/zstd": coding("zstd", zstd),
}
