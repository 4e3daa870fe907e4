"""The crew of one process: tasks that perform the exchanges of claimed jobs, and the watch over them.

Invariants: there are at most `concurrency` workers, made when they are needed; every one lives in the
run's TaskGroup. `room` bounds what is claimed, so that one host, or hosts that wait, never fill memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from fetcher.engine.body import BodyRules
from fetcher.engine.context import UNSETTLED, Context, Policies, Ports
from fetcher.engine.fetch import begin_fetch
from fetcher.engine.plan import Plan
from fetcher.engine.records import Recorder
from fetcher.engine.watchdog import Watch, watch
from fetcher.engine.worker import Worker
from fetcher.events import Notice
from fetcher.model import Job, Outcome
from fetcher.policy.pace import MOST_DELAY_S

LEAST_WINDOW = 1024
LEAST_PER_HOST = 32
_LONGEST_HOLD_S = 3600.0  # of one that outlived its session: a clock that jumped must not stretch it


class LocalCrew:
    """Implements `ports.Crew` with tasks of this loop."""

    def __init__(
        self, plan: Plan, ports: Ports, policies: Policies, rules: BodyRules, *, unsettled: int = UNSETTLED
    ) -> None:
        most = ports.backend.traits.most_exchanges
        if most is not None and most < plan.concurrency:
            plan = msgspec.structs.replace(plan, concurrency=most)
        self._plan = plan
        recorder = Recorder(ports.backend.traits.name, keeps_bodies=plan.keeps_bodies)
        self.ledger = self._context = Context(
            ports,
            policies,
            rules,
            recorder,
            plan.concurrency,
            unsettled=unsettled,
            follows=plan.follows,
        )
        self._scheduler = self._context.scheduler
        self.per_host = max(LEAST_PER_HOST, 4 * plan.per_host)
        self._window = max(LEAST_WINDOW, 2 * plan.concurrency * self.per_host // plan.per_host)
        self._most_claimed = 16 * self._window
        self._workers: set[asyncio.Task[None]] = set()
        self._watches: list[Watch] = []
        self._standing: list[asyncio.Task[None]] = []  # the watch, and who reads pages

    @property
    def room(self) -> int:
        """How many more jobs may be claimed now. What only time can make ready hardly counts."""
        scheduler = self._scheduler
        return min(self._window - scheduler.live, self._most_claimed - scheduler.queued - scheduler.deferred)

    @property
    def is_hungry(self) -> bool:
        """Whether it is worth claiming: half of the window is empty."""
        return self._scheduler.live <= self._window // 2

    @property
    def is_busy(self) -> bool:
        """Whether any job is in hand that is not an outcome yet."""
        scheduler = self._scheduler
        return bool(scheduler.active or scheduler.queued or scheduler.deferred)

    @property
    def active(self) -> int:
        return self._scheduler.active

    @property
    def waiting(self) -> int:
        return self._scheduler.held

    def busiest(self, most: int) -> list[tuple[str, int, int, str]]:
        """See `Snapshot.hosts`."""
        return self._scheduler.busiest(most, self._context.clock.now())

    # -- work ----------------------------------------------------------------------------------------

    def start(
        self, tasks: asyncio.TaskGroup, *, on_idle: Callable[[], None], on_tick: Callable[[], None]
    ) -> None:
        """Begin. `on_idle` is called when nothing is in flight, `on_tick` once a second or so."""
        context, workers = self._context, self._workers

        def spawn() -> bool:
            if len(workers) >= self._plan.concurrency or context.is_stopping:
                return False
            worker = Worker(context)
            work = worker.run()
            try:
                workers.add(tasks.create_task(work))
            except RuntimeError:  # the group is ending: another task of it failed
                work.close()
                return False
            self._watches.append(worker.watch)
            return True

        context.spawn = spawn
        context.on_idle = on_idle
        self._standing.append(
            tasks.create_task(watch(self._watches, self._plan.limits, context.clock.now, on_tick))
        )
        if context.desk is not None:
            self._standing.append(tasks.create_task(context.desk.run()))

    def take(self, jobs: Sequence[Job]) -> None:
        """Take claimed jobs, each with a target."""
        context, scheduler = self._context, self._scheduler
        now, utc = context.clock.now(), context.clock.utc()
        fetches = []
        for job in jobs:
            fetch = begin_fetch(job)
            if job.crawl_delay_s:
                self._slow_down(job)
            wait_s = job.not_before - utc
            if wait_s > 0:
                scheduler.defer(fetch, now + min(wait_s, _LONGEST_HOLD_S))
            else:
                fetches.append(fetch)
        scheduler.push(fetches)

    def _slow_down(self, job: Job) -> None:
        """Do as the host's robots.txt asks, within reason."""
        self._scheduler.slow_down(job.host, job.crawl_delay_s)
        if job.crawl_delay_s >= MOST_DELAY_S:
            text = (
                f"{job.host} asks for {MOST_DELAY_S:g} s or more between requests; it gets {MOST_DELAY_S:g} s"
            )
            self._context.notice_once("info", text)

    def settled(self, batch: Sequence[Outcome]) -> None:
        """These outcomes are safe: more may be fetched."""
        self._context.wake(len(batch))

    # -- ending --------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """There is no more work: send everybody home."""
        self._context.dismiss()

    async def wind_down(self, grace_s: float, at_once: asyncio.Event) -> None:
        """Let what is in flight end within the grace period; `at_once` cuts it short."""
        context = self._context
        context.dismiss()
        idle = asyncio.Event()
        on_idle = context.on_idle

        def idle_now() -> None:
            on_idle()
            idle.set()

        context.on_idle = idle_now
        if self._scheduler.active and not at_once.is_set():
            context.emit(
                Notice("info", f"stopping: up to {grace_s:g} s for what is in flight; again ends it")
            )
            again = asyncio.create_task(at_once.wait())
            ended = asyncio.create_task(idle.wait())
            await asyncio.wait({again, ended}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            ended.cancel()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if context.desk is not None:  # what was fetched is read, if that takes no longer than the rest may
            reading = asyncio.create_task(context.desk.idle())
            again = asyncio.create_task(at_once.wait())
            await asyncio.wait({again, reading}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            reading.cancel()

    def cancel(self) -> None:
        """Cancel every task of the crew; they end with their group."""
        for task in (*self._standing, *self._workers):
            task.cancel()

    async def aclose(self) -> None:
        """No timer is left behind."""
        self._scheduler.close()
