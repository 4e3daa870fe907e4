"""The slots of a task pool: whether another exchange may start, and the tasks that wait for work.

Invariants: at most `concurrency` exchanges are in flight; those in flight and those ended but not settled are
together at most `concurrency + unsettled`, which bounds what a kill makes us ask for again; and none starts
while the byte budget is spent or a stop is wanted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fetcher.engine.budget import ByteBudget
from fetcher.engine.descriptors import DescriptorLimit
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.run_context import RunContext
from fetcher.engine.scheduler import Scheduler
from fetcher.policy.throttle import HostThrottle

UNSETTLED = 64
_WOKEN_AT_ONCE = 4


class Slots:
    """Hands the scheduler's fetches to the tasks of a pool, and keeps the tasks that have none.

    `spawn` makes one more task and says whether it could; it is called when all that there are have work.
    The rest is `DescriptorLimit`'s.
    """

    def __init__(
        self,
        context: RunContext,
        budget: ByteBudget,
        concurrency: int,
        *,
        throttle_of: Callable[[str], HostThrottle],
        rate: float | None,
        unsettled: int,
        spawn: Callable[[], bool],
        on_connections: Callable[[int], None] = lambda _: None,
        descriptors_each: int = 1,
        reserve: int = 0,
    ) -> None:
        self.concurrency = concurrency
        self.is_paused = False  # nothing is started
        self._unsettled = unsettled
        self._budget = budget
        self._spawn = spawn
        self._stop = context.stop
        self._stats = context.stats
        self._outcomes = context.outcomes
        self._idle: deque[asyncio.Future[bool]] = deque()
        self._waking = 0
        self._is_shut = False  # the scheduler's gate, for want of memory
        self.nothing_in_flight = asyncio.Event()
        self.scheduler = Scheduler(
            throttle_of,
            wake=self.wake,
            call_at=asyncio.get_running_loop().call_at,
            clock=context.clock.now,
            rate=rate,
        )
        events = context.events
        self.descriptors = DescriptorLimit(
            concurrency,
            descriptors_each,
            active=lambda: self.scheduler.active,
            on_change=on_connections,
            tell=lambda text: events.notice_once("warning", text, key="descriptors"),
            reserve=reserve,
        )

    @property
    def is_behind(self) -> bool:
        """True while nothing may start before more is settled."""
        return self.scheduler.active + self._stats.unsettled >= self.concurrency + self._unsettled

    @property
    def is_out_of_memory(self) -> bool:
        """True while the byte budget is spent."""
        return self._budget.is_spent

    def next_fetch(self, now: float) -> FetchState | None:
        """The next fetch to start now, or None if none may."""
        scheduler = self.scheduler
        active = scheduler.active
        if self._stop.is_wanted or self.is_paused or active >= self.concurrency:
            return None
        if self.descriptors.is_short and scheduler.ready and not self.descriptors.may_start():
            return None
        if active + self._stats.unsettled >= self.concurrency + self._unsettled:
            scheduler.settling.start(now)
            return None
        if scheduler.settling.is_running:
            scheduler.settling.stop(now)
        if self._budget.used >= self._budget.limit:
            scheduler.gate.shut("memory", now)
            self._is_shut = True
            return None
        if self._is_shut:
            self._is_shut = False
            scheduler.gate.open(now)
        fetch = scheduler.next_ready(now)
        if scheduler.ready and self._waking < _WOKEN_AT_ONCE and fetch is not None:
            self.wake(1)
        return fetch

    def adjust(self, concurrency: int, *, is_paused: bool) -> None:
        """Change how many exchanges there may be, and whether any is started; those in flight go on."""
        self.concurrency = concurrency
        self.is_paused = is_paused
        self.descriptors.want(concurrency)
        self.wake(concurrency)

    def on_woken(self) -> None:
        """Note that a task, woken or new, has begun to look for work."""
        self._waking -= 1

    async def wait_for_work(self) -> bool:
        """Wait until something may have become ready. False: there is nothing more to do."""
        if not self.scheduler.active:
            self._outcomes.flush()
            self.nothing_in_flight.set()
        if self._budget.is_spent:
            await self._budget.wait()
            self._waking += 1
            return True
        place: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._idle.append(place)
        try:
            return await place
        except BaseException:
            if place.done() and not place.cancelled():
                self._waking -= 1
                self.wake(1)  # the wake-up was for whoever is next
            raise

    def wake(self, n: int) -> None:
        """Wake a few tasks, as up to `n` more fetches became ready; each that finds work wakes more."""
        idle = self._idle
        n = min(n, _WOKEN_AT_ONCE - self._waking)
        while n > 0:
            if idle:
                place = idle.popleft()
                if place.done():
                    continue
                place.set_result(True)
            elif not self._spawn():
                return
            self._waking += 1
            n -= 1

    def stop_idle(self) -> None:
        """Send every idle task home."""
        while self._idle:
            place = self._idle.popleft()
            if not place.done():
                place.set_result(False)
