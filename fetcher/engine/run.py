"""One run of the engine: feeds, claims, fetches, settles, and ends without polling.

Invariants: `pending` is the number of URLs in the frontier that are not final, so the run is over when
the input has ended and `pending` is 0; every task lives in one TaskGroup; whatever ends the run, what
was settled is safe, and the frontier and every source are closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from fetcher.engine.body import BodyRules
from fetcher.engine.context import Context, Policies, Ports
from fetcher.engine.feeder import Feeder
from fetcher.engine.fetch import begin_fetch
from fetcher.engine.intake import Intake
from fetcher.engine.records import Recorder
from fetcher.engine.settler import LINGER_S, Settler
from fetcher.engine.watchdog import Limits, Watch, watch
from fetcher.engine.worker import Worker
from fetcher.errors import ConfigError, FetcherError
from fetcher.events import Notice, RunEnded, RunStarted, Snapshot
from fetcher.model import Added, Job, Outcome, Summary
from fetcher.ports import Source

READ_AHEAD = 1_000_000
LEAST_WINDOW = 1024
CLAIM_AT_ONCE = 256
LEAST_PER_HOST = 32
BUSIEST = 5


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The figures that a run works by."""

    concurrency: int
    per_host: int
    limits: Limits
    ahead: int = READ_AHEAD
    grace_s: float = 10.0
    deadline_s: float | None = None  # from the start
    max_failures: int | None = None
    min_free: int | None = None
    keeps_bodies: bool = False


