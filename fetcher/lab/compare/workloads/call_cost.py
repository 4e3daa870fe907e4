"""Workload `overhead`: the cost of a call, plain, as a coroutine, as a task, in a thread, in a process.

The loop that calls is part of each figure. Each model does so many times `size` calls that it takes a
moment, after a round of the same to warm up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from fetcher.lab.compare.drivers import timed_pool
from fetcher.lab.compare.meter import Meter
from fetcher.lab.compare.results import Measured, Trial

_TIMES = {"call": 100, "coroutine": 100, "task": 10, "asyncio.run": 0.1}  # the others: once


def after(number: int) -> int:
    """Return the next number: the function that is called."""
    return number + 1


async def after_async(number: int) -> int:
    """Return the same as a coroutine."""
    return number + 1


_BLOCKING: dict[str, Callable[[int], int]] = {
    "call": after,
    "asyncio.run": lambda n: asyncio.run(after_async(n)),
}
_AWAITED: dict[str, Callable[[int], Awaitable[int]]] = {
    "coroutine": after_async,
    "task": lambda n: asyncio.create_task(after_async(n)),
    "to_thread": lambda n: asyncio.to_thread(after, n),
}


def run(trial: Trial) -> Measured:
    """Call in one way."""
    count = max(1, int(trial.size * _TIMES.get(trial.model, 1)))
    if trial.model == "thread-pool":
        with ThreadPoolExecutor(1) as threads:
            return _figures(count, lambda n: asyncio.run(_hops(n, threads)))
    if trial.model == "process-pool":
        with timed_pool(1) as (processes, _):
            return _figures(count, lambda n: asyncio.run(_hops(n, processes)))
    if trial.model in _BLOCKING:
        return _figures(count, lambda n: _calls(n, _BLOCKING[trial.model]))
    return _figures(count, lambda n: asyncio.run(_awaits(n, _AWAITED[trial.model])))


def _figures(count: int, calls: Callable[[int], tuple[int, Meter]]) -> Measured:
    calls(max(1, count // 10))
    total, meter = calls(count)
    is_right = total == count * (count + 1) // 2  # the sum of 1 … count
    figures = meter.measured(["right" if is_right else "wrong"])
    figures.operations = count
    return figures


def _calls(count: int, way: Callable[[int], int]) -> tuple[int, Meter]:
    total = 0
    with Meter() as meter:
        for n in range(count):
            total += way(n)
    return total, meter


async def _awaits(count: int, way: Callable[[int], Awaitable[int]]) -> tuple[int, Meter]:
    total = 0
    with Meter() as meter:
        for n in range(count):
            total += await way(n)
    return total, meter


async def _hops(count: int, executor: Executor) -> tuple[int, Meter]:
    loop = asyncio.get_running_loop()
    return await _awaits(count, lambda n: loop.run_in_executor(executor, after, n))
