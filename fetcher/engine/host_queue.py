"""One host's queue and slots, as the scheduler keeps them."""

from __future__ import annotations

import enum
from collections import deque

from fetcher.engine.fetch_state import FetchState
from fetcher.engine.gate_clock import GateClock
from fetcher.policy.throttle import HostThrottle


class HostState(enum.Enum):
    """State of a host; what it means is said in `Scheduler`."""

    IDLE = 0
    READY = 1
    TIMED = 2


class Host:
    """One host's queue and slots. `gate` is there once it was held; `is_full` says that its limit was met."""

    __slots__ = (
        "active",
        "deferred",
        "deferred_for",
        "gate",
        "is_full",
        "name",
        "queue",
        "state",
        "throttle",
    )

    def __init__(self, name: str, pace: HostThrottle) -> None:
        self.name = name
        self.throttle = pace
        self.queue: deque[FetchState] = deque()
        self.active = 0
        self.deferred = 0
        self.deferred_for = ""
        self.state = HostState.IDLE
        self.gate: GateClock | None = None
        self.is_full = False

    @property
    def hold_cause(self) -> str:
        """The name of what keeps its URLs from starting."""
        reason = self.throttle.reason or "delay"
        return "crawl-delay" if reason == "delay" and self.throttle.is_asked else reason
