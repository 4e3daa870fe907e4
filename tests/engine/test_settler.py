"""Outcomes in batches: files, then the transaction, then everybody is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.fakeloop import in_virtual_time, virtual_loop
from support.scripted import Answer, status
from support.stage import Stage

from fetcher.engine.body import Body
from fetcher.engine.outcome_queue import BATCH, BATCH_DELAY_S
from fetcher.engine.settler import Settler
from fetcher.errors import StorageError
from fetcher.events import Event, OutcomesSettled
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.frontiers.sqlite.frontier import SqliteFrontier
from fetcher.model import Deferral, Job, Outcome, Record, Response

A = "http://a.example/"


class Ledger(MemoryFrontier):
    """A frontier that only writes down what is settled, and when. `seconds` is what that takes."""

    def __init__(self, *, seconds: float = 0.0, error: Exception | None = None) -> None:
        super().__init__()
        self.batches: list[list[Outcome]] = []
        self.times: list[float] = []
        self.seconds = seconds
        self.error = error

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        self.times.append(round(virtual_loop().time(), 6))
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        self.batches.append(list(outcomes))
        return 0


class Bench:
    """A settler alone, on a ledger."""

    def __init__(self, ledger: Ledger, *, is_durable: bool = True, store: Any = None) -> None:
        self.ledger = ledger
        ledger.is_durable = is_durable
        self.stage = Stage(frontier=ledger, store=store)
        self.context = self.stage.context
        self.stats = self.context.stats
        self.told: list[list[Outcome]] = []
        self.queue = self.context.outcomes
        self.settler = Settler(self.context, lambda batch, _: self.told.append(batch))
        self.begun = virtual_loop().time()
        self.task = asyncio.create_task(self.settler.run())

    async def ready(self) -> None:
        """The settler waits for its first outcome."""
        await asyncio.sleep(0)

    async def outcome(self, number: int, body: bytes | None = None) -> Outcome:
        job = Job(id=number, url=f"{A}{number}", target=None, path=f"{number}")
        outcome = Outcome(job=job, record=Record(url=job.url, state="done", bytes=len(body or b"")))
        if body is not None:
            outcome.body = made = Body(self.stage.rules, "/")
            made.begin(Response(200, _no_headers(), length=len(body)))
            made.feed(body)
            await made.finish()
        return outcome

    async def put(self, *numbers: int) -> None:
        for number in numbers:
            self.queue.put(await self.outcome(number))

    def ids(self) -> list[list[int]]:
        return [[outcome.job.id for outcome in batch] for batch in self.ledger.batches]

    def times(self) -> list[float]:
        return [round(time - self.begun, 6) for time in self.ledger.times]

    async def close(self) -> None:
        self.queue.close()
        await self.task
        assert virtual_loop().timers() == []
        assert self.stats.unsettled == 0


def _no_headers() -> Any:
    from fetcher.model import Headers

    return Headers()


# -- batches ----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_first_of_a_small_batch_waits_a_moment_for_company():
    bench = Bench(Ledger())
    await bench.ready()
    await bench.put(1)
    await asyncio.sleep(0.01)
    await bench.put(2, 3)
    await asyncio.sleep(1)
    assert bench.ids() == [[1, 2, 3]]
    assert bench.times() == [BATCH_DELAY_S]
    await bench.close()


@in_virtual_time
async def test_a_full_batch_waits_for_nothing():
    bench = Bench(Ledger())
    await bench.put(*range(BATCH))
    for _ in range(3):
        await asyncio.sleep(0)
    assert bench.times() == [0]
    assert virtual_loop().timers() == []
    await bench.close()


@in_virtual_time
async def test_an_idle_end_waits_for_nothing():
    bench = Bench(Ledger())
    await bench.put(1, 2)
    bench.queue.flush()
    for _ in range(3):
        await asyncio.sleep(0)
    assert bench.times() == [0]
    await bench.close()


@in_virtual_time
async def test_hurry_without_anything_to_settle_settles_nothing():
    bench = Bench(Ledger())
    bench.queue.flush()
    await asyncio.sleep(1)
    assert bench.ids() == []
    await bench.close()


@in_virtual_time
async def test_without_a_moment_to_wait_each_outcome_is_settled_at_once():
    bench = Bench(Ledger(), is_durable=False)
    await bench.put(1)
    await asyncio.sleep(0.001)
    await bench.put(2)
    await asyncio.sleep(0.001)
    assert bench.times() == [0, 0.001]
    await bench.close()


@in_virtual_time
async def test_what_comes_while_a_batch_is_settled_is_the_next_batch_in_order():
    bench = Bench(Ledger(seconds=1.0))
    await bench.put(1, 2)
    await asyncio.sleep(0.5)
    await bench.put(3)
    await bench.put(4)
    await asyncio.sleep(5)
    assert bench.ids() == [[1, 2], [3, 4]]
    assert [[outcome.job.id for outcome in batch] for batch in bench.told] == [[1, 2], [3, 4]]
    await bench.close()


@in_virtual_time
async def test_closing_settles_what_is_left():
    bench = Bench(Ledger(seconds=1.0))
    await bench.put(1)
    await asyncio.sleep(0.5)
    await bench.put(2)
    await bench.close()
    assert bench.ids() == [[1], [2]]


@in_virtual_time
async def test_what_is_not_settled_yet_is_counted():
    bench = Bench(Ledger(seconds=1.0))
    await bench.put(1, 2)
    await asyncio.sleep(0.5)
    await bench.put(3)
    assert bench.stats.unsettled == 3
    await asyncio.sleep(0.6)
    assert bench.stats.unsettled == 1
    await bench.close()


# -- what is told, and when ---------------------------------------------------------------------------------


@in_virtual_time
async def test_nobody_is_told_before_the_batch_is_safe():
    bench = Bench(Ledger(seconds=1.0))
    await bench.put(1)
    await asyncio.sleep(0.9)
    assert bench.told == []
    assert bench.stage.events(OutcomesSettled) == []
    assert not bench.stats.states
    await asyncio.sleep(0.2)
    assert len(bench.told) == len(bench.stage.events(OutcomesSettled)) == 1
    assert bench.stats.states == {"done": 1}
    await bench.close()


@in_virtual_time
async def test_a_batch_of_deferrals_alone_is_settled_and_told_to_no_observer():
    bench = Bench(Ledger())
    job = Job(id=1, url=A, target=None)
    bench.queue.put(Outcome(job=job, deferral=Deferral(1.0, 1, 0.0, ())))
    await asyncio.sleep(1)
    assert bench.ids() == [[1]]
    assert len(bench.told) == 1
    assert bench.stage.events(OutcomesSettled) == []
    await bench.close()


@in_virtual_time
async def test_records_are_encoded_where_they_are_kept_and_nowhere_else():
    for is_durable, expected in ((True, A + "1"), (False, None)):
        bench = Bench(Ledger(), is_durable=is_durable)
        await bench.put(1)
        await asyncio.sleep(1)
        line = bench.ledger.batches[0][0].line
        assert (json.loads(line)["url"] if line else None) == expected
        await bench.close()


@in_virtual_time
async def test_files_stand_under_their_names_before_the_transaction_and_the_line(tmp_path: Path):
    seen: list[tuple[bool, int]] = []

    class Watched(SqliteFrontier):
        async def settle(self, outcomes: Sequence[Outcome]) -> int:
            file = tmp_path / "a.example" / "x"
            seen.append((file.exists(), (tmp_path / "results.jsonl").stat().st_size))
            return await super().settle(outcomes)

    class Told:
        def on_event(self, event: Event) -> None:
            if isinstance(event, OutcomesSettled):
                lines = (tmp_path / "results.jsonl").read_bytes().splitlines()
                told.append(event.lines == lines)

    told: list[bool] = []
    stage = Stage({A + "x": Answer(body=b"x")}, folder=tmp_path, observers=[Told()])
    stage.frontier.__class__ = Watched
    await stage.run([A + "x"])
    assert seen == [(True, 0)]
    assert told == [True]


@in_virtual_time
async def test_bytes_and_errors_are_counted_once_settled():
    stage = Stage({A: status(404)}, default=Answer(body=b"12345"))
    summary = await stage.run([A, A + "1", A + "2"])
    assert (summary.bytes, summary.errors) == (10, {"http-status": 1})


# -- failures --------------------------------------------------------------------------------------------------


class Full:
    """A store that takes nothing."""

    keeps_files = True
    keeps_exchanges = False

    async def put(self, batch: Any) -> Any:
        raise StorageError("no space left")

    def holds(self, path: str, length: int) -> bool:
        return False

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("what", ["store", "frontier", "defect"])
@in_virtual_time
async def test_a_batch_that_cannot_be_settled_ends_the_settler_and_lets_every_body_go(what):
    error = ZeroDivisionError("a defect") if what == "defect" else StorageError("no space left")
    ledger = Ledger(error=None if what == "store" else error, seconds=1.0)
    bench = Bench(ledger, store=Full() if what == "store" else None)
    await bench.ready()
    for number in range(3):
        bench.queue.put(await bench.outcome(number, b"x" * 100))
    await asyncio.sleep(0.01 if what == "store" else 0.5)
    bench.queue.put(await bench.outcome(4, b"x" * 100))
    assert bench.stage.rules.budget.used == 400
    with pytest.raises(type(error)):
        await bench.task
    assert bench.stage.rules.budget.used == 0
    assert bench.told == []
    bench.queue.put(await bench.outcome(5, b"x" * 100))
    assert bench.stage.rules.budget.used == 0
    assert virtual_loop().timers() == []


@in_virtual_time
async def test_a_cancelled_settler_lets_every_body_go_and_keeps_no_timer():
    bench = Bench(Ledger(seconds=9.0))
    bench.queue.put(await bench.outcome(1, b"x" * 100))
    await asyncio.sleep(1)
    bench.queue.put(await bench.outcome(2, b"x" * 100))
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task
    assert bench.stage.rules.budget.used == 0
    assert virtual_loop().timers() == []


@in_virtual_time
async def test_a_message_of_the_store_is_cleaned_before_it_is_recorded():
    class Picky(Full):
        async def put(self, batch: Any) -> Any:
            error = StorageError("bad name \x1b[31m for http://me:secret@a.example/", systemic=False)
            return [error for _ in batch]

    bench = Bench(Ledger(), store=Picky())
    outcome = await bench.outcome(1, b"x")
    bench.queue.put(outcome)
    await asyncio.sleep(1)
    record = outcome.record
    assert record is not None
    assert (record.state, record.error, record.bytes) == ("failed", "storage-failed", 0)
    assert record.message is not None
    assert "\x1b" not in record.message
    assert "secret" not in record.message
    outcome.body.discard()
    await bench.close()
