"""Worker processes that read pages: what a page does to its worker costs that page only.

Each worker has a socket pair and a slip (see `child`) of its own, so one that dies half-way through an
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

from fetcher.errors import WorkerDied
from fetcher.parsers.child import Charge
from fetcher.parsers.hook import Hook
from fetcher.parsers.parsing import Answer, Follow, Leaf
from fetcher.parsers.process import Lost, Process

_FIRST_BATCH = 4
_MOST_PAGES = 64
_BATCH_S = 0.03  # how long a batch should keep a worker busy
_EARLY_DEATHS = 3


class Pool:
    """Reads pages in `workers` processes. Without a hook they take built-in links only."""

    def __init__(
        self,
        hook: Hook | None,
        *,
        follow: Follow | None = None,
        workers: int,
        timeout_s: float,
        memory: int,
    ) -> None:
        passage = None if hook is None else hook.passage
        assert hook is None or passage is not None
        self._charge = Charge(passage, follow, timeout_s, memory)
        self._source = None if hook is None else hook.source
        self._room = asyncio.Semaphore(workers)
        self._idle: list[Process] = []
        self._dying: list[Process] = []
        self._early_deaths = 0
        self._begun = 0
        self._under_way: dict[int, float] = {}  # when each batch began, the oldest first
        self.workers = workers
        self.most_at_once = 2 * workers
        self.batch = _FIRST_BATCH
        self.deaths = 0  # pages that were too much for a worker

    async def parse(self, leaves: Sequence[Leaf]) -> list[Answer]:
        """The answer to each page, in order. Pages that a worker did not come to go to another.

        Cancelling kills the worker.

        Raises:
            WorkerDied: no worker can be started, or none can load the parser.
        """
        number = self._begun = self._begun + 1
        self._under_way[number] = asyncio.get_running_loop().time()
        try:
            return await self._parse(leaves)
        finally:
            del self._under_way[number]

    @property
    def longest_s(self) -> float:
        """How long the oldest batch has been under way."""
        oldest = next(iter(self._under_way.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    async def _parse(self, leaves: Sequence[Leaf]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        twice: set[int] = set()  # were with a worker that something killed
        while left := [index for index in range(len(leaves)) if index not in answers]:
            order = iter(left)
            try:
                async with (
                    self._worker() as worker,
                    contextlib.aclosing(worker.read([leaves[index] for index in left])) as parts,
                ):
                    async for some in parts:
                        self._early_deaths = 0
                        answers.update((index, answer) for answer, index in zip(some, order, strict=False))
            except Lost as lost:
                page = None if lost.page is None or lost.page >= len(left) else left[lost.page]
                if page is None or page in answers:
                    self._count_early_death(lost)
                elif lost.is_killed and page not in twice:
                    twice.add(page)  # the system may have been short of memory: that need not be this page
                else:
                    self.deaths += 1
                    answers[page] = Answer(error=lost.why)
        self.deaths += sum(answer.is_too_much for answer in answers.values())
        self._adapt([answer.wall_s for answer in answers.values() if answer.wall_s])
        return [answers[index] for index in range(len(leaves))]

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[Process]:
        """A worker for one batch."""
        async with self._room:
            self._dying = [process for process in self._dying if not process.is_gone()]
            process = self._idle.pop() if self._idle else Process(self._charge, self._source)
            try:
                if not process.is_idle:
                    await process.start()
                yield process
            finally:
                if process.is_idle:
                    self._idle.append(process)
                else:
                    process.bury()
                    self._dying.append(process)

    def _count_early_death(self, lost: Lost) -> None:
        self._early_deaths += 1
        if self._early_deaths >= _EARLY_DEATHS:
            raise WorkerDied(
                f"worker processes for the parser end before they read anything: {lost.why}",
                hint="look at what they printed, or choose --offload inline",
            ) from lost

    def _adapt(self, costs: list[float]) -> None:
        """As many pages in a batch as keep a worker busy for a moment."""
        if costs:
            mean = sum(costs) / len(costs)
            wanted = _BATCH_S / max(mean, 1e-6)
            self.batch = max(1, min(_MOST_PAGES, round((3 * self.batch + wanted) / 4)))

    async def rest(self) -> None:
        """Let the workers end that have nothing to do; new ones are started when there is."""
        leaving, self._idle = self._idle, []
        self._dying += leaving
        try:
            for process in leaving:
                process.dismiss()
            await asyncio.gather(*(process.left() for process in leaving))
        finally:
            for process in leaving:
                process.bury()
        await asyncio.sleep(0)  # their sockets close in the next turn

    async def aclose(self) -> None:
        """End all workers. Those that don't leave when they are told are killed."""
        try:
            await self.rest()
        finally:
            for process in self._dying:
                process.is_gone(wait=True)
            self._dying.clear()
