"""Where the spans of a timeline come from: marks that are measured, and one rule that orders them.

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
from itertools import pairwise
from math import isqrt
from typing import TypeVarTuple, Unpack

from fetcher.lab.compare.figures import Kind, Span
from fetcher.lab.compare.primes import factor_among

Ts = TypeVarTuple("Ts")
Stretch = tuple[float, float]

LANE: ContextVar[Track | None] = ContextVar("lane", default=None)
_SLICE = 40_000  # divisors in one go, a millisecond or so: shorter than a turn with the interpreter's lock


class Track:
    """What one lane left behind; picklable, so that a worker can send it home."""

    def __init__(self, lane: int) -> None:
        self.lane = lane
        self.running: list[Stretch] = []
        self.waiting: list[Stretch] = []
        self.end = 0.0

    def ends(self) -> None:
        """The script is over."""
        self.end = time.perf_counter()

    def sleeps(self, seconds: float) -> None:
        """A sleep begins now and is due after `seconds`."""
        now = time.perf_counter()
        self.waiting.append((now, now + seconds))

    def was_served(self, headers: Mapping[str, str]) -> None:
        """The server had the request between the marks of its reply."""
        self.waiting.append((float(headers["X-Received"]), float(headers["X-Sent"])))

    def ran(self, start: float, end: float, cpu_s: float) -> None:
        """So much CPU time was had between two moments."""
        self.running.append((start, min(end, start + cpu_s)))

    @contextmanager
    def blocking_exchange(self) -> Iterator[Track]:
        """One exchange of this thread: its CPU time is spread over the time before and after the wait."""
        start, cpu = time.perf_counter(), time.thread_time()
        yield self
        end, cpu_s = time.perf_counter(), time.thread_time() - cpu
        received, sent = self.waiting[-1]
        received, sent = max(received, start), min(sent, end)
        before, after = max(received - start, 0.0), max(end - sent, 0.0)
        share = cpu_s / (before + after) if before + after else 0.0
        self.ran(start, received, before * share)
        self.ran(sent, end, after * share)

    def smallest_factor(self, number: int) -> int:
        """The prime test in slices, each with its CPU time."""
        stop = isqrt(number) + 1
        for first in range(3, stop, 2 * _SLICE):
            start, cpu = time.perf_counter(), time.thread_time()
            factor = factor_among(number, first, min(first + 2 * _SLICE, stop))
            self.ran(start, time.perf_counter(), time.thread_time() - cpu)
            if factor:
                return factor
        return number


class TracedLoop(asyncio.SelectorEventLoop):
    """A loop that notes when the steps of a lane run: what its tasks, and theirs, do in their contexts."""

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        track = LANE.get() if context is None else context.get(LANE)
        if track is None:
            return super().call_soon(callback, *args, context=context)

        def timed(*args: *Ts) -> None:
            start, cpu = time.perf_counter(), time.thread_time()
            callback(*args)
            track.ran(start, time.perf_counter(), time.thread_time() - cpu)

        return super().call_soon(timed, *args, context=context)


def spans_of(track: Track, origin: float) -> list[Span]:
    """The life of a lane since `origin`, without gaps: running wins over waiting, the rest is blocked."""
    edges = {origin, track.end}
    for stretch in (*track.running, *track.waiting):
        edges.update(min(max(edge, origin), track.end) for edge in stretch)
    moments = sorted(edges)
    running, waiting = _merged(track.running), _merged(track.waiting)
    spans: list[Span] = []
    for start, end in pairwise(moments):
        middle = (start + end) / 2
        kind: Kind = "running" if _covers(running, middle) else "blocked"
        if kind == "blocked" and _covers(waiting, middle):
            kind = "waiting"
        if spans and spans[-1].kind == kind:
            spans[-1] = Span(track.lane, spans[-1].start_s, end - origin, kind)
        else:
            spans.append(Span(track.lane, start - origin, end - origin, kind))
    return spans


def _merged(stretches: Sequence[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif end > start:
            merged.append((start, end))
    return merged


def _covers(merged: Sequence[Stretch], moment: float) -> bool:
    return any(start <= moment < end for start, end in merged)
