"""The parent of worker processes against workers that misbehave: nothing is lost, doubled, or left behind.

The workers are real processes that speak the pool's messages; what each does is a few lines of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pickle
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest
import uvloop

from fetcher import wiring
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.record_builder import RecordBuilder, encode_record
from fetcher.engine.run import Run
from fetcher.engine.run_context import RunContext
from fetcher.errors import StorageError, WorkerDied
from fetcher.events import Event, LogMessage, OutcomesSettled
from fetcher.model import FinalState, Job, Link, Outcome, Record, Summary, Target, Wait
from fetcher.policy.throttle import HostThrottle
from fetcher.processes import Partition, RemoteFrontier, WorkerPool
from fetcher.processes import messages as msg
from fetcher.processes.worker_handle import MOST_ASSIGNED
from fetcher.run_dir import RunDirectory
from fetcher.settings import make
from fetcher.sources.iterables import IterableSource
from fetcher.stores.none import NoneStore
from fetcher.worker_main import portable

LIMIT_S = 60.0  # beyond which a run counts as one that never ends

# What every worker has: `jobs`, as they are taken, and `heard` of everything else; `tell` sends one frame each.
PRELUDE = """
import os, pickle, signal, sys, threading
from fetcher.engine.record_builder import encode_record
from fetcher.errors import StorageError
from fetcher.events import HostThrottled, LogMessage
from fetcher.model import Deferral, Record, Wait
from fetcher.processes import messages as msg
from fetcher.subprocesses.framed_transport import BlockingFrames
from fetcher.subprocesses.kernel import begin_child

link = begin_child()
frames = BlockingFrames(link)
safe = 0

def tell(*messages):
    for message in messages:
        frames.send(msg.encode(message))

def heard(*kinds):
    global safe
    while True:
        message = msg.decode_for_worker(frames.receive() or os._exit(1))
        safe += message.number if isinstance(message, msg.Ack) else 0
        if isinstance(message, kinds):
            return message

def jobs(number):
    taken = []
    while len(taken) < number:
        taken += heard(msg.Assign).jobs
    return taken

def said(text):
    return msg.LogReport(LogMessage("info", text))

def outcomes(*ended):
    return msg.Outcomes(list(ended), msg.LoadReport(0, 0, 0, 0))

def done(job, **more):
    record = Record(url=job.url, state="done", attempts=job.attempts + 1)
    return msg.Ended(id=job.id, record=record, line=encode_record(record), **more)

def deferred(job, until=0.0):
    history = (Wait("backoff", 0.0, job.attempts + 1, "timed-out"),)
    return msg.Ended(id=job.id, deferral=Deferral(until, job.attempts + 1, 0.0, history), history=history)

def serve():
    while True:
        message = heard(msg.Assign, msg.Adopt, msg.Finish, msg.Stop)
        if isinstance(message, msg.Assign):
            tell(outcomes(*map(done, message.jobs)))
        elif isinstance(message, msg.Adopt):
            tell(outcomes(done(pickle.loads(message.fetch))))
        else:
            break

def leave():
    tell(msg.Goodbye())
    link.close()
    os._exit(0)

