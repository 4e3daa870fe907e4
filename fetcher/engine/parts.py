"""Keeping account of the parts that grow: their rows follow their files, a few times a second.

Invariant: bytes are in the file before a row says so. A row that is behind costs the bytes since then, after
a kill; it never vouches for a byte that is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from fetcher.engine.timeouts import ExchangeTimer
from fetcher.model import Part
from fetcher.ports import Frontier

INTERVAL_S = 0.25


async def keep_parts(watches: Collection[ExchangeTimer], growth: asyncio.Event, frontier: Frontier) -> None:
    """Store what has grown, as long as anything grows; `growth` wakes it. Runs until cancelled.

    Raises:
        StorageError: the state failed.
    """
    while True:
        growth.clear()
        await growth.wait()
        stored: dict[int, Part] = {}  # by job, of the exchanges in flight
        while True:
            await asyncio.sleep(INTERVAL_S)
            bodies = [(each.job_id, each.body) for each in watches if each.body is not None]
            if not any(body.is_spooled for _, body in bodies):
                break
            growing = {job: part for job, body in bodies if (part := body.growing()) is not None}
            news = [(job, part) for job, part in growing.items() if _is_news(part, stored.get(job))]
            stored = growing
            if news:
                await frontier.keep_parts(news)


def _is_news(part: Part, stored: Part | None) -> bool:
    return stored is None or part.name != stored.name or part.extents != stored.extents
