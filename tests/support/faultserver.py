"""A raw-socket server on the loopback that misbehaves on demand; its request log is the oracle.

The URL's path selects a script of bytes and pauses; the query tunes it (`SCRIPTS` lists them). It runs in
a thread with its own loop, so that plain tests, async tests and child processes can all use it:

    with FaultServer(hosts=["127.0.0.2"]) as server:
        fetch(server.url("/cut?at=10&of=100"))
        assert server.count("/cut") == 1

A script that answers through `Exchange.answer` is well framed and keeps the connection alive; one that sends
bytes of its own closes it. Absolute-form and CONNECT requests are served as a proxy that reaches only the
loopback: a name goes to 127.0.0.1. Whatever waits, waits no longer than its client or `close`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import json
import socket
import ssl as tls
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

BLOCK = 64 * 1024
ENDLESS = 1 << 40
Fields = Iterable[tuple[str, str]]


def content(key: str, size: int) -> bytes:
    """The bytes that `key` (a path without its query) serves: always the same ones, a prefix of a longer body."""
    return hashlib.shake_128(key.encode()).digest(size)


@dataclass
class Hit:
    """One request as it arrived. `started` and `ended` are `time.monotonic`; `sent` counts answer bytes."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    host_header: str
    address: str
    peer: tuple[str, int]
    connection_id: int
    started: float
    body: bytes = b""
    head: bytes = b""
    ended: float | None = None
    sent: int = 0

    @property
    def path(self) -> str:
        return urlsplit(self.target).path if "://" in self.target else self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Exchange:
    """What a script works with: the request, its query, and the connection to send on."""

    server: FaultServer
    hit: Hit
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    query: dict[str, str]
    args: list[str] = field(default_factory=list)
    keep: bool = False
    drop_next: bool = False  # the next request on this connection gets no answer

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.hit.sent += len(data)
        await self.writer.drain()

    async def head(self, status: int = 200, fields: Fields = ()) -> None:
        """A status line and header fields, as given."""
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields)]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "surrogateescape"))

    async def answer(self, status: int = 200, fields: Fields = (), body: bytes = b"") -> None:
        """A well-framed answer that keeps the connection unless the client asked for its end."""
        listed = list(fields)
        names = {name.lower() for name, _ in listed}
        if "content-type" not in names:
            listed.append(("Content-Type", "application/octet-stream"))
        if status not in {204, 304}:
            listed.append(("Content-Length", str(len(body))))
        self.keep = (
            self.hit.header("connection") or ""
        ).lower() != "close" and self.hit.version == "HTTP/1.1"
        if not self.keep:
            listed.append(("Connection", "close"))
        await self.head(status, listed)
        if self.hit.method != "HEAD" and status not in {204, 304}:
            for start in range(0, len(body), BLOCK):
                await self.send(body[start : start + BLOCK])

    async def hang(self) -> None:
        """Stay silent until the client goes away or the server closes."""
        while await self.reader.read(BLOCK):
            pass

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the client does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.hang()
            raise ConnectionResetError("the client went away")

    def reset(self) -> None:
        """End the connection with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


class FaultServer:
    """The server and its log. `close` (or leaving the `with`) ends every connection and the thread."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        hosts: Iterable[str] = (),
        *,
        port: int = 0,
        ssl: tls.SSLContext | None = None,
        proxy_auth: str | None = None,
    ) -> None:
        self.hosts = [host, *hosts]
        self.port = port
        self.log: list[Hit] = []
        self.connections = 0  # accepted so far
        self.open = 0  # of those, still there
        self.active: Counter[str] = Counter()  # requests being answered, by Host header
        self.most_active: Counter[str] = Counter()
        self.most_active_total = 0
        self.state: dict[str, Any] = {}  # for scripts that remember
        self.proxy_auth = proxy_auth
        self.errors: list[BaseException] = []  # defects of a script
        self._ssl = ssl
        self._routes: list[tuple[str, Script]] = list(SCRIPTS.items())
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets = self._bind()
        self._thread = threading.Thread(target=self._run, name="fault-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
        self._loop.close()

    def url(self, path: str = "/", *, host: str | None = None, scheme: str | None = None) -> str:
        name = host or self.hosts[0]
        name = f"[{name}]" if ":" in name else name
        return f"{scheme or ('https' if self._ssl else 'http')}://{name}:{self.port}{path}"

    def route(self, path: str, script: Script) -> None:
        """Serve `path`, and what lies below it, by `script`; the latest wins."""
        self._routes.insert(0, (path, script))

    def hits(self, path: str) -> list[Hit]:
        """Requests whose target is `path`, or whose path is, whatever the query."""
        return [hit for hit in self.log if path in {hit.target, hit.path}]

    def count(self, path: str) -> int:
        return len(self.hits(path))

    def wait(self, holds: Callable[[FaultServer], bool], timeout_s: float = 5.0) -> bool:
        """Whether `holds(self)` comes true in time; for what the other side does a moment later."""
        deadline = time.monotonic() + timeout_s
        while not holds(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _bind(self) -> list[socket.socket]:
        for _ in range(20):
            sockets: list[socket.socket] = []
            port = self.port
            try:
                for host in self.hosts:
                    family = socket.AF_INET6 if ":" in host else socket.AF_INET
                    sock = socket.socket(
                        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
                    )  # asyncio: else no NODELAY
                    sockets.append(sock)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind((host, port))
                    port = sock.getsockname()[1]
            except OSError:
                for sock in sockets:
                    sock.close()
                if self.port:
                    raise
            else:
                self.port = port
                return sockets
        raise OSError(f"no port is free on all of {self.hosts}")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _start(self) -> None:
        self._servers = [
            await asyncio.start_server(self._accept, sock=sock, ssl=self._ssl, limit=1 << 20, backlog=1024)
            for sock in self._sockets
        ]

    async def _stop(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)
        for _ in range(5):  # what is just being accepted comes to `_accept`; a closed server would lose it
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = self._loop.create_task(self._converse(self.connections, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(
            lambda _: writer.transport.abort()
        )  # cancelled before it began, it closes nothing

    async def _converse(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one connection's requests, one after the other."""
        writer.transport.set_write_buffer_limits(high=BLOCK)
        dropping = False
        try:
            while (hit := await self._read(number, reader, writer)) is not None and not dropping:
                exchange = await self._answer(hit, reader, writer)
                if not exchange.keep:
                    break
                dropping = exchange.drop_next
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()  # the peer's loop may be waiting for this thread
        except Exception as error:  # kept for the test to see
            self.errors.append(error)
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Hit | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, target, version = [*lines[0].split(" ", 2), "", ""][:3]
        headers = [(n.strip(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:] if line)]
        found = {name.lower(): value for name, value in headers}
        hit = Hit(
            method=method,
            target=target,
            version=version,
            headers=headers,
            host_header=found.get("host", ""),
            address=writer.get_extra_info("sockname")[0],
            peer=writer.get_extra_info("peername")[:2],
            connection_id=number,
            started=time.monotonic(),
            head=head,
        )
        self.log.append(hit)
        if "content-length" in found:
            hit.body = await reader.readexactly(int(found["content-length"]))
        elif found.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await reader.readline()).split(b";")[0], 16):
                hit.body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        return hit

    async def _answer(self, hit: Hit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
        host = hit.host_header
        self.active[host] += 1
        self.most_active[host] = max(self.most_active[host], self.active[host])
        self.most_active_total = max(self.most_active_total, self.active.total())
        query = dict(parse_qsl(hit.target.partition("?")[2], keep_blank_values=True))
        exchange = Exchange(self, hit, reader, writer, query)
        try:
            await self._script(exchange)(exchange)
        finally:
            self.active[host] -= 1
            hit.ended = time.monotonic()
        return exchange

    def _script(self, exchange: Exchange) -> Script:
        hit = exchange.hit
        if hit.method == "CONNECT" or "://" in hit.target:
            return proxy
        for prefix, script in self._routes:
            if hit.path == prefix or hit.path.startswith(prefix.rstrip("/") + "/"):
                exchange.args = [part for part in hit.path[len(prefix) :].split("/") if part]
                return script
        return missing


async def missing(x: Exchange) -> None:
    await x.answer(404, body=b"no such script\n")


# Well framed.


async def ok(x: Exchange) -> None:
    """/ok/N?size=&type=&delay=: content by path with ETag and Last-Modified; honours If-None-Match."""
    body = content(x.hit.path, x.number("size", 100))
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    fields = [("ETag", etag), ("Last-Modified", formatdate(1_700_000_000, usegmt=True))]
    if "type" in x.query:
        fields.append(("Content-Type", x.query["type"]))
    if "delay" in x.query:
        await x.pause(float(x.query["delay"]))
    matches = etag in (x.hit.header("if-none-match") or "")
    await x.answer(304 if matches else 200, fields, b"" if matches else body)


async def sized(x: Exchange) -> None:
    """/bytes/N: N bytes with Content-Length."""
    await x.answer(body=content(x.hit.path, int(x.args[0])))


async def chunked(x: Exchange) -> None:
    """/chunked/N?pieces=&trailer=: N bytes in that many chunks."""
    body = content(x.hit.path, int(x.args[0]))
    step = max(1, -(-len(body) // x.number("pieces", 3)))
    await x.head(200, [("Transfer-Encoding", "chunked")])
    for start in range(0, len(body), step):
        piece = body[start : start + step]
        await x.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await x.send(b"0\r\n" + b"X-T: v\r\n" * x.number("trailer", 0) + b"\r\n")
    x.keep = True


async def close_delimited(x: Exchange) -> None:
    """/eof/N: N bytes that only the end of the connection delimits."""
    await x.head(200)
    await x.send(content(x.hit.path, int(x.args[0])))


async def http10(x: Exchange) -> None:
    """/http10/N: an HTTP/1.0 answer with Content-Length."""
    body = content(x.hit.path, int(x.args[0]))
    await x.send(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def status(x: Exchange) -> None:
    """/status/N?h=Name:value: any status, with a body."""
    fields = [tuple(x.query["h"].split(":", 1))] if "h" in x.query else []
    await x.answer(int(x.args[0]), fields, f"status {x.args[0]}\n".encode())


async def redirect(x: Exchange) -> None:
    """/redirect/N?to=&status=: N redirects, then to `to` (default /ok/end)."""
    left, to, code = int(x.args[0]), x.query.get("to", "/ok/end"), x.query.get("status", "302")
    where = to if left <= 1 else f"/redirect/{left - 1}?{x.hit.target.partition('?')[2]}"
    await x.answer(int(code), [("Location", where)], b"moved\n")


async def loop(x: Exchange) -> None:
    """/loop: redirects to itself."""
    await x.answer(302, [("Location", x.hit.target)])


async def location(x: Exchange) -> None:
    """/location?raw=&status=: percent-decoded raw bytes as Location."""
    raw = dict(pair.partition("=")[::2] for pair in x.hit.target.partition("?")[2].split("&")).get("raw", "")
    value = unquote_to_bytes(raw).decode("latin-1")
    await x.answer(x.number("status", 302), [("Location", value)])


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


async def once(x: Exchange) -> None:
    """/once/STATUS/KEY?retry-after=&n=: STATUS the first time (or n times) for that key, then 200."""
    seen = x.server.state[x.hit.path] = x.server.state.get(x.hit.path, 0) + 1
    if seen > x.number("n", 1):
        await x.answer(200, body=content(x.hit.path, 100))
        return
    fields = [("Retry-After", x.query["retry-after"])] if "retry-after" in x.query else []
    await x.answer(int(x.args[0]), fields, b"not now\n")


async def fail(x: Exchange) -> None:
    """/fail/N/KEY: the first N requests are reset, then 200."""
    seen = x.server.state[x.hit.path] = x.server.state.get(x.hit.path, 0) + 1
    if seen <= int(x.args[0]):
        x.reset()
    else:
        await x.answer(200, body=content(x.hit.path, 100))


# Content-codings.


def coding(name: str, compress: Callable[[bytes], bytes]) -> Script:
    async def script(x: Exchange) -> None:
        """/gzip/N and the like, ?cut=: N bytes, coded; `cut` drops so many at the end of the coded bytes."""
        coded = compress(content(x.hit.path, int(x.args[0])))
        coded = coded[: len(coded) - x.number("cut", 0)]
        await x.answer(200, [("Content-Encoding", name)], coded)

    return script


def brotli(data: bytes) -> bytes:
    import brotli as codec

    return codec.compress(data, quality=1)


def zstd(data: bytes) -> bytes:
    from backports import zstd as codec

    return codec.compress(data)


async def bomb(x: Exchange) -> None:
    """/bomb?size=: zeros (default 1 GiB) in gzip, about a thousandth of that on the wire."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), bytes(1 << 20)
    await x.head(200, [("Content-Encoding", "gzip"), ("Content-Type", "text/html")])
    for _ in range(x.number("size", 1 << 30) // len(block)):
        await x.send(packer.compress(block))
    await x.send(packer.flush())


# Slow and silent.


async def slow(x: Exchange) -> None:
    """/slow?delay=: the header comes after so many seconds."""
    await x.pause(float(x.query.get("delay", 1)))
    await x.answer(200, body=content(x.hit.path, 100))


async def drip(x: Exchange) -> None:
    """/drip?n=&pause=: n bytes, one at a time."""
    body = content(x.hit.path, x.number("n", 10))
    await x.head(200, [("Content-Length", str(len(body)))])
    for start in range(len(body)):
        await x.send(body[start : start + 1])
        await x.pause(float(x.query.get("pause", 0.01)))
    x.keep = True


async def drip_head(x: Exchange) -> None:
    """/drip-head?pause=: the header, one byte at a time."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Pad: " + b"a" * 1000 + b"\r\n\r\n":
        await x.send(bytes([byte]))
        await x.pause(float(x.query.get("pause", 0.01)))


async def hang(x: Exchange) -> None:
    """/hang: accepted, never answered."""
    await x.hang()


async def hang_body(x: Exchange) -> None:
    """/hang-body?at=&of=: silent after `at` bytes of `of`."""
    await x.head(200, [("Content-Length", str(x.number("of", 1000)))])
    await x.send(content(x.hit.path, x.number("at", 10)))
    await x.hang()


async def endless(x: Exchange) -> None:
    """/endless?pause=: a body without end."""
    await x.head(200)
    block = content(x.hit.path, BLOCK)
    while True:
        await x.send(block)
        if "pause" in x.query:
            await x.pause(float(x.query["pause"]))


# Cut and broken.


async def cut(x: Exchange) -> None:
    """/cut?at=&of=: Content-Length `of`, closed after `at` bytes."""
    await x.head(200, [("Content-Length", str(x.number("of", 100)))])
    await x.send(content(x.hit.path, x.number("of", 100))[: x.number("at", 10)])


async def cut_chunked(x: Exchange) -> None:
    """/cut-chunked?at=&of=: the chunked coding of `of` bytes, closed after `at` bytes of the coding."""
    body = content(x.hit.path, x.number("of", 100))
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    await x.head(200, [("Transfer-Encoding", "chunked")])
    await x.send(coded[: x.number("at", 10)])


async def cut_head(x: Exchange) -> None:
    """/cut-head?at=: closed inside the header."""
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"[: x.number("at", 10)])


async def reset(x: Exchange) -> None:
    """/reset?at=: RST after so many bytes of the body; without `at`, before any byte."""
    if "at" in x.query:
        at = x.number("at", 0)
        await x.head(200, [("Content-Length", str(at + 1000))])
        await x.send(content(x.hit.path, at))
        await asyncio.sleep(0.05)  # so that what was sent arrives before the RST discards it
    x.reset()


async def stale(x: Exchange) -> None:
    """/stale: a good answer; the next request on its connection gets no answer, only the end."""
    await x.answer(200, body=b"fresh\n")
    x.drop_next = True


async def early_hints(x: Exchange) -> None:
    """/1xx?n=&status=: n interim answers, then 200."""
    for _ in range(x.number("n", 1)):
        await x.head(x.number("status", 103), [("Link", "</a>; rel=preload")])
    await x.answer(200, body=b"after all\n")


async def many_headers(x: Exchange) -> None:
    """/headers?n=&size=: n header fields of `size` bytes each."""
    value = "v" * x.number("size", 10)
    await x.answer(200, [(f"X-{i}", value) for i in range(x.number("n", 10))], b"many\n")


async def surplus(x: Exchange) -> None:
    """/surplus?n=: more bytes than Content-Length says."""
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + b"x" * x.number("n", 5))


async def blob(x: Exchange) -> None:
    """/204-body, /cl-te …: fixed bytes, then the end."""
    await x.send(BLOBS[x.hit.path.strip("/").split("/")[0]])


BLOBS: dict[str, bytes] = {
    "te-gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "cl-te": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "cl-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "cl-same": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "cl-negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "cl-plus": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "cl-letters": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "big-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\nhello",
    "bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad-header": b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
    "noise": bytes(range(256)) * 8,
    "http09": b"<html>an answer of HTTP/0.9</html>\n",
    "204-body": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    "close-at-once": b"",
}


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


SCRIPTS: dict[str, Script] = {
    "/ok": ok,
    "/bytes": sized,
    "/chunked": chunked,
    "/eof": close_delimited,
    "/http10": http10,
    "/status": status,
    "/redirect": redirect,
    "/loop": loop,
    "/location": location,
    "/echo": echo,
    "/auth": auth,
    "/setcookie": setcookie,
    "/once": once,
    "/fail": fail,
    "/gzip": coding("gzip", lambda data: gzip.compress(data, 1, mtime=0)),
    "/deflate": coding("deflate", zlib.compress),
    "/br": coding("br", brotli),
    "/zstd": coding("zstd", zstd),
    "/bomb": bomb,
    "/slow": slow,
    "/drip": drip,
    "/drip-head": drip_head,
    "/hang": hang,
    "/hang-body": hang_body,
    "/endless": endless,
    "/cut": cut,
    "/cut-chunked": cut_chunked,
    "/cut-head": cut_head,
    "/reset": reset,
    "/stale": stale,
    "/1xx": early_hints,
    "/headers": many_headers,
    "/surplus": surplus,
    **{f"/{name}": blob for name in BLOBS},
}
