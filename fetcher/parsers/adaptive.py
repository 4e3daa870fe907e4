"""Parser runner that starts in worker processes and moves in-process once pages are measured as cheap.

Invariant: a page is parsed in this process only if the parser is known to cost less than a millisecond
and has ended no worker, and never if a session that was killed had claimed it. What turns out to cost
more goes out again, for good.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from fetcher.parsers.inline import InlineRunner
from fetcher.parsers.parser_pool import ParserPool
from fetcher.parsers.run_parser import ParseResult, ParseTask

Notice = Callable[[str, str], None]  # level, text

_CHEAP_S = 0.001
_DEAR_S = 0.002  # inline, above this it was a mistake
_PAGES = 32  # that are measured before anything is decided
_STUCK_S = 0.5  # a batch that takes so long may hold a page that never ends
_SURE = 500  # that have ended no worker, before it is left without protection


class AdaptiveRunner:
    """A pool of processes at first; then that, or inline. `notice` is told which, and why."""

    def __init__(self, pool: ParserPool, make_inline: Callable[[], InlineRunner], notice: Notice) -> None:
        self._pool = pool
        self._make_inline = make_inline
        self._notice = notice
        self._inline: InlineRunner | None = None
        self._is_here = False
        self._is_decided = False
        self._costs: list[tuple[float, float]] = []  # of a page, in CPU time and in all
        self.most_at_once = pool.most_at_once
        self.batch = pool.batch

    async def parse(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        """Return the answer to each page, in order."""
        here = [self._is_here and not task.was_claimed for task in tasks]
        inline = self._inline
        if inline is None or not any(here):
            answers = await self._pool.parse(tasks)
            if not self._is_decided:
                await self._learn(answers)
        elif all(here):
            answers = await inline.parse(tasks)
            await self._watch(answers)
        else:
            out = iter(await self._pool.parse([task for task in tasks if task.was_claimed]))
            own = iter(await inline.parse([task for task in tasks if not task.was_claimed]))
            answers = [next(own if is_here else out) for is_here in here]
        self.batch = inline.batch if self._is_here and inline is not None else self._pool.batch
        return answers

    async def _learn(self, answers: list[ParseResult]) -> None:
        """Decide once enough is known. Waiting counts too: inline, the loop would wait."""
        costs = self._costs
        costs += [(answer.cpu_s, answer.wall_s) for answer in answers if answer.wall_s]
        if len(costs) < _PAGES:
            return
        mean = statistics.fmean(cpu_s for cpu_s, _ in costs)
        usual = statistics.median(wall_s for _, wall_s in costs)
        is_cheap = mean < _CHEAP_S and usual < _CHEAP_S
        cost = f"a page costs {(usual if mean < _CHEAP_S <= usual else mean) * 1000:.2g} ms"
        if self._pool.deaths:
            self._decide(f"parser: in {_workers(self._pool)} (a page was too much for its worker; {cost})")
        elif not is_cheap:
            self._decide(f"parser: in {_workers(self._pool)} ({cost})")
        elif len(costs) >= _SURE and self._pool.longest_s < _STUCK_S:
            self._inline = self._make_inline()
            self._is_here = True
            self._decide(f"parser: inline ({cost}; --offload processes protects against crashes)")
            await self._pool.stop_idle()

    def _decide(self, text: str) -> None:
        self._is_decided = True
        self._costs.clear()
        self._notice("info", text)

    async def _watch(self, answers: list[ParseResult]) -> None:
        self._costs += [(0.0, answer.wall_s) for answer in answers]
        if len(self._costs) < _PAGES:
            return
        mean = statistics.fmean(wall_s for _, wall_s in self._costs)
        self._costs.clear()
        if mean >= _DEAR_S:
            self._is_here = False
            self._notice(
                "info", f"parser: back in {_workers(self._pool)} (a page now costs {mean * 1000:.2g} ms)"
            )

    async def aclose(self) -> None:
        try:
            await self._pool.aclose()
        finally:
            if self._inline is not None:
                await self._inline.aclose()


def _workers(pool: ParserPool) -> str:
    return "a worker process" if pool.workers == 1 else f"{pool.workers} worker processes"