config = frames.receive()
tell(outcomes())
exec(config)
leave()
"""

SERVE = "serve()"


class Diary:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, LogMessage)]

    @property
    def records(self) -> list[Record]:
        return [
            record for event in self.events if isinstance(event, OutcomesSettled) for record in event.records
        ]


def host_of(owner: int, count: int = 2) -> str:
    """A host that belongs to worker `owner`."""
    return next(
        name
        for name in map("h{}.example".format, range(100))
        if crc32(f"{name}:80".encode()) % count == owner
    )


class PooledRun:
    """A run in `folder` whose workers do as `says`: by index, the lives of each in turn; the last repeats."""

    def __init__(self, folder: Path, says: dict[int, list[str]], **settings: Any) -> None:
        self.settings = make({"store": "none", "min_free": "0", **settings})
        self.directory = RunDirectory(folder)
        self.says = says
        self.lives: Counter[int] = Counter()
        self.diary = Diary()
        self.program = PRELUDE
        self.on_launch: Callable[[int], None] = lambda _: None
        self.silence_s = 60.0

    def _launch(self, index: int) -> tuple[str, bytes]:
        lives = self.says.get(index, [SERVE])
        life = lives[min(self.lives[index], len(lives) - 1)]
        self.lives[index] += 1
        self.on_launch(index)
        return self.program, life.encode()

    async def run(self, urls: list[str], count: int = 2) -> Summary:
        settings, directory = self.settings, self.directory
        directory.acquire()
        try:
            frontier = wiring.make_frontier(settings, directory.state, directory.results, NoneStore())
            context = RunContext(
                frontier=frontier,
                store=NoneStore(),
                clock=wiring.MonotonicClock(),
                recorder=RecordBuilder("asyncio", keeps_bodies=False),
                observers=[self.diary],
            )
            throttle_of = wiring.make_policies(settings, {}).throttle_of
            self.pool = WorkerPool(
                Partition(count, count, throttle_of),
                context,
                self._launch,
                per_host=8,
                keep=[directory.held],
                silence_s=self.silence_s,
            )
            self.engine = Run(wiring.make_run_config(settings), context, self.pool, JobFactory())
            async with asyncio.timeout(LIMIT_S):
                return await self.engine.run([IterableSource(urls, batch=256)])
        finally:
            directory.release()

    def lines(self) -> list[str]:
        return self.directory.results.read_text().splitlines()


def urls_at(host: str, number: int) -> list[str]:
    return [f"http://{host}/{n}" for n in range(number)]


def descriptors() -> set[str]:
    return {
        f"{name}:{os.readlink(f'/proc/self/fd/{name}')}"
        for name in os.listdir("/proc/self/fd")
        if _is_open(name)
    }


def _is_open(name: str) -> bool:
    return Path(f"/proc/self/fd/{name}").is_symlink()


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


async def test_a_retry_and_the_end_of_one_url_in_one_frame_are_both_acknowledged(tmp_path: Path) -> None:
    says = """
for job in jobs(3):
    tell(outcomes(deferred(job), done(job)))
heard(msg.Finish)
tell(said(f"safe {safe}"))
"""
    run = PooledRun(tmp_path, {0: [says]})
    summary = await run.run(urls_at(host_of(0), 3))
    assert summary.done == 3
    assert "safe 6" in run.diary.notices


async def test_a_retry_that_is_told_after_its_job_was_handed_over_does_no_harm(tmp_path: Path) -> None:
    says = """
(job,) = jobs(1)
tell(msg.Transfer(job.id, OTHER, pickle.dumps(job)), outcomes(deferred(job)))
for _ in range(2):  # whichever comes first: the other may end the job before this retry is read
    heard(msg.Ack, msg.Finish)
tell(said(f"safe {safe}"))
""".replace("OTHER", "1")
    run = PooledRun(tmp_path, {0: [says]})
    summary = await run.run(urls_at(host_of(0), 1))
    assert summary.done == 1
    assert "safe 1" in run.diary.notices
    assert len(run.lines()) == 1


async def test_a_retry_that_is_told_after_another_worker_ended_its_job_is_acknowledged(
    tmp_path: Path,
) -> None:
    says = """
one, two = jobs(2)
tell(msg.Transfer(one.id, 1, pickle.dumps(one)))
heard(msg.ThrottleHost)  # the other has ended it
tell(outcomes(deferred(one), done(two)))
heard(msg.Finish)
tell(said(f"safe {safe}"))
"""
    other = """
job = pickle.loads(heard(msg.Adopt).fetch)
tell(outcomes(done(job)), msg.ThrottleReport(HostThrottled("h.example", "backoff", 0.0, 1)))
heard(msg.Finish)
"""
    run = PooledRun(tmp_path, {0: [says], 1: [other]})
    summary = await run.run(urls_at(host_of(0), 2))
    assert summary.done == 2
    assert "safe 2" in run.diary.notices
    assert len(run.lines()) == 2


async def test_an_outcome_of_a_job_that_a_worker_was_not_given_is_a_defect_that_ends_the_run(
    tmp_path: Path,
) -> None:
    says = "(job,) = jobs(1); job.id += 99; tell(outcomes(done(job))); heard(msg.Finish)"
    with pytest.raises(RuntimeError, match="settled job 100, which it was not given"):
        await PooledRun(tmp_path, {0: [says]}).run(urls_at(host_of(0), 1))
    assert children() == []


async def test_when_the_one_suspect_in_hand_is_handed_over_the_next_is_tried(tmp_path: Path) -> None:
    die = "jobs(1); os._exit(9)"
    last = """
