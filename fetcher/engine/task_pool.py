"""The pool of one process: tasks that perform the exchanges of claimed jobs, and the limits on their time.

Invariants: there are at most `concurrency` tasks, made when they are needed; every one lives in the
run's TaskGroup. `room` bounds what is claimed, so that one host, or hosts that wait, never fill memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import operator
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from fetcher.engine.body_options import BodyOptions
from fetcher.engine.engine_state import EngineState, Policies
from fetcher.engine.fetch_state import FetchState, begin_fetch
from fetcher.engine.fetch_task import FetchTask
from fetcher.engine.holdup_sampler import HoldupSampler
from fetcher.engine.parse_stage import ParseStage
from fetcher.engine.parts import keep_parts
from fetcher.engine.run_config import RunConfig
from fetcher.engine.run_context import RunContext
from fetcher.engine.slots import UNSETTLED, Slots
from fetcher.engine.timeouts import ExchangeTimer, watch_timeouts
from fetcher.errors import UNCONNECTED, FetcherError, StorageError
from fetcher.events import LogMessage
from fetcher.model import Holdup, Job, Outcome
from fetcher.policy.resume import LEAST_BYTES
from fetcher.policy.throttle import MOST_DELAY_S
from fetcher.ports import Backend, Reader

LEAST_WINDOW = 1024
LEAST_PER_HOST = 32
LEAST_SHOWN = 262_144  # a smaller body is over before it is read
_PARSERS_START = 4  # descriptors, beside two of each worker of the parser's
_LONGEST_HOLD_S = 3600.0  # of one that outlived its session


class TaskPool:
    """Implementation of `ports.ExchangePool` with tasks of this loop.

    Pages are read by `reader`, if there is one, before they are settled. `transfer` is `EngineState`'s.
    """

    def __init__(
        self,
        config: RunConfig,
        context: RunContext,
        backend: Backend,
        policies: Policies,
        body_options: BodyOptions,
        reader: Reader | None = None,
        *,
        unsettled: int = UNSETTLED,
        transfer: Callable[[FetchState], bool] | None = None,
    ) -> None:
        most = backend.traits.most_exchanges
        if most is not None and most < config.concurrency:
            config = msgspec.structs.replace(config, concurrency=most)
        if most == 1 < body_options.connections:
            text = f"the backend {backend.traits.name} has one connection: bodies are not split"
            context.events.notice_once("warning", text)
        body_options.connections = min(body_options.connections, config.concurrency)
        self._config = config
        self._context = context
        self._rate = policies.rate
        self._bandwidth = 0.0 if body_options.bandwidth is None else body_options.bandwidth.bytes_per_s
        self._slots = slots = Slots(
            context,
            body_options.budget,
            config.concurrency,
            throttle_of=policies.throttle_of,
            rate=policies.rate,
            unsettled=unsettled,
            spawn=self._spawn,
            on_connections=backend.limit_connections,
            descriptors_each=backend.traits.descriptors_each,
            reserve=0 if reader is None else reader.most_at_once + _PARSERS_START,
        )
        body_options.descriptors = slots.descriptors
        self._parse_stage = (
            None if reader is None else ParseStage(context.outcomes, context.stats, reader, context.clock.now)
        )
        self._state = EngineState(
            context,
            backend,
            policies,
            body_options,
            slots,
            self._parse_stage,
            follows=config.follows,
            transfer=transfer,
        )
        self.scheduler = self._scheduler = slots.scheduler
        self._holdups = HoldupSampler(
            context,
            slots,
            concurrency=config.concurrency,
            parse_stage=self._parse_stage,
            bandwidth=body_options.bandwidth,
            counts_idleness=transfer is None,
        )
        self.per_host = max(LEAST_PER_HOST, 4 * config.per_host)
        self._most_exchanges = most
        self._set_window(config.concurrency)
        self._group: asyncio.TaskGroup | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._timers: list[ExchangeTimer] = []
        self._standing: list[asyncio.Task[None]] = []  # of limits on time, parts, and parsing

    @property
    def room(self) -> int:
        """The number of jobs that may be claimed now. What only time can make ready hardly counts."""
        scheduler = self._scheduler
        return min(
            self._window - scheduler.runnable, self._most_claimed - scheduler.queued - scheduler.deferred
        )

    @property
    def is_hungry(self) -> bool:
        """True if it is worth claiming: half of the window is empty."""
        return self._scheduler.runnable <= self._window // 2

    @property
    def is_busy(self) -> bool:
        """True while any job is in hand that is not an outcome yet."""
        scheduler = self._scheduler
        return bool(scheduler.active or scheduler.queued or scheduler.deferred)

    def adjust(self, concurrency: int, *, is_paused: bool) -> None:
        """See the port. A backend that has a bound of its own keeps to it."""
        concurrency = min(concurrency, self._most_exchanges or concurrency)
        self._set_window(concurrency)
        self._slots.adjust(concurrency, is_paused=is_paused)

    def take_part(self, part: float) -> None:
        """See the port."""
        if self._rate is not None:
            self._scheduler.set_rate(self._rate * part)
        bandwidth = self._state.body_options.bandwidth
        if bandwidth is not None:
            bandwidth.bytes_per_s = self._bandwidth * part

    def _set_window(self, concurrency: int) -> None:
        self._window = max(LEAST_WINDOW, 2 * concurrency * self.per_host // self._config.per_host)
        self._most_claimed = 16 * self._window

    @property
    def active(self) -> int:
        return self._scheduler.active

    @property
    def waiting(self) -> int:
        return self._scheduler.waiting

    def busiest(self, most: int) -> list[tuple[str, int, int, str]]:
        """See `Snapshot.hosts`."""
        return self._scheduler.busiest(most, self._context.clock.now())

    @property
    def growing_bytes(self) -> int:
        return sum(each.body.wire_bytes for each in self._timers if each.body is not None)

    def growing(self, most: int) -> list[tuple[str, int, int | None]]:
        """See `Snapshot.growing`."""
        bodies = {each.job_id: (each.url, each.body) for each in self._timers if each.body is not None}
        large = [
            (url, received, body.total)
            for url, body in bodies.values()
            if (received := body.received) >= LEAST_SHOWN
        ]
        return heapq.nlargest(most, large, key=operator.itemgetter(1))

    def holdups(self) -> list[Holdup]:
        """See `ExchangePool.holdups`."""
        return self._holdups.holdups()

    # -- work ----------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup, *, on_tick: Callable[[], None]) -> None:
        """Begin. `on_tick` is called once a second or so."""
        self._group = tasks
        context, options = self._context, self._state.body_options

        def tick() -> None:
            self._state.sleep_watch.look()
            self._look_for_descriptors()
            on_tick()

        self._standing.append(
            tasks.create_task(watch_timeouts(self._timers, self._config.limits, context.clock.now, tick))
        )
        if options.resumes:
            keeping = keep_parts(self._timers, options.growth, context.frontier)
            self._standing.append(tasks.create_task(keeping))
        self._standing.append(tasks.create_task(self._holdups.run()))
        if self._parse_stage is not None:
            self._standing.append(tasks.create_task(self._parse_stage.run()))

    def _look_for_descriptors(self) -> None:
        descriptors = self._slots.descriptors
        if descriptors.is_short:
            bodies = [each.body for each in self._timers if each.body is not None]
            self._slots.wake(descriptors.grow(sum(body.phase in UNCONNECTED for body in bodies)))

    def _spawn(self) -> bool:
        """Make one more task that fetches. False if there are enough, or the run is ending."""
        if self._group is None or len(self._workers) >= self._slots.concurrency:
            return False
        if self._context.stop.is_wanted:
            return False
        worker = FetchTask(self._state)
        work = worker.run()
        try:
            self._workers.add(self._group.create_task(work))
        except RuntimeError:  # the group is ending: another task of it failed
            work.close()
            return False
        self._timers.append(worker.timer)
        return True

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take claimed jobs, each with a target."""
        clock, scheduler = self._context.clock, self._scheduler
        now, utc, checked = clock.now(), clock.utc(), self._state.checked
        for job in jobs:
            if job.crawl_delay_s:
                self._slow_down(job)
            if job.not_before > utc:
                # No longer than it was at first: the clock may have been set back since.
                longest_s = job.history[-1].seconds if job.history else _LONGEST_HOLD_S
                wait_s = min(job.not_before - utc, longest_s, _LONGEST_HOLD_S)
                scheduler.defer(begin_fetch(job, is_check=job.kind in checked), now + wait_s, "hold")
        scheduler.push(
            [begin_fetch(job, is_check=job.kind in checked) for job in jobs if job.not_before <= utc]
        )

    def _slow_down(self, job: Job) -> None:
        """Do as the host's robots.txt asks, within reason."""
        self._scheduler.slow_down(job.host, job.crawl_delay_s)
        if job.crawl_delay_s >= MOST_DELAY_S:
            text = (
                f"{job.host} asks for {MOST_DELAY_S:g} s or more between requests; it gets {MOST_DELAY_S:g} s"
            )
            self._context.events.notice_once("info", text)

    def settled(self, batch: Sequence[Outcome]) -> None:
        """Note that these outcomes are safe: more may be fetched."""
        self._slots.wake(len(batch))

    def abandon(self, number: int) -> None:
        """End the exchange of a job, or let it have none: its outcome is that it was cancelled."""
        self._state.abandoned.add(number)
        for timer in self._timers:
            if timer.job_id == number and timer.body is not None:
                timer.expire(FetcherError("cancelled"))

    # -- ending --------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Stop idle tasks: there is no more work."""
        self._slots.stop_idle()

    async def wind_down(self, grace_s: float, at_once: asyncio.Event) -> None:
        """Let what is in flight end within the grace period; `at_once` cuts it short."""
        slots, context = self._slots, self._context
        slots.stop_idle()
        if self._scheduler.active and not at_once.is_set():
            context.events.emit(LogMessage("info", f"stopping: up to {grace_s:g} s for what is in flight"))
            slots.nothing_in_flight.clear()
            await _first_of(slots.nothing_in_flight.wait(), at_once.wait(), timeout_s=grace_s)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._keep_left()
        if self._parse_stage is not None:
            # What was fetched is read, if that takes no longer than the rest may.
            await _first_of(self._parse_stage.idle(), at_once.wait(), timeout_s=grace_s)

    def cancel(self) -> None:
        """Cancel every task of the pool; they end with their group."""
        for task in (*self._standing, *self._workers):
            task.cancel()

    async def aclose(self) -> None:
        """Leave no timer behind, and no part of a run that failed or was cancelled without its row."""
        self._scheduler.close()
        with contextlib.suppress(
            StorageError
        ):  # perhaps what ended the run; the rows are a moment behind then
            await self._keep_left()

    async def _keep_left(self) -> None:
        left, self._state.left = self._state.left, []
        if self._state.body_options.resumes:
            parts = [(split.fetch.job.id, split.part()) for split in self._state.splits]
            left += [(number, part) for number, part in parts if part.held >= LEAST_BYTES]
        if left:
            await self._context.frontier.keep_parts(left)


async def _first_of(*waits: Coroutine[Any, Any, object], timeout_s: float) -> None:
    """Wait until one of `waits` is over, but no longer than `timeout_s`; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
