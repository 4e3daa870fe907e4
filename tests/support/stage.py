"""The engine on a stage: a real `Run` with a scripted backend, in virtual time.

    stage = Stage({"http://a.example/": status(404)}, concurrency=4)
    summary = await stage.run(["http://a.example/"])

Keyword arguments are the settings' names. With a `folder` the frontier is durable and files are kept. After
every run `assert_nothing_left` holds, whatever happened in it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from fetcher import wiring
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.record_builder import RecordBuilder
from fetcher.engine.run import Run
from fetcher.engine.run_context import RunContext
from fetcher.engine.task_pool import TaskPool
from fetcher.events import Event, LogMessage, OutcomesSettled, RunEnded
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.frontiers.sqlite.filename_allocator import FilenameAllocator
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.model import Record, Summary
from fetcher.policy.filenames import name_template
from fetcher.policy.retry import RetryPolicy
from fetcher.ports import Observer, Source
from fetcher.run_dir import RunDirectory
from fetcher.serial_executor import SerialExecutor
from fetcher.settings import make
from fetcher.sources.iterables import IterableSource
from fetcher.stores.files import FilesStore
from fetcher.stores.none import NoneStore
from support.fakeloop import VirtualClock, VirtualLoop
from support.scripted import Hit, Script, ScriptedBackend

UNSETTLED = 64


class Diary:
    """An observer that keeps everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


class Stage:
    """One run. `jitter` is what the backoff's random source always says; `free` the bytes on the disk."""

    def __init__(
        self,
        table: Mapping[str, Script] | None = None,
        *,
        folder: Path | None = None,
        default: Script | None = None,
        jitter: float = 0.5,
        budget: int | None = None,
        free: Callable[[], int] | None = None,
        observers: Sequence[Observer] = (),
        frontier: Any = None,
        store: Any = None,
        **settings: Any,
    ) -> None:
        self.settings = make(settings)
        self.backend = ScriptedBackend(table, default=default, on_start=self._on_start)
        self.clock = VirtualClock()
        self.diary = Diary()
        self.folder = folder
        self.begun = self.clock.now()
        self.bystanders = asyncio.all_tasks()
        self.alien_timers: list[asyncio.TimerHandle] = []
        self.ended = 0.0
        self.on_start: Callable[[Hit], None] = lambda _: None
        self._executor: ThreadPoolExecutor | None = None
        self._directory: RunDirectory | None = None
        if folder is None:
            self.store = store or NoneStore()
            self.frontier = frontier or MemoryFrontier()
        else:
            self._directory = directory = RunDirectory(folder)
            directory.acquire()
            self._executor = ThreadPoolExecutor(2, thread_name_prefix="fetcher-write")
            self.store = store or FilesStore(
                folder, parts=directory.parts, overwrite=False, mtime=False, fsync=False
            )
            existing = self.store.existing if isinstance(self.store, FilesStore) else lambda _: ()
            names = FilenameAllocator(name_template(self.settings.name, date="2026-01-01"), existing)
            self.frontier = frontier or SqliteFrontier(
                directory.state,
                directory.results,
                mode=Mode(
                    refresh=self.settings.refresh,
                    retry_failed=self.settings.retry_failed,
                    restart=self.settings.restart,
                ),
                lane=SerialExecutor("fetcher-state"),
                names=names,
            )
        policies = wiring.make_policies(self.settings, {})
        retry = RetryPolicy(
            self.settings.retries, self.settings.retry_on, self.settings.max_wait, lambda: jitter
        )
        self.rules = wiring.make_body_options(
            self.settings,
            self.clock,
            parts=None if self._directory is None else self._directory.parts,
            executor=self._executor,
            keep_error_bodies=self.store.keeps_exchanges,
        )
        if budget is not None:
            self.rules.budget.limit = budget
        config = wiring.make_run_config(self.settings)
        self.context = RunContext(
            frontier=self.frontier,
            store=self.store,
            clock=self.clock,
            recorder=RecordBuilder(self.backend.traits.name, keeps_bodies=False),
            observers=[self.diary, *observers],
            room=self.rules.room,
        )
        self.pool = TaskPool(
            config,
            self.context,
            self.backend,
            msgspec.structs.replace(policies, retry=retry),
            self.rules,
        )
        factory = JobFactory(self.settings.method, self.settings.data)
        self.engine = Run(config, self.context, self.pool, factory, free_bytes=free)

    # -- running -------------------------------------------------------------------------------------

    async def run(
        self, urls: Iterable[Any] | AsyncIterable[Any] = (), *, sources: Sequence[Source] | None = None
    ) -> Summary:
        """Run to the end, and see that nothing is left, however it ended."""
        given = [IterableSource(urls, batch=256)] if sources is None else sources
        try:
            return await self.engine.run(given)
        finally:
            self.ended = self.clock.now()
            await self.store.aclose()
            if self._executor is not None:
                self._executor.shutdown()
            if self._directory is not None:
                self._directory.release()
            await assert_nothing_left(self)

    def _on_start(self, hit: Hit) -> None:
        in_flight, unsettled = self.pool.active, self.context.stats.unsettled
        assert in_flight + unsettled <= self.settings.concurrency + UNSETTLED
        assert self.backend.active <= self.settings.concurrency
        self.on_start(hit)

    # -- what a test asks ----------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Virtual seconds from the making of the stage to the end of the run."""
        return round(self.ended - self.begun, 3)

    @property
    def records(self) -> list[Record]:
        """The final records, in the order in which they were settled."""
        return [record for event in self.events(OutcomesSettled) for record in event.records]

    def record(self, url: str) -> Record:
        """The one record of a URL."""
        (found,) = [record for record in self.records if record.url == url]
        return found

    def states(self) -> dict[str, str]:
        """Each URL with its state, or its error if it has one."""
        return {record.url: record.error or record.state for record in self.records}

    def events(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.diary.events if isinstance(event, kind)]

    def notices(self) -> list[str]:
        return [notice.text for notice in self.events(LogMessage)]