class Run:
    """Runs a list of sources to its end, or until stopped.

    `deliver` gets each settled outcome with a record (the library's streams); `taken` must then be
    called for each one that the consumer took. `free_bytes` tells how much the disk has left.
    """

    def __init__(
        self,
        plan: Plan,
        ports: Ports,
        policies: Policies,
        rules: BodyRules,
        intake: Intake,
        *,
        deliver: Callable[[Outcome], None] | None = None,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        most = ports.backend.traits.most_exchanges
        if most is not None and most < plan.concurrency:
            plan = msgspec.structs.replace(plan, concurrency=most)
        self._plan = plan
        self._deliver = deliver
        self._free_bytes = free_bytes
        recorder = Recorder(ports.backend.traits.name, keeps_bodies=plan.keeps_bodies)
        self._context = Context(ports, policies, rules, recorder, plan.concurrency)
        self._intake = intake
        self._cap = max(LEAST_PER_HOST, 2 * plan.per_host)
        self._window = max(LEAST_WINDOW, 2 * plan.concurrency * self._cap // plan.per_host)
        self._most_claimed = 16 * self._window
        self._loads: Counter[str] = Counter()  # claimed and not settled, by host
        self._full: set[str] = set()  # hosts that may have more than they were allowed to claim
        self._may_have_more = True
        self._is_claiming = False
        self._claim_wanted = asyncio.Event()
        self._watches: list[Watch] = []
        self._over = asyncio.Event()
        self._stop_wanted = asyncio.Event()
        self._stops = 0
        self._pending = 0
        self._undelivered = 0
        self._input_ended = False
        self._added = Added()
        self._left = 0
        self._started = 0.0
        self.stopped: str | None = None

    # -- what others see ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """How the run stands."""
        context, added = self._context, self._added
        scheduler = context.scheduler
        now = context.clock.now()
        finals = Counter(added.finals)
        finals.update(context.states)
        errors = Counter(added.errors)
        errors.update(context.errors)
        return Snapshot(
            listed=added.new + added.again + added.pending + sum(added.finals.values()),
            input_ended=self._input_ended,
            pending=self._pending,
            active=scheduler.active,
            waiting=scheduler.held,
            done=finals["done"],
            unchanged=finals["unchanged"],
            failed=finals["failed"],
            refused=finals["refused"],
            duplicates=added.duplicates,
            earlier=sum(added.finals.values()),
            bytes=context.stored_bytes,
            wire_bytes=context.wire_bytes,
            requests=context.requests,
            elapsed_s=now - self._started,
            errors=dict(errors),
            hosts=scheduler.busiest(BUSIEST, now),
        )

    def notice(self, level: str, text: str) -> None:
        """Tell the observers something once."""
        self._context.notice_once(level, text)

    def stop(self, why: str) -> None:
        """Stop cleanly: finish what is in flight within the grace period. Twice: at once."""
        self.stopped = self.stopped or why
        self._stops += 1
        self._context.is_stopping = True
        self._stop_wanted.set()

    def taken(self, outcome: Outcome) -> None:
        """The consumer of a stream has done with a result: its body's bytes are free."""
        if outcome.body is not None:
            outcome.body.discard()
        self._undelivered -= 1
        self._feeder.nudge()

    # -- the run -------------------------------------------------------------------------------------

    async def run(self, sources: Sequence[Source]) -> Summary:
        """Run to the end.

        Raises:
            StorageError, ConfigError: what ended the run; what was settled is safe.
            Exception: what a source raised, or a defect; as itself, never in a group.

        Cancelling abandons what is in flight; it stays pending.
        """
        context = self._context
        failures: list[BaseException] = []
        self._started = context.clock.now()
        is_complete = False
        withheld = 0
        try:
            counts = await context.frontier.open()
            self._pending = self._left = counts.pending
            context.emit(RunStarted(counts.pending))
            self._on_tick()
            async with asyncio.TaskGroup() as tasks:
                await self._conduct(tasks, sources)
            withheld = (await context.frontier.counts()).withheld if context.frontier.is_durable else 0
            if withheld and self.stopped is None:
                self._tell_withheld(withheld)
            is_complete = self._input_ended and self._pending == 0 and self.stopped is None
        except BaseExceptionGroup as group:  # `except*` would raise a group again before Python 3.11.4
            failures.append(_first(group))
        finally:
            context.scheduler.close()
            await context.frontier.aclose(complete=is_complete)
        if failures:
            raise failures.pop()  # out here, so that its own cause stays what it was
        final = self.snapshot()
        context.emit(RunEnded(final, self.stopped))
        return Summary(
            done=final.done,
            unchanged=final.unchanged,
            failed=final.failed,
            refused=final.refused,
            pending=final.pending,
            withheld=withheld,
            duplicates=final.duplicates,
            earlier=final.earlier,
            bytes=final.bytes,
            wire_bytes=final.wire_bytes,
            requests=final.requests,
            elapsed=final.elapsed_s,
            errors=final.errors,
            stopped=self.stopped,
        )

    async def _conduct(self, tasks: asyncio.TaskGroup, sources: Sequence[Source]) -> None:
        context, plan = self._context, self._plan
        is_durable = context.frontier.is_durable
        settler = Settler(
            context, self._on_settled, linger_s=LINGER_S if is_durable else 0.0, encodes=is_durable
        )
        context.settle = settler.put
        context.on_idle = settler.hurry
        workers: set[asyncio.Task[None]] = set()

        def spawn() -> bool:
            if len(workers) >= plan.concurrency or context.is_stopping:
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
        self._feeder = Feeder(
            context,
            sources,
            self._intake,
            ahead=plan.ahead,
            under_way=lambda: self._pending + self._undelivered,
            on_added=self._on_added,
        )
        settling = tasks.create_task(settler.run())
        others = [
            tasks.create_task(self._claim_forever()),
            tasks.create_task(watch(self._watches, plan.limits, context.clock.now, self._on_tick)),
        ]
        feeding = tasks.create_task(self._feed())
        if plan.deadline_s is not None:
            others.append(tasks.create_task(self._stop_at(plan.deadline_s)))
        over = asyncio.create_task(self._over.wait())
        stop = asyncio.create_task(self._stop_wanted.wait())
        try:
            await asyncio.wait({over, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                feeding.cancel()
                await self._wind_down(workers, settler)
            context.dismiss()
            settler.close()
            await settling
        finally:
            for task in (over, stop, feeding, *others, *workers):
                task.cancel()

    async def _wind_down(self, workers: set[asyncio.Task[None]], settler: Settler) -> None:
        """Let what is in flight end within the grace period; a second stop ends it at once."""
        context = self._context
        context.dismiss()
        idle = asyncio.Event()

        def on_idle() -> None:
            settler.hurry()
            idle.set()

        context.on_idle = on_idle
        if context.scheduler.active and self._stops < 2:
            grace_s = self._plan.grace_s
            context.emit(
                Notice("info", f"stopping: up to {grace_s:g} s for what is in flight; again ends it")
            )
            self._stop_wanted.clear()
            again = asyncio.create_task(self._stop_wanted.wait())
            ended = asyncio.create_task(idle.wait())
            await asyncio.wait({again, ended}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            ended.cancel()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _feed(self) -> None:
        try:
            await self._feeder.run()
        except ConfigError as error:
            added = self._added
            if not (added.new or added.again or added.pending or added.finals):
                raise
            # What was read is fetched all the same; the run ends as one that was stopped.
            self.stopped = self.stopped or "input-failed"
            self._context.emit(Notice("error", error.message))
        else:
            unlisted = self._left - self._added.pending
            if unlisted > 0:
                self.notice("info", f"URLs that an earlier list left are fetched too: {unlisted:,}")
        self._input_ended = True
        self._check_over()

    def _on_added(self, added: Added) -> None:
        total = self._added
        total.new += added.new
        total.again += added.again
        total.duplicates += added.duplicates
        total.pending += added.pending
        for counts, more in ((total.finals, added.finals), (total.errors, added.errors)):
            for key, number in more.items():
                counts[key] = counts.get(key, 0) + number
        self._pending += added.new + added.again
        if added.new or added.again:
            self._may_have_more = True
            self._want_claim()

    # -- claiming ------------------------------------------------------------------------------------

    def _want_claim(self) -> None:
        if self._may_have_more and self._context.scheduler.live <= self._window // 2:
            self._claim_wanted.set()

    async def _claim_forever(self) -> None:
        """Keep the window filled: claim when it is half empty, as long as there may be more."""
        context = self._context
        scheduler = context.scheduler
        if self._pending:
            self._claim_wanted.set()
        while True:
            await self._claim_wanted.wait()
            self._claim_wanted.clear()
            while self._may_have_more and not context.is_stopping:
                limit = min(
                    self._window - scheduler.live,
                    self._most_claimed - scheduler.queued - scheduler.deferred,
                    CLAIM_AT_ONCE,
                )
                if limit <= 0:
                    break
                self._may_have_more = False  # unless something is added, settled, or got
                self._is_claiming = True
                jobs = await context.frontier.claim(limit, per_host=self._cap, now=context.clock.utc())
                self._is_claiming = False
                if jobs:
                    self._may_have_more = True
                    self._start(jobs)
                    await asyncio.sleep(0)
            self._check_over()

    def _start(self, jobs: list[Job]) -> None:
        """Hand claimed jobs to the scheduler; refused lines are settled at once."""
        context = self._context
        loads, cap = self._loads, self._cap
        now, utc = context.clock.now(), context.clock.utc()
        fetches = []
        for job in jobs:
            target = job.target
            if target is None:
                self._refuse(job, utc)
                continue
            host = target.host
            load = loads[host] = loads[host] + 1
            if load >= cap:
                self._full.add(host)
            fetch = begin_fetch(job)
            wait_s = job.not_before - utc
            if wait_s > 0:  # a hold that outlived its session; a clock that jumped must not stretch it
                context.scheduler.defer(fetch, now + min(wait_s, 3600.0))
            else:
                fetches.append(fetch)
        context.scheduler.push(fetches)

    def _refuse(self, job: Job, utc: float) -> None:
        slug, message = job.refusal or ("bad-url", "not a URL")
        extra = job.extra
        record = self._context.recorder.refused(
            job.url,
            utc,
            error=slug,
            message=message,
            source=job.source,
            line=job.line,
            meta=extra.meta if extra is not None else None,
        )
        self._context.settle(Outcome(job=job, record=record))

    # -- ending --------------------------------------------------------------------------------------

    def _on_settled(self, batch: list[Outcome]) -> None:
        """Everything that follows from a batch that is safe now."""
        loads, full = self._loads, self._full
        ended = 0
        for outcome in batch:
            if outcome.record is None:
                continue
            ended += 1
            host = outcome.job.host
            if host:
                load = loads[host] - 1
                if load:
                    loads[host] = load
                else:
                    del loads[host]
                if host in full and load <= self._cap // 2:
                    full.discard(host)
                    self._may_have_more = True
            if self._deliver is not None:
                self._undelivered += 1
                self._deliver(outcome)
            elif outcome.body is not None:
                outcome.body.discard()
        self._pending -= ended
        failures = self._plan.max_failures
        if failures is not None and self._context.states["failed"] >= failures and not self.stopped:
            self.stop("max-failures")
        self._feeder.nudge()
        self._want_claim()
        self._check_over()

    def _check_over(self) -> None:
        if self._input_ended and self._pending == 0:
            self._over.set()
        elif self._input_ended and not (self._may_have_more or self._is_claiming):
            context = self._context
            scheduler = context.scheduler
            busy = scheduler.active + scheduler.queued + scheduler.deferred + context.unsettled
            if not busy and not context.is_stopping:
                raise RuntimeError(f"{self._pending} URLs are pending and the frontier gives none of them")

    def _tell_withheld(self, number: int) -> None:
        self._context.emit(
            Notice(
                "warning",
                f"{number} URLs of an earlier list wait: their credentials are not kept; list them again",
            )
        )

    async def _stop_at(self, deadline_s: float) -> None:
        await asyncio.sleep(deadline_s)
        if not self.stopped:  # a second stop would cut the grace period short
            self.stop("deadline")

    def _on_tick(self) -> None:
        """Once a second or so: is there room on the disk?"""
        least = self._plan.min_free
        if least and self._free_bytes is not None and not self.stopped and self._free_bytes() < least:
            self._context.emit(Notice("error", f"less than {least:,} bytes free on the disk; stopping"))
            self.stop("disk-full")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the run; one that is not ours goes first, for it is a defect or the caller's."""
    ours, others = group.split(FetcherError)
    error: BaseException | None = others or ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None
    return error
