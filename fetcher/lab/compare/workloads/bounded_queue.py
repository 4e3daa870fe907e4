"""Workload `backpressure`: a fast producer and a slow consumer, with a bound on their queue and without.

Items are blocks of memory. Queue and memory are looked at whenever an item goes in or out.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from hashlib import sha256

from fetcher.lab.compare.meter import Meter, resident_memory
from fetcher.lab.compare.results import Measured, Trial

ITEM_BYTES = 256 * 1024
_MOST_SAMPLES = 300
_Item = tuple[bytes, float]  # and when it was made


class Watch(Meter):
    """Meter of a queue: its samples, its results, and how long its items stood in it."""

    def __init__(self, queued: Callable[[], int]) -> None:
        self._queued = queued
        self._samples: list[tuple[float, int, int]] = []
        self._results: list[str] = []
        self._longest_wait_s = 0.0

    def looks(self) -> None:
        self._samples.append((self.elapsed_s, self._queued(), resident_memory()))

    def took(self, item: _Item) -> None:
        block, made_at = item
        self._longest_wait_s = max(self._longest_wait_s, time.perf_counter() - made_at)
        self._results.append(sha256(block[:64]).hexdigest()[:12])
        self.looks()

    def figures(self) -> Measured:
        longest = max(number for _, number, _ in self._samples)
        self.details |= {"longest_queue": longest, "longest_wait_s": self._longest_wait_s}
        figures = self.measured(self._results)
        figures.samples = self._samples[:: len(self._samples) // _MOST_SAMPLES + 1] + self._samples[-1:]
        return figures


def run(trial: Trial) -> Measured:
    """Run one model with one bound; 0 is none."""
    if trial.model == "asyncio":
        return asyncio.run(_on_loop(trial, trial.option("bound")))
    return _in_threads(trial, trial.option("bound"))


async def _on_loop(trial: Trial, bound: int) -> Measured:
    between: asyncio.Queue[_Item] = asyncio.Queue(bound)

    async def produce() -> None:
        for index in range(trial.size):
            await asyncio.sleep(trial.wait_s / 10)
            await between.put(_item(index))
            watch.looks()

    with Watch(between.qsize) as watch:
        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            for _ in range(trial.size):
                watch.took(await between.get())
                await asyncio.sleep(trial.wait_s)
    return watch.figures()


def _in_threads(trial: Trial, bound: int) -> Measured:
    between: queue.Queue[_Item] = queue.Queue(bound)

    def produce() -> None:
        for index in range(trial.size):
            time.sleep(trial.wait_s / 10)
            between.put(_item(index))
            watch.looks()

    producer = threading.Thread(target=produce, daemon=True)
    with Watch(between.qsize) as watch:
        producer.start()
        for _ in range(trial.size):
            watch.took(between.get())
            time.sleep(trial.wait_s)
        producer.join()
    return watch.figures()


def _item(index: int) -> _Item:
    return index.to_bytes(4, "big") * (ITEM_BYTES // 4), time.perf_counter()
