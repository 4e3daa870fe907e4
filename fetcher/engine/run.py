"""One run of the engine: feeds, claims, fetches, settles, and ends without polling.

Invariants: `pending` is the number of URLs in the frontier that are not final, so the run is over when
the input has ended and `pending` is 0; every task lives in one TaskGroup; whatever ends the run, what
was settled is safe, and the frontier and every source are closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from fetcher.engine.claim_loop import ClaimLoop
from fetcher.engine.input_pump import InputPump
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.room import NoRoom
from fetcher.engine.run_config import RunConfig
from fetcher.engine.run_context import RunContext
from fetcher.engine.settler import Settler
from fetcher.engine.stored_parser import StoredParser
from fetcher.errors import ConfigError, FetcherError
from fetcher.events import LogMessage, RunEnded, RunStarted, Snapshot
from fetcher.model import (
    FINAL_STATES,
    Added,
    Counts,
    CrawlFindings,
    Outcome,
    Summary,
)
from fetcher.policy.bottleneck import bottleneck_of
from fetcher.policy.checksums import ChecksumLists
from fetcher.ports import ExchangePool, Source

BUSIEST = 5
DISK_FULL = "disk-full"
MOST_CONCURRENCY = 100_000
_BOTTLENECK_EACH_S = 10.0
LARGEST = 3  # bodies in flight that a snapshot tells of


class Run:
    """Runs a list of sources to its end, or until stopped.

    `deliver` gets each settled outcome with a record (the library's streams); `ack` must then be called for
    each one that the consumer took. `stored` parses stored pages before the lists are read. `free_bytes`
    tells how much the disk has left. `lists` have checksums that what is claimed has to meet.
    """

    def __init__(
        self,
        config: RunConfig,
        context: RunContext,
        pool: ExchangePool,
        job_factory: JobFactory,
        *,
        lists: ChecksumLists | None = None,
        deliver: Callable[[Outcome], None] | None = None,
        stored: StoredParser | None = None,
        free_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._config = config
        self._context = context
        self._pool = pool
        self._stats = context.stats
        self._stop = context.stop
        self._lists = lists
        self._deliver = deliver
        self._stored = stored
        self._free_bytes = free_bytes
        self._settler = Settler(context, self._on_settled)
        self._input = InputPump(
            context.frontier,
            job_factory,
            ahead=config.ahead,
            under_way=lambda: self._pending + self._undelivered,
            on_added=self._on_added,
        )
        self._claims = ClaimLoop(config, context, pool, lists, on_idle=self._check_over)
        self._over = asyncio.Event()
        self._pending = 0
        self._undelivered = 0
        self._input_ended = False
        self._added = Added()
        self._counts = Counts()  # at the beginning; of a crawl, then those at its end
        self._findings = CrawlFindings()
        self._has_ended = False
        self._started = 0.0
        self._concurrency = config.concurrency
        self._is_paused = False
        self.stopped: str | None = None

    # -- what others see ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The counts of the run as it stands."""
        stats, added, pool = self._stats, self._added, self._pool
        elapsed_s = self._context.clock.now() - self._started
        earlier = self._earlier()
        finals = Counter(earlier)
        finals.update(stats.states)
        errors = Counter(added.errors)
        errors.update(stats.errors)
        if self._config.follows:
            listed = self._pending + sum(finals.values())
        else:
            listed = added.new + added.again + added.pending + sum(added.finals.values())
        return Snapshot(
            listed=listed,
            input_ended=self._input_ended,
            pending=self._pending,
            active=pool.active,
            waiting=pool.waiting,
            **{name: finals[name] for name in FINAL_STATES},
            duplicates=added.duplicates,
            earlier=sum(earlier.values()),
            bytes=stats.stored_bytes,
            wire_bytes=stats.wire_bytes + pool.growing_bytes,
            requests=stats.requests,
            elapsed_s=elapsed_s,
            is_stopping=self._stop.is_wanted,
            is_paused=self._is_paused,
            concurrency=self._concurrency,
            errors=dict(errors),
            left_out=self._findings.left_out,
            hosts=pool.busiest(BUSIEST),
            growing=pool.growing(LARGEST),
            bottleneck=bottleneck_of(pool.holdups(), self._config.speed, elapsed_s),
        )

    def _earlier(self) -> dict[str, int]:
        """Count by final state the URLs that ended before this session: those of the list, of a crawl all."""
        if not self._config.follows:
            return self._added.finals
        counts, states = self._counts, self._stats.states
        ended = counts.finals()
        if not self._has_ended:
            return ended
        return {name: max(number - states[name], 0) for name, number in ended.items()}

    def notice(self, level: str, text: str) -> None:
        """Tell the observers something once."""
        self._context.events.notice_once(level, text)

    def stop(self, why: str) -> None:
        """Stop cleanly: finish what is in flight within the grace period. Twice: at once."""
        self.stopped = self.stopped or why
        self._stop.request()

    def adjust(self, *, concurrency: int | None = None, is_paused: bool | None = None) -> None:
        """Change how many exchanges may be in flight, or pause: nothing more is started until that ends."""
        if concurrency is not None:
            self._concurrency = max(1, min(concurrency, MOST_CONCURRENCY))
        if is_paused is not None:
            self._is_paused = is_paused
        self._pool.adjust(self._concurrency, is_paused=self._is_paused)

    def take_part(self, part: float) -> None:
        """Have this part of the rate and the bandwidth that the settings allow; others have the rest."""
        self._pool.take_part(part)

    def ack(self, outcome: Outcome) -> None:
        """The consumer of a stream has done with a result: its body's bytes are free."""
        if outcome.body is not None:
            outcome.body.discard()
        self._undelivered -= 1
        self._input.wake()

    def abandon(self, number: int) -> None:
        """Let go of the URL of a number (`Job.id`) that nobody waits for any more; its outcome says so."""
        self._pool.abandon(number)

    def reviewed(self, outcome: Outcome) -> None:
        """Take back an outcome that `review` kept, to be settled."""
        self._context.outcomes.reviewed(outcome)

    # -- the run -------------------------------------------------------------------------------------

    async def run(self, sources: Sequence[Source]) -> Summary:
        """Run to the end.

        Raises:
            StorageError, ConfigError: what ended the run; what was settled is safe.
            Exception: what a source raised, or a defect; as itself, never in a group.

        Cancelling abandons what is in flight; it stays pending.
        """
        frontier, events = self._context.frontier, self._context.events
        failures: list[BaseException] = []
        self._started = self._context.clock.now()
        is_complete = False
        withheld = 0
        try:
            counts = self._counts = await frontier.open()
            self._pending = counts.pending
            events.emit(RunStarted(counts.pending))
            for note in frontier.notes:
                self.notice("warning", note)
            self._on_tick()
            async with asyncio.TaskGroup() as tasks:
                await self._conduct(tasks, sources)
            await self._keep_bottleneck()
            withheld = (await frontier.counts()).withheld if frontier.is_durable else 0
            if withheld and self.stopped is None:
                self.notice(
                    "warning",
                    f"{withheld} URLs of an earlier list wait: their credentials are not kept;"
                    " list them again",
                )
            if self._config.follows:
                await self._sum_up()
                self._tell_unused("nothing that was fetched")
            is_done = self._pending == 0 or frontier.is_spent
            # A list of which nothing is left is complete, even if it was stopped with its last URL.
            may_have_more = self.stopped == "input-failed" if not self._config.follows else self.stopped
            is_complete = self._input_ended and is_done and not may_have_more
        except BaseExceptionGroup as group:  # `except*` would raise a group again before Python 3.11.4
            failures.append(_first(group))
        finally:
            try:
                await self._pool.aclose()
            finally:
                await frontier.aclose(complete=is_complete)
        if failures and not self._has_no_room(failures[0]):
            raise failures.pop()  # out here, so that its own cause stays what it was
        final = self.snapshot()
        events.emit(RunEnded(final, self.stopped))
        return Summary(
            **final.finals(),
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
            findings=self._findings if self._config.follows else None,
        )

    def _has_no_room(self, error: BaseException) -> bool:
        """Take a disk at its floor for what it is: a run that was stopped, and can be continued."""
        if not isinstance(error, NoRoom):
            return False
        self._context.events.emit(LogMessage("error", error.message))
        self.stopped = self.stopped or DISK_FULL
        return True

    async def _sum_up(self) -> None:
        """The counts of a crawl, as its state has them."""
        frontier = self._context.frontier
        self._counts, self._findings = await frontier.counts(), await frontier.findings()
        self._has_ended = True
        self._pending = self._counts.pending
        if self._pending and self.stopped is None and frontier.is_spent:
            self.notice("info", "no more pages were claimed than --max-pages allows; a larger number goes on")

    async def _conduct(self, tasks: asyncio.TaskGroup, sources: Sequence[Source]) -> None:
        config, pool = self._config, self._pool
        pool.start(tasks, on_tick=self._on_tick)
        settling = tasks.create_task(self._settler.run())
        others = [tasks.create_task(self._claims.run(at_once=bool(self._pending)))]
        if self._context.frontier.is_durable:
            others.append(tasks.create_task(self._keep_bottleneck_forever()))
        feeding = tasks.create_task(self._feed(sources))
        if config.deadline_s is not None:
            others.append(tasks.create_task(self._stop_at(config.deadline_s)))
        over = asyncio.create_task(self._over.wait())
        stop = asyncio.create_task(self._stop.wanted.wait())
        try:
            await asyncio.wait({over, stop}, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                await pool.finish()
            else:
                feeding.cancel()
                await pool.wind_down(config.grace_s, self._stop.at_once)
            self._context.outcomes.close()
            await settling
        finally:
            for task in (over, stop, feeding, *others):
                task.cancel()
            pool.cancel()

    async def _feed(self, sources: Sequence[Source]) -> None:
        if self._stored is not None:
            await self._stored.run(self._context, lambda risen: self._on_added(Added(again=risen)))
        try:
            await self._input.run(sources)
        except ConfigError as error:
            added = self._added
            if not (added.new or added.again or added.pending or added.finals):
                raise
            # What was read is fetched all the same; the run ends as one that was stopped.
            self.stopped = self.stopped or "input-failed"
            self._context.events.emit(LogMessage("error", error.message))
        else:
            unlisted = self._counts.pending - self._added.pending
            if unlisted > 0 and not self._config.follows:
                self.notice("info", f"URLs that an earlier list left are fetched too: {unlisted:,}")
            if not self._config.follows:
                self._tell_unused("no URL of the list")
        self._input_ended = True
        self._check_over()

    def _tell_unused(self, what: str) -> None:
        """Tell how many lines of lists of checksums were of no use."""
        lists = self._lists
        if lists is not None and lists.unused:
            level = "warning" if lists.unused == lists.lines else "info"
            self.notice(level, f"of {lists.lines:,} checksums, {lists.unused:,} belong to {what}")

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
            self._claims.more_may_come()

    # -- ending --------------------------------------------------------------------------------------

    def _on_settled(self, batch: list[Outcome], discovered: int) -> None:
        """Draw all that follows from a batch that is safe now."""
        final = [outcome for outcome in batch if outcome.deferral is None]
        ended = 0
        self._claims.give_back([outcome.job for outcome in final])
        for outcome in final:
            ended += outcome.job.kind != "robots"  # which no list and no page holds
            if self._deliver is not None:
                self._undelivered += 1
                self._deliver(outcome)
            elif outcome.body is not None:
                outcome.body.discard()
        self._pending += discovered - ended
        failures = self._config.max_failures
        if failures is not None and self._stats.states["failed"] >= failures and not self.stopped:
            self.stop("max-failures")
        self._pool.settled(batch)
        self._input.wake()
        self._claims.want()
        self._check_over()

    def _check_over(self) -> None:
        if not self._input_ended or self._over.is_set():
            return
        if self._pending == 0 and not self._config.follows:
            self._over.set()
            return
        if self._claims.is_open or self._pool.is_busy or self._stats.unsettled:
            return
        if self._pending == 0 or self._context.frontier.is_spent:
            self._over.set()
        elif not self._stop.is_wanted:
            raise RuntimeError(f"{self._pending} URLs are pending and the frontier gives none of them")

    async def _keep_bottleneck_forever(self) -> None:
        while True:
            await asyncio.sleep(_BOTTLENECK_EACH_S)
            await self._keep_bottleneck()

    async def _keep_bottleneck(self) -> None:
        """Let the state know what holds the run back, for whoever asks it, now or after a kill."""
        frontier = self._context.frontier
        if frontier.is_durable and (bottleneck := self.snapshot().bottleneck) is not None:
            await frontier.keep_bottleneck(bottleneck)

    async def _stop_at(self, deadline_s: float) -> None:
        await asyncio.sleep(deadline_s)
        if not self.stopped:  # a second stop would cut the grace period short
            self.stop("deadline")

    def _on_tick(self) -> None:
        """Look, once a second or so, for room on the disk and, where hosts wait, for other work."""
        least = self._config.min_free
        if least and self._free_bytes is not None and not self.stopped and self._free_bytes() < least:
            self._context.events.emit(
                LogMessage("error", f"less than {least:,} bytes free on the disk; stopping")
            )
            self.stop(DISK_FULL)
        self._claims.want()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the run; one that is not ours goes first, for it is a defect or the caller's."""
    ours, others = group.split(FetcherError)
    error: BaseException | None = others or ours
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None
    return error
