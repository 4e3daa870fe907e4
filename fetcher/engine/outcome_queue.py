"""The queue between whoever ends jobs and the settler, which takes batches from it.

Invariants: outcomes leave in the order in which they came. Each counts as unsettled from `put` on, until
the settler says that its batch is safe. After `abandon` nothing is kept: a body that comes is let go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fetcher.engine.run_stats import RunStats
from fetcher.model import Outcome

BATCH = 64
BATCH_DELAY_S = 0.02  # how long the first of a small batch waits for company


class OutcomeQueue:
    """Collects outcomes into batches.

    `batch_delay_s` is 0 where settling costs nothing by the batch, so that a stream's results come at once.
    `review` may keep an outcome (True) before it is queued, and gives it back by `reviewed`: so a crawl's
    consumer adds links to a page.
    """

    def __init__(
        self,
        stats: RunStats,
        *,
        batch_delay_s: float = BATCH_DELAY_S,
        review: Callable[[Outcome], bool] | None = None,
    ) -> None:
        self._stats = stats
        self._batch_delay_s = batch_delay_s
        self._review = review
        self._waiting: list[Outcome] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._is_abandoned = False

    def put(self, outcome: Outcome, *, is_reviewed: bool = False) -> None:
        """Take an outcome. It is settled soon: with a full batch, after a moment, or at an idle end."""
        if self._review is not None and not is_reviewed and self._review(outcome):
            self._stats.unsettled += 1
            return
        if self._is_abandoned:  # the run is failing: nobody will settle it
            discard_bodies([outcome])
            return
        waiting = self._waiting
        waiting.append(outcome)
        self._stats.unsettled += 1
        if not self._batch_delay_s or len(waiting) == BATCH:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._batch_delay_s, self._wake.set)

    def reviewed(self, outcome: Outcome) -> None:
        """Take back an outcome that was kept for review."""
        self._stats.unsettled -= 1
        self.put(outcome, is_reviewed=True)

    def flush(self) -> None:
        """Let what is there be settled now: nothing is in flight that could join it."""
        if self._waiting:
            self._wake.set()

    def close(self) -> None:
        """Take no more outcomes: what is left is one last batch."""
        self._is_closed = True
        self._wake.set()

    async def next_batch(self) -> list[Outcome] | None:
        """Wait for the next batch; None once the queue is closed and empty."""
        while True:
            if not self._waiting:
                if self._is_closed:
                    return None
                await self._wake.wait()
            self._wake.clear()
            self._stop_timer()
            batch, self._waiting = self._waiting, []
            if batch:
                return batch

    def abandon(self) -> None:
        """Let every body go that waits or still comes. No timer is left."""
        self._is_abandoned = True
        self._stop_timer()
        discard_bodies(self._waiting)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def discard_bodies(outcomes: Iterable[Outcome]) -> None:
    """Free the bytes of bodies that nobody will store."""
    for outcome in outcomes:
        if outcome.body is not None:
            outcome.body.discard()
