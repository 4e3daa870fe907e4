"""Loopback server of the HTTP workloads: a process of its own, so lean that it is not what is measured.

`GET /<latency>/<anything>` is answered after that many seconds with a kilobyte made of the path.
`X-Received` and `X-Sent` are its clock when the request was there and when the reply left; the clock is
`time.perf_counter`, which all processes of a machine share. It prints its port, and ends when standard
input does: with the command that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from functools import lru_cache
from time import perf_counter
from typing import cast

BODY_BYTES = 1024
_LONGEST_LATENCY_S = 10.0


@lru_cache(maxsize=100_000)
def body_of(path: bytes) -> bytes:
    """Make the kilobyte that is at a path."""
    return (path * (BODY_BYTES // len(path) + 1))[:BODY_BYTES]


class _Connection(asyncio.Protocol):
    """One request at a time; what comes meanwhile waits in the buffer."""

    _buffer = b""
    _is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_busy:
            self._next()

    def _next(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        self._is_busy = bool(end)
        if end:
            self._buffer = rest
            path = head.split(b" ", 2)[1]
            latency_s = min(float(path.split(b"/", 2)[1]), _LONGEST_LATENCY_S)
            closes = b"\r\nconnection: close" in head.lower()
            asyncio.get_running_loop().call_later(latency_s, self._reply, path, perf_counter(), closes)

    def _reply(self, path: bytes, received: float, closes: bool) -> None:  # noqa: FBT001
        self._transport.write(  # which says nothing once the connection is lost
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
            b"X-Received: %.6f\r\nX-Sent: %.6f\r\n%s\r\n%s"
            % (BODY_BYTES, received, perf_counter(), b"Connection: close\r\n" * closes, body_of(path))
        )
        if closes:
            self._transport.close()
        else:
            self._next()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        import uvloop  # noqa: PLC0415  (half the work for each request, where there is a wheel)
    except ImportError:
        asyncio.run(_serve())
    else:
        uvloop.run(_serve())
