"""Spans of a timeline: marks that are measured, and one rule that orders them.

A lane is one task. It is **running** where its code was seen on the CPU, by the CPU time (`thread_time`) of
each of its steps on a traced loop, or of a short stretch of its thread's wall time; how much of a stretch was
running is measured, and where in it is not: it is drawn at the front. It is **waiting** from
the start of a sleep to its due time, and while the server has the request and has not replied, by the
server's own marks. Everything else between the moment when all tasks were ready and its end, it was
**blocked**: ready, and kept waiting for its turn, the loop, the interpreter's lock or a core. All marks are
`time.perf_counter`, which processes of one machine share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from math import isqrt
from typing import TypeVarTuple, Unpack

from fetcher.lab.compare.results import Kind, Span

Ts = TypeVarTuple("Ts")
Stretch = tuple[float, float]

_SLICE = 40_000  # divisors in one go, a millisecond or so: shorter than a turn with the interpreter's lock


@dataclass(slots=True)
class Track:
    """Marks of one lane; picklable, so that a worker can send it home."""

    lane: int
    running: list[Stretch] = field(default_factory=list)
    waiting: list[Stretch] = field(default_factory=list)
    end: float = 0.0

    def ends(self) -> None:
        self.end = time.perf_counter()

    def sleeps(self, seconds: float) -> None:
        """Note that a sleep begins now and is due after `seconds`."""
        now = time.perf_counter()
        self.waiting.append((now, now + seconds))

    def was_served(self, headers: Mapping[str, str]) -> None:
        """Note that the server had the request between the marks of its reply."""
        self.waiting.append((float(headers["X-Received"]), float(headers["X-Sent"])))

    @contextmanager
    def runs(self) -> Iterator[None]:
        """Note the CPU time of a stretch of this thread."""
        start, cpu = time.perf_counter(), time.thread_time()
        yield
        self.running.append((start, min(time.perf_counter(), start + time.thread_time() - cpu)))

    @contextmanager
    def blocking_exchange(self) -> Iterator[None]:
        """Note one exchange: its CPU time is spread over the time before and after the wait."""
        start, cpu = time.perf_counter(), time.thread_time()
        yield
        end, cpu_s = time.perf_counter(), time.thread_time() - cpu
        received, sent = (min(max(mark, start), end) for mark in self.waiting[-1])
        share = min(cpu_s / ((received - start + end - sent) or 1), 1)
        self.running += [(start, start + share * (received - start)), (sent, sent + share * (end - sent))]

    def smallest_factor(self, number: int) -> int:
        """Return the smallest factor above 1 of an odd number; of a prime, itself. Each slice is noted."""
        stop = isqrt(number) + 1
        for first in range(3, stop, 2 * _SLICE):
            with self.runs():
                factor = factor_among(number, first, min(first + 2 * _SLICE, stop))
            if factor:
                return factor
        return number


def factor_among(number: int, start: int, stop: int) -> int:
    """Return the first odd divisor from `start` (odd) to below `stop`, or 0."""
    for divisor in range(start, stop, 2):
        if number % divisor == 0:
            return divisor
    return 0


LANE: ContextVar[Track | None] = ContextVar("lane", default=None)


class TracedLoop(asyncio.SelectorEventLoop):
    """Loop that notes when the steps of a lane run: what its tasks, and theirs, do in their contexts."""

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        track = LANE.get() if context is None else context.get(LANE)
        if track is None:
            return super().call_soon(callback, *args, context=context)

        def timed(*args: *Ts) -> None:
            with track.runs():
                callback(*args)

        return super().call_soon(timed, *args, context=context)


def spans_of(track: Track, origin: float) -> list[Span]:
    """Order a lane's marks since `origin`, without gaps: running before waiting, the rest is blocked."""
    marks = {mark for stretch in (*track.running, *track.waiting) for mark in stretch}
    inside = sorted({origin, track.end} | {min(max(mark, origin), track.end) for mark in marks})
    spans: list[Span] = []
    for start, end in pairwise(inside):
        kind: Kind = "waiting" if _covers(track.waiting, start) else "blocked"
        kind = "running" if _covers(track.running, start) else kind
        if spans and spans[-1].kind == kind:
            spans[-1] = Span(track.lane, spans[-1].start_s, end - origin, kind)
        else:
            spans.append(Span(track.lane, start - origin, end - origin, kind))
    return spans


def _covers(stretches: Sequence[Stretch], moment: float) -> bool:
    return any(start <= moment < end for start, end in stretches)
