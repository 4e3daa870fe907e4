"""The settling of outcomes in batches: files first, then records and state in one transaction.

Invariant: an outcome is told to observers and its body let go only after its batch is settled, and
batches are settled in the order in which outcomes came. A crash between files and transaction means
that the work is done again, under the same names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fetcher.engine.descriptors import PATIENCE_S, shortage
from fetcher.engine.outcome_queue import discard_bodies
from fetcher.engine.record_builder import encode_records
from fetcher.engine.room import BLOCK, blocks
from fetcher.engine.run_context import RunContext
from fetcher.errors import StorageError
from fetcher.events import ExchangesSettled, LogMessage, OutcomesSettled
from fetcher.model import Outcome
from fetcher.policy.redaction import shown
from fetcher.timings import pack_stored

_PAUSE_S = 0.5
RECORDED = frozenset({"page", "asset", "check"})  # what a crawl asks for on its own account has no record


class Settler:
    """Settles what comes out of the outcome queue.

    `on_settled` gets each batch when it is safe, and by how many pending URLs its links were more.

    `batch_delay_s` is 0 where settling costs nothing by the batch, so that a stream's results come at once.
    """

    def __init__(self, context: RunContext, on_settled: Callable[[list[Outcome], int], None]) -> None:
        self._outcomes = context.outcomes
        self._frontier = context.frontier
        self._store = context.store
        self._stats = context.stats
        self._events = context.events
        self._room = context.room
        self._now = context.clock.now
        self._on_settled = on_settled

    async def run(self) -> None:
        """Settle batches until the queue is closed. Raises `StorageError` if store or frontier fail.

        However it ends, no timer and no body of what was not settled is left.
        """
        try:
            while (batch := await self._outcomes.next_batch()) is not None:
                await self._settle(batch)
        finally:
            self._outcomes.abandon()

    async def _settle(self, batch: list[Outcome]) -> None:
        stats, store = self._stats, self._store
        try:
            started = self._now()
            if store.keeps_exchanges:
                await self._put([one for one in batch if one.exchanges or _has_body(one)])
            elif store.keeps_files or store.keeps_archives:
                await self._put([one for one in batch if _has_body(one)])
            if store.keeps_files and self._frontier.is_durable:
                batch[-1].timings += pack_stored(self._now() - started)
            if self._frontier.is_durable:
                _write_lines(batch)
            discovered = await self._frontier.settle(batch)
        except BaseException:
            discard_bodies(batch)
            raise
        stats.unsettled -= len(batch)
        records = [
            outcome.record for outcome in batch if outcome.record is not None and outcome.job.kind in RECORDED
        ]
        for outcome in batch:
            for note in outcome.notes:
                self._events.emit(LogMessage("warning", shown(note)))
        for record in records:
            stats.states[record.state] += 1
            stats.stored_bytes += record.bytes if record.state == "done" else 0
            if record.error is not None:
                stats.errors[record.error] += 1
        self._on_settled(batch, discovered)
        if self._events.wants_exchanges:
            self._events.emit(ExchangesSettled(batch))
        if records:
            self._events.emit(OutcomesSettled(records, [outcome.line for outcome in batch if outcome.line]))

    async def _put(self, kept: list[Outcome]) -> None:
        """Put outcomes in the store; an error of one fails that URL."""
        if not kept:
            return
        for outcome, stored in zip(kept, await self._put_charged(kept), strict=True):
            record = outcome.record
            if isinstance(stored, StorageError):
                message = shown(stored.message)
                if record is None:  # it has not ended, or has no record: nothing to fail
                    self._events.emit(LogMessage("warning", message))
                    continue
                record.state, record.error, record.bytes = "failed", stored.slug, 0
                record.sha256 = record.digest = None
                record.message = message
            elif record is not None and _has_body(outcome) and record.state != "unchanged":
                record.path = stored
                if record.state == "done":
                    record.sha256, record.digest = (found or None for found in outcome.body.hash())

    async def _put_charged(self, kept: list[Outcome]) -> list[str | StorageError | None]:
        """Store outcomes, charged to the room on the disk; what was spooled is there already."""
        room = self._room
        if room is None:
            return await self._put_patiently(kept)
        size = sum(
            blocks(outcome.body.length)
            if outcome.body.part() is None or self._store.keeps_archives
            else BLOCK
            for outcome in kept
            if (outcome.job.path is not None or self._store.keeps_archives) and _has_body(outcome)
        )
        room.take(size)
        try:
            return await self._put_patiently(kept)
        finally:
            room.written(size)

    async def _put_patiently(self, kept: list[Outcome]) -> list[str | StorageError | None]:
        """Store outcomes, again while no file can be opened: others may close some."""
        until = self._now() + PATIENCE_S
        while True:
            try:
                return await self._store.put(kept)
            except StorageError as error:
                if not error.exhausted or self._now() >= until:
                    raise
                self._events.notice_once("warning", shortage(), key="descriptors")
            await asyncio.sleep(_PAUSE_S)


def _write_lines(batch: list[Outcome]) -> None:
    """Give the outcomes their lines, but where a worker process has sent it along."""
    unwritten = [
        outcome
        for outcome in batch
        if outcome.record is not None and not outcome.line and outcome.job.kind in RECORDED
    ]
    lines = encode_records([outcome.record for outcome in unwritten if outcome.record is not None])
    for outcome, line in zip(unwritten, lines, strict=True):
        outcome.line = line


def _has_body(outcome: Outcome) -> bool:
    return outcome.body is not None and outcome.body.is_wanted
