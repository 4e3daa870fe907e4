"""An event loop whose time is virtual: it jumps to the next timer when there is nothing else to do.

    @in_virtual_time
    async def test_a_minute_passes_at_once(loop): ...

So a backoff of 60 s takes no time, and what a test measures is exact. While a function runs in an executor
time stands still and the loop waits for it, as it does for a socket. A loop that waits for something that
can never happen, or that spins, ends the test with an error instead of hanging it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

BEGUN = 5_000.0  # loop time
EPOCH = 1_700_000_000.0  # UTC at loop time 0
MOST_TURNS = 500_000
LONGEST_S = 1e7  # of virtual time
PATIENCE_S = 20.0  # of real time, for a thread


class _Selector(selectors.DefaultSelector):
    """Asks for events without waiting, and lets time jump instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        loop = self.loop
        loop.turns += 1
        if loop.turns > MOST_TURNS:
            raise RuntimeError("the loop spins")
        events = super().select(0)
        if events or timeout == 0:
            return events
        if loop.threads:
            return super().select(PATIENCE_S) or self._stuck("a thread does not end")
        if timeout is None or timeout <= 0:
            return super().select(0.5) or self._stuck("the loop waits for nothing")
        loop.jump(timeout)
        return events

    def _stuck(self, why: str) -> Any:
        raise RuntimeError(why)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`turns` counts iterations, `jumps` those that time passed in, `threads` calls in executors."""

    def __init__(self) -> None:
        self._virtual = BEGUN
        self.turns = 0
        self.jumps = 0
        self.threads = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self._virtual

    def jump(self, timeout: float) -> None:
        """Pass so many seconds, or exactly to the next timer."""
        self.jumps += 1
        when: float = self._scheduled[0]._when  # type: ignore[attr-defined]
        later = self._virtual + timeout
        self._virtual = when if abs(when - later) < 1e-6 else later
        if self._virtual > BEGUN + LONGEST_S:
            raise RuntimeError("time runs away")

    def freeze(self, seconds: float) -> None:
        """The loop stands still for a while, as when a callback blocks it."""
        self._virtual += seconds

    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are still to come."""
        return [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)

        def ended(_: object) -> None:
            self.threads -= 1

        future.add_done_callback(ended)
        return future


class VirtualClock:
    """The `Clock` port on a virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()

    def now(self) -> float:
        return self._loop.time()

    def utc(self) -> float:
        return EPOCH + self._loop.time()


def virtual_loop() -> VirtualLoop:
    """The loop of the test that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run_virtually(work: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run `work` on a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop, debug=debug) as runner:
        return runner.run(work)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a plain test of an asynchronous one: it runs on a virtual loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtually(test(*args, **kwargs))

    del run.__wrapped__
    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run
