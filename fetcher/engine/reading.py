"""Between the network and the settler: what pages hold is read here, in batches, in nobody's slot.

Invariant: an outcome that came in leaves once, to `settle`, with its links and data or with what the
parser failed of; until then it counts as unsettled, so pages that wait to be read bound what is fetched.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque

from fetcher.engine.ledger import Ledger
from fetcher.model import Headers, Job, Outcome, Record
from fetcher.policy.text import mask, visible
from fetcher.ports import Body, Reader, Reading


class ReadingDesk:
    """Has the bodies of pages read by `reader` before they are settled."""

    def __init__(self, ledger: Ledger, reader: Reader) -> None:
        self._ledger = ledger
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
            self._ledger.settle(outcome)
            return
        if self._is_over:  # nobody will read it: it stays pending
            body.discard()
            return
        self._ledger.unsettled += 1
        self._waiting.append(outcome)
        self._idle.clear()
        self._wake.set()

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
                outcome.body.discard()

    async def idle(self) -> None:
        """Return when everything that came in has been passed on."""
        await self._idle.wait()

    async def _read(self, batch: list[Outcome]) -> None:
        pages: list[tuple[Job, Record, Headers, Body]] = []
        for outcome in batch:
            assert outcome.record is not None
            pages.append((outcome.job, outcome.record, outcome.headers or Headers(), outcome.body))
        readings = await self._reader.read(pages)
        self._under_way.remove(batch)
        for outcome, reading in zip(batch, readings, strict=True):
            _apply(outcome, reading)
            self._ledger.unsettled -= 1
            self._ledger.settle(outcome)
        if self._waiting:
            self._wake.set()
        elif not self._under_way:
            self._idle.set()


def _apply(outcome: Outcome, reading: Reading) -> None:
    outcome.links, outcome.data = reading.links, reading.data
    record, error = outcome.record, reading.error
    if error is not None and record is not None:  # its file stays
        record.state, record.error, record.message = "failed", error.slug, visible(mask(error.message))
        outcome.error = error
