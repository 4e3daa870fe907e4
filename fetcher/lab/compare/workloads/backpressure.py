"""A fast producer and a slow consumer, with a bound on the queue between them and without.

Items are blocks of memory. Queue and memory are looked at whenever an item goes in or out.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from hashlib import sha256

from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.meter import Meter, resident_memory
from fetcher.lab.compare.models import Played, measured

ITEM_BYTES = 256 * 1024
_END = b""
_MOST_SAMPLES = 300


class Watch:
    """What is seen of a queue: samples, and how long its items stood in it."""

    def __init__(self, queued: Callable[[], int]) -> None:
        self._queued = queued
        self.samples: list[tuple[float, int, int]] = []
        self.longest_wait_s = 0.0
        self.meter = Meter()

    def looks(self) -> None:
        self.samples.append((time.perf_counter() - self.meter.begun, self._queued(), resident_memory()))

    def took(self, made_at: float) -> None:
        self.longest_wait_s = max(self.longest_wait_s, time.perf_counter() - made_at)
        self.looks()

    def measured(self, results: list[str]) -> Measured:
        figures = measured(Played(results, self.meter.stop()))
        queued = [number for _, number, _ in self.samples]
        figures.details = {"longest_queue": max(queued), "longest_wait_s": self.longest_wait_s}
        figures.samples = self.samples[:: len(self.samples) // _MOST_SAMPLES + 1] + self.samples[-1:]
        return figures


def run(job: Job) -> Measured:
    """One model with one bound; 0 is none."""
    bound, produce_s = job.option("bound"), job.wait_s / 10
    if job.model == "asyncio":
        return asyncio.run(_on_loop(job.size, bound, produce_s, job.wait_s))
    return _in_threads(job.size, bound, produce_s, job.wait_s)


async def _on_loop(size: int, bound: int, produce_s: float, consume_s: float) -> Measured:
    between: asyncio.Queue[tuple[bytes, float]] = asyncio.Queue(bound)
    watch = Watch(between.qsize)

    async def produce() -> None:
        for index in range(size):
            await asyncio.sleep(produce_s)
            await between.put((_item(index), time.perf_counter()))
            watch.looks()
        await between.put((_END, 0.0))

    async def consume() -> list[str]:
        results: list[str] = []
        while (got := await between.get())[0] != _END:
            watch.took(got[1])
            results.append(_digest(got[0]))
            del got
            await asyncio.sleep(consume_s)
        return results

    async with asyncio.TaskGroup() as group:
        consumer = group.create_task(consume())
        group.create_task(produce())
    return watch.measured(consumer.result())


def _in_threads(size: int, bound: int, produce_s: float, consume_s: float) -> Measured:
    between: queue.Queue[tuple[bytes, float]] = queue.Queue(bound)
    watch = Watch(between.qsize)

    def produce() -> None:
        for index in range(size):
            time.sleep(produce_s)
            between.put((_item(index), time.perf_counter()))
            watch.looks()
        between.put((_END, 0.0))

    results: list[str] = []
    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    while (got := between.get())[0] != _END:
        watch.took(got[1])
        results.append(_digest(got[0]))
        del got
        time.sleep(consume_s)
    producer.join()
    return watch.measured(results)


def _item(index: int) -> bytes:
    return index.to_bytes(4, "big") * (ITEM_BYTES // 4)


def _digest(item: bytes) -> str:
    return sha256(item[:64]).hexdigest()[:12]
