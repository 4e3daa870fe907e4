"""Drivers of the concurrency models: each runs many scripts at once, and all give the same results.

A driver warms up first, then measures. What is started for each task (a coroutine's task, a thread) is
part of the wall time, and `creation_s` says how much; a pool of processes is started before, in `start_s`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import fetcher
from fetcher.lab.compare.meter import Meter
from fetcher.lab.compare.results import Measured
from fetcher.lab.compare.steps import (
    BlockingWays,
    Script,
    any_gets,
    loop_ways,
    run_blocking,
    run_steps,
    warm_up,
)
from fetcher.lab.compare.tracing import LANE, TracedLoop, Track, spans_of

_START_LIMIT_S = 60.0
_WARM = -1  # the lane of what is not measured

Scripts = Sequence[Script]
Ran = tuple[list[str], Meter]


def drive(
    model: str, scripts: Scripts, *, workers: int = 1, of: int | None = None, is_traced: bool = False
) -> Measured:
    """Run the scripts on a model; with `of`, extrapolated to so many. A traced run has spans."""
    driver = _Driver(scripts, [Track(lane) for lane in range(len(scripts))], workers, is_traced)
    results, meter = _DRIVERS[model](driver)
    figures = meter.measured(results, of=of)
    if is_traced:
        figures.spans = [span for track in driver.tracks for span in spans_of(track, meter.begun)]
    return figures


@dataclass
class _Driver:
    """One run of scripts, a lane for each; each method is a model."""

    scripts: Scripts
    tracks: list[Track]
    workers: int
    is_traced: bool

    def sequence(self) -> Ran:
        """Run one after another."""
        ways = _warm(self.scripts, self.workers)
        with Meter() as meter:
            results = [run_blocking(script, ways, track) for script, track in self._lanes()]
        return results, meter

    def threads(self) -> Ran:
        """Run one thread for each; `RuntimeError` when the system gives fewer."""
        number = len(self.scripts)
        ways = _warm(self.scripts, number)
        runs: list[Future[str]] = []
        try:
            with ThreadPoolExecutor(number) as pool, Meter() as meter:
                for script, track in self._lanes():
                    runs.append(pool.submit(run_blocking, script, ways, track))
                meter.details["creation_s"] = meter.elapsed_s
                wait(runs)
        except RuntimeError as cause:
            raise RuntimeError(f"the system allowed {len(runs):,} of {number:,} threads") from cause
        return [run.result() for run in runs], meter

    def processes(self) -> Ran:
        """Run a pool of processes, one script at a time in each."""
        with timed_pool(self.workers, self.scripts) as (pool, started), Meter() as meter:
            ended = list(pool.map(_run_here, self.scripts, self.tracks))
        meter.details |= started
        self.tracks = [track for _, track in ended]
        return [result for result, _ in ended], meter

    def on_loop(
        self,
        having: AbstractAsyncContextManager[Any] | None = None,
        perform: Callable[[Script, Any, Track], Coroutine[Any, Any, str]] = run_steps,
    ) -> Ran:
        """Run one task for each, on one loop."""

        async def run() -> Ran:
            tasks: list[asyncio.Task[str]] = []
            async with having or loop_ways(self.scripts) as ways:
                await perform(warm_up(self.scripts[0]), ways, Track(_WARM))
                async with Meter() as meter, asyncio.TaskGroup() as group:
                    for script, track in self._lanes():
                        LANE.set(track)
                        tasks.append(group.create_task(perform(script, ways, track)))
                    LANE.set(None)
                    meter.details["creation_s"] = meter.elapsed_s
            return [task.result() for task in tasks], meter

        with asyncio.Runner(loop_factory=TracedLoop if self.is_traced else None) as runner:
            return runner.run(run())

    def blocking(self) -> Ran:
        """Run one task for each, on one loop, which each blocks."""
        return self.on_loop(nullcontext(BlockingWays(self.scripts, 1)))

    def wrapped(self) -> Ran:
        """Run one task for each, on one loop; what blocks is in threads."""
        with ThreadPoolExecutor(self.workers) as threads:
            ways = nullcontext(BlockingWays(self.scripts, self.workers))
            return self.on_loop(ways, fetcher.async_wrap(threads)(run_blocking))

    def offload(self) -> Ran:
        """Run one task for each, on one loop; prime tests go to a pool of processes."""
        with timed_pool(self.workers, self.scripts) as (pool, started):
            results, meter = self.on_loop(loop_ways(self.scripts, pool))
        meter.details |= started
        return results, meter

    def loops(self) -> Ran:
        """Run several processes, each with a loop and a share of the scripts, one task for each."""
        step = self.workers
        with timed_pool(step, self.scripts) as (pool, started):
            shares = [
                _Driver(self.scripts[n::step], self.tracks[n::step], 1, self.is_traced)
                for n in range(min(step, len(self.scripts)))
            ]
            with Meter() as meter:
                ended = list(pool.map(_loop_here, shares))
        meter.details |= started | {"stall_s": max(stall_s for _, _, stall_s in ended)}
        self.tracks = [track for _, tracks, _ in ended for track in tracks]
        return dealt([results for results, _, _ in ended], len(self.scripts)), meter

    def _lanes(self) -> Iterator[tuple[Script, Track]]:
        return zip(self.scripts, self.tracks, strict=True)


_DRIVERS: dict[str, Callable[[_Driver], Ran]] = {
    "sequence": _Driver.sequence,
    "sync": _Driver.sequence,
    "threads": _Driver.threads,
    "processes": _Driver.processes,
    "asyncio": _Driver.on_loop,
    "asyncio-processes": _Driver.loops,
    "asyncio-offload": _Driver.offload,
    "blocking": _Driver.blocking,
    "wrapped": _Driver.wrapped,
    "rewritten": _Driver.on_loop,
}


def dealt(shares: Sequence[Sequence[str]], number: int) -> list[str]:
    """Put the results of shares, of which each had every so-many-th script, back into order."""
    results = [""] * number
    for n, share in enumerate(shares):
        results[n :: len(shares)] = share
    return results


def _warm(scripts: Scripts, at_once: int) -> BlockingWays:
    ways = BlockingWays(scripts, at_once)
    run_blocking(warm_up(scripts[0]), ways, Track(_WARM))
    return ways


def start_context(preload: Sequence[str] = ()) -> Any:
    """Return the way processes are started: from a server that has the imports, where that is well kept."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *preload])
    return context


