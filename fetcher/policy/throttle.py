"""Throttles of one host, or of the whole run: spacing, holds, and a limit that adapts.

Pure state machines without a clock: every method is given the loop's time. Invariants: `limit` stays in
[1, most]; `not_before` never moves back. The scheduler starts an exchange only when fewer than
`int(limit)` are active and `not_before` has passed, and says so by `after_start`.

The limit is additive increase, multiplicative decrease (RFC 5681 §3.1): a host that pushes back is
asked half as much, and one more for each full round of successes.
"""

from __future__ import annotations

CATCH_UP_S = 0.05  # a late timer may make up for this much of missed starts, and no more
MOST_DELAY_S = 60.0  # what a robots.txt may ask for; more is clamped
LEAST_ROUND_S = 1.0  # answers to what was already in flight belong to one push-back


class RateLimiter:
    """At most `rate` starts per second, evenly spaced; what was missed is made up for by 50 ms at most."""

    __slots__ = ("_interval_s", "not_before")

    def __init__(self, rate: float) -> None:
        if not rate > 0:
            raise ValueError(f"a rate is above zero, not {rate}")
        self._interval_s = 1.0 / rate
        self.not_before = float("-inf")

    @property
    def rate(self) -> float:
        return 1.0 / self._interval_s

    def set(self, rate: float) -> None:
        """Change the rate for the starts that follow."""
        self._interval_s = 1.0 / rate

    def after_start(self, now: float) -> None:
        due = self.not_before
        if due < now - CATCH_UP_S:  # the first start missed nothing
            due = now if due == float("-inf") else now - CATCH_UP_S
        self.not_before = due + self._interval_s


class HostThrottle:
    """One host's politeness. `reason` says what the last `not_before` was for, or is empty."""

    __slots__ = (
        "_rate",
        "_round_ends",
        "delay_s",
        "is_asked",
        "is_spaced",
        "limit",
        "most",
        "not_before",
        "reason",
    )

    def __init__(self, most: int, *, delay_s: float = 0.0, rate: float | None = None) -> None:
        if most < 1:
            raise ValueError(f"a host has at least one exchange, not {most}")
        self.most = most
        self.limit = float(most)
        self.not_before = float("-inf")
        self.reason = ""
        self.delay_s = delay_s
        self._rate = None if rate is None else RateLimiter(rate)
        self._round_ends = float("-inf")
        self.is_spaced = delay_s > 0 or rate is not None
        self.is_asked = False  # for its delay, by robots.txt

    def part(self, index: int, count: int) -> HostThrottle:
        """Return a new throttle with part `index` of `count` of the limits; it has at least one exchange."""
        most = max(1, self.most // count + (index < self.most % count))
        rate = None if self._rate is None else self._rate.rate / count
        return HostThrottle(most, delay_s=self.delay_s * count, rate=rate)

    def set_delay(self, delay_s: float) -> None:
        """Space the starts that follow by at least `delay_s`, for a crawl-delay that came to be known."""
        self.delay_s = delay_s
        self.is_asked = True
        self.is_spaced = delay_s > 0 or self._rate is not None

    def hold(self, now: float, delay_s: float, reason: str) -> None:
        """Wait for `delay_s` at least."""
        self._wait_until(now + delay_s, reason)

    def after_start(self, now: float) -> None:
        """Space the next exchange after one that began at `now`."""
        if self.is_spaced:
            self._space(now)

    def on_success(self, now: float) -> None:  # noqa: ARG002  (all three events have the same shape)
        """Allow one more at once after `limit` answers that are as they should be."""
        if self.limit < self.most:
            self.limit = min(self.limit + 1.0 / self.limit, float(self.most))

    def on_pushback(self, now: float, delay_s: float, reason: str) -> None:
        """Hold a host that asked for time (429, 503) for `delay_s`, and halve the limit.

        Halved at most once in a hold, or in `LEAST_ROUND_S` where that is longer: the answers to what
        was in flight say nothing new.
        """
        until = now + max(delay_s, 0.0)
        if now >= self._round_ends:
            self.limit = max(self.limit / 2.0, 1.0)
            self._round_ends = now + LEAST_ROUND_S
        self._round_ends = max(self._round_ends, until)
        self._wait_until(until, reason)

    def _space(self, now: float) -> None:
        if self.delay_s > 0:
            self._wait_until(now + self.delay_s, "delay")
        if self._rate is not None:
            self._rate.after_start(now)
            self._wait_until(self._rate.not_before, "rate")

    def _wait_until(self, time: float, reason: str) -> None:
        if time > self.not_before:
            self.not_before = time
            self.reason = reason
