"""The worker's end: a frontier that is far away.

Invariant: an outcome counts as settled here only when the parent says that it is safe; so what a kill
makes us ask for again is bounded as in one process.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

from fetcher.model import Added, Counts, Findings, Job, Outcome
from fetcher.processes.messages import Ask, Ended, Load, Outcomes, encode

_NOT_HERE = "a worker process neither adds nor claims"


class ParentFrontier:
    """Implements what an engine's crew needs of `ports.Frontier` by asking the parent."""

    is_durable = True
    is_spent = False

    def __init__(self, send: Callable[[bytes], None], load: Callable[[], Load]) -> None:
        self._send = send
        self._load = load
        self._numbers = itertools.count()
        self._questions: dict[int, asyncio.Future[bool]] = {}
        self._under_way = 0
        self._is_safe = asyncio.Event()

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Send outcomes, and wait until they are safe."""
        self._under_way += len(outcomes)
        self._send(encode(Outcomes([_ended(outcome) for outcome in outcomes], self._load())))
        while self._under_way:
            self._is_safe.clear()
            await self._is_safe.wait()
        return 0

    def safe(self, number: int) -> None:
        """The parent has settled so many."""
        self._under_way -= number
        if not self._under_way:
            self._is_safe.set()

    async def names_host(self, name: str, port: int | None) -> bool:
        number = next(self._numbers)
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        self._send(encode(Ask(number, name, port)))
        try:
            return bool(await answer)
        finally:
            del self._questions[number]

    def answered(self, number: int, *, answer: bool) -> None:
        """The parent has answered a question."""
        question = self._questions.get(number)
        if question is not None and not question.done():
            question.set_result(answer)

    async def open(self) -> Counts:
        raise NotImplementedError(_NOT_HERE)

    async def add(self, jobs: Sequence[Job]) -> Added:
        raise NotImplementedError(_NOT_HERE)

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:
        raise NotImplementedError(_NOT_HERE)

    async def counts(self) -> Counts:
        raise NotImplementedError(_NOT_HERE)

    async def findings(self) -> Findings:
        raise NotImplementedError(_NOT_HERE)

    async def aclose(self, *, complete: bool) -> None:
        """There is nothing to close."""


def _ended(outcome: Outcome) -> Ended:
    job, record = outcome.job, outcome.record
    links = None if outcome.links is None else list(outcome.links)
    if record is None:
        return Ended(
            id=job.id,
            message=None if outcome.error is None else outcome.error.message,
            waited_s=job.waited_s,
            deferral=outcome.deferral,
            links=links,
            robots=outcome.robots,
            fault=outcome.fault,
        )
    own = job.target
    return Ended(
        id=job.id,
        line=outcome.line,
        state=record.state,
        final_url=None if own is not None and record.final_url == own.url else record.final_url,
        status=record.status,
        error=record.error,
        message=record.message,
        attempts=record.attempts,
        stored=record.bytes,
        wire_bytes=record.wire_bytes,
        sha256=record.sha256,
        path=record.path,
        content_type=record.content_type,
        etag=record.etag,
        last_modified=record.last_modified,
        completeness=record.completeness,
        elapsed=record.elapsed,
        waited=record.waited,
        waited_s=job.waited_s,
        history=outcome.history,
        links=links,
        data=list(outcome.data),
    )
