"""Scripts of tasks: sleep, get, read, test a number; one coroutine performs them, plainly or on a loop.

So models differ only in how they wait: with `BlockingWays` the coroutine never yields, and `run_blocking`
drives it to its end at once. To read is to get by hand, on a connection of its own and with no library, of
which the two would be different ones. Every step leaves in its lane what a timeline needs; see `tracing`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fetcher.lab.compare.tracing import Track

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from urllib3 import PoolManager

T = TypeVar("T")
Script = Sequence[tuple[Literal["sleep", "get", "read", "prime"], Any]]  # seconds, a URL, a URL, a number

# Odd numbers above 10¹², so that each costs half a million divisions, some ten or twenty milliseconds. All
# are primes but every fourth, whose smallest factor is large: what does not really test gives itself away.
_PRIMES = [10**12 + offset for offset in (39, 61, 63, 91, 121, 163, 169, 177, 189)]
_COMPOSITES = [factor * 1_000_003 for factor in (999_983, 999_979, 999_961)]
_NUMBERS = [*_PRIMES[:3], _COMPOSITES[0], *_PRIMES[3:6], _COMPOSITES[1], *_PRIMES[6:], _COMPOSITES[2]]


def numbers(count: int) -> list[int]:
    """`count` numbers to test, always the same."""
    return [_NUMBERS[index % len(_NUMBERS)] for index in range(count)]


class BlockingWays:
    """Ways to wait that block the thread. The HTTP client is thread-safe, one for all."""

    _client: PoolManager

    def __init__(self, scripts: Sequence[Script], at_once: int) -> None:
        if any_gets(scripts):
            import urllib3  # noqa: PLC0415

            self._client = urllib3.PoolManager(maxsize=at_once, block=False, retries=False)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251

    async def get(self, url: str, track: Track) -> str:
        with track.blocking_exchange():
            reply = self._client.request("GET", url)
            track.was_served(reply.headers)
        return seen(reply.status, reply.data)

    async def read(self, url: str) -> str:
        address, request = _by_hand(url)
        with socket.create_connection(address) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as reply:
                return _seen_by_hand(reply.read())

    async def test(self, number: int, track: Track) -> int:
        return track.smallest_factor(number)


class LoopWays:
    """Ways to wait on a loop, `async with loop_ways(…)`; prime tests are for the processes of `pool`."""

    def __init__(self, client: ClientSession | None, pool: Executor | None) -> None:
        self._client, self._pool = client, pool

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def get(self, url: str, track: Track) -> str:
        assert self._client is not None
        async with self._client.get(url) as reply:
            track.was_served(reply.headers)
            return seen(reply.status, await reply.read())

    async def read(self, url: str) -> str:
        address, request = _by_hand(url)
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(request)
            return _seen_by_hand(await reader.read(-1))
        finally:
            writer.close()

    async def test(self, number: int, track: Track) -> int:
        if self._pool is None:
            return track.smallest_factor(number)
        loop = asyncio.get_running_loop()
        factor, there = await loop.run_in_executor(self._pool, _test_there, number)
        track.running += there.running
        return factor


@asynccontextmanager
async def loop_ways(scripts: Sequence[Script], pool: Executor | None = None) -> AsyncIterator[LoopWays]:
    """Have the ways that the scripts need; without gets there is no client."""
    if not any_gets(scripts):
        yield LoopWays(None, pool)
        return
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector  # noqa: PLC0415

    connector, jar = TCPConnector(limit=0), DummyCookieJar()
    async with ClientSession(connector=connector, timeout=ClientTimeout(), cookie_jar=jar) as client:
        yield LoopWays(client, pool)


async def run_steps(script: Script, ways: BlockingWays | LoopWays, track: Track) -> str:
    """Perform a script; its steps' results in one text."""
    found: list[str] = []
    for action, argument in script:
        if action == "sleep":
            track.sleeps(argument)
            await ways.sleep(argument)
            found.append("slept")
        elif action == "get":
            found.append(await ways.get(argument, track))
        elif action == "read":
            found.append(await ways.read(argument))
        else:
            found.append(str(await ways.test(argument, track)))
    track.ends()
    return " ".join(found)


def run_blocking(script: Script, ways: BlockingWays, track: Track) -> str:
    """Perform a script in this thread."""
    return run_unyielding(run_steps(script, ways, track))


def run_unyielding(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits by blocking its thread, and so never yields to a loop."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    raise AssertionError("a blocking way waited on a loop")


def warm_up(script: Script) -> Script:
    """The first step of each kind, and no sleep: imports, a connection, the caches of the interpreter."""
    first = dict(reversed(script))
    return [(action, 0.0 if action == "sleep" else argument) for action, argument in first.items()]


def seen(status: int, body: bytes) -> str:
    """Sum a reply up in a word that is the same for the same reply."""
    return f"{status}:{sha256(body).hexdigest()[:12]}"


def _by_hand(url: str) -> tuple[tuple[str, int], bytes]:
    """Return where a request of plain HTTP goes, and its bytes."""
    _, _, host, path = url.split("/", 3)
    name, _, port = host.partition(":")
    return (name, int(port)), f"GET /{path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()


def any_gets(scripts: Sequence[Script]) -> bool:
    """Return True when any script needs a client."""
    return any(action == "get" for script in scripts for action, _ in script)


def _seen_by_hand(reply: bytes) -> str:
    head, _, body = reply.partition(b"\r\n\r\n")
    return seen(int(head.split()[1]), body)


def _test_there(number: int) -> tuple[int, Track]:
    track = Track(0)
    return track.smallest_factor(number), track
