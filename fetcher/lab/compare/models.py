"""The models: ways to play many scripts at once. All give the same results.

A driver warms up first, then measures. What is started for each task (a coroutine's task, a thread) is
part of the wall time, and `creation_s` says how much; a pool of processes is started before, in `start_s`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from typing import Any

from fetcher.lab.compare.jobs import Measured
from fetcher.lab.compare.meter import Meter, StallWatch
from fetcher.lab.compare.primes import smallest_factor
from fetcher.lab.compare.scripts import (
    Offload,
    Script,
    any_gets,
    async_browser,
    blocking_browser,
    play,
    play_async,
)
from fetcher.lab.compare.tracks import LANE, TracedLoop, Track, spans_of

_START_LIMIT_S = 60.0


@dataclass(slots=True)
class Played:
    """What came of it: the results in the order of the scripts, the meter stopped, the tracks if traced."""

    results: list[str]
    meter: Meter
    tracks: list[Track] = field(default_factory=list)
    details: dict[str, float] = field(default_factory=dict)


class NotAllowed(Exception):
    """The system would not give what a model needs."""


def measured(played: Played, *, of: int | None = None) -> Measured:
    """The figures; with `of`, reckoned up to so many scripts, of which the first few were played."""
    meter, number = played.meter, len(played.results)
    factor = 1.0 if of is None else of / number
    spans = [span for track in played.tracks for span in spans_of(track, meter.begun)]
    details = {**played.details, "starved_s": meter.starved_s * factor}
    if factor != 1:
        details["measured"] = number
    return Measured(
        wall_s=meter.wall_s * factor,
        cpu_s=meter.cpu_s * factor,
        peak_bytes=meter.peak_bytes,
        operations=number if of is None else of,
        results=played.results,
        is_extrapolated=factor != 1,
        details=details,
        spans=spans,
    )


def sequence(scripts: Sequence[Script], *, workers: int = 1, is_traced: bool = False) -> Played:
    """One after another."""
    browser = blocking_browser(scripts, workers)
    play(warm_up(scripts[0]), browser)
    tracks = _tracks(scripts, is_traced)
    meter = Meter()
    results = [play(script, browser, track) for script, track in zip(scripts, tracks, strict=True)]
    return Played(results, meter.stop(), _kept(tracks))


def threads(scripts: Sequence[Script], *, workers: int = 1, is_traced: bool = False) -> Played:  # noqa: ARG001
    """One thread for each.

    Raises:
        NotAllowed: the system gave fewer threads.
    """
    browser = blocking_browser(scripts, len(scripts))
    play(warm_up(scripts[0]), browser)
    tracks = _tracks(scripts, is_traced)
    results = [""] * len(scripts)
    errors: list[Exception] = []
    played, go_home = threading.Semaphore(0), threading.Event()

    def run(index: int) -> None:
        try:
            results[index] = play(scripts[index], browser, tracks[index])
        except Exception as error:  # noqa: BLE001  (raised again below, in the thread that waits)
            errors.append(error)
        played.release()
        go_home.wait()  # what it cost is asked of the living

    meter = Meter()
    started: list[threading.Thread] = []
    try:
        for index in range(len(scripts)):
            thread = threading.Thread(target=run, args=(index,))
            thread.start()
            started.append(thread)
        creation_s = time.perf_counter() - meter.begun
        for _ in started:
            played.acquire()
        meter.stop()
    except RuntimeError as cause:
        raise NotAllowed(f"the system allowed {len(started):,} of {len(scripts):,} threads") from cause
    finally:
        go_home.set()
        for thread in started:
            thread.join()
    if errors:
        raise errors[0]
    return Played(results, meter, _kept(tracks), {"creation_s": creation_s})


def processes(scripts: Sequence[Script], *, workers: int = 1, is_traced: bool = False) -> Played:
    """A pool of processes, each playing one script at a time."""
    with _timed_pool(workers, scripts) as (pool, details):
        tracks = _tracks(scripts, is_traced)
        meter = Meter()
        ended = list(pool.map(_play_here, scripts, tracks))
        meter.stop()
    return Played([result for result, _ in ended], meter, _kept([track for _, track in ended]), details)


def asyncio_(scripts: Sequence[Script], *, workers: int = 1, is_traced: bool = False) -> Played:  # noqa: ARG001
    """One task for each, on one loop."""
    return _run(_play_on_loop(scripts, _tracks(scripts, is_traced)), is_traced=is_traced)


def asyncio_offload(scripts: Sequence[Script], *, workers: int = 1, is_traced: bool = False) -> Played:
    """One task for each, on one loop; prime tests go to a pool of processes."""
    with _timed_pool(workers, scripts) as (pool, details):

        async def offload(number: int, track: Track | None) -> int:
            loop = asyncio.get_running_loop()
            if track is None:
                return await loop.run_in_executor(pool, smallest_factor, number)
            factor, there = await loop.run_in_executor(pool, _test_here, number, track.lane)
            track.running += there.running
            return factor

        played = _run(_play_on_loop(scripts, _tracks(scripts, is_traced), offload), is_traced=is_traced)
    played.details |= details
    return played


def asyncio_processes(scripts: Sequence[Script], *, workers: int = 1, is_traced: bool = False) -> Played:
    """Several processes, each with a loop and a share of the scripts, one task for each."""
    with _timed_pool(workers, scripts) as (pool, details):
        tracks = _tracks(scripts, is_traced)
        meter = Meter()
        shares = [(scripts[n::workers], tracks[n::workers]) for n in range(min(workers, len(scripts)))]
        ended = list(pool.map(_loop_here, *zip(*shares, strict=True)))
        meter.stop()
    results = [""] * len(scripts)
    for n, share in enumerate(ended):
        results[n::workers] = share.results
    details["stall_s"] = max(share.details["stall_s"] for share in ended)
    return Played(results, meter, [track for share in ended for track in share.tracks], details)


Driver = Callable[..., Played]
DRIVERS: dict[str, Driver] = {
    "sequence": sequence,
    "threads": threads,
    "processes": processes,
    "asyncio": asyncio_,
    "asyncio-processes": asyncio_processes,
    "asyncio-offload": asyncio_offload,
}


async def _play_on_loop(
    scripts: Sequence[Script], tracks: Sequence[Track | None], offload: Offload | None = None
) -> Played:
    async with async_browser(scripts) as browser, StallWatch() as watch:
        await play_async(warm_up(scripts[0]), browser, offload)
        watch.forget()
        meter = Meter()
        tasks: list[asyncio.Task[str]] = []
        async with asyncio.TaskGroup() as group:
            for script, track in zip(scripts, tracks, strict=True):
                LANE.set(track)
                tasks.append(group.create_task(play_async(script, browser, offload, track)))
            LANE.set(None)
            creation_s = time.perf_counter() - meter.begun
        meter.stop()
        details = {"creation_s": creation_s, "stall_s": await watch.longest()}
    return Played([task.result() for task in tasks], meter, _kept(tracks), details)


def _run(work: Any, *, is_traced: bool) -> Played:
    with asyncio.Runner(loop_factory=TracedLoop if is_traced else None) as runner:
        played: Played = runner.run(work)
    return played


def warm_up(script: Script) -> Script:
    """The first step of each kind, and no sleep: imports, a connection, the caches of the interpreter."""
    first = dict(reversed(script))
    return [(action, 0.0 if action == "sleep" else argument) for action, argument in first.items()]


def _tracks(scripts: Sequence[Script], is_traced: bool) -> list[Track | None]:  # noqa: FBT001
    return [Track(lane) if is_traced else None for lane in range(len(scripts))]


def _kept(tracks: Sequence[Track | None]) -> list[Track]:
    return [track for track in tracks if track is not None]


def start_context(preload: Sequence[str] = ()) -> BaseContext:
    """How processes are started: from a server that has the imports, where that is well kept."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fetcher.lab.compare.models", *preload])
    return context


