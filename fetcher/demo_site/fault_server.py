"""Raw-socket server on the loopback that misbehaves on demand; its request log is the oracle.

The URL's path selects a script of bytes and pauses; the query tunes it. It runs in a thread with its own
loop, so that plain code, async code and child processes can all use it:

    with FaultServer(SCRIPTS, hosts=["127.0.0.2"]) as server:
        fetch(server.url("/cut?at=10&of=100"))
        assert server.count("/cut") == 1

A script that answers through `FaultExchange.answer` is well framed and keeps the connection alive; one that
sends bytes of its own closes it. Whatever waits, waits no longer than its client or `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl as tls
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

BLOCK = 64 * 1024
Fields = Iterable[tuple[str, str]]
Content = Callable[[str, int], bytes]  # the bytes that a path without its query serves, at a length


def content(key: str, size: int) -> bytes:
    """Return what `key` (a path without its query) serves: always the same, a prefix of a longer body."""
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
class FaultExchange:
    """Material of a script: the request, its query, and the connection to send on."""

    server: FaultServer
    hit: Hit
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    query: dict[str, str]
    args: list[str] = field(default_factory=list)
    keep: bool = False
    drop_next: bool = False  # the next request on this connection gets no answer

    def number(self, name: str, default: int) -> int:
        """Return a whole number of the query."""
        return int(self.query.get(name, default))

    def content(self, size: int) -> bytes:
        """Return `size` bytes of what this path serves."""
        return self.server.content(self.hit.path, size)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        self.hit.sent += len(data)
        await self.writer.drain()

    async def head(self, status: int = 200, fields: Fields = ()) -> None:
        """Make a status line and header fields, as given."""
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields)]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "surrogateescape"))

    async def answer(self, status: int = 200, fields: Fields = (), body: bytes = b"") -> None:
        """Make a well-framed answer that keeps the connection unless the client asked for its end."""
        listed = list(fields)
        names = {name.lower() for name, _ in listed}
        if "content-type" not in names:
            listed.append(("Content-Type", self.server.content_type))
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


Script = Callable[[FaultExchange], Awaitable[None]]


def _abort(writer: asyncio.StreamWriter) -> None:
    """End a connection, which may have ended by itself: then its transport has no loop any more."""
    with contextlib.suppress(AttributeError):
        writer.transport.abort()


class FaultServer:
    """The server and its log. `close` (or leaving the `with`) ends every connection and the thread."""

    def __init__(
        self,
        scripts: Mapping[str, Script],
        host: str = "127.0.0.1",
        hosts: Iterable[str] = (),
        *,
        port: int = 0,
        ssl: tls.SSLContext | None = None,
        proxy: Script | None = None,
        content: Content = content,
        content_type: str = "application/octet-stream",
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
        self.content = content
        self.content_type = content_type
        self.errors: list[BaseException] = []  # defects of a script
        self._ssl = ssl
        self._proxy = missing if proxy is None else proxy
        self._routes: list[tuple[str, Script]] = list(scripts.items())
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets = self._bind()
        self._thread = threading.Thread(target=self._run, name="fault-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=60)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=60)
        self._loop.close()

    def url(self, path: str = "/", *, host: str | None = None, scheme: str | None = None) -> str:
        name = host or self.hosts[0]
        name = f"[{name}]" if ":" in name else name
        return f"{scheme or ('https' if self._ssl else 'http')}://{name}:{self.port}{path}"

    def route(self, path: str, script: Script) -> None:
        """Serve `path`, and what lies below it, by `script`; the latest wins."""
        self._routes.insert(0, (path, script))

    def hits(self, path: str) -> list[Hit]:
        """Return the requests whose target is `path`, or whose path is, whatever the query."""
        return [hit for hit in self.log if path in {hit.target, hit.path}]

    def count(self, path: str) -> int:
        return len(self.hits(path))

    def wait(self, holds: Callable[[FaultServer], bool], timeout_s: float = 60.0) -> bool:
        """Return True once `holds(self)` does, False if not in time: the other side may need a moment."""
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
        task.add_done_callback(lambda _: _abort(writer))  # cancelled before it began, it closes nothing

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
        except Exception as error:  # noqa: BLE001  (kept for whoever started it to see)
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

    async def _answer(
        self, hit: Hit, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> FaultExchange:
        host = hit.host_header
        self.active[host] += 1
        self.most_active[host] = max(self.most_active[host], self.active[host])
        self.most_active_total = max(self.most_active_total, self.active.total())
        query = dict(parse_qsl(hit.target.partition("?")[2], keep_blank_values=True))
        exchange = FaultExchange(self, hit, reader, writer, query)
        try:
            await self._script(exchange)(exchange)
        finally:
            self.active[host] -= 1
            hit.ended = time.monotonic()
        return exchange

    def _script(self, exchange: FaultExchange) -> Script:
        hit = exchange.hit
        if hit.method == "CONNECT" or "://" in hit.target:
            return self._proxy
        for prefix, script in self._routes:
            if hit.path == prefix or hit.path.startswith(prefix.rstrip("/") + "/"):
                exchange.args = [part for part in hit.path[len(prefix) :].split("/") if part]
                return script
        return missing


async def missing(x: FaultExchange) -> None:
    """404: for a path that no script serves."""
    await x.answer(404, body=b"no such script\n")
