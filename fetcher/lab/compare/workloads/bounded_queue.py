"""Workload `backpressure`: a fast producer and a slow consumer, with a bound on their queue and without.

Items are blocks of memory. Queue and memory are looked at whenever an item goes in or out. What both sides
do is written once; with the ways of threads, which block, it never yields.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

from fetcher.lab.compare.meter import Meter, resident_memory
from fetcher.lab.compare.results import Measured, Series, Trial
from fetcher.lab.compare.steps import run_unyielding

ITEM_BYTES = 256 * 1024
_MOST_SAMPLES = 300
_Way = Callable[..., Any]  # a coroutine function


class Watch(Meter):
    """Meter of a queue, and the two who use it: its samples, and how long its items stood in it."""

    def __init__(self, trial: Trial, queued: Callable[[], int]) -> None:
        self._trial, self._queued = trial, queued
        self._samples: list[tuple[float, int, int]] = []
        self._results: list[str] = []
        self._longest_wait_s = 0.0

    async def produce(self, put: _Way, sleep: _Way) -> None:
        for index in range(self._trial.size):
            await sleep(self._trial.wait_s / 10)
            await put((index.to_bytes(4, "big") * (ITEM_BYTES // 4), time.perf_counter()))
            self._looks()

    async def consume(self, get: _Way, sleep: _Way) -> None:
        for _ in range(self._trial.size):
            block, made_at = await get()
            self._longest_wait_s = max(self._longest_wait_s, time.perf_counter() - made_at)
            self._results.append(sha256(block[:64]).hexdigest()[:12])
            self._looks()
            del block
            await sleep(self._trial.wait_s)

    def figures(self) -> Measured:
        samples = self._samples[:: len(self._samples) // _MOST_SAMPLES + 1] + self._samples[-1:]
        times, queued, memory = map(list, zip(*samples, strict=True))
        longest = max(number for _, number, _ in self._samples)
        self.details |= {"longest_queue": longest, "longest_wait_s": self._longest_wait_s}
        figures = self.measured(self._results)
        model, variant = self._trial.model, self._trial.variant
        figures.series = [Series(model, variant, times_s=times, queued=queued, memory_bytes=memory)]
        return figures

    def _looks(self) -> None:
        self._samples.append((self.elapsed_s, self._queued(), resident_memory()))


def run(trial: Trial) -> Measured:
    """Run one model with one bound; 0 is none."""
    return asyncio.run(_on_loop(trial)) if trial.model == "asyncio" else _in_threads(trial)


async def _on_loop(trial: Trial) -> Measured:
    between: asyncio.Queue[Any] = asyncio.Queue(trial.option("bound"))
    with Watch(trial, between.qsize) as watch:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.produce(between.put, asyncio.sleep))
            group.create_task(watch.consume(between.get, asyncio.sleep))
    return watch.figures()


def _in_threads(trial: Trial) -> Measured:
    between: queue.Queue[Any] = queue.Queue(trial.option("bound"))
    put, get, sleep = _blocking(between.put), _blocking(between.get), _blocking(time.sleep)
    with Watch(trial, between.qsize) as watch, ThreadPoolExecutor(2) as threads:
        list(threads.map(run_unyielding, (watch.produce(put, sleep), watch.consume(get, sleep))))
    return watch.figures()


def _blocking(function: Callable[..., Any]) -> _Way:
    async def call(*args: Any) -> Any:
        return function(*args)

    return call
