"""One run of the engine: feeds, claims, fetches, settles, and ends without polling.

Invariants: `pending` is the number of URLs in the frontier that are not final, so the run is over when
the input has ended and `pending` is 0; every task lives in one TaskGroup; whatever ends the run, what
was settled is safe, and the frontier and every source are closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from fetcher.engine.body import BodyRules
from fetcher.engine.context import Policies, Ports
from fetcher.engine.crew import LocalCrew
from fetcher.engine.feeder import Feeder
from fetcher.engine.intake import Intake
from fetcher.engine.ledger import Ledger
from fetcher.engine.plan import Plan
from fetcher.engine.settler import LINGER_S, Settler
from fetcher.errors import ConfigError, FetcherError
from fetcher.events import Notice, RunEnded, RunStarted, Snapshot
from fetcher.model import Added, Counts, Findings, Job, Outcome, Summary
from fetcher.ports import Crew, Source

CLAIM_AT_ONCE = 128  # a few milliseconds on the loop
BUSIEST = 5


class Run:
    """Runs a list of sources to its end, or until stopped.

    `deliver` gets each settled outcome with a record (the library's streams); `taken` must then be
    called for each one that the consumer took. `review` may keep an outcome before it is settled, and
    gives it back by `reviewed`: so a crawl's consumer adds links to a page. `free_bytes` tells how much
    the disk has left.
    """

    def __init__(
        self,
        plan: Plan,
        crew: Crew,
        ledger: Ledger,
        intake: Intake,
        *,
        deliver: Callable[[Outcome], None] | None = None,
        review: Callable[[Outcome], bool] | None = None,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._plan = plan
        self._crew = crew
        self._ledger = ledger
        self._deliver = deliver
        self._review = review
        self._free_bytes = free_bytes
        self._intake = intake
        self._cap = crew.per_host
        self._loads: Counter[str] = Counter()  # claimed and not settled, by host
        self._full: set[str] = set()  # hosts that may have more than they were allowed to claim
        self._may_have_more = True
        self._is_claiming = False
        self._claim_wanted = asyncio.Event()
        self._over = asyncio.Event()
        self._stop_wanted = asyncio.Event()
        self._stop_at_once = asyncio.Event()
        self._pending = 0
        self._undelivered = 0
        self._input_ended = False
        self._added = Added()
        self._counts = Counts()  # at the beginning; of a crawl, then those at its end
        self._findings = Findings()
        self._has_ended = False
        self._started = 0.0
        self.stopped: str | None = None

    @classmethod
    def local(
        cls,
        plan: Plan,
        ports: Ports,
        policies: Policies,
        rules: BodyRules,
        intake: Intake,
        *,
        deliver: Callable[[Outcome], None] | None = None,
        review: Callable[[Outcome], bool] | None = None,
        free_bytes: Callable[[], int] | None = None,
    ) -> Run:
        """A run whose exchanges are performed by tasks of this loop."""
        crew = LocalCrew(plan, ports, policies, rules)
        return cls(plan, crew, crew.ledger, intake, deliver=deliver, review=review, free_bytes=free_bytes)

    # -- what others see ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """How the run stands."""
        ledger, added, crew = self._ledger, self._added, self._crew
        earlier = self._earlier()
        finals = Counter(earlier)
        finals.update(ledger.states)
        errors = Counter(added.errors)
        errors.update(ledger.errors)
        if self._plan.follows:
            listed = self._pending + sum(finals.values())
        else:
            listed = added.new + added.again + added.pending + sum(added.finals.values())
        return Snapshot(
            listed=listed,
            input_ended=self._input_ended,
            pending=self._pending,
            active=crew.active,
            waiting=crew.waiting,
            done=finals["done"],
            unchanged=finals["unchanged"],
            failed=finals["failed"],
            refused=finals["refused"],
            duplicates=added.duplicates,
            earlier=sum(earlier.values()),
            bytes=ledger.stored_bytes,
            wire_bytes=ledger.wire_bytes,
            requests=ledger.requests,
            elapsed_s=ledger.clock.now() - self._started,
            errors=dict(errors),
            left_out=self._findings.left_out,
            hosts=crew.busiest(BUSIEST),
        )

    def _earlier(self) -> dict[str, int]:
        """How many URLs ended how before this session: those of the list, of a crawl all."""
        if not self._plan.follows:
            return self._added.finals
        counts, states = self._counts, self._ledger.states
        ended = {name: getattr(counts, name) for name in ("done", "unchanged", "failed", "refused")}
        if not self._has_ended:
            return ended
        return {name: max(number - states[name], 0) for name, number in ended.items()}

    def notice(self, level: str, text: str) -> None:
        """Tell the observers something once."""
        self._ledger.notice_once(level, text)

    def stop(self, why: str) -> None:
        """Stop cleanly: finish what is in flight within the grace period. Twice: at once."""
        if self._stop_wanted.is_set():
            self._stop_at_once.set()
        self.stopped = self.stopped or why
        self._ledger.is_stopping = True
        self._stop_wanted.set()

    def taken(self, outcome: Outcome) -> None:
        """The consumer of a stream has done with a result: its body's bytes are free."""
        if outcome.body is not None:
            outcome.body.discard()
        self._undelivered -= 1
        self._feeder.nudge()

    def _settle_reviewed(self, outcome: Outcome) -> None:
        assert self._review is not None
        if self._review(outcome):
            self._ledger.unsettled += 1
        else:
            self._settler.put(outcome)

    def reviewed(self, outcome: Outcome) -> None:
        """An outcome that was kept is given back, to be settled."""
        self._ledger.unsettled -= 1
        self._settler.put(outcome)

    # -- the run -------------------------------------------------------------------------------------

    async def run(self, sources: Sequence[Source]) -> Summary:
        """Run to the end.

        Raises:
            StorageError, ConfigError: what ended the run; what was settled is safe.
            Exception: what a source raised, or a defect; as itself, never in a group.

        Cancelling abandons what is in flight; it stays pending.
        """
        ledger = self._ledger
        failures: list[BaseException] = []
        self._started = ledger.clock.now()
        is_complete = False
        withheld = 0
        try:
            counts = self._counts = await ledger.frontier.open()
            self._pending = counts.pending
            ledger.emit(RunStarted(counts.pending))
            self._on_tick()
            async with asyncio.TaskGroup() as tasks:
                await self._conduct(tasks, sources)
            withheld = (await ledger.frontier.counts()).withheld if ledger.frontier.is_durable else 0
            if withheld and self.stopped is None:
                self._tell_withheld(withheld)
            if self._plan.follows:
                await self._sum_up()
            is_done = self._pending == 0 or ledger.frontier.is_spent
            is_complete = self._input_ended and is_done and self.stopped is None
        except BaseExceptionGroup as group:  # `except*` would raise a group again before Python 3.11.4
            failures.append(_first(group))
        finally:
            try:
                await self._crew.aclose()
            finally:
                await ledger.frontier.aclose(complete=is_complete)
        if failures:
            raise failures.pop()  # out here, so that its own cause stays what it was
        final = self.snapshot()
        ledger.emit(RunEnded(final, self.stopped))
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
            findings=self._findings if self._plan.follows else None,
        )

    async def _sum_up(self) -> None:
        """The counts of a crawl, as its state has them."""
        frontier = self._ledger.frontier
        self._counts, self._findings = await frontier.counts(), await frontier.findings()
        self._has_ended = True
        self._pending = self._counts.pending
        if self._pending and self.stopped is None and frontier.is_spent:
            self.notice("info", "no more pages were claimed than --max-pages allows; a larger number goes on")

    async def _conduct(self, tasks: asyncio.TaskGroup, sources: Sequence[Source]) -> None:
        ledger, plan, crew = self._ledger, self._plan, self._crew
        settler = Settler(
            ledger,
            self._on_settled,
            linger_s=LINGER_S if ledger.frontier.is_durable else 0.0,
            encodes=ledger.frontier.is_durable,
        )
        self._settler = settler
        ledger.settle = settler.put if self._review is None else self._settle_reviewed
        crew.start(tasks, on_idle=settler.hurry, on_tick=self._on_tick)
        self._feeder = Feeder(
            ledger.frontier,
            sources,
            self._intake,
            ahead=plan.ahead,
            under_way=lambda: self._pending + self._undelivered,
            on_added=self._on_added,
        )
        settling = tasks.create_task(settler.run())
        others = [tasks.create_task(self._claim_forever())]
        feeding = tasks.create_task(self._feed())
        if plan.deadline_s is not None:
            others.append(tasks.create_task(self._stop_at(plan.deadline_s)))
        over = asyncio.create_task(self._over.wait())
        stop = asyncio.create_task(self._stop_wanted.wait())
        try:
            await asyncio.wait({over, stop}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                await crew.finish()
            else:
                feeding.cancel()
                await crew.wind_down(plan.grace_s, self._stop_at_once)
            settler.close()
            await settling
        finally:
            for task in (over, stop, feeding, *others):
                task.cancel()
            crew.cancel()

    async def _feed(self) -> None:
        try:
            await self._feeder.run()
        except ConfigError as error:
            added = self._added
            if not (added.new or added.again or added.pending or added.finals):
                raise
            # What was read is fetched all the same; the run ends as one that was stopped.
            self.stopped = self.stopped or "input-failed"
            self._ledger.emit(Notice("error", error.message))
        else:
            unlisted = self._counts.pending - self._added.pending
            if unlisted > 0 and not self._plan.follows:
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
        if self._may_have_more and self._crew.is_hungry:
            self._claim_wanted.set()

    async def _claim_forever(self) -> None:
        """Keep the window filled: claim when it is half empty, as long as there may be more."""
        ledger, crew = self._ledger, self._crew
        if self._pending or self._plan.follows:  # of a crawl only a claim tells that all is over
            self._claim_wanted.set()
        while True:
            await self._claim_wanted.wait()
            self._claim_wanted.clear()
            while self._may_have_more and not ledger.is_stopping:
                limit = min(crew.room, CLAIM_AT_ONCE)
                if limit <= 0:
                    break
                self._may_have_more = False  # unless something is added, settled, or got
                self._is_claiming = True
                jobs = await ledger.frontier.claim(limit, per_host=self._cap, now=ledger.clock.utc())
                self._is_claiming = False
                if jobs:
                    self._may_have_more = True
                    self._start(jobs)
                    await asyncio.sleep(0)
            self._check_over()

    def _start(self, jobs: list[Job]) -> None:
        """Hand claimed jobs to the crew; refused ones are settled at once."""
        loads, cap = self._loads, self._cap
        utc = self._ledger.clock.utc()
        taken = []
        for job in jobs:
            host = job.host
            if host:
                load = loads[host] = loads[host] + 1
                if load >= cap:
                    self._full.add(host)
            if job.target is None or job.refusal is not None:
                self._refuse(job, utc)
            else:
                taken.append(job)
        self._crew.take(taken)

    def _refuse(self, job: Job, utc: float) -> None:
        slug, message = job.refusal or ("bad-url", "not a URL")
        record = self._ledger.recorder.refused(job, utc, error=slug, message=message)
        self._ledger.settle(Outcome(job=job, record=record, links=() if self._plan.follows else None))

    # -- ending --------------------------------------------------------------------------------------

    def _on_settled(self, batch: list[Outcome], discovered: int) -> None:
        """Everything that follows from a batch that is safe now."""
        loads, full = self._loads, self._full
        ended = 0
        for outcome in batch:
            if outcome.deferral is not None:
                continue
            ended += outcome.job.kind != "robots"  # which no list and no page holds
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
        self._pending += discovered - ended
        if self._plan.follows:  # found links, a robots.txt that came: what was not to be had may be now
            self._may_have_more = True
        failures = self._plan.max_failures
        if failures is not None and self._ledger.states["failed"] >= failures and not self.stopped:
            self.stop("max-failures")
        self._crew.settled(batch)
        self._feeder.nudge()
        self._want_claim()
        self._check_over()

    def _check_over(self) -> None:
        if not self._input_ended or self._over.is_set():
            return
        if self._pending == 0 and not self._plan.follows:
            self._over.set()
            return
        if self._may_have_more or self._is_claiming or self._crew.is_busy or self._ledger.unsettled:
            return
        if self._pending == 0 or self._ledger.frontier.is_spent:
            self._over.set()
        elif not self._ledger.is_stopping:
            raise RuntimeError(f"{self._pending} URLs are pending and the frontier gives none of them")

    def _tell_withheld(self, number: int) -> None:
        self._ledger.emit(
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
        """Once a second or so: is there room on the disk, and, where hosts wait, for other work?"""
        least = self._plan.min_free
        if least and self._free_bytes is not None and not self.stopped and self._free_bytes() < least:
            self._ledger.emit(Notice("error", f"less than {least:,} bytes free on the disk; stopping"))
            self.stop("disk-full")
        self._want_claim()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the run; one that is not ours goes first, for it is a defect or the caller's."""
    ours, others = group.split(FetcherError)
    error: BaseException | None = others or ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None
    return error
