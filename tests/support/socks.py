"""A SOCKS server on the loopback: versions 4, 4a and 5 (RFC 1928), with or without a password (RFC 1929).

It reaches only the loopback, and finds every name itself, there; `asked` says what it was asked for. The name
`reply-N.test` is answered with that reply, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Self

BLOCK = 64 * 1024


class SocksServer:
    """The server, in a thread of its own. With `user` and `password`, nothing goes without them.

    `garbles` has it answer in no version of SOCKS, `closes` with nothing but the end.
    """

    def __init__(
        self, *, user: str = "", password: str = "", garbles: bool = False, closes: bool = False
    ) -> None:
        self.asked: list[tuple[int, str, int]] = []  # version, name or address, port
        self.users: list[str] = []
        self._user, self._password = user.encode(), password.encode()
        self._garbles, self._closes = garbles, closes
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._sock.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="socks-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=10)

    def url(self, scheme: str, userinfo: str = "") -> str:
        return f"{scheme}://{userinfo and userinfo + '@'}127.0.0.1:{self.port}"

    def _run(self) -> None:
        self._stopping = asyncio.Event()
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._sock)
        await self._stopping.wait()
        server.close()
        for _ in range(5):  # what is just being accepted comes to `_accept`
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # cancelled before it began, it closes nothing

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            version = (await reader.readexactly(1))[0]
            if self._garbles or self._closes:
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" if self._garbles else b"")
            else:
                await (self._socks4 if version == 4 else self._socks5)(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            await _closed(writer)

    async def _socks4(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        port = int.from_bytes(await reader.readexactly(2), "big")
        address = await reader.readexactly(4)
        self.users.append((await reader.readuntil(b"\0"))[:-1].decode())
        name = socket.inet_ntoa(address)
        if address[:3] == b"\0\0\0":
            name = (await reader.readuntil(b"\0"))[:-1].decode()
        self.asked.append((4, name, port))
        await self._relay(name, port, reader, writer, b"\0\x5a" + bytes(6), b"\0%c" + bytes(6))

    async def _socks5(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        wanted = 2 if self._user else 0
        if wanted not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes([5, wanted]))
        if wanted:
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            self.users.append(user.decode())
            is_right = (user, password) == (self._user, self._password)
            writer.write(b"\x01\x00" if is_right else b"\x01\x01")
            if not is_right:
                return
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            name = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            name = socket.inet_ntop(family, await reader.readexactly(size))
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((5, name, port))
        await self._relay(name, port, reader, writer, b"\5\0\0\1" + bytes(6), b"\5%c\0\1" + bytes(6))

    async def _relay(
        self,
        name: str,
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        granted: bytes,
        refused: bytes,
    ) -> None:
        if name.startswith("reply-"):
            writer.write(refused % int(name.removeprefix("reply-").partition(".")[0]))
            return
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.write(refused % (5 if refused[0] else 0x5B))
            return
        writer.write(granted)
        pumps = [asyncio.ensure_future(_pump(*pair)) for pair in ((reader, outer), (inner, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            outer.close()  # at once: what follows may be cancelled
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await _closed(outer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(BLOCK):
            writer.write(data)
            await writer.drain()
