"""Calls of `Fetcher.fetch`: single URLs that share one run, and so its connections and its limits.

Invariant: a call has a future exactly as long as it waits; its number is that of its job, since the run's
frontier numbers jobs as they come. A call that is cancelled has its exchange ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from fetcher import wiring
from fetcher.engine.job_factory import JobFactory
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Entry, Job, Outcome, RequestOverrides, Result, Summary
from fetcher.ports import Backend
from fetcher.settings import Settings
from fetcher.stores.none import NoneStore


class FetchCall(Entry, frozen=True):
    """One call: an entry, the bytes of its body, and the seconds that each of its hops may take."""

    content: bytes | None = None
    timeout_s: float | None = None


class _CallJobs(JobFactory):
    def job_of(self, entry: Entry) -> Job:
        job = super().job_of(entry)
        if isinstance(entry, FetchCall) and (entry.content is not None or entry.timeout_s is not None):
            own = job.overrides or RequestOverrides()
            if entry.content is not None:
                method = "POST" if entry.method is None and own.method is None else own.method
                own = msgspec.structs.replace(own, method=method, body=entry.content)
            job.overrides = msgspec.structs.replace(own, timeout_s=entry.timeout_s)
        return job


class FetchCalls:
    """The calls of one open Fetcher, over `backend`. Its run begins at once, on the loop of this task.

    `deadline` and `max_failures` end runs; here there is no run that could end.
    """

    def __init__(self, settings: Settings, backend: Backend) -> None:
        settings = msgspec.structs.replace(settings, deadline=None, max_failures=None)
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._number = 0
        self._calls: asyncio.Queue[FetchCall] = asyncio.Queue()
        self._traces = wiring.service_traces()
        self._run = wiring.make_local_run(
            settings,
            backend,
            MemoryFrontier(distinct=False),
            NoneStore(),
            observers=self._traces,
            job_factory=_CallJobs(settings.method, settings.data),
            keeps_bodies=True,
            deliver=self._deliver,
        )
        self.task: asyncio.Task[Summary] = asyncio.create_task(self._run.run([self]))
        self.task.add_done_callback(self._on_end)

    async def fetch(self, call: FetchCall) -> Result:
        """Return the result of one call. Cancelling ends its exchange, and no other.

        Raises:
            RuntimeError: the Fetcher was closed meanwhile.
        """
        if self.task.done():
            raise _closed()
        self._number += 1
        number = self._number
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        for traces in self._traces:
            traces.adopt(number)
        self._calls.put_nowait(call)
        try:
            return await future
        finally:
            for traces in self._traces:
                traces.leave(number)
            if self._waiting.pop(number, None) is not None:
                self._run.abandon(number)

    def _deliver(self, outcome: Outcome) -> None:
        future = self._waiting.pop(outcome.job.id, None)
        if future is not None and not future.done():
            assert isinstance(outcome.record, Result)
            future.set_result(outcome.record)
        self._run.ack(outcome)

    def _on_end(self, task: asyncio.Task[Summary]) -> None:
        error = None if task.cancelled() else task.exception()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error or _closed())

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        while True:
            yield [await self._calls.get()]

    async def aclose(self) -> None:
        """Do nothing: nothing is held open."""


def _closed() -> RuntimeError:
    return RuntimeError("the Fetcher was closed while this was fetched")
