"""What it costs to have a function called: plainly, as a coroutine, as a task, in a thread, in a process.

The loop that calls is part of each figure. Each model does so many times `size` calls that it takes a
moment, after a round of the same to warm up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.meter import Meter
from fetcher.lab.compare.models import Played, measured, process_pool

_TIMES = {"call": 100, "coroutine": 100, "task": 10, "asyncio.run": 0.1}  # the others: once
_KEPT = 10

Sum = Callable[[int], int]


def after(number: int) -> int:
    """The function that is called."""
    return number + 1


async def after_async(number: int) -> int:
    """The same as a coroutine."""
    return number + 1


def run(job: Job) -> Measured:
    """One way to call."""
    count = max(1, int(job.size * _TIMES.get(job.model, 1)))
    if job.model == "thread-pool":
        with ThreadPoolExecutor(1) as threads:
            return _figures(count, lambda n: asyncio.run(_hops(threads, n)))
    if job.model == "process-pool":
        with process_pool(1) as processes:
            return _figures(count, lambda n: asyncio.run(_hops(processes, n)))
    ways: dict[str, Callable[[int], tuple[Meter, int]]] = {
        "call": _calls,
        "coroutine": lambda n: asyncio.run(_coroutines(n)),
        "task": lambda n: asyncio.run(_tasks(n)),
        "asyncio.run": _runs,
        "to_thread": lambda n: asyncio.run(_to_thread(n)),
    }
    return _figures(count, ways[job.model])


def _figures(count: int, way: Callable[[int], tuple[Meter, int]]) -> Measured:
    way(max(1, count // 10))
    meter, total = way(count)
    is_right = total == count * (count + 1) // 2  # the sum of 1 … count
    figures = measured(Played(["right" if is_right else "wrong"], meter))
    figures.operations = count
    return figures


def _calls(count: int) -> tuple[Meter, int]:
    meter, total = Meter(), 0
    for n in range(count):
        total += after(n)
    return meter.stop(), total


def _runs(count: int) -> tuple[Meter, int]:
    meter, total = Meter(), 0
    for n in range(count):
        total += asyncio.run(after_async(n))
    return meter.stop(), total


async def _coroutines(count: int) -> tuple[Meter, int]:
    meter, total = Meter(), 0
    for n in range(count):
        total += await after_async(n)
    return meter.stop(), total


async def _tasks(count: int) -> tuple[Meter, int]:
    meter, total = Meter(), 0
    for n in range(count):
        total += await asyncio.create_task(after_async(n))
    return meter.stop(), total


async def _to_thread(count: int) -> tuple[Meter, int]:
    meter, total = Meter(), 0
    for n in range(count):
        total += await asyncio.to_thread(after, n)
    return meter.stop(), total


async def _hops(executor: Executor, count: int) -> tuple[Meter, int]:
    loop = asyncio.get_running_loop()
    meter, total = Meter(), 0
    for n in range(count):
        total += await loop.run_in_executor(executor, after, n)
    return meter.stop(), total
