"""Workload `legacy`: a class with blocking methods in async code, as it is, in an executor, and rewritten.

Both classes speak the same HTTP by hand, a connection for each call, so that they differ in nothing but
how they wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import fetcher
from fetcher.lab.compare.meter import Meter
from fetcher.lab.compare.results import Measured, Trial
from fetcher.lab.compare.steps import seen

_WARM = "/0/warm"


class Archive:
    """Old class: `read` blocks until the reply is there. Nobody dares to change it."""

    def __init__(self, port: int) -> None:
        self._address = "127.0.0.1", port

    def read(self, path: str) -> str:
        with socket.create_connection(self._address) as connection:
            connection.sendall(_request(path))
            with connection.makefile("rb") as reply:
                return _content(reply.read())


class RewrittenArchive(Archive):
    """The same, rewritten for the loop: every method a coroutine, and all who call it too."""

    async def aread(self, path: str) -> str:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(_request(path))
            return _content(await reader.read(-1))
        finally:
            writer.close()


def run(trial: Trial) -> Measured:
    """Call the class in one way."""
    archive = RewrittenArchive(int(trial.site.rpartition(":")[2]))
    paths = [f"/{trial.wait_s}/{n}" for n in range(trial.size)]
    if trial.model == "sequence":
        archive.read(_WARM)
        with Meter() as meter:
            results = [archive.read(path) for path in paths]
        return meter.measured(results)

    async def blocking(path: str) -> str:
        return archive.read(path)

    with ThreadPoolExecutor(min(trial.option("at_once"), trial.size)) as executor:
        wrapped = fetcher.async_wrap(executor)(archive.read)
        ways = {"blocking": blocking, "wrapped": wrapped, "rewritten": archive.aread}
        return asyncio.run(_at_once(ways[trial.model], paths))


async def _at_once(read: Callable[[str], Awaitable[str]], paths: list[str]) -> Measured:
    await read(_WARM)
    async with Meter() as meter:
        results = await asyncio.gather(*map(read, paths))
    return meter.measured(results)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


def _content(reply: bytes) -> str:
    head, _, body = reply.partition(b"\r\n\r\n")
    return seen(int(head.split()[1]), body)