for _ in range(3):
    (job,) = jobs(1)
    tell(msg.Transfer(job.id, 1, pickle.dumps(job)))
heard(msg.Finish)
"""
    run = PooledRun(tmp_path, {0: [die] * 4 + [last]})
    summary = await run.run(urls_at(host_of(0), 3))
    assert summary.done == 3
    assert run.lives[0] == 5


async def test_a_url_that_kills_every_worker_fails_alone(tmp_path: Path) -> None:
    says = """
while True:
    message = heard(msg.Assign, msg.Finish)
    if isinstance(message, msg.Finish):
        break
    for job in message.jobs:
        if job.url.endswith("/7"):
            os._exit(9)
        tell(outcomes(done(job)))
"""
    run = PooledRun(tmp_path, {0: [says]})
    summary = await run.run(urls_at(host_of(0), 20))
    assert (summary.done, summary.failed) == (19, 1)
    assert summary.errors == {"worker-died": 1}
    assert len(run.lines()) == 20


async def test_what_a_worker_told_before_it_died_is_not_done_again_and_the_rest_is(tmp_path: Path) -> None:
    dies = """
taken = jobs(10)
tell(outcomes(*map(done, taken[:6])))
os._exit(9)
"""
    lives = """
taken = jobs(4)
tell(said(" ".join(sorted(f"{job.url[-1]}{job.was_claimed:d}" for job in taken))))
tell(outcomes(*map(done, taken)))
heard(msg.Finish)
"""
    run = PooledRun(tmp_path, {0: [dies, lives]})
    summary = await run.run(urls_at(host_of(0), 10))
    assert summary.done == 10
    assert "61 71 81 91" in run.diary.notices  # a parser is to run apart for them
    assert len(run.lines()) == len(set(run.lines())) == 10


async def test_a_url_that_waited_for_its_next_try_keeps_its_count_when_its_worker_dies(
    tmp_path: Path,
) -> None:
    dies = "(job,) = jobs(1); tell(outcomes(deferred(job, 1234.0))); heard(msg.Ack); os._exit(9)"
    lives = """
(job,) = jobs(1)
tell(said(f"{job.attempts} {job.not_before} {len(job.history)}"), outcomes(done(job)))
heard(msg.Finish)
"""
    run = PooledRun(tmp_path, {0: [dies, lives]})
    summary = await run.run(urls_at(host_of(0), 1))
    assert summary.done == 1
    assert "1 1234.0 1" in run.diary.notices


async def test_a_worker_that_is_stopped_is_killed_and_its_urls_are_fetched_by_another(tmp_path: Path) -> None:
    stops = "jobs(3); os.kill(os.getpid(), signal.SIGSTOP)"
    run = PooledRun(tmp_path, {0: [stops, SERVE]})
    run.silence_s = 2.0
    summary = await run.run(urls_at(host_of(0), 3))
    assert summary.done == 3
    assert any("no sign of life" in text for text in run.diary.notices)
    assert len(run.lines()) == 3
    assert children() == []


async def test_a_chain_that_was_handed_to_a_worker_that_dies_begins_again_there(tmp_path: Path) -> None:
    gives = "(job,) = jobs(1); tell(msg.Transfer(job.id, 1, pickle.dumps(job))); heard(msg.Finish)"
    run = PooledRun(tmp_path, {0: [gives], 1: ["heard(msg.Adopt); tell(outcomes()); os._exit(9)", SERVE]})
    summary = await run.run(urls_at(host_of(0), 1))
    assert summary.done == 1
    assert len(run.lines()) == 1


async def test_a_worker_that_dies_while_the_run_winds_down_is_not_replaced_and_its_urls_stay(
    tmp_path: Path,
) -> None:
    dies = "tell(outcomes(done(jobs(5)[0]))); heard(msg.Stop); os._exit(9)"
    run = PooledRun(tmp_path, {0: [dies]}, max_failures=None)
    urls = urls_at(host_of(0), 5)
    running = asyncio.create_task(run.run(urls))
    while not run.diary.records:
        await asyncio.sleep(0.01)
    run.engine.stop("SIGINT")
    summary = await running
    assert (summary.done, summary.pending, summary.stopped) == (1, 4, "SIGINT")
    assert run.lives[0] == 1
    again = PooledRun(tmp_path, {})
    assert (await again.run(urls)).done == 5
    assert len(again.lines()) == 5


@pytest.mark.parametrize("grace", [0, 30])
async def test_a_stop_before_any_worker_is_there_ends_the_run_at_once(tmp_path: Path, grace: int) -> None:
    run = PooledRun(tmp_path, {}, grace=grace)
    run.on_launch = lambda _: run.engine.stop("SIGTERM")  # each launch one more: the second is at once
    summary = await run.run(urls_at(host_of(0), 5))
    assert summary.stopped == "SIGTERM"
    assert children() == []


async def test_a_worker_that_never_says_anything_is_killed_when_the_run_is_stopped_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.processes.supervisor._LEAVE_S", 0.2)
    run = PooledRun(tmp_path, {0: ["threading.Event().wait()"]})
    running = asyncio.create_task(run.run([*urls_at(host_of(0), 5), *urls_at(host_of(1), 5)]))
    while len(run.diary.records) < 5:
        await asyncio.sleep(0.01)
    run.engine.stop("SIGINT")
    run.engine.stop("SIGINT")
    summary = await running
    assert (summary.done, summary.pending) == (5, 5)
    assert children() == []


async def test_an_error_of_storage_in_a_worker_ends_the_run_as_itself(tmp_path: Path) -> None:
    says = """
