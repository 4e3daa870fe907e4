"""A server of small pages that answers late, at as many addresses of the loopback as there are hosts.

`python benchmarks/distant_server.py LATENCY_MS HOSTS` prints its port and serves until its standard input
ends. Each of the addresses 127.0.0.1, 127.0.0.2, … is a host; systems other than Linux have only the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

PAGE_BYTES = 1500
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % PAGE_BYTES
_ANSWER += b"x" * PAGE_BYTES


class _Connection(asyncio.Protocol):
    latency_s = 0.0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its bases

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            _, _, self._asked = self._asked.partition(b"\r\n\r\n")
            if self.latency_s:
                self._loop.call_later(self.latency_s, self._transport.write, _ANSWER)
            else:
                self._transport.write(_ANSWER)


def address_of(number: int) -> str:
    """The address of a host, from 0."""
    return f"127.0.{(number + 1) // 250}.{(number + 1) % 250 or 250}"


@contextlib.contextmanager
def distant_server(latency_ms: int, hosts: int) -> Iterator[int]:
    """Serve from a process of its own. Gives the port."""
    command = [sys.executable, str(Path(__file__)), str(latency_ms), str(hosts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()  # it ends with whoever started it


async def _serve(latency_ms: int, hosts: int) -> None:
    _Connection.latency_s = latency_ms / 1000
    loop = asyncio.get_running_loop()
    first = await loop.create_server(_Connection, address_of(0), 0, backlog=4096)
    port = first.sockets[0].getsockname()[1]
    for number in range(1, hosts):
        await loop.create_server(_Connection, address_of(number), port)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 1) or ended.set())
    print(port, flush=True)
    await ended.wait()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    run(_serve(int(sys.argv[1]), int(sys.argv[2])))
