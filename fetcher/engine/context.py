"""What the tasks of one running engine share: the ports, the policies, the counters.

It decides one thing itself: whether another exchange may start at all (`take`). Invariants: at most
`concurrency` exchanges are in flight; those in flight and those ended but not settled are together at
most `concurrency + unsettled`, which bounds what a kill makes us ask for again; and none starts while
the byte budget is spent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from fetcher.engine.body import BodyRules
from fetcher.engine.fetch import Fetch
from fetcher.engine.ledger import Ledger
from fetcher.engine.reading import ReadingDesk
from fetcher.engine.records import Recorder
from fetcher.engine.scheduler import Scheduler
from fetcher.model import Outcome
from fetcher.policy.cookies import Jar
from fetcher.policy.credentials import Credentials
from fetcher.policy.pace import HostPace
from fetcher.policy.proxies import ProxyRules
from fetcher.policy.retry import RetryPolicy
from fetcher.ports import Backend, Clock, Frontier, Observer, Reader, Store

UNSETTLED = 64
_WOKEN_AT_ONCE = 4


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The adapters that a run works with."""

    backend: Backend
    frontier: Frontier
    store: Store
    clock: Clock
    observers: Sequence[Observer] = ()
    reader: Reader | None = None


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions that a run works by. `pace_of` makes the pace of a host first met."""

    retry: RetryPolicy
    credentials: Credentials
    proxies: ProxyRules
    pace_of: Callable[[str], HostPace]
    jar: Jar
    private_addresses: str = "seeds"
    max_redirects: int = 10
    rate: float | None = None


class Context(Ledger):
    """See the module."""

    def __init__(
        self,
        ports: Ports,
        policies: Policies,
        rules: BodyRules,
        recorder: Recorder,
        concurrency: int,
        *,
        unsettled: int = UNSETTLED,
        follows: bool = False,
    ) -> None:
        super().__init__(
            frontier=ports.frontier,
            store=ports.store,
            clock=ports.clock,
            recorder=recorder,
            observers=ports.observers,
        )
        self.backend = ports.backend
        self.policies = policies
        self.rules = rules
        self.follows = follows  # links, and redirects as such
        self.slots = concurrency
        self._most_open = concurrency + unsettled
        self._idle: deque[asyncio.Future[bool]] = deque()
        self._budget = rules.budget
        self._waking = 0
        self.spawn: Callable[[], bool] = lambda: False
        self.on_idle: Callable[[], None] = lambda: None
        self.desk = None if ports.reader is None else ReadingDesk(self, ports.reader)
        loop = asyncio.get_running_loop()
        self.utc_offset = self.clock.utc() - self.clock.now()
        self.scheduler = Scheduler(
            policies.pace_of,
            wake=self.wake,
            call_at=loop.call_at,
            clock=self.clock.now,
            rate=policies.rate,
        )
        self.route: Callable[[Fetch], None] = self.scheduler.push_first  # where the next hop of a chain goes

    # -- starting ----------------------------------------------------------------------------------

    def take(self, now: float) -> Fetch | None:
        """The next fetch to start now, or None if none may."""
        scheduler = self.scheduler
        active = scheduler.active
        if (
            self.is_stopping
            or active >= self.slots
            or active + self.unsettled >= self._most_open
            or self._budget.is_spent
        ):
            return None
        fetch = scheduler.take(now)
        if fetch is not None and self._waking < _WOKEN_AT_ONCE and scheduler.has_ready:
            self.wake(1)
        return fetch

    def awake(self) -> None:
        """A worker that was woken, or is new, has begun to look for work."""
        self._waking -= 1

    async def park(self) -> bool:
        """Wait until something may have become ready. False: there is nothing more to do."""
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
        """Up to `n` more fetches became ready. A few workers are woken; each that finds work wakes more."""
        idle = self._idle
        n = min(n, _WOKEN_AT_ONCE - self._waking)
        while n > 0:
            if idle:
                place = idle.popleft()
                if place.done():
                    continue
                place.set_result(True)
            elif not self.spawn():
                return
            self._waking += 1
            n -= 1

    def dismiss(self) -> None:
        """Send every idle worker home."""
        while self._idle:
            place = self._idle.popleft()
            if not place.done():
                place.set_result(False)

    def finish(self, outcome: Outcome) -> None:
        """A URL has ended, or has to be read first."""
        if self.desk is None:
            self.settle(outcome)
        else:
            self.desk.put(outcome)

    def release(self, host: str) -> None:
        """An exchange is over and its slot is free."""
        self.scheduler.release(host, self.clock.now())
        if not self.scheduler.active:
            self.on_idle()

    def shrink(self) -> bool:
        """There are no more file descriptors: go on with fewer exchanges. False if it can't be fewer."""
        if self.slots <= 1:
            return False
        self.slots = max(1, min(self.slots, self.scheduler.active) - 1)
        self.notice_once("warning", f"too many open files; going on with {self.slots} exchanges at once")
        return True
