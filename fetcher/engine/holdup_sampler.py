"""Samples of what keeps the next exchange from starting, at moments of their own: a URL costs nothing.

Invariant: each moment has one cause, the one nearest to the start of an exchange; where hosts are it, they
share the moment by how much they have queued. There are twenty samples a second at first, one a second in the
long run, so a run of any length has enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from fetcher.engine.budget import Bandwidth
from fetcher.engine.parse_stage import ParseStage
from fetcher.engine.run_context import RunContext
from fetcher.engine.slots import Slots
from fetcher.model import Holdup
from fetcher.policy.bottleneck import add_holdups

_SHORTEST_S, _LONGEST_S = 0.05, 1.0
_EACH_S = 200  # a sample stands for a two hundredth of the run
_MOST_KEPT = 2000


class HoldupSampler:
    """Sampler of one pool; `concurrency` is how many exchanges it may have in flight.

    `counts_idleness` says that moments with nothing to do count, as they do where no other pool has work.
    """

    def __init__(
        self,
        context: RunContext,
        slots: Slots,
        *,
        concurrency: int,
        parse_stage: ParseStage | None,
        bandwidth: Bandwidth | None,
        counts_idleness: bool = True,
    ) -> None:
        self._context = context
        self._slots = slots
        self._concurrency = concurrency
        self._parse_stage = parse_stage
        self._bandwidth = bandwidth
        self._counts_idleness = counts_idleness
        self._sums: dict[tuple[str, str], Holdup] = {}
        self._last = 0.0
        self._worked = 0.0

    def holdups(self) -> list[Holdup]:
        """Return the sums so far."""
        return add_holdups(self._sums.values())

    async def run(self) -> None:
        """Sample until cancelled."""
        now = self._context.clock.now
        began = self._last = now()
        with loop_work() as worked:
            self._worked = worked()
            while True:
                passed = self._last - began
                await asyncio.sleep(min(max(passed / _EACH_S, _SHORTEST_S), _LONGEST_S))
                self._sample(now(), worked())

    def _sample(self, now: float, worked: float) -> None:
        passed, self._last = now - self._last, now
        busy_s, self._worked = min(worked - self._worked, passed), worked
        if self._context.stop.is_wanted or self._slots.is_paused or passed <= 0:
            return
        causes = self._causes(now)
        weight = sum(causes.values())
        active = self._slots.scheduler.active
        for key, part in causes.items():
            held = self._sums.get(key)
            if held is None:
                held = self._sums[key] = Holdup(*key)
            seconds = passed * part / weight
            held.seconds += seconds
            held.active_s += active * seconds
            held.busy_s += busy_s * part / weight
        if len(self._sums) > _MOST_KEPT:
            self._sums = {(each.cause, each.host): each for each in self.holdups()}

    def _causes(self, now: float) -> dict[tuple[str, str], int]:
        """Find what keeps the next exchange from starting, by cause and host, with weights."""
        slots, scheduler = self._slots, self._slots.scheduler
        if slots.descriptors.is_short and scheduler.ready:
            return {("descriptors", ""): 1}
        if slots.is_behind:
            return {(self._behind, ""): 1}
        if slots.is_out_of_memory:
            return {("memory", ""): 1}
        if self._bandwidth is not None and self._bandwidth.is_spent(now):
            return {("bandwidth", ""): 1}
        if scheduler.is_paced:
            return {("rate", ""): 1}
        if scheduler.ready:
            return {("concurrency" if scheduler.active >= self._concurrency else "loop", ""): 1}
        if scheduler.is_blocked and (blocked := scheduler.blocked()):
            return blocked
        if scheduler.active:
            return {("answers", ""): 1}
        if self._context.stats.unsettled:
            return {(self._behind, ""): 1}
        return {("input", ""): 1} if self._counts_idleness else {}

    @property
    def _behind(self) -> str:
        """Return what is to blame for outcomes that are not settled."""
        stage = self._parse_stage
        in_hand = 0 if stage is None else stage.in_hand
        return "parser" if 2 * in_hand >= self._context.stats.unsettled else "disk"


@contextlib.contextmanager
def loop_work() -> Iterator[Callable[[], float]]:
    """Give a function that measures the seconds for which the loop has been at work, from any beginning.

    Where the system tells it, that is with those for which its thread was kept from the processor: so a busy
    machine does not make a loop look idle. The threads of a backend hold the interpreter, so they count too.
    """
    try:
        path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield time.process_time
        return

    def worked() -> float:
        ran, waited = os.pread(descriptor, 100, 0).split()[:2]
        return max((int(ran) + int(waited)) / 1e9, time.process_time())

    try:
        yield worked
    finally:
        os.close(descriptor)