async def assert_nothing_left(stage: Stage) -> None:
    """No slot, claim, task, timer, charged byte, thread, file handle or part file is left behind."""
    for _ in range(5):
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    scheduler = stage.pool.scheduler
    assert asyncio.all_tasks() - stage.bystanders - {asyncio.current_task()} == set()
    if isinstance(loop, VirtualLoop):
        assert set(loop.timers()) <= set(stage.alien_timers)
    assert stage.backend.active == 0
    assert all(hit.ended is not None for hit in stage.backend.hits)
    assert scheduler.active == 0
    assert all(watch.body is None for watch in stage.pool._timers)
    assert all(place.done() for place in stage.pool._slots._idle)
    assert stage.rules.budget.used == 0
    assert not stage.rules.budget._waiters
    assert [each.name for each in threading.enumerate() if each.name.startswith("fetcher")] == []
    assert _open_below(stage.folder) == []
    if stage._directory is not None:
        assert os.listdir(stage._directory.parts) == []
    if isinstance(stage.frontier, SqliteFrontier):
        assert not stage.frontier._is_open
    ended = stage.events(RunEnded)
    if not ended:
        return
    assert stage.context.stats.unsettled == 0
    if ended[0].snapshot.pending == 0:
        assert scheduler.queued == scheduler.deferred == scheduler.waiting == 0
        assert not +stage.engine._claims._loads._loads
        if isinstance(stage.frontier, MemoryFrontier):
            assert not +_claims(stage.frontier)
        now = stage.clock.now()
        for host in scheduler._hosts.values():
            assert host.throttle.not_before > now or host.throttle.limit < host.throttle.most, (
                "a host at rest is kept"
            )


def _claims(frontier: MemoryFrontier) -> Any:
    from collections import Counter

    return Counter(frontier._claimed)


def _open_below(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if path.startswith(str(folder)):
            found.append(path)
    return found
