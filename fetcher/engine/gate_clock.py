"""Clocks of gates that are shut at times: for how long they were, by cause or for one cause alone.

Invariant: what `mark` gives never changes, so that whoever waits behind a gate keeps one as its beginning, at
the cost of a reference, and `since` tells what it waited for.
"""

from __future__ import annotations

from collections.abc import Mapping


class GateClock:
    """One gate: a host that is held, or all of the run's slots. `cause` is empty while it is open."""

    __slots__ = ("_since", "cause", "totals")

    def __init__(self) -> None:
        self.totals: Mapping[str, float] = {}  # replaced, never changed
        self.cause = ""
        self._since = 0.0

    def shut(self, cause: str, now: float) -> None:
        """Shut it, or let it be shut for another cause from now on."""
        if cause != self.cause:
            self._count(now)
            self.cause, self._since = cause, now

    def open(self, now: float) -> None:
        """Open it."""
        self._count(now)
        self.cause = ""

    def mark(self, now: float) -> Mapping[str, float]:
        """Return what was counted up to now."""
        self._count(now)
        return self.totals

    def since(self, mark: Mapping[str, float], now: float) -> dict[str, float]:
        """Return the seconds for which it was shut since a mark, by cause."""
        self._count(now)
        return {
            cause: total - mark.get(cause, 0.0)
            for cause, total in self.totals.items()
            if total > mark.get(cause, 0.0)
        }

    def _count(self, now: float) -> None:
        if self.cause and now > self._since:
            totals = self.totals
            self.totals = {**totals, self.cause: totals.get(self.cause, 0.0) + now - self._since}
            self._since = now


class Stopwatch:
    """Seconds for which something was the case, over any number of times."""

    __slots__ = ("_since", "_total", "is_running")

    def __init__(self) -> None:
        self.is_running = False
        self._total = self._since = 0.0

    def start(self, now: float) -> None:
        """Count from now on, if that was not so already."""
        if not self.is_running:
            self.is_running = True
            self._since = now

    def stop(self, now: float) -> None:
        """Count no longer."""
        self._total, self.is_running = self.seconds(now), False

    def seconds(self, now: float) -> float:
        """Return how long it was, in all."""
        return self._total + (now - self._since) if self.is_running else self._total
