"""Limits on time and speed, held by one scan instead of a timer for every exchange.

Invariant: an exchange that exceeds a limit is cancelled once, with its verdict set before; the
worker turns exactly that cancellation into `TimedOut`, and lets any other pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import msgspec

from fetcher.engine.body import Body
from fetcher.errors import UNCONNECTED, FetcherError, Phase, TimedOut

SPEED_WINDOW_S = 60.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; None is no limit. `min_speed` is in wire bytes per second over `SPEED_WINDOW_S`."""

    connect_s: float | None
    header_s: float | None
    read_s: float | None
    total_s: float | None
    min_speed: float | None

    @property
    def tick_s(self) -> float:
        """The time between two looks: an eighth of the shortest limit, between 50 ms and a second."""
        limits = [limit for limit in (self.connect_s, self.header_s, self.read_s, self.total_s) if limit]
        return min(1.0, max(0.05, min(limits, default=8.0) / 8))


class ExchangeTimer:
    """The timer of one task's exchange. `body` is None between exchanges.

    That more of a body came is seen at each look (`seen_bytes`, `progress_at`), so that it costs nothing
    when it comes.
    """

    __slots__ = (
        "body",
        "job_id",
        "marked_at",
        "marked_bytes",
        "progress_at",
        "seen_bytes",
        "started",
        "task",
        "url",
        "verdict",
    )

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.body: Body | None = None
        self.url = ""
        self.job_id = 0
        self.started = 0.0
        self.marked_at = self.progress_at = 0.0
        self.marked_bytes = self.seen_bytes = 0
        self.verdict: FetcherError | None = None

    def begin(self, body: Body, url: str, now: float, job_id: int = 0) -> None:
        self.url = url
        self.job_id = job_id
        self.started = self.marked_at = now
        self.marked_bytes = 0
        self.seen_bytes = -1  # the header, too, is progress
        self.verdict = None
        self.body = body

    def expire(self, verdict: FetcherError) -> None:
        """Cancel the exchange with a verdict, unless it has one."""
        if self.body is not None and self.verdict is None and self.task is not None:
            self.verdict = verdict
            self.task.cancel()

    def expire_at_total(self, seconds: float) -> None:
        """Let the exchange have taken too long in all."""
        self.expire(_timed_out(self, "total", f"not complete within {seconds:g} s"))


async def watch_timeouts(
    watches: Collection[ExchangeTimer], limits: Limits, now: Callable[[], float], on_tick: Callable[[], None]
) -> None:
    """Look over all exchanges at every tick, until cancelled. `on_tick` is called each time."""
    tick = limits.tick_s
    last = now()
    while True:
        await asyncio.sleep(tick)
        time = now()
        lag = time - last - tick
        last = time
        for each in watches:
            body = each.body
            if body is None or each.verdict is not None:
                continue
            if lag > tick:  # the loop itself stood still: no server is to blame
                each.started += lag
                each.marked_at += lag
                body.phase_since += lag
                each.progress_at += lag
            verdict = exceeded_limit(each, body, limits, time)
            if verdict is not None:
                each.expire(verdict)
        on_tick()


def exceeded_limit(each: ExchangeTimer, body: Body, limits: Limits, now: float) -> TimedOut | None:
    """Name the limit that an exchange has exceeded, if any."""
    phase = body.phase
    if limits.total_s is not None and now - each.started > limits.total_s:
        return _timed_out(each, "total", f"not complete within {limits.total_s:g} s")
    if phase == "body":
        return _judge_body(each, body, limits, now)
    each.marked_at = now  # the speed is the body's alone
    if phase in UNCONNECTED:
        if limits.connect_s is not None and now - body.phase_since > limits.connect_s:
            return _timed_out(each, phase, f"no connection within {limits.connect_s:g} s")
    elif limits.header_s is not None and now - body.phase_since > limits.header_s:
        return _timed_out(each, phase, f"no complete header within {limits.header_s:g} s")
    return None


def _judge_body(each: ExchangeTimer, body: Body, limits: Limits, now: float) -> TimedOut | None:
    if body.is_paused:
        each.marked_at, each.marked_bytes = now, body.wire_bytes
        each.seen_bytes = -1  # the server may go on only after the pause
        return None
    if each.seen_bytes != body.wire_bytes:
        each.seen_bytes, each.progress_at = body.wire_bytes, now
    elif limits.read_s is not None and now - each.progress_at > limits.read_s:
        return _timed_out(each, "body", f"silent for {limits.read_s:g} s after {body.wire_bytes} bytes")
    if limits.min_speed and now - each.marked_at >= SPEED_WINDOW_S:
        speed = (body.wire_bytes - each.marked_bytes) / (now - each.marked_at)
        each.marked_at, each.marked_bytes = now, body.wire_bytes
        if speed < limits.min_speed:
            return _timed_out(each, "body", f"slower than {limits.min_speed:g} bytes/s for a minute")
    return None


def _timed_out(each: ExchangeTimer, phase: Phase, message: str) -> TimedOut:
    return TimedOut(message, url=each.url, phase=phase)
