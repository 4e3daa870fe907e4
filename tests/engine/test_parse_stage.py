"""Between network and settler: every page leaves the desk once, read, or is let go and stays pending."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fetcher.engine.body import Body
from fetcher.engine.body_options import BodyOptions
from fetcher.engine.budget import ByteBudget
from fetcher.engine.outcome_queue import OutcomeQueue
from fetcher.engine.parse_stage import ParseStage
from fetcher.engine.run_stats import RunStats
from fetcher.errors import ParseFailed
from fetcher.model import Headers, Job, Link, Outcome, Record, Response
from fetcher.ports import Reading

Pages = Sequence[Any]


class Clock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    utc = now


class Reads:
    """A reader that does as `how` says with each batch."""

    most_at_once = 2
    batch = 3

    def __init__(self, how: Callable[[Pages], Awaitable[list[Reading]]]) -> None:
        self.how = how
        self.batches: list[int] = []

    async def read(self, pages: Pages) -> list[Reading]:
        self.batches.append(len(pages))
        return await self.how(pages)

    async def aclose(self) -> None: ...


class Desk:
    """A desk with its ledger, a budget, and what came out."""

    def __init__(self, how: Callable[[Pages], Awaitable[list[Reading]]]) -> None:
        self.rules = BodyOptions(budget=ByteBudget(1 << 20), now=asyncio.get_running_loop().time)
        self.settled: list[Outcome] = []
        self.stats = RunStats()
        queue = OutcomeQueue(self.stats, review=self._kept)
        self.reader = Reads(how)
        self.desk = ParseStage(queue, self.stats, self.reader, asyncio.get_running_loop().time)
        self._ids = itertools.count(1)

    def _kept(self, outcome: Outcome) -> bool:
        self.settled.append(outcome)
        self.stats.unsettled -= 1  # it is out of the stage
        return True

    async def page(
        self, state: Any = "done", data: bytes = b"<html>", headers: Headers | None = None
    ) -> Outcome:
        """An outcome with a finished body that is charged to the budget."""
        number = next(self._ids)
        body = Body(self.rules, "/")
        body.begin(Response(200, headers or Headers([]), completeness="length", length=len(data)))
        body.feed(data)
        await body.finish()
        url = f"http://a.example/{number}"
        job = Job(id=number, url=url, target=None)
        return Outcome(job=job, record=Record(url=url, state=state), body=body)


async def links_for_all(pages: Pages) -> list[Reading]:
    return [Reading(links=[Link(record.url + "/next")]) for _, record, _, _ in pages]


async def test_every_page_leaves_once_with_its_own_links_and_in_batches() -> None:
    it = Desk(links_for_all)
    running = asyncio.create_task(it.desk.run())
    for _ in range(10):
        it.desk.put(await it.page())
    assert it.stats.unsettled == 10
    await it.desk.idle()
    assert it.stats.unsettled == 0
    assert sorted(outcome.job.id for outcome in it.settled) == list(range(1, 11))
    assert all(list(outcome.links) == [Link(outcome.job.url + "/next")] for outcome in it.settled)
    assert max(it.reader.batches) <= 3
    running.cancel()
    await asyncio.wait({running})


async def test_what_has_no_new_page_passes_by_unread() -> None:
    it = Desk(links_for_all)
    for state in ("unchanged", "failed", "refused"):
        it.desk.put(await it.page(state))
    assert [outcome.record.state for outcome in it.settled] == ["unchanged", "failed", "refused"]
    assert it.stats.unsettled == 0
    await it.desk.idle()


async def test_a_page_whose_parser_failed_is_failed_and_has_the_links_of_its_own() -> None:
    async def fails(pages: Pages) -> list[Reading]:
        return [Reading(links=[Link("http://a.example/x")], error=ParseFailed("\x1b[31m no")) for _ in pages]

    it = Desk(fails)
    running = asyncio.create_task(it.desk.run())
    it.desk.put(await it.page())
    await it.desk.idle()
    (outcome,) = it.settled
    assert (outcome.record.state, outcome.record.error) == ("failed", "parse-failed")
    assert "\x1b" not in outcome.record.message
    assert list(outcome.links) == [Link("http://a.example/x")]
    running.cancel()
    await asyncio.wait({running})


async def hang(_: Pages) -> list[Reading]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_desk_that_is_cancelled_settles_nothing_unread_and_gives_all_bytes_back() -> None:
    it = Desk(hang)
    running = asyncio.create_task(it.desk.run())
    for _ in range(12):
        it.desk.put(await it.page())
    while len(it.reader.batches) < 2:
        await asyncio.sleep(0)
    assert it.rules.budget.used
    running.cancel()
    await asyncio.wait({running})
    assert it.settled == []
    assert it.rules.budget.used == 0


async def test_a_part_that_the_state_may_know_stays_if_its_page_is_not_read(tmp_path: Path) -> None:
    it = Desk(hang)
    budget, now = ByteBudget(1 << 22), asyncio.get_running_loop().time
    data, validator = b"x" * (2 << 20), Headers([(b"ETag", b'"1"')])
    with ThreadPoolExecutor(1) as executor:
        it.rules = BodyOptions(
            budget=budget, now=now, parts=str(tmp_path), spool_at=1, executor=executor, resumes=True
        )
        page = await it.page(data=data, headers=validator)
        assert page.body.growing() is not None
        running = asyncio.create_task(it.desk.run())
        it.desk.put(page)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running})
        it.desk.put(await it.page(data=data, headers=validator))  # it comes too late
    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == [len(data)] * 2
    assert budget.used == 0


async def test_a_batch_that_was_cancelled_before_it_began_gives_its_bytes_back() -> None:
    may_break = asyncio.Event()

    async def breaks(_: Pages) -> list[Reading]:
        await may_break.wait()
        raise ZeroDivisionError

    it = Desk(breaks)
    running = asyncio.create_task(it.desk.run())
    it.desk.put(await it.page())
    while not it.reader.batches:
        await asyncio.sleep(0)
    may_break.set()
    it.desk.put(await it.page())  # taken in the turn of the loop in which the first batch breaks
    await asyncio.wait({running})
    assert isinstance(running.exception(), ExceptionGroup)
    assert it.reader.batches == [1]
    assert it.rules.budget.used == 0


async def test_a_defect_of_the_reader_ends_the_desk_and_gives_all_bytes_back() -> None:
    async def breaks(_: Pages) -> list[Reading]:
        raise ZeroDivisionError

    it = Desk(breaks)
    for _ in range(9):
        it.desk.put(await it.page())
    with pytest.raises(ExceptionGroup) as caught:
        await it.desk.run()
    assert caught.group_contains(ZeroDivisionError)
    assert it.settled == []
    assert it.rules.budget.used == 0


async def test_a_page_that_comes_after_the_end_is_not_settled_as_if_it_had_been_read() -> None:
    it = Desk(hang)
    running = asyncio.create_task(it.desk.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    it.desk.put(await it.page())
    assert it.settled == []
    assert it.rules.budget.used == 0
