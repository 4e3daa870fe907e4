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
from contextlib import suppress
from functools import lru_cache
from time import perf_counter

BODY_BYTES = 1024
_LONGEST_LATENCY_S = 10.0


@lru_cache(maxsize=100_000)
def body_of(path: bytes) -> bytes:
    """Make the kilobyte that is at a path."""
    return (path * (BODY_BYTES // len(path) + 1))[:BODY_BYTES]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, one at a time."""
    closes = False
    with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has ended
        while not closes:
            head = await reader.readuntil(b"\r\n\r\n")
            received, path = perf_counter(), head.split(b" ", 2)[1]
            closes = b"\r\nconnection: close" in head.lower()
            await asyncio.sleep(min(float(path.split(b"/", 2)[1]), _LONGEST_LATENCY_S))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
                b"X-Received: %.6f\r\nX-Sent: %.6f\r\n%s\r\n%s"
                % (BODY_BYTES, received, perf_counter(), b"Connection: close\r\n" * closes, body_of(path))
            )
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.buffer.read)
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
