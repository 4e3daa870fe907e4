"""The loopback server of the HTTP workloads: a process of its own, so lean that it is not what is measured.

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
_MOST_CONNECTIONS = 10_000
_LONGEST_HEAD = 16 * 1024
_LONGEST_LATENCY_S = 10.0


@lru_cache(maxsize=100_000)
def body_of(path: bytes) -> bytes:
    """What is at a path."""
    return (path * (BODY_BYTES // len(path) + 1))[:BODY_BYTES]


class _Connection(asyncio.Protocol):
    """One request at a time; what comes meanwhile waits in the buffer."""

    open = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self._is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        _Connection.open += 1
        if _Connection.open > _MOST_CONNECTIONS:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        _Connection.open -= 1
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_busy:
            self._next()

    def _next(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            if len(head) > _LONGEST_HEAD and self._transport is not None:
                self._transport.abort()
            return
        received = perf_counter()
        self._buffer = rest
        self._is_busy = True
        path = head.split(b" ", 2)[1]
        closes = b"\r\nconnection: close" in head.lower()
        latency_s = min(float(path.split(b"/", 2)[1]), _LONGEST_LATENCY_S)
        asyncio.get_running_loop().call_later(latency_s, self._reply, path, received, closes)

    def _reply(self, path: bytes, received: float, closes: bool) -> None:  # noqa: FBT001
        transport = self._transport
        if transport is None:
            return
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
            b"X-Received: %.6f\r\nX-Sent: %.6f\r\n%s\r\n%s"
            % (
                BODY_BYTES,
                received,
                perf_counter(),
                b"Connection: close\r\n" if closes else b"",
                body_of(path),
            )
        )
        self._is_busy = False
        if closes:
            transport.close()
        elif self._buffer:
            self._next()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        import uvloop  # noqa: PLC0415  (half the work for each request, where there is a wheel)
    except ImportError:
        asyncio.run(_serve())
    else:
        uvloop.run(_serve())


if __name__ == "__main__":
    main()
