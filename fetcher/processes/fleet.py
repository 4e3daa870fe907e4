"""The parent's end: worker processes as the crew of a run.

Invariants: a job that was taken is in exactly one member's `assigned` until its outcome has come; when a
member dies without having left, its jobs go to the one that replaces it. A job that was with several
members when they died is given to fewer and fewer others at once, until it stands alone; then it is the
one that fails. No process outlives `aclose`.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fetcher.errors import FetcherError, WorkerDied
from fetcher.events import Event, HostHeld, Notice, Retrying
from fetcher.model import Job, Outcome, Record
from fetcher.ports import Frontier
from fetcher.processes import messages as msg
from fetcher.processes.channel import Channel
from fetcher.processes.shares import Shares

_WINDOW = 1024  # jobs in a member's hands, apart from those that wait
_MOST_ASSIGNED = 16 * _WINDOW
_LEAST_PER_HOST = 32
_AHEAD_PER_HOST = 512  # of one host, for each member, so that it never waits for the next frame
_LEAN = 64  # how many jobs more than others the preferred member of a host may have
_AT_ONCE = (_WINDOW, _WINDOW, 64, 8, 1)  # jobs in hand that were with so many members when they died
_EARLY_DEATHS = 3
_LEAVE_S = 10.0
_EXIT_S = 3.0
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # by workers: they are ours to handle


class Books(Protocol):
    """What the fleet needs of the run's ledger."""

    frontier: Frontier
    settle: Callable[[Outcome], None]
    requests: int
    wire_bytes: int

    def emit(self, event: Event) -> None: ...
    def notice_once(self, level: str, text: str) -> None: ...


class Launch(Protocol):
    """How a worker process is started."""

    def __call__(self, index: int) -> tuple[list[str], bytes]:
        """The arguments after the interpreter's, and what the worker is told first (pickled)."""
        ...


