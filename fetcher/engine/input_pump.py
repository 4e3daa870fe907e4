"""The pump from the sources into the frontier, only as far ahead as the run wants.

Invariant: the next batch of a source is asked for only while fewer than `ahead` URLs are under way; so
whoever takes no results stops the reading, and memory does not grow with the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fetcher.engine.job_factory import JobFactory
from fetcher.model import Added
from fetcher.ports import Frontier, Source

ADDED_AT_ONCE = 512  # more would hold up claims and settling, which wait for the same state
MOST_SECRETS = 10_000  # URLs with credentials under way: these are kept in memory, not in the state


class InputPump:
    """Reads sources one after another. `on_added` is told what became of each batch.

    `under_way` tells how many URLs were listed and have not left the run.
    """

    def __init__(
        self,
        frontier: Frontier,
        job_factory: JobFactory,
        *,
        ahead: int,
        under_way: Callable[[], int],
        on_added: Callable[[Added], None],
    ) -> None:
        self._frontier = frontier
        self._job_of = job_factory.job_of
        self._ahead = ahead
        self._under_way = under_way
        self._on_added = on_added
        self._room = asyncio.Event()
        self._secrets = 0

    def wake(self) -> None:
        """URLs have left the run: there may be room."""
        if self._under_way() < self._limit():
            self._room.set()

    def _limit(self) -> int:
        return min(self._ahead, MOST_SECRETS) if self._secrets > MOST_SECRETS else self._ahead

    async def run(self, sources: Sequence[Source]) -> None:
        """Read everything. Cancelling stops between batches; every source is closed."""
        job_of = self._job_of
        try:
            for source in sources:
                batches = aiter(source)
                while True:
                    await self._wait_for_room()
                    entries = await anext(batches, None)
                    if entries is None:
                        break
                    for start in range(0, len(entries), ADDED_AT_ONCE):
                        jobs = [job_of(entry) for entry in entries[start : start + ADDED_AT_ONCE]]
                        self._secrets += sum(1 for job in jobs if job.secret or job.secret_headers)
                        self._on_added(await self._frontier.add(jobs))
                        await asyncio.sleep(0)
        finally:
            for source in sources:
                await source.aclose()

    async def _wait_for_room(self) -> None:
        while self._under_way() >= self._limit():
            self._room.clear()
            await self._room.wait()
