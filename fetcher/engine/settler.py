"""Outcomes to store and frontier, in batches: files first, then records and state in one transaction.

Invariant: an outcome is told to observers and its body let go only after its batch is settled, and
batches are settled in the order in which outcomes came. A crash between files and transaction means
that the work is done again, under the same names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fetcher.engine.ledger import Ledger
from fetcher.engine.records import encode_record
from fetcher.errors import StorageError
from fetcher.events import Settled
from fetcher.model import Job, Outcome, Record
from fetcher.policy.text import mask, visible
from fetcher.ports import Body

BATCH = 64
LINGER_S = 0.02  # how long the first of a small batch waits for company

RECORDED = frozenset({"page", "asset"})  # what a crawl asks for on its own account has no record


class Settler:
    """Collects outcomes and settles them.

    `on_settled` gets each batch when it is safe, and by how many pending URLs its links were more.

    `linger_s` is 0 where settling costs nothing by the batch, so that a stream's results come at once.
    """

    def __init__(
        self,
        ledger: Ledger,
        on_settled: Callable[[list[Outcome], int], None],
        *,
        linger_s: float = LINGER_S,
        encodes: bool = True,
    ) -> None:
        self._ledger = ledger
        self._on_settled = on_settled
        self._linger_s = linger_s
        self._encodes = encodes
        self._waiting: list[Outcome] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._is_over = False

    def put(self, outcome: Outcome) -> None:
        """Take an outcome. It is settled soon: with a full batch, after a moment, or at an idle end."""
        if self._is_over:  # the run is failing: nobody will settle it
            _let_go([outcome])
            return
        waiting = self._waiting
        waiting.append(outcome)
        self._ledger.unsettled += 1
        if len(waiting) >= BATCH or not self._linger_s:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger_s, self._wake.set)

    def hurry(self) -> None:
        """Nothing is in flight: what is there need not wait for more."""
        if self._waiting:
            self._wake.set()

    def close(self) -> None:
        """No more outcomes will come: `run` settles what is left and returns."""
        self._is_closing = True
        self._wake.set()

    async def run(self) -> None:
        """Settle batches until closed. Raises `StorageError` if store or frontier fail as a whole.

        However it ends, no timer and no body of what was not settled is left.
        """
        try:
            while True:
                if not self._waiting:
                    if self._is_closing:
                        return
                    await self._wake.wait()
                self._wake.clear()
                self._stop_timer()
                batch, self._waiting = self._waiting, []
                if batch:
                    await self._settle(batch)
        finally:
            self._is_over = True
            self._stop_timer()
            _let_go(self._waiting)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _settle(self, batch: list[Outcome]) -> None:
        ledger = self._ledger
        try:
            if ledger.store.keeps_files:
                await self._store(batch)
            if self._encodes:
                for outcome in batch:
                    if outcome.record is None or outcome.job.kind not in RECORDED:
                        continue
                    if not outcome.line:  # a worker process has sent it along
                        outcome.line = encode_record(outcome.record)
            discovered = await ledger.frontier.settle(batch)
        except BaseException:
            _let_go(batch)
            raise
        ledger.unsettled -= len(batch)
        records = [
            outcome.record for outcome in batch if outcome.record is not None and outcome.job.kind in RECORDED
        ]
        for record in records:
            ledger.states[record.state] += 1
            ledger.stored_bytes += record.bytes if record.state == "done" else 0
            if record.error is not None:
                ledger.errors[record.error] += 1
        self._on_settled(batch, discovered)
        if records:
            ledger.emit(Settled(records, [outcome.line for outcome in batch if outcome.line]))

    async def _store(self, batch: list[Outcome]) -> None:
        """Put the bodies of a batch in their files; an error of one file fails that URL."""
        kept = [outcome for outcome in batch if outcome.body is not None and outcome.body.is_wanted]
        if not kept:
            return
        entries: list[tuple[Job, Record, Body]] = []
        for outcome in kept:
            assert outcome.record is not None
            entries.append((outcome.job, outcome.record, outcome.body))
        for outcome, stored in zip(kept, await self._ledger.store.put(entries), strict=True):
            record = outcome.record
            assert record is not None
            if isinstance(stored, StorageError):
                record.state, record.error, record.bytes, record.sha256 = "failed", stored.slug, 0, None
                record.message = visible(mask(stored.message))
            else:
                record.path = stored


def _let_go(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.body is not None:
            outcome.body.discard()
