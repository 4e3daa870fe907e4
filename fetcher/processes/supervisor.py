"""The supervisor of worker processes: it gives them a run's jobs, and replaces those that die.

Invariants: a job that was taken is in exactly one worker's `assigned` until its outcome has come; when a
worker dies without having left, its jobs go to the one that replaces it. A job that was with several
workers when they died is given to fewer and fewer others at once, until it stands alone; then it is the
one that fails. A worker that shows no sign of life is killed, so that nothing of what it had is done
twice, whenever it wakes. No process outlives `aclose`.

Over 400 lines, because a job's ways between workers, their deaths and its outcome are one set of states.
"""

from __future__ import annotations

import asyncio
import heapq
import operator
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias

from fetcher.errors import FetcherError, WorkerDied
from fetcher.events import Event, LogMessage
from fetcher.model import FinalState, Holdup, Job, Outcome, Record
from fetcher.policy.bottleneck import add_holdups
from fetcher.ports import Frontier
from fetcher.processes import messages as msg
from fetcher.processes.partition import Partition, share_of
from fetcher.processes.worker_handle import MOST_ASSIGNED, WINDOW, WorkerHandle
from fetcher.subprocesses.kernel import EarlyDeaths

_LEAST_PER_HOST = 32
_AHEAD_PER_HOST = 512  # of one host, for each worker, so that it never waits for the next frame
_MOST_IMBALANCE = 64  # how many jobs more than others the preferred worker of a host may have
_BATCH_BY_DEATHS = (WINDOW, WINDOW, 64, 8, 1)  # jobs in hand that were with so many workers when they died
SILENCE_S = 60.0  # without a sign of life, beyond which a worker is replaced; one shows a second
_TICK_S = 1.0
_START_S = 60.0  # until the first
_LEAVE_S = 10.0
_EXIT_S = 3.0


class OutcomeSink(Protocol):
    """The queue that outcomes go to."""

    def put(self, outcome: Outcome) -> None: ...
    def flush(self) -> None: ...


class Counters(Protocol):
    """The counters that the pool keeps."""

    requests: int
    wire_bytes: int


class EventSink(Protocol):
    """The way to the observers."""

    def emit(self, event: Event) -> None: ...
    def notice_once(self, level: str, text: str) -> None: ...


class PoolContext(Protocol):
    """The parts of a run that the pool needs."""

    @property
    def frontier(self) -> Frontier: ...
    @property
    def outcomes(self) -> OutcomeSink: ...
    @property
    def stats(self) -> Counters: ...
    @property
    def events(self) -> EventSink: ...

    def unfetched(self, job: Job, state: FinalState, *, error: str, message: str) -> Record: ...


Launch: TypeAlias = Callable[[int], tuple[str, bytes]]  # of an index: code to run, and its first frame


