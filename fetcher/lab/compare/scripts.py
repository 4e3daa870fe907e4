"""A task of a workload as a script: sleep, get, test a number; played by blocking code or by a coroutine.

Both players do the same steps and give the same results, so what differs between two models is only how
they wait. A player that is given a `Track` also leaves there what a timeline needs; see `tracks`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from fetcher.lab.compare.primes import smallest_factor
from fetcher.lab.compare.tracks import Track

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from urllib3 import PoolManager

Action = Literal["sleep", "get", "prime"]
Script = Sequence[tuple[Action, Any]]  # seconds, a URL, a number
Offload = Callable[[int, Track | None], Awaitable[int]]


def play(script: Script, browser: PoolManager | None, track: Track | None = None) -> str:
    """Play a script in this thread; what its steps found, in one text."""
    found: list[str] = []
    for action, argument in script:
        if action == "sleep":
            if track is not None:
                track.sleeps(argument)
            time.sleep(argument)
            found.append("slept")
        elif action == "get":
            assert browser is not None
            with nullcontext() if track is None else track.blocking_exchange() as exchange:
                reply = browser.request("GET", argument)
                if exchange is not None:
                    exchange.was_served(reply.headers)
            found.append(seen(reply.status, reply.data))
        else:
            factor = smallest_factor(argument) if track is None else track.smallest_factor(argument)
            found.append(str(factor))
    if track is not None:
        track.ends()
    return " ".join(found)


async def play_async(
    script: Script, browser: ClientSession | None, offload: Offload | None, track: Track | None = None
) -> str:
    """Play a script on the loop; `offload` does the prime tests elsewhere."""
    found: list[str] = []
    for action, argument in script:
        if action == "sleep":
            if track is not None:
                track.sleeps(argument)
            await asyncio.sleep(argument)
            found.append("slept")
        elif action == "get":
            assert browser is not None
            async with browser.get(argument) as reply:
                if track is not None:
                    track.was_served(reply.headers)
                found.append(seen(reply.status, await reply.read()))
        elif offload is not None:
            found.append(str(await offload(argument, track)))
        else:
            found.append(str(smallest_factor(argument)))
    if track is not None:
        track.ends()
    return " ".join(found)


def seen(status: int, body: bytes) -> str:
    """What a reply was, in a word that is the same for the same reply."""
    return f"{status}:{sha256(body).hexdigest()[:12]}"


def blocking_browser(scripts: Sequence[Script], at_once: int) -> PoolManager | None:
    """The client of blocking code, if any script needs one: thread-safe, one for all."""
    if not any_gets(scripts):
        return None
    import urllib3  # noqa: PLC0415

    return urllib3.PoolManager(maxsize=at_once, block=False, retries=False)


def async_browser(scripts: Sequence[Script]) -> AbstractAsyncContextManager[ClientSession | None]:
    """The client of a loop, if any script needs one."""
    if not any_gets(scripts):
        return nullcontext()
    import aiohttp  # noqa: PLC0415

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def any_gets(scripts: Sequence[Script]) -> bool:
    """Whether any script needs a client."""
    return any(action == "get" for script in scripts for action, _ in script)
