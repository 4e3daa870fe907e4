"""Executor of blocking calls, one at a time: on the loop while they are quick, else in a thread.

A hop to a thread costs 17 to 50 µs and the two threads then fight for the interpreter, so work that a RAM
disk or the page cache answers at once is cheaper on the loop; work that waits for a disk is not. It
measures what it runs and chooses. A call that took long without waiting for anything was busy, or had lost
the processor to another process: a thread would make that no better.

Invariant: at most one function of an executor is running at any instant, in the order of the calls, and it
has ended before the next begins, even if its caller was cancelled. So what it guards (an SQLite
connection, a cache of file descriptors) is never used by the loop and a thread at once.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_FIRST_IN_THREAD = 3  # nothing is known yet; the first calls also create what later ones reuse
_AFTER_SLOW = 200  # calls in the thread before the loop is tried again
_REMEMBERED = 4  # calls that the mean is about
_PLAINLY_SLOW = 25  # times quick_s: in the thread, waiting for the interpreter counts too
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)  # macOS knows of the process only


def _waits() -> int:
    """Count the times that this thread has given up the processor by itself, to wait for something."""
    return resource.getrusage(_WHO).ru_nvcsw


class SerialExecutor:
    """Executor of blocking functions, one at a time. Belongs to one event loop.

    `quick_s` is how long functions may hold up the loop in the mean, waiting; `clock` gives seconds, and
    `waits` the number of waits so far.
    """

    __slots__ = (
        "_clock",
        "_executor",
        "_in_thread",
        "_lock",
        "_mean_s",
        "_name",
        "_quick_s",
        "_waiting",
        "_waits",
    )

    def __init__(
        self,
        name: str,
        *,
        quick_s: float = 0.004,
        clock: Callable[[], float] = time.perf_counter,
        waits: Callable[[], int] = _waits,
    ) -> None:
        self._name = name
        self._quick_s = quick_s
        self._clock = clock
        self._waits = waits
        self._in_thread = _FIRST_IN_THREAD
        self._mean_s = 0.0  # of the last calls on the loop
        self._waiting = 0
        self._lock = asyncio.Lock()
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, fn: Callable[[], T], *, is_slow: bool = False) -> T:
        """Run `fn` after every earlier call has ended, and return or raise as it does.

        `is_slow` says that `fn` will wait for a disk: it goes to the thread and is not measured.

        Cancelling while `fn` is running waits for its end, then raises; its result is lost.
        """
        if self._in_thread <= 0 and not self._waiting and not is_slow:
            return self._run_here(fn)
        self._waiting += 1
        try:
            async with self._lock:
                if self._in_thread <= 0 and not is_slow:
                    return self._run_here(fn)
                return await self._run_there(fn, is_slow=is_slow)
        finally:
            self._waiting -= 1

    async def aclose(self) -> None:
        """Wait for what is under way and end the thread."""
        async with self._lock:
            executor, self._executor = self._executor, None
            if executor is not None:
                executor.shutdown()

    def _run_here(self, fn: Callable[[], T]) -> T:
        waits, began = self._waits(), self._clock()
        try:
            return fn()
        finally:
            took = self._clock() - began
            if waits and self._waits() == waits:  # a system that does not count them says 0
                took = min(took, self._quick_s / 2)  # no reason to go, none to stay
            self._mean_s += (took - self._mean_s) / _REMEMBERED
            if self._mean_s >= self._quick_s:
                self._mean_s = 0.0
                self._in_thread = _AFTER_SLOW

    async def _run_there(self, fn: Callable[[], T], *, is_slow: bool) -> T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        began = self._clock()
        future = asyncio.get_running_loop().run_in_executor(self._executor, fn)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                cancelled = error
        if not is_slow:
            took = self._clock() - began
            self._in_thread = _AFTER_SLOW if took >= _PLAINLY_SLOW * self._quick_s else self._in_thread - 1
        if cancelled is not None:
            future.exception()  # seen, so that the loop does not report it as lost
            raise cancelled
        return future.result()
