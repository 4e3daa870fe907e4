"""The settler in any order of events, against the plainest model: a list of what was put and is not settled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.campaign import tried
from support.fakeloop import VirtualLoop
from support.stage import Stage

from fetcher.engine.body import Body
from fetcher.engine.outcome_queue import BATCH, BATCH_DELAY_S
from fetcher.engine.settler import Settler
from fetcher.errors import StorageError
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Deferral, Headers, Job, Outcome, Record, Response

SIZE = 100


class Gate(MemoryFrontier):
    """A frontier whose transactions wait until they are let through, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.batch: list[Outcome] | None = None
        self._answer: asyncio.Future[None] | None = None

    async def settle(self, outcomes: Any) -> int:
        self.batch = list(outcomes)
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._answer
        finally:
            self.batch = None
        return 0

    def answer(self, error: Exception | None) -> None:
        assert self._answer is not None
        if error is None:
            self._answer.set_result(None)
        else:
            self._answer.set_exception(error)


class SettlerStates(RuleBasedStateMachine):
    """Outcomes leave in their order, in batches, once; nobody is told too early; no body stays behind."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.put: list[int] = []  # in order, and neither settled nor lost
        self.bodies: set[int] = set()
        self.told: list[int] = []
        self.settled = self.number = 0
        self.is_closed = False
        self.ended_by: type[BaseException] | None = None
        self._do(self._begin())

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    async def _begin(self) -> None:
        self.frontier = Gate()
        self.stage = Stage(frontier=self.frontier)
        self.context = self.stage.context
        self.queue = self.context.outcomes
        settler = Settler(self.context, lambda batch, _: self._on_settled(batch))
        self.task = asyncio.create_task(settler.run())
        await asyncio.sleep(0)

    def _on_settled(self, batch: list[Outcome]) -> None:
        self.told += [outcome.job.id for outcome in batch]
        for outcome in batch:
            if outcome.body is not None:
                outcome.body.discard()

    async def _turns(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    @property
    def _is_open(self) -> bool:
        return not self.is_closed and self.ended_by is None

    @precondition(lambda self: not self.is_closed)
    @rule(
        kinds=st.lists(st.sampled_from(["body", "failed", "deferral"]), min_size=1, max_size=5),
        times=st.sampled_from([1, 1, 30]),
    )
    def come(self, kinds: list[str], times: int) -> None:
        async def put() -> None:
            for kind in kinds * times:
                self.number += 1
                job = Job(
                    id=self.number, url=f"http://a.example/{self.number}", target=None, path=str(self.number)
                )
                outcome = Outcome(
                    job=job, record=Record(url=job.url, state="done" if kind == "body" else "failed")
                )
                if kind == "deferral":
                    outcome = Outcome(job=job, deferral=Deferral(1.0, 1, 0.0, ()))
                if kind == "body":
                    outcome.body = made = Body(self.stage.rules, "/")
                    made.begin(Response(200, Headers(), length=SIZE))
                    made.feed(b"x" * SIZE)
                    await made.finish()
                    self.bodies.add(job.id)
                if self.ended_by is None:
                    self.put.append(job.id)
                self.queue.put(outcome)
            await self._turns()

        self._do(put())

    @precondition(lambda self: self._is_open)
    @rule()
    def flush(self) -> None:
        async def hurry() -> None:
            self.queue.flush()
            await self._turns()

        self._do(hurry())
        assert self.frontier.batch or not self.put

    @rule(seconds=st.sampled_from([0.001, 2 * BATCH_DELAY_S]))
    def wait(self, seconds: float) -> None:
        self._do(asyncio.sleep(seconds))
        if seconds > BATCH_DELAY_S and self.ended_by is None:
            assert self.frontier.batch or not self.put, "something waits for ever"

    @precondition(lambda self: self.frontier.batch)
    @rule(fails=st.booleans())
    def answer(self, fails: bool) -> None:
        async def give() -> None:
            self.frontier.answer(StorageError("no space left") if fails else None)
            await self._turns()

        assert self.frontier.batch is not None
        size = len(self.frontier.batch)
        self._do(give())
        if fails:
            self._end(StorageError)
        else:
            assert self.told[-size:] == self.put[:size]
            del self.put[:size]
            self.settled += size

    @precondition(lambda self: self._is_open)
    @rule()
    def close(self) -> None:
        async def finish() -> None:
            self.queue.close()
            await self._turns()

        self.is_closed = True
        self._do(finish())

    @precondition(lambda self: self.ended_by is None and not self.task.done())
    @rule()
    def cancel(self) -> None:
        async def end() -> None:
            self.task.cancel()
            await self._turns()

        self._do(end())
        self._end(asyncio.CancelledError)

    def _end(self, error: type[BaseException]) -> None:
        self.ended_by = error
        assert self.task.done()
        assert (
            self.task.cancelled()
            if error is asyncio.CancelledError
            else isinstance(self.task.exception(), error)
        )
        self.put.clear()

    @invariant()
    def batches_are_the_first_of_what_was_put(self) -> None:
        if self.frontier.batch is not None:
            ids = [outcome.job.id for outcome in self.frontier.batch]
            assert ids == self.put[: len(ids)]
        elif self.ended_by is None:
            assert len(self.put) < BATCH, "a full batch waits"

    @invariant()
    def nobody_is_told_early_or_twice(self) -> None:
        assert len(self.told) == self.settled == len(set(self.told))
        if self.ended_by is None:
            assert self.context.stats.unsettled == len(self.put)

    @invariant()
    def only_what_is_not_settled_holds_memory(self) -> None:
        assert self.stage.rules.budget.used == SIZE * len(self.bodies & set(self.put))

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            self.task.cancel()
            self._do(asyncio.sleep(1))
            self.loop.close()

    def _finish(self) -> None:
        while self.frontier.batch:
            self.answer(fails=False)
        if self._is_open:
            self.close()
            while self.frontier.batch:
                self.answer(fails=False)
        self._do(asyncio.sleep(1))
        assert self.task.done()
        assert self.put == []
        assert self.stage.rules.budget.used == 0


def test_no_order_of_events_loses_an_outcome_tells_one_twice_or_keeps_a_body() -> None:
    run_state_machine_as_test(SettlerStates, settings=tried(60, stateful_step_count=25))