class WorkerPool:
    """Implementation of `ports.ExchangePool` with `partition.count` worker processes.

    `launch` says how one is started; `divides_rate` that a rate or a bandwidth is divided among them.
    `keep` are descriptors that every worker holds open until it ends, such as a lock's. `silence_s` is how
    long a worker may show no sign of life; it is counted in turns of this loop, so a program that was
    suspended blames nobody.
    """

    def __init__(
        self,
        partition: Partition,
        context: PoolContext,
        launch: Launch,
        *,
        per_host: int,
        divides_rate: bool = False,
        keep: Sequence[int] = (),
        silence_s: float = SILENCE_S,
    ) -> None:
        self._partition = partition
        self._context = context
        self._stats = context.stats
        self._events = context.events
        self._launch = launch
        self._divides_rate = divides_rate
        self._part = 1.0  # of both, that this pool has
        self._keep = tuple(keep)
        self._silence_s = silence_s
        self.per_host = max(_LEAST_PER_HOST, 2 * per_host) + _AHEAD_PER_HOST * partition.count
        self._workers = [WorkerHandle(index, self._on_frame) for index in range(partition.count)]
        self._ack_to: dict[int, WorkerHandle] = {}  # by the outcome's identity: a job may have two under way
        self._deaths: Counter[int] = Counter()  # by job: workers that died while they had it
        self._slowed: set[str] = set()  # hosts with a crawl-delay
        self._holdups: list[Holdup] = []  # of workers that died
        self._early_deaths = EarlyDeaths()
        self._is_closing = False
        self._adjusted: tuple[int, bool] | None = None  # concurrency in all, and whether there is a pause
        self._keepers: list[asyncio.Task[None]] = []
        self._ticking: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup

    # -- what the run asks ---------------------------------------------------------------------------

    @property
    def room(self) -> int:
        if any(len(worker.assigned) >= MOST_ASSIGNED for worker in self._workers):
            return 0  # whatever is claimed may be that one's
        return sum(max(0, worker.room) for worker in self._workers)

    @property
    def is_hungry(self) -> bool:
        return any(worker.room >= WINDOW // 2 for worker in self._workers)

    @property
    def is_busy(self) -> bool:
        return any(worker.assigned or worker.suspects for worker in self._workers)

    @property
    def active(self) -> int:
        return sum(worker.stats.active for worker in self._workers)

    @property
    def waiting(self) -> int:
        return sum(worker.stats.waiting for worker in self._workers)

    @property
    def growing_bytes(self) -> int:
        return sum(worker.stats.growing_bytes for worker in self._workers)

    def growing(self, most: int) -> list[tuple[str, int, int | None]]:
        """Return the largest bodies in flight of all workers."""
        rows = [row for worker in self._workers for row in worker.growing]
        return heapq.nlargest(most, rows, key=operator.itemgetter(1))

    def busiest(self, most: int) -> list[tuple[str, int, int, str]]:
        """Return the workers' busiest hosts; one that several ask counts once."""
        rows: dict[str, list[tuple[str, int, int, str]]] = defaultdict(list)
        for worker in self._workers:
            for row in worker.hosts:
                rows[row[0]].append(row)
        hosts = [
            (name, sum(row[1] for row in own), sum(row[2] for row in own), max(row[3] for row in own))
            for name, own in rows.items()
        ]
        return sorted(hosts, key=lambda row: (-row[1], -row[2], row[0]))[:most]

    def holdups(self) -> list[Holdup]:
        """Return the sums of all workers."""
        return add_holdups([*self._holdups, *(each for worker in self._workers for each in worker.holdups)])

    # -- work ----------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup, *, on_tick: Callable[[], None]) -> None:
        self._group = tasks
        self._keepers = [tasks.create_task(self._keep_one(index)) for index in range(self._partition.count)]
        self._ticking = tasks.create_task(self._tick(on_tick))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Give each job to the worker whose host it is, or to the one with least to do."""
        given: dict[int, list[Job]] = defaultdict(list)
        workers = self._workers
        held = [len(worker.assigned) - worker.stats.waiting for worker in workers]
        for job in jobs:
            if job.crawl_delay_s:
                self._slowed.add(job.host)
            index = self._partition.owner(job.host)
            if not (self._partition.is_pinned(job.host) or job.host in self._slowed):
                least = min(range(len(workers)), key=held.__getitem__)
                if held[index] > held[least] + _MOST_IMBALANCE:
                    index = least
            held[index] += 1
            workers[index].assigned[job.id] = job
            given[index].append(job)
        self._divide()
        for index, own in given.items():
            workers[index].send(msg.Assign(own))

    def adjust(self, concurrency: int, *, is_paused: bool) -> None:
        self._adjusted = concurrency, is_paused
        for worker in self._workers:
            self._adjust(worker)

    def take_part(self, part: float) -> None:
        """See the port."""
        self._part = part
        self._divide()

    def _adjust(self, worker: WorkerHandle) -> None:
        if self._adjusted is not None:
            concurrency, is_paused = self._adjusted
            own = max(1, share_of(concurrency, worker.index, self._partition.count))
            worker.send(msg.Adjust(own, is_paused))

    def abandon(self, number: int) -> None:
        """Let it come to its end: workers have no calls of the library."""

    def settled(self, batch: Sequence[Outcome]) -> None:
        safe: Counter[WorkerHandle] = Counter()
        for outcome in batch:
            worker = self._ack_to.pop(id(outcome), None)
            if worker is not None:
                safe[worker] += 1
        for worker, number in safe.items():
            worker.send(msg.Ack(number))

    def _divide(self) -> None:
        """Rate and bandwidth go to the workers that have work, in equal parts; less is said before more."""
        if not self._divides_rate:
            return
        busy = [worker for worker in self._workers if worker.assigned]
        part = self._part / max(1, len(busy))
        for worker in sorted(busy, key=lambda worker: part - worker.part):
            if worker.part != part:
                worker.part = part
                worker.send(msg.SetShare(part))
        for worker in self._workers:
            if not worker.assigned:
                worker.part = 0.0  # it starts nothing, and is told before it gets any

    # -- what workers say ----------------------------------------------------------------------------

    def _on_frame(self, worker: WorkerHandle, frame: memoryview) -> None:
        try:
            self._receive(worker, msg.decode_for_parent(frame))
        except Exception as error:  # noqa: BLE001  (out of a callback it would be lost)
            worker.error = error
            worker.child.hang_up()

    def _receive(self, worker: WorkerHandle, message: msg.ToParent) -> None:
        worker.was_heard = True
        worker.silent_s = 0.0
        if isinstance(message, msg.Outcomes):
            for ended in message.ended:
                self._ended(worker, ended)
            self._loaded(worker, message.stats)
            if worker.suspects:
                self._send_suspects(worker)
            self._divide()
            if not self.is_busy:
                self._context.outcomes.flush()
        elif isinstance(message, msg.Heartbeat):
            self._loaded(worker, message.stats)
            worker.hosts = message.hosts
            worker.growing = message.growing
            worker.holdups = message.holdups
        elif isinstance(message, msg.Growth):
            self._keep_parts(worker, message)
        elif isinstance(message, msg.Retry):
            self._events.emit(message.event)
        elif isinstance(message, msg.ThrottleReport):
            held = message.event
            self._events.emit(held)
            for other in self._workers:
                if other is not worker:
                    other.send(msg.ThrottleHost(held.host, held.seconds, held.reason))
        elif isinstance(message, msg.LogReport):
            self._events.notice_once(message.event.level, message.event.text)
        elif isinstance(message, msg.Query):
            self._in_group(self._answer(worker, message))
        elif isinstance(message, msg.NameQuery):
            self._in_group(self._name(worker, message))
        elif isinstance(message, msg.Transfer):
            self._transfer(worker, message)
        elif isinstance(message, msg.Failed):
            worker.error = pickle.loads(message.error)  # noqa: S301  (our own process wrote it)
            worker.lost.set()
        elif isinstance(message, msg.Goodbye):
            worker.has_left = True
            worker.lost.set()

    def _keep_parts(self, worker: WorkerHandle, message: msg.Growth) -> None:
        """Store how far bodies have come: the next worker, or the next run, goes on from there."""
        parts = []
        for number, part in message.parts:
            job = worker.assigned.get(number)
            if job is not None:
                job.part = part
                parts.append((number, part))
        if parts:
            self._in_group(self._context.frontier.keep_parts(parts))

    def _loaded(self, worker: WorkerHandle, stats: msg.LoadReport) -> None:
        self._stats.requests += stats.requests - worker.stats.requests
        self._stats.wire_bytes += stats.wire_bytes - worker.stats.wire_bytes
        worker.stats = stats

    def _ended(self, worker: WorkerHandle, ended: msg.Ended) -> None:
        deferral = ended.deferral
        job = worker.assigned.get(ended.id)
        if job is None:
            job = self._transferred(worker, ended)
            if job is None:
                worker.send(msg.Ack(1))
                return
        job.waited_s = ended.waited_s
        if deferral is not None:  # it stays in hand; if its worker dies, another goes on from here
            job.attempts, job.not_before, job.history = (
                deferral.attempts,
                deferral.not_before,
                deferral.history,
            )
            job.part = ended.part
            self._settle(
                worker,
                Outcome(
                    job=job,
                    deferral=deferral,
                    part=ended.part,
                    archived=ended.archived,
                    timings=ended.timings,
                ),
            )
            return
        del worker.assigned[job.id]
        if self._deaths:
            worker.quarantined.discard(job.id)
            self._deaths.pop(job.id, None)
        self._settle(
            worker,
            Outcome(
                job=job,
                record=ended.record,
                part=ended.part,
                history=ended.history,
                line=ended.line,
                links=ended.links,
                data=ended.data,
                robots=ended.robots,
                fault=ended.fault,
                archived=ended.archived,
                timings=ended.timings,
                error=FetcherError(ended.message) if ended.message else None,
            ),
        )

    def _settle(self, worker: WorkerHandle, outcome: Outcome) -> None:
        self._ack_to[id(outcome)] = worker  # it lives until it is settled
        self._context.outcomes.put(outcome)

    def _transferred(self, worker: WorkerHandle, ended: msg.Ended) -> Job | None:
        """Return the job of a deferral that was overtaken by the job's hand-over, unless it is old news."""
        if ended.deferral is None:
            raise RuntimeError(f"worker {worker.index} settled job {ended.id}, which it was not given")
        for other in self._workers:
            job = other.assigned.get(ended.id)
            if job is not None and job.attempts < ended.deferral.attempts:
                return job
        return None

    def _in_group(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            task = self._group.create_task(work)
        except RuntimeError:  # the group is ending: nobody waits for it any more
            work.close()
            return
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _answer(self, worker: WorkerHandle, question: msg.Query) -> None:
        answer = await self._context.frontier.is_user_host(question.name, question.port)
        worker.send(msg.QueryReply(question.number, answer))

    async def _name(self, worker: WorkerHandle, question: msg.NameQuery) -> None:
        job = worker.assigned.get(question.id)
        if job is not None:
            job.hints = question.hints
            await self._context.frontier.name_file(job)
            worker.send(msg.NameReply(question.number, job.path, job.is_foreign))

    def _transfer(self, worker: WorkerHandle, message: msg.Transfer) -> None:
        """A chain of hops goes on in another worker; if that dies, it begins again there."""
        job = worker.assigned.pop(message.id)
        worker.quarantined.discard(job.id)
        owner = self._workers[message.owner]
        owner.assigned[job.id] = job
        self._divide()
        owner.send(msg.Adopt(message.fetch))
        if worker.suspects:
            self._send_suspects(worker)

    # -- life and death ------------------------------------------------------------------------------

    async def _keep_one(self, index: int) -> None:
        """Keep one worker going until it leaves: one that dies is replaced."""
        while True:
            worker = self._workers[index]
            try:
                await worker.start(*self._launch(index), self._keep)
            except OSError as error:
                raise WorkerDied(
                    f"a worker process can't be started: {error.strerror}",
                    hint="look at the limits on processes and open files, or run with fewer --processes",
                ) from error
            await worker.lost.wait()
            code = await worker.child.wait(_LEAVE_S)
            worker.child.hang_up()
            if worker.error is not None:
                raise worker.error
            if worker.has_left or self._is_closing:
                return
            self._replace(worker, code)

    async def _tick(self, on_tick: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for worker in self._workers:
                self._end_silent(worker)
            on_tick()

    def _end_silent(self, worker: WorkerHandle) -> None:
        worker.silent_s += _TICK_S
        most_s = self._silence_s if worker.was_heard else max(self._silence_s, _START_S)
        if worker.silent_s > most_s and worker.child.was_started and not self._is_closing:
            worker.was_silent = True
            worker.child.kill()
            worker.child.hang_up()

    def _replace(self, worker: WorkerHandle, code: int | None) -> None:
        """Put a new worker in the place of one that died, with its jobs."""
        if worker.was_heard:
            self._early_deaths.reset()
        else:
            self._early_deaths.count(
                f"worker processes end as they start (exit code {code})",
                hint="look at what they printed, or run without --processes",
            )
        how = f"died (exit code {code})"
        if worker.was_silent:
            how = f"showed no sign of life for {worker.silent_s:.0f} s and was killed"
        self._events.emit(LogMessage("warning", f"a worker process {how}; another goes on"))
        self._ack_to = {number: owner for number, owner in self._ack_to.items() if owner is not worker}
        successor = self._workers[worker.index] = WorkerHandle(worker.index, self._on_frame)
        self._adjust(successor)
        self._holdups = add_holdups([*self._holdups, *worker.holdups])
        for job in worker.assigned.values():
            if worker.was_heard:  # else it never came to its jobs
                self._deaths[job.id] += 1
                job.was_claimed = True  # a parser runs apart for it
            successor.suspects.append(job)
        successor.suspects.extend(worker.suspects)
        self._send_suspects(successor)

    def _send_suspects(self, worker: WorkerHandle) -> None:
        """Send jobs that were with a worker that died; the more deaths, the fewer are in hand at once."""
        suspects = worker.suspects
        jobs: list[Job] = []
        while suspects:
            deaths = self._deaths[suspects[0].id]
            if deaths >= len(_BATCH_BY_DEATHS):
                self._give_up(suspects.popleft())
                continue
            if len(worker.quarantined) + len(jobs) >= _BATCH_BY_DEATHS[deaths]:
                break
            jobs.append(suspects.popleft())
        for job in jobs:
            worker.assigned[job.id] = job
            worker.quarantined.add(job.id)
        if jobs:
            self._divide()
            worker.send(msg.Assign(jobs))

    def _give_up(self, job: Job) -> None:
        self._deaths.pop(job.id, None)
        message = f"each of {len(_BATCH_BY_DEATHS)} worker processes that had it died"
        if job.kind == "robots":  # it has no record
            self._context.outcomes.put(Outcome(job=job, error=FetcherError(message)))
            return
        record = self._context.unfetched(job, "failed", error=WorkerDied.slug, message=message)
        self._context.outcomes.put(Outcome(job=job, record=record, links=()))

    # -- ending --------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Let every worker leave."""
        self._is_closing = True
        await self._shut_down(msg.Finish(), _LEAVE_S, asyncio.Event())

    async def wind_down(self, grace_s: float, at_once: asyncio.Event) -> None:
        self._is_closing = True
        await self._shut_down(msg.Stop(grace_s, at_once=at_once.is_set()), grace_s + _LEAVE_S, at_once)

    async def _shut_down(self, message: msg.ToWorker, patience_s: float, at_once: asyncio.Event) -> None:
        """Tell every worker to leave, and wait until they have; kill those that don't.

        A process that has left has a moment to end: what runs at its exit belongs to a user's parser.
        """
        for worker in self._workers:
            worker.send(message)
        started = [worker for worker in self._workers if worker.child.was_started]
        first = asyncio.FIRST_COMPLETED
        hurry: asyncio.Future[Any] = asyncio.ensure_future(at_once.wait())
        lost: asyncio.Future[Any] = asyncio.gather(*(worker.lost.wait() for worker in started))
        ended: asyncio.Future[Any] = asyncio.gather(*self._keepers, return_exceptions=True)
        try:
            await asyncio.wait({lost, hurry}, timeout=patience_s, return_when=first)
            if hurry.done() and not lost.done():
                for worker in self._workers:
                    worker.send(msg.Stop(0.0, at_once=True))
                await asyncio.wait({lost}, timeout=_EXIT_S)
            await asyncio.wait({ended, hurry}, timeout=_EXIT_S, return_when=first)
        finally:
            for waiting in (hurry, lost):
                waiting.cancel()

    def cancel(self) -> None:
        for task in (*self._keepers, *self._asking):
            task.cancel()
        if self._ticking is not None:
            self._ticking.cancel()

    async def aclose(self) -> None:
        """No process is left: those that have not gone by themselves are killed."""
        self._is_closing = True
        for worker in self._workers:
            worker.child.hang_up()
            worker.child.kill()
        await asyncio.gather(*(worker.child.wait(_EXIT_S) for worker in self._workers))