class Member:
    """One worker process, from its start to its end."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self.lost = asyncio.Event()
        self.assigned: dict[int, Job] = {}
        self.load = msg.Load(0, 0, 0, 0)
        self.hosts: list[tuple[str, int, int, str]] = []
        self.suspects: deque[Job] = deque()  # not sent yet: they were with a member that died
        self.on_trial: set[int] = set()  # of those that were sent
        self._unsent: list[bytes] = []
        self.part = 0.0
        self.lifeline = -1
        self.has_left = False
        self.was_heard = False
        self.error: BaseException | None = None

    def start(self, arguments: Sequence[str], keep: Sequence[int]) -> socket.socket:
        """Start the process. Returns our end of what connects us to it."""
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            with theirs:
                lifeline, self.lifeline = os.pipe()  # it reads, we never write: it ends when we do
                # Until it ignores them a signal waits: a Ctrl-C is for us alone.
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
                try:
                    self.process = subprocess.Popen(  # noqa: S603  (our own interpreter)
                        [sys.executable, "-P", *arguments, str(theirs.fileno()), str(lifeline)],
                        stdin=subprocess.DEVNULL,
                        stdout=2,
                        pass_fds=(theirs.fileno(), lifeline, *keep),
                        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
                    )
                finally:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                    os.close(lifeline)
        except BaseException:
            ours.close()
            raise
        return ours

    def let_go(self) -> None:
        """It has ended, or is to end now: no descriptor is left."""
        if self.channel is not None:
            self.channel.abort()
        lifeline, self.lifeline = self.lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def send(self, message: msg.ToWorker) -> None:
        if self.channel is None:
            self._unsent.append(msg.encode(message))
        else:
            self.channel.send(msg.encode(message))

    def connect(self, channel: Channel, charge: bytes) -> None:
        """The process is there: tell it first what it is to be, then all that waited for it."""
        self.channel = channel
        channel.send(charge)
        for message in self._unsent:
            channel.send(message)
        self._unsent.clear()

    @property
    def room(self) -> int:
        if self.suspects:
            return 0
        held = len(self.assigned)
        return min(_WINDOW - (held - self.load.waiting), _MOST_ASSIGNED - held)


class Fleet:
    """Implements `ports.Crew` with `shares.count` worker processes.

    `launch` says how one is started; `is_shared` that a rate or a bandwidth is divided among them.
    `keep` are descriptors that every worker holds open until it ends, such as a lock's.
    """

    def __init__(
        self,
        shares: Shares,
        books: Books,
        launch: Launch,
        *,
        per_host: int,
        is_shared: bool = False,
        keep: Sequence[int] = (),
    ) -> None:
        self._shares = shares
        self._books = books
        self._launch = launch
        self._is_shared = is_shared
        self._keep = tuple(keep)
        self.per_host = max(_LEAST_PER_HOST, 2 * per_host) + _AHEAD_PER_HOST * shares.count
        self._members = [Member(index) for index in range(shares.count)]
        self._ack_to: dict[int, Member] = {}  # by the outcome's identity: a job may have two under way
        self._deaths: Counter[int] = Counter()  # by job: members that died while they had it
        self._slowed: set[str] = set()  # hosts with a crawl-delay
        self._early_deaths = 0
        self._is_closing = False
        self._keepers: list[asyncio.Task[None]] = []
        self._ticking: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup
        self._on_idle: Callable[[], None] = lambda: None

    # -- what the run asks ---------------------------------------------------------------------------

    @property
    def room(self) -> int:
        if any(len(member.assigned) >= _MOST_ASSIGNED for member in self._members):
            return 0  # whatever is claimed may be that one's
        return sum(max(0, member.room) for member in self._members)

    @property
    def is_hungry(self) -> bool:
        return any(member.room >= _WINDOW // 2 for member in self._members)

    @property
    def is_busy(self) -> bool:
        return any(member.assigned or member.suspects for member in self._members)

    @property
    def active(self) -> int:
        return sum(member.load.active for member in self._members)

    @property
    def waiting(self) -> int:
        return sum(member.load.waiting for member in self._members)

    def busiest(self, most: int) -> list[tuple[str, int, int, str]]:
        """The members' busiest hosts; one that several ask counts once."""
        rows: dict[str, list[tuple[str, int, int, str]]] = defaultdict(list)
        for member in self._members:
            for row in member.hosts:
                rows[row[0]].append(row)
        hosts = [
            (name, sum(row[1] for row in own), sum(row[2] for row in own), max(row[3] for row in own))
            for name, own in rows.items()
        ]
        return sorted(hosts, key=lambda row: (-row[1], -row[2], row[0]))[:most]

    # -- work ----------------------------------------------------------------------------------------

    def start(
        self, tasks: asyncio.TaskGroup, *, on_idle: Callable[[], None], on_tick: Callable[[], None]
    ) -> None:
        self._group = tasks
        self._on_idle = on_idle
        self._keepers = [tasks.create_task(self._keep_one(index)) for index in range(self._shares.count)]
        self._ticking = tasks.create_task(_tick(on_tick))

    def take(self, jobs: Sequence[Job]) -> None:
        """Give each job to the member whose host it is, or to the one with least to do."""
        given: dict[int, list[Job]] = defaultdict(list)
        members = self._members
        held = [len(member.assigned) - member.load.waiting for member in members]
        for job in jobs:
            if job.crawl_delay_s:
                self._slowed.add(job.host)
            index = self._shares.owner(job.host)
            if not (self._shares.is_whole(job.host) or job.host in self._slowed):
                least = min(range(len(members)), key=held.__getitem__)
                if held[index] > held[least] + _LEAN:
                    index = least
            held[index] += 1
            members[index].assigned[job.id] = job
            given[index].append(job)
        self._divide()
        for index, own in given.items():
            members[index].send(msg.Take(own))

    def settled(self, batch: Sequence[Outcome]) -> None:
        safe: Counter[Member] = Counter()
        for outcome in batch:
            member = self._ack_to.pop(id(outcome), None)
            if member is not None:
                safe[member] += 1
        for member, number in safe.items():
            member.send(msg.Safe(number))

    def _divide(self) -> None:
        """Rate and bandwidth go to the members that have work, in equal parts; less is said before more."""
        if not self._is_shared:
            return
        busy = [member for member in self._members if member.assigned]
        part = 1.0 / max(1, len(busy))
        for member in sorted(busy, key=lambda member: part - member.part):
            if member.part != part:
                member.part = part
                member.send(msg.Share(part))
        for member in self._members:
            if not member.assigned:
                member.part = 0.0  # it starts nothing, and is told before it gets any

    # -- what members say ----------------------------------------------------------------------------

    def _on_frame(self, member: Member, frame: memoryview) -> None:
        try:
            self._heard(member, msg.decode_for_parent(frame))
        except Exception as error:  # noqa: BLE001  (out of a callback it would be lost)
            member.error = error
            if member.channel is not None:
                member.channel.close()

    def _heard(self, member: Member, message: msg.ToParent) -> None:
        member.was_heard = True
        if isinstance(message, msg.Outcomes):
            for ended in message.ended:
                self._ended(member, ended)
            self._loaded(member, message.load)
            if member.suspects:
                self._send_suspects(member)
            self._divide()
            if not self.is_busy:
                self._on_idle()
        elif isinstance(message, msg.Pulse):
            self._loaded(member, message.load)
            member.hosts = message.hosts
        elif isinstance(message, msg.Retry):
            self._books.emit(
                Retrying(message.url, message.error, message.message, message.attempt, message.delay_s)
            )
        elif isinstance(message, msg.Held):
            self._books.emit(HostHeld(message.host, message.reason, message.seconds, message.limit))
            for other in self._members:
                if other is not member:
                    other.send(msg.Hold(message.host, message.seconds, message.reason))
        elif isinstance(message, msg.Said):
            self._books.notice_once(message.level, message.text)
        elif isinstance(message, msg.Ask):
            self._ask(member, message)
        elif isinstance(message, msg.HandOver):
            self._hand_over(member, message)
        elif isinstance(message, msg.Failed):
            member.error = pickle.loads(message.error)  # noqa: S301  (our own process wrote it)
        elif isinstance(message, msg.Bye):
            member.has_left = True

    def _loaded(self, member: Member, load: msg.Load) -> None:
        self._books.requests += load.requests - member.load.requests
        self._books.wire_bytes += load.wire_bytes - member.load.wire_bytes
        member.load = load

    def _ended(self, member: Member, ended: msg.Ended) -> None:
        deferral = ended.deferral
        job = member.assigned.get(ended.id)
        if job is None:
            job = self._handed_over(member, ended)
            if job is None:
                member.send(msg.Safe(1))
                return
        job.waited_s = ended.waited_s
        if deferral is not None:  # it stays in hand; if its member dies, another goes on from here
            job.attempts, job.not_before, job.history = (
                deferral.attempts,
                deferral.not_before,
                deferral.history,
            )
            self._settle(member, Outcome(job=job, deferral=deferral))
            return
        del member.assigned[job.id]
        if self._deaths:
            member.on_trial.discard(job.id)
            self._deaths.pop(job.id, None)
        record = None if ended.state is None else _record(job, ended)
        self._settle(
            member,
            Outcome(
                job=job,
                record=record,
                history=ended.history,
                line=ended.line,
                links=ended.links,
                data=ended.data,
                robots=ended.robots,
                fault=ended.fault,
                error=FetcherError(ended.message) if record is None and ended.message else None,
            ),
        )

    def _settle(self, member: Member, outcome: Outcome) -> None:
        self._ack_to[id(outcome)] = member  # it lives until it is settled
        self._books.settle(outcome)

    def _handed_over(self, member: Member, ended: msg.Ended) -> Job | None:
        """The job of a deferral that was overtaken by the job's hand-over, unless it is old news."""
        if ended.deferral is None:
            raise RuntimeError(f"worker {member.index} settled job {ended.id}, which it was not given")
        for other in self._members:
            job = other.assigned.get(ended.id)
            if job is not None and job.attempts < ended.deferral.attempts:
                return job
        return None

    def _ask(self, member: Member, question: msg.Ask) -> None:
        answer = self._answer(member, question)
        try:
            task = self._group.create_task(answer)
        except RuntimeError:  # the group is ending: nobody waits for it any more
            answer.close()
            return
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _answer(self, member: Member, question: msg.Ask) -> None:
        answer = await self._books.frontier.names_host(question.name, question.port)
        member.send(msg.Answer(question.number, answer))

    def _hand_over(self, member: Member, message: msg.HandOver) -> None:
        """A chain of hops goes on in another member; if that dies, it begins again there."""
        job = member.assigned.pop(message.id)
        member.on_trial.discard(job.id)
        owner = self._members[message.owner]
        owner.assigned[job.id] = job
        self._divide()
        owner.send(msg.TakeOver(message.fetch))
        if member.suspects:
            self._send_suspects(member)

    # -- life and death ------------------------------------------------------------------------------

    async def _keep_one(self, index: int) -> None:
        """Keep one member going until it leaves: one that dies is replaced."""
        while True:
            member = self._members[index]
            await self._launch_one(member)
            await member.lost.wait()
            await self._reap(member)
            if member.error is not None:
                raise member.error
            if member.has_left or self._is_closing:
                return
            self._replace(member)

    async def _launch_one(self, member: Member) -> None:
        arguments, charge = self._launch(member.index)
        try:
            ours = member.start(arguments, self._keep)
        except OSError as error:
            raise WorkerDied(
                f"a worker process can't be started: {error.strerror}",
                hint="look at the limits on processes and open files, or run with fewer --processes",
            ) from error

        def channel() -> Channel:
            return Channel(lambda frame: self._on_frame(member, frame), member.lost.set)

        _, opened = await asyncio.get_running_loop().create_connection(channel, sock=ours)
        member.connect(opened, charge)

    def _replace(self, member: Member) -> None:
        """A new member in the place of one that died, with its jobs."""
        self._early_deaths = 0 if member.was_heard else self._early_deaths + 1
        code = member.process.returncode if member.process is not None else None
        if self._early_deaths >= _EARLY_DEATHS:
            raise WorkerDied(
                f"worker processes end as they start (exit code {code})",
                hint="look at what they printed, or run without --processes",
            )
        self._books.emit(Notice("warning", f"a worker process died (exit code {code}); another goes on"))
        self._ack_to = {number: owner for number, owner in self._ack_to.items() if owner is not member}
        successor = self._members[member.index] = Member(member.index)
        for job in member.assigned.values():
            self._deaths[job.id] += 1
            job.was_claimed = True  # a parser runs apart for it
            successor.suspects.append(job)
        successor.suspects.extend(member.suspects)
        self._send_suspects(successor)

    def _send_suspects(self, member: Member) -> None:
        """Send jobs that were with a member that died; the more deaths, the fewer are in hand at once."""
        suspects = member.suspects
        jobs: list[Job] = []
        while suspects:
            deaths = self._deaths[suspects[0].id]
            if deaths >= len(_AT_ONCE):
                self._give_up(suspects.popleft())
                continue
            if len(member.on_trial) + len(jobs) >= _AT_ONCE[deaths]:
                break
            jobs.append(suspects.popleft())
        for job in jobs:
            member.assigned[job.id] = job
            member.on_trial.add(job.id)
        if jobs:
            self._divide()
            member.send(msg.Take(jobs))

    def _give_up(self, job: Job) -> None:
        self._deaths.pop(job.id, None)
        message = f"each of {len(_AT_ONCE)} worker processes that had it died"
        if job.kind == "robots":  # it has no record
            self._books.settle(Outcome(job=job, error=FetcherError(message)))
            return
        record = Record(
            url=job.url,
            state="failed",
            error=WorkerDied.slug,
            message=message,
            attempts=job.attempts,
            parent=job.parent,
            depth=job.depth,
            source=job.source,
            line=job.line,
        )
        self._books.settle(Outcome(job=job, record=record, links=()))

    async def _reap(self, member: Member) -> None:
        """Wait for the process of a member whose channel is gone; one that stays is killed."""
        process = member.process
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, _LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        member.let_go()

    # -- ending --------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Let every member leave."""
        self._is_closing = True
        await self._see_off(msg.Finish(), _LEAVE_S, asyncio.Event())

    async def wind_down(self, grace_s: float, at_once: asyncio.Event) -> None:
        self._is_closing = True
        await self._see_off(msg.Stop(grace_s, at_once=at_once.is_set()), grace_s + _LEAVE_S, at_once)

    async def _see_off(self, message: msg.ToWorker, patience_s: float, at_once: asyncio.Event) -> None:
        """Tell every member to leave, and wait until they have; kill those that don't.

        A process that has left has a moment to end: what runs at its exit belongs to a user's parser.
        """
        for member in self._members:
            member.send(message)
        leaving: set[asyncio.Future[Any]] = {
            asyncio.ensure_future(member.lost.wait()) for member in self._members if member.process
        }
        hurry = asyncio.ensure_future(at_once.wait())
        deadline = asyncio.get_running_loop().time() + patience_s
        try:
            while any(not task.done() for task in leaving):
                left = deadline - asyncio.get_running_loop().time()
                waited = {task for task in leaving if not task.done()}
                if not hurry.done():
                    waited.add(hurry)
                done, _ = await asyncio.wait(
                    waited, timeout=max(left, 0.0), return_when=asyncio.FIRST_COMPLETED
                )
                if hurry in done:
                    deadline = min(deadline, asyncio.get_running_loop().time() + _EXIT_S)
                    for member in self._members:
                        member.send(msg.Stop(0.0, at_once=True))
                elif not done:
                    break
            if self._keepers:
                ended = asyncio.ensure_future(asyncio.wait(self._keepers))
                leaving.add(ended)
                await asyncio.wait({ended, hurry}, timeout=_EXIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*leaving, hurry):
                task.cancel()

    def cancel(self) -> None:
        for task in (*self._keepers, *self._asking):
            task.cancel()
        if self._ticking is not None:
            self._ticking.cancel()

    async def aclose(self) -> None:
        """No process is left: those that have not gone by themselves are killed."""
        self._is_closing = True
        processes = [member.process for member in self._members if member.process is not None]
        for member in self._members:
            member.let_go()
        for process in processes:
            if process.poll() is None:
                process.kill()
        for process in processes:
            await asyncio.to_thread(process.wait)


async def _tick(on_tick: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(1.0)
        on_tick()


def _record(job: Job, ended: msg.Ended) -> Record:
    """What observers are told; the whole record is in the line."""
    assert ended.state is not None
    target = job.target
    return Record(
        url=job.url,
        final_url=ended.final_url or (None if target is None else target.url),
        state=ended.state,
        status=ended.status,
        error=ended.error,
        message=ended.message,
        attempts=ended.attempts,
        bytes=ended.stored,
        wire_bytes=ended.wire_bytes,
        sha256=ended.sha256,
        path=ended.path,
        content_type=ended.content_type,
        etag=ended.etag,
        last_modified=ended.last_modified,
        completeness=ended.completeness,
        parent=job.parent,
        depth=job.depth,
        source=job.source,
        line=job.line,
        elapsed=ended.elapsed,
        waited=ended.waited,
    )