@contextmanager
def timed_pool(workers: int, scripts: Scripts = ()) -> Iterator[tuple[ProcessPoolExecutor, dict[str, float]]]:
    """Start a pool whose workers are all there, and warm; and say how many, and how long that took."""
    begun = time.perf_counter()
    context = start_context(("urllib3", "aiohttp") if any_gets(scripts) else ())
    meeting = context.Barrier(workers)
    with ProcessPoolExecutor(workers, context, _begin, (scripts[:1], meeting)) as pool:
        list(pool.map(_meet, range(workers)))
        yield pool, {"start_s": time.perf_counter() - begun, "workers": workers}


class _Here:
    """State that a worker process keeps between two tasks."""

    ways: BlockingWays
    meeting: Any


def _begin(scripts: Scripts, meeting: Any) -> None:
    _Here.meeting = meeting
    if scripts:
        _Here.ways = _warm(scripts, 1)


def _meet(_: int) -> None:
    """Come back when every worker is here: none can take two of these."""
    _Here.meeting.wait(_START_LIMIT_S)


def _run_here(script: Script, track: Track) -> tuple[str, Track]:
    return run_blocking(script, _Here.ways, track), track


def _loop_here(driver: _Driver) -> tuple[list[str], list[Track], float]:
    results, meter = driver.on_loop()
    return results, driver.tracks, meter.details["stall_s"]
