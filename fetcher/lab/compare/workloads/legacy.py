"""A class with blocking methods, used from async code: as it stands, through an executor, and rewritten.

Both classes speak the same HTTP by hand, a connection for each call, so that they differ in nothing but
how they wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import fetcher
from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.meter import Meter, StallWatch
from fetcher.lab.compare.models import Played, measured
from fetcher.lab.compare.scripts import seen

Read = Callable[[str], Awaitable[str]]


class Archive:
    """The old class: `read` blocks until the reply is there. Nobody dares to change it."""

    def __init__(self, port: int) -> None:
        self._address = "127.0.0.1", port

    def read(self, path: str) -> str:
        with socket.create_connection(self._address) as connection:
            connection.sendall(_request(path))
            reply = b""
            while block := connection.recv(65536):
                reply += block
        return _content(reply)


class RewrittenArchive:
    """The same, written anew for the loop: every method a coroutine, and all who call it too."""

    def __init__(self, port: int) -> None:
        self._address = "127.0.0.1", port

    async def read(self, path: str) -> str:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(_request(path))
            return _content(await reader.read(-1))
        finally:
            writer.close()


def run(job: Job) -> Measured:
    """One model."""
    port = int(job.site.rpartition(":")[2])
    paths = [f"/{job.wait_s}/{n}" for n in range(job.size)]
    if job.model == "sequence":
        few = int(job.options.get("measured", job.size))
        return measured(_in_plain_code(Archive(port), paths[:few]), of=job.size)
    if job.model == "blocking":
        read = Archive(port).read

        async def blocking(path: str) -> str:
            return read(path)

        return measured(asyncio.run(_at_once(blocking, paths)))
    if job.model == "wrapped":
        with ThreadPoolExecutor(min(job.option("at_once"), job.size)) as executor:
            wrapped = fetcher.async_wrap(executor)(Archive(port).read)
            return measured(asyncio.run(_at_once(wrapped, paths)))
    return measured(asyncio.run(_at_once(RewrittenArchive(port).read, paths)))


def _in_plain_code(archive: Archive, paths: list[str]) -> Played:
    archive.read("/0/warm")
    meter = Meter()
    results = [archive.read(path) for path in paths]
    return Played(results, meter.stop())


async def _at_once(read: Read, paths: list[str]) -> Played:
    async with StallWatch() as watch:
        await read("/0/warm")
        watch.forget()
        meter = Meter()
        results = await asyncio.gather(*map(read, paths))
        meter.stop()
        details = {"stall_s": await watch.longest()}
    return Played(list(results), meter, details=details)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def _content(reply: bytes) -> str:
    head, _, body = reply.partition(b"\r\n\r\n")
    return seen(int(head.split()[1]), body)
