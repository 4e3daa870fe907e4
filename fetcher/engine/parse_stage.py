"""The stage between network and settler in which pages are read, in batches, in nobody's slot.

Invariant: an outcome that came in leaves once, to the outcome queue, with its links and data or with what the
parser failed of; until then it counts as unsettled, so pages that wait to be read bound what is fetched.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

from fetcher.engine.outcome_queue import OutcomeQueue
from fetcher.engine.run_stats import RunStats
from fetcher.model import Headers, Job, Outcome, Record
from fetcher.policy.redaction import shown
from fetcher.ports import Body, Reader, Reading
from fetcher.timings import pack_parsed


class ParseStage:
    """Has the bodies of pages read by `reader` before they go to `outcomes`."""

    def __init__(
        self, outcomes: OutcomeQueue, stats: RunStats, reader: Reader, clock: Callable[[], float]
    ) -> None:
        self._now = clock
        self._outcomes = outcomes
        self._stats = stats
        self._reader = reader
        self._waiting: deque[Outcome] = deque()
        self._under_way: list[list[Outcome]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_over = False

    def put(self, outcome: Outcome) -> None:
        """Take an outcome: read it if it has a new page, else pass it on."""
        record, body = outcome.record, outcome.body
        if record is None or record.state != "done" or body is None or not body.is_wanted:
            self._outcomes.put(outcome)
            return
        if self._is_over:  # nobody will read it: it stays pending
            _leave(outcome)
            return
        self._stats.unsettled += 1
        outcome.came_at = self._now()
        self._waiting.append(outcome)
        self._idle.clear()
        self._wake.set()

    @property
    def in_hand(self) -> int:
        """The number of pages that wait to be read or are with the reader."""
        return len(self._waiting) + sum(map(len, self._under_way))

    async def run(self) -> None:
        """Read until cancelled. Bodies of what was not read are let go: it stays pending."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    while self._waiting and len(self._under_way) < self._reader.most_at_once:
                        size = min(self._reader.batch, len(self._waiting))
                        batch = [self._waiting.popleft() for _ in range(size)]
                        self._under_way.append(batch)
                        group.create_task(self._read(batch))
        finally:
            self._is_over = True
            for outcome in itertools.chain(self._waiting, *self._under_way):
                _leave(outcome)

    async def idle(self) -> None:
        """Return when everything that came in has been passed on."""
        await self._idle.wait()

    async def _read(self, batch: list[Outcome]) -> None:
        pages: list[tuple[Job, Record, Headers, Body]] = []
        for outcome in batch:
            assert outcome.record is not None
            pages.append((outcome.job, outcome.record, outcome.headers or Headers(), outcome.body))
        started = self._now()
        readings = await self._reader.read(pages)
        took_s = self._now() - started
        self._under_way.remove(batch)
        for outcome, reading in zip(batch, readings, strict=True):
            _apply(outcome, reading)
            if outcome.timings:
                outcome.timings += pack_parsed(outcome.job.id, started - outcome.came_at, took_s)
            self._stats.unsettled -= 1
            self._outcomes.put(outcome)
        if self._waiting:
            self._wake.set()
        elif not self._under_way:
            self._idle.set()


def _leave(outcome: Outcome) -> None:
    """Let go of a body that is not read; its part, which the state may know, stays for the next run."""
    if outcome.body is not None:
        outcome.body.leave()


def _apply(outcome: Outcome, reading: Reading) -> None:
    outcome.links, outcome.data, outcome.notes = reading.links, reading.data, reading.notes
    record, error = outcome.record, reading.error
    if error is not None and record is not None:  # its file stays
        record.state, record.error, record.message = (
            "failed",
            error.slug,
            shown(error.message),
        )
        outcome.error = error