@contextmanager
def process_pool(workers: int, scripts: Sequence[Script] = ()) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers are all there, and warm."""
    context = start_context(("urllib3", "aiohttp") if any_gets(scripts) else ())
    meeting = context.Barrier(workers)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(scripts[:1], meeting)
    ) as pool:
        list(pool.map(_meet, range(workers)))
        yield pool


@contextmanager
def _timed_pool(
    workers: int, scripts: Sequence[Script] = ()
) -> Iterator[tuple[ProcessPoolExecutor, dict[str, float]]]:
    """Such a pool, and what to tell of it: how long it took to start, and its workers."""
    begun = time.perf_counter()
    with process_pool(workers, scripts) as pool:
        yield pool, {"start_s": time.perf_counter() - begun, "workers": workers}


class _Here:
    """What a worker process keeps between two tasks."""

    browser: Any = None
    meeting: Any = None


def _begin(scripts: Sequence[Script], meeting: Any) -> None:
    _Here.meeting = meeting
    if scripts:
        _Here.browser = blocking_browser(scripts, 1)
        play(warm_up(scripts[0]), _Here.browser)


def _meet(_: int) -> None:
    """Come back when every worker is here: none can take two of these."""
    _Here.meeting.wait(_START_LIMIT_S)


def _play_here(script: Script, track: Track | None) -> tuple[str, Track | None]:
    return play(script, _Here.browser, track), track


def _test_here(number: int, lane: int) -> tuple[int, Track]:
    track = Track(lane)
    return track.smallest_factor(number), track


def _loop_here(scripts: Sequence[Script], tracks: Sequence[Track | None]) -> Played:
    return _run(_play_on_loop(scripts, tracks), is_traced=any(tracks))


__all__ = ["DRIVERS", "NotAllowed", "Played", "measured", "process_pool", "start_context"]
