"""A frontier in a worker process that forwards outcomes and questions to its parent.

Invariant: an outcome counts as settled here only when the parent says that it is safe; so what a kill
makes us ask for again is bounded as in one process.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from fetcher.model import Added, Bottleneck, Counts, CrawlFindings, Job, Outcome, Part
from fetcher.processes.messages import (
    Ended,
    Growth,
    LoadReport,
    NameQuery,
    Outcomes,
    Query,
    ToParent,
    encode,
)

_NOT_HERE = "a worker process neither adds nor claims"


class RemoteFrontier:
    """Frontier of a worker process: asks the parent for the part of `ports.Frontier` that it needs."""

    is_durable = True
    is_spent = False
    notes: Sequence[str] = ()

    def __init__(self, send: Callable[[bytes], None], stats: Callable[[], LoadReport]) -> None:
        self._send = send
        self._stats = stats
        self._numbers = itertools.count()
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._under_way = 0
        self._is_safe = asyncio.Event()

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Send outcomes, and wait until they are safe."""
        self._under_way += len(outcomes)
        self._send(encode(Outcomes([_ended(outcome) for outcome in outcomes], self._stats())))
        while self._under_way:
            self._is_safe.clear()
            await self._is_safe.wait()
        return 0

    def safe(self, number: int) -> None:
        """The parent has settled so many."""
        self._under_way -= number
        if not self._under_way:
            self._is_safe.set()

    async def keep_parts(self, parts: Sequence[tuple[int, Part]]) -> None:
        """Tell the parent how far bodies have come."""
        self._send(encode(Growth(list(parts))))

    async def is_user_host(self, name: str, port: int | None) -> bool:
        return bool(await self._answer(lambda number: Query(number, name, port)))

    async def name_file(self, job: Job) -> None:
        if job.path is None:
            job.path, job.is_foreign = await self._answer(lambda number: NameQuery(number, job.id, job.hints))

    async def _answer(self, question: Callable[[int], ToParent]) -> Any:
        number = next(self._numbers)
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        self._send(encode(question(number)))
        try:
            return await answer
        finally:
            del self._questions[number]

    def answered(self, number: int, answer: Any) -> None:
        """The parent has answered a question."""
        question = self._questions.get(number)
        if question is not None and not question.done():
            question.set_result(answer)

    async def keep_bottleneck(self, bottleneck: Bottleneck) -> None:
        raise NotImplementedError(_NOT_HERE)

    async def open(self) -> Counts:
        raise NotImplementedError(_NOT_HERE)

    async def add(self, jobs: Sequence[Job]) -> Added:
        raise NotImplementedError(_NOT_HERE)

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:
        raise NotImplementedError(_NOT_HERE)

    async def counts(self) -> Counts:
        raise NotImplementedError(_NOT_HERE)

    async def findings(self) -> CrawlFindings:
        raise NotImplementedError(_NOT_HERE)

    async def aclose(self, *, complete: bool) -> None:
        """Do nothing: there is nothing to close."""


def _ended(outcome: Outcome) -> Ended:
    error = outcome.error if outcome.record is None else None
    return Ended(
        id=outcome.job.id,
        record=outcome.record,
        line=outcome.line,
        message=None if error is None else error.message,
        waited_s=outcome.job.waited_s,
        part=outcome.part,
        history=outcome.history,
        deferral=outcome.deferral,
        links=None if outcome.links is None else list(outcome.links),
        data=list(outcome.data),
        robots=outcome.robots,
        fault=outcome.fault,
        archived=outcome.archived,
        timings=outcome.timings,
    )
