"""The threads that perform exchanges, and the way back from them to the loop.

Invariants: there are never more threads than `most`, and none waits for another; a thread does one thing at
a time, and what it has to tell reaches the loop in the order in which it was told. Many things to tell share
one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

_JOIN_S: Final = 5.0

T = TypeVar("T")


class ThreadPool(Generic[T]):
    """A pool of threads; each runs `work` on one thing at a time.

    The caller counts: it gives no more than `most` at once.
    """

    def __init__(self, most: int, name: str, work: Callable[[T], None]) -> None:
        self._most = most
        self._name = name
        self._work = work
        self._jobs: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, job: T, busy: int) -> None:
        """Have `job` done; `busy` are under way with it. Raises `RuntimeError` if no thread can start."""
        if len(self._threads) < min(busy, self._most):
            number = len(self._threads) + 1
            thread = threading.Thread(target=self._run, name=f"{self._name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._jobs.put(job)

    def close(self) -> None:
        """End the threads; none may be busy."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._threads.clear()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            self._work(job)
            del job  # else it would live until the next one comes


class LoopCalls:
    """A queue of calls from threads to the loop, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], None]] = deque()
        self._is_told = False

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` called by the loop. From any thread."""
        self._calls.append(call)
        if not self._is_told:  # set back before the calls are taken: one of the two sees the other
            self._is_told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._open)

    def _open(self) -> None:
        self._is_told = False
        calls = self._calls
        for _ in range(len(calls)):  # what comes meanwhile has told us, or is among these
            calls.popleft()()
