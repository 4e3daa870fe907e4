"""Worker processes that read pages: what a page does to its worker costs that page only.

Each worker has a socket pair and a crash note of its own, so one that dies half-way through an
answer, or is killed from outside, leaves nothing that others wait for. Workers are plain subprocesses:
the program's main module is imported in them only if the parser lives there.

Invariants: a batch returns when each of its pages has an answer; a page without one is read again, so a
parser may see a page twice; a worker in which a page was given up is never used again; no process
outlives `aclose`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from fetcher.parsers.loader import UserParser
from fetcher.parsers.parser_handle import ParserHandle, WorkerCrashed
from fetcher.parsers.parser_worker import ParserConfig
from fetcher.parsers.run_parser import LinkOptions, ParseResult, ParseTask
from fetcher.subprocesses.kernel import EarlyDeaths

_FIRST_BATCH = 4
_MOST_PAGES = 64
_BATCH_S = 0.03  # how long a batch should keep a worker busy


class ParserPool:
    """Pool of `workers` processes that read pages. Without a parser they take built-in links only."""

    def __init__(
        self,
        user_parser: UserParser | None,
        *,
        follow: LinkOptions | None = None,
        workers: int,
        timeout_s: float,
        memory: int,
    ) -> None:
        shipment = None if user_parser is None else user_parser.shipment
        assert user_parser is None or shipment is not None
        self._config = ParserConfig(shipment, follow, timeout_s, memory)
        self._source = None if user_parser is None else user_parser.source
        self._room = asyncio.Semaphore(workers)
        self._idle: list[ParserHandle] = []
        self._dying: list[ParserHandle] = []
        self._early_deaths = EarlyDeaths()
        self._begun = 0
        self._under_way: dict[int, float] = {}  # when each batch began, the oldest first
        self.workers = workers
        self.most_at_once = 2 * workers
        self.batch = _FIRST_BATCH
        self.deaths = 0  # pages that were too much for a worker

    async def parse(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        """Return the answer to each page, in order. Pages that a worker did not come to go to another.

        Cancelling kills the worker.

        Raises:
            WorkerDied: no worker can be started, or none can load the parser.
        """
        number = self._begun = self._begun + 1
        self._under_way[number] = asyncio.get_running_loop().time()
        try:
            return await self._parse(tasks)
        finally:
            del self._under_way[number]

    @property
    def longest_s(self) -> float:
        """The age of the oldest batch under way, in seconds."""
        oldest = next(iter(self._under_way.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    async def _parse(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        answers: dict[int, ParseResult] = {}
        twice: set[int] = set()  # were with a worker that something killed or stopped
        while left := [index for index in range(len(tasks)) if index not in answers]:
            order = iter(left)
            try:
                async with (
                    self._worker() as worker,
                    contextlib.aclosing(worker.read([tasks[index] for index in left])) as parts,
                ):
                    async for some in parts:
                        self._early_deaths.reset()
                        answers.update((index, answer) for answer, index in zip(some, order, strict=False))
            except WorkerCrashed as crash:
                page = None if crash.page is None or crash.page >= len(left) else left[crash.page]
                if page is None or page in answers:
                    if not crash.is_early:
                        continue
                    self._early_deaths.count(
                        f"worker processes for the parser end before they read anything: {crash.why}",
                        hint="look at what they printed, or choose --offload inline",
                    )
                elif crash.is_excusable and page not in twice:
                    twice.add(page)  # the system may have been short of memory: that need not be this page
                else:
                    self.deaths += 1
                    answers[page] = ParseResult(error=crash.why)
        self.deaths += sum(answer.is_too_much for answer in answers.values())
        self._adapt([answer.wall_s for answer in answers.values() if answer.wall_s])
        return [answers[index] for index in range(len(tasks))]

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[ParserHandle]:
        """Lend a worker for one batch."""
        async with self._room:
            self._dying = [process for process in self._dying if not process.is_gone]
            process = self._idle.pop() if self._idle else ParserHandle(self._config, self._source)
            try:
                if not process.is_idle:
                    await process.start()
                yield process
            finally:
                if process.is_idle:
                    self._idle.append(process)
                else:
                    process.kill()
                    self._dying.append(process)

    def _adapt(self, costs: list[float]) -> None:
        """Have as many pages in a batch as keep a worker busy for a moment."""
        if costs:
            mean = sum(costs) / len(costs)
            wanted = _BATCH_S / max(mean, 1e-6)
            self.batch = max(1, min(_MOST_PAGES, round((3 * self.batch + wanted) / 4)))

    async def stop_idle(self) -> None:
        """Let the workers end that have nothing to do; new ones are started when there is."""
        leaving, self._idle = self._idle, []
        self._dying += leaving
        try:
            for process in leaving:
                process.close_input()
            await asyncio.gather(*(process.exited() for process in leaving))
        finally:
            for process in leaving:
                process.kill()
        await asyncio.sleep(0)  # their sockets close in the next turn

    async def aclose(self) -> None:
        """End all workers. Those that don't leave when they are told are killed."""
        try:
            await self.stop_idle()
        finally:
            await asyncio.gather(*(process.exited() for process in self._dying))
            self._dying.clear()