tell(outcomes(done(jobs(3)[0])))
heard(msg.Ack)
tell(msg.Failed(pickle.dumps(StorageError("the disk is full", hint="make room"))))
link.close()
"""
    urls = urls_at(host_of(0), 3)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        await PooledRun(tmp_path, {0: [says]}).run(urls)
    assert caught.value.hint == "make room"
    assert children() == []
    assert (await PooledRun(tmp_path, {}).run(urls)).done == 3


async def test_nonsense_from_a_worker_ends_the_run_with_an_error(tmp_path: Path) -> None:
    says = 'frames.send(b"abc"); heard(msg.Finish)'
    with pytest.raises(Exception, match=r"Expected|Message"):
        await PooledRun(tmp_path, {0: [says]}).run(urls_at(host_of(0), 3))
    assert children() == []


async def test_workers_that_end_as_they_start_end_the_run(tmp_path: Path) -> None:
    run = PooledRun(tmp_path, {})
    run.program = "raise SystemExit(3)"
    with pytest.raises(WorkerDied, match="exit code 3"):
        await run.run(urls_at(host_of(0), 3))
    assert children() == []


async def test_a_worker_has_no_descriptor_but_its_own(tmp_path: Path) -> None:
    says = """
own = {0, 1, 2, int(sys.argv[1])}
open_now = {int(name): os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{name}")}
beside = sorted(path.rsplit("/", 1)[-1] for number, path in open_now.items() if number not in own)
tell(said(" ".join(beside)))
serve()
"""
    run = PooledRun(tmp_path, {0: [says], 1: [says]})
    assert (await run.run([*urls_at(host_of(0), 3), *urls_at(host_of(1), 3)])).done == 6
    assert [text for text in run.diary.notices if text != "workers"] == []


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_descriptor_and_no_process_is_left_by_runs_whose_workers_died(
    tmp_path: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    dies = "tell(outcomes(done(jobs(4)[0]))); os._exit(9)"

    async def both() -> None:
        at_first: set[str] = set()
        for n in range(3):
            before = descriptors()
            run = PooledRun(tmp_path / str(n), {0: [dies, SERVE]})
            assert (await run.run(urls_at(host_of(0), 4))).done == 4
            await asyncio.sleep(0)
            assert children() == []
            at_first = at_first or descriptors() - before  # what the loop keeps
            if n:
                assert descriptors() - before == set()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(both())


async def test_a_run_that_is_cancelled_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    run = PooledRun(tmp_path, {0: ["tell(outcomes(done(jobs(4)[0]))); heard(msg.Finish)"]})
    running = asyncio.create_task(run.run(urls_at(host_of(0), 4)))
    while not run.diary.records:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert children() == []
    assert not run.directory.is_locked()
    assert (await PooledRun(tmp_path, {}).run(urls_at(host_of(0), 4))).done == 4


async def test_when_there_are_no_descriptors_for_workers_the_run_ends_and_leaves_none(tmp_path: Path) -> None:
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    run = PooledRun(tmp_path, {})

    def narrow(_: int) -> None:
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (free + 3, hard)
        )  # a socket pair, and half of a pipe that tells how the start went

    run.on_launch = narrow
    try:
        with pytest.raises(WorkerDied, match="can't be started: Too many open files"):
            await run.run(urls_at(host_of(0), 4))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {each for each in descriptors() - before if "socket" in each or "pipe" in each} == set()


class Books:
    """What a run's parts are to the pool: a queue, counters and events, all kept here."""

    frontier: Any = None
    requests = wire_bytes = 0

    def __init__(self) -> None:
        self.settled: list[Outcome] = []
        self.outcomes = self.stats = self.events = self

    def put(self, outcome: Outcome) -> None:
        self.settled.append(outcome)

    def flush(self) -> None: ...

    def unfetched(self, job: Job, state: FinalState, *, error: str, message: str) -> Record:
        return Record(url=job.url, state=state, error=error, message=message)

    def emit(self, event: Event) -> None: ...

    def notice_once(self, level: str, text: str) -> None: ...


def job(number: int, host: str) -> Job:
    url = f"http://{host}/{number}"
    return Job(id=number, url=url, target=Target(url, "http", host, 80, f"{host}:80"))


def differing(field: msgspec.structs.FieldInfo) -> Any:
    """A value for a field that is not the one it has by itself."""
    values = ("text", 7, 0.5, ["a", "b"], [1, 2], {"key": [1, None]}, "refused", "chunked")
    for value in values:
        with contextlib.suppress(msgspec.ValidationError):
            if msgspec.convert(value, field.type) != field.default:
                return value
    raise AssertionError(f"add a value for {field.name} above")


async def test_every_field_of_a_record_and_what_else_is_to_be_settled_travels_as_it_is() -> None:
    record = Record(**{field.name: differing(field) for field in msgspec.structs.fields(Record)})
    given = job(1, host_of(0))
    sent = Outcome(
        job=given,
        record=record,
        history=(Wait("backoff", 1.5, 1, "timed-out"),),
        line=encode_record(record),
        links=[Link("http://site.test/next", "canonical", True, 3)],
        data=[b"{}", b"[1]"],
        robots=b"User-agent: *",
        fault=503,
    )
    frames: list[bytes] = []
    books = Books()
    pool = WorkerPool(Partition(1, 1, lambda _: HostThrottle(8)), books, lambda _: ("", b""), per_host=8)
    pool.submit([given])
    settling = asyncio.create_task(
        RemoteFrontier(frames.append, lambda: msg.LoadReport(0, 0, 0, 0)).settle([sent])
    )
    await asyncio.sleep(0)
    settling.cancel()
    pool._on_frame(pool._workers[0], memoryview(frames[0]))
    (got,) = books.settled
    assert got.record == record
    assert type(got.record) is Record
    assert got == sent


def test_no_more_is_claimed_while_one_member_has_more_than_enough() -> None:
    partition = Partition(2, 2, lambda _: HostThrottle(8, delay_s=1.0))
    pool = WorkerPool(partition, Books(), lambda _: ("", b""), per_host=8)
    host, number = host_of(0), 0
    while pool.room > 0:
        batch = [job(number + n, host) for n in range(min(pool.room, 128))]
        number += len(batch)
        pool.submit(batch)
        if number > 2 * MOST_ASSIGNED:
            break
    assert number <= MOST_ASSIGNED + 128


def test_a_host_with_a_crawl_delay_stays_with_one_worker() -> None:
    pool = WorkerPool(Partition(2, 2, lambda _: HostThrottle(8)), Books(), lambda _: ("", b""), per_host=8)
    slow = host_of(1)
    jobs = [job(n, slow) for n in range(500)]
    for each in jobs:
        each.crawl_delay_s = 1.0
    pool.submit(jobs[:1])
    for each in jobs[1:]:
        each.crawl_delay_s = 0.0  # that it has one was learned once
    pool.submit(jobs[1:])
    assert [len(worker.assigned) for worker in pool._workers] == [0, 500]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EIO])
def test_what_the_system_denies_a_worker_is_no_defect(number: int) -> None:
    group = ExceptionGroup("tasks", [OSError(number, os.strerror(number), "out/.fetcher/parts")])
    told = pickle.loads(pickle.dumps(portable(group)))
    assert isinstance(told, StorageError)
    assert os.strerror(number) in told.message
