"""The budgets of a whole run: the bytes that bodies may hold in memory, and the bandwidth.

Both only count. `ByteBudget` never refuses: a body takes what arrived, and whoever would start more
work waits while the budget is spent. Invariant: while somebody waits and there is room, the first in
the line is woken, and wakes the next as it leaves; so no wake-up is lost and nobody overtakes.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

from fetcher.ports import Clock

BURST_S = 0.1  # an idle line may be made up for by this much
LEAST_WAIT_S = 0.005  # shorter waits are left to add up: a timer for each chunk costs more


class ByteBudget:
    """Bytes of bodies held in memory, against a limit that may be passed by what is in flight."""

    __slots__ = ("_waiters", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiters: deque[asyncio.Event] = deque()

    @property
    def is_spent(self) -> bool:
        return self.used >= self.limit

    def reserve(self, n: int) -> None:
        """Charge `n` bytes. Whoever does gives them back, once."""
        self.used += n

    def release(self, n: int) -> None:
        self.used -= n
        if self._waiters and self.used < self.limit:
            self._waiters[0].set()

    async def wait(self) -> None:
        """Return when there is room, first come, first served. Nothing is charged by it."""
        if self.used < self.limit and not self._waiters:
            return
        place = asyncio.Event()
        self._waiters.append(place)
        try:
            while True:
                await place.wait()
                if self.used < self.limit:
                    return
                place.clear()  # taken meanwhile; the place in front is kept
        finally:
            self._waiters.remove(place)
            if self._waiters and self.used < self.limit:
                self._waiters[0].set()


class Bandwidth:
    """A limit on bytes per second as a bucket of time already spoken for (`--max-bandwidth`)."""

    __slots__ = ("_clock", "_free_at", "bytes_per_s")

    def __init__(self, bytes_per_s: float, clock: Clock) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._free_at = -math.inf  # loop time when the line has carried all that was charged

    def is_spent(self, now: float) -> bool:
        """Return True while the line has more to carry than it could by `now`."""
        return self._free_at > now

    def account(self, n: int) -> float:
        """Count `n` bytes; return the seconds to wait before more is read, ordinarily 0."""
        now = self._clock.now()
        self._free_at = max(self._free_at, now - BURST_S) + n / self.bytes_per_s
        wait_s = self._free_at - now
        return wait_s if wait_s >= LEAST_WAIT_S else 0.0
