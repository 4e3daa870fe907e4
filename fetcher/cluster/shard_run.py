"""One shard on a worker: its lease, its state made anew, the run, and checkpoints as it goes on.

Everything but `run` may be called from any thread; `run` blocks until the shard has ended, in a loop of its
own.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fetcher import wiring
from fetcher.cluster.checkpoints import Checkpoints
from fetcher.cluster.divided_list import ShardSource
from fetcher.cluster.lease import Lease, LeaseLost, ShardEnd, acquire, kept_up
from fetcher.cluster.leased_backend import LeasedBackend
from fetcher.cluster.restore import keep_those_with_state, publish_counting, restore
from fetcher.cluster.session_files import drop_copies, fill_inbox
from fetcher.cluster.shard_log import ShardLog
from fetcher.cluster.shard_messages import (
    CLIENT_GONE,
    HANDED_ON,
    ShardOrder,
    ShardResult,
    ShardStatus,
    ShardTask,
    checkpoint_after,
    not_begun,
)
from fetcher.cluster.shared_output import archives_of, bodies_of, lay_out, place_of
from fetcher.download import Download, RunPlace
from fetcher.errors import StorageError
from fetcher.events import Event, LogMessage, OutcomesSettled, Snapshot
from fetcher.frontiers.sqlite.crawl.shard_post import ShardPost, crawl_progress
from fetcher.model import Summary
from fetcher.policy.shares import ShareRules
from fetcher.ports import Store
from fetcher.run_dir import RunDirectory
from fetcher.settings import Settings
from fetcher.stores.none import NoneStore

_MOST_NOTICES = 100


class _Stopped(Exception):
    """It was told to stop before it had begun."""


class ShardRun:
    """The run of a task, with its state below `scratch`."""

    def __init__(self, task: ShardTask, scratch: Path) -> None:
        self._task = task
        self._scratch = scratch
        self._ordered = threading.Condition()
        self._order: ShardOrder | None = None
        self._stops: list[str] = []
        self._heard_at = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._download: Download | None = None
        self._phase = "waiting"
        self._limit = self._held = 0  # of exchanges: what is in force, and that or what is still in flight
        self._snapshot = Snapshot()
        self._notices: list[tuple[str, str]] = []
        self._lease: Lease | None = None
        self._segments = 0
        self._new_records = 0
        self.ended = threading.Event()

    # ---- in any thread ----

    @property
    def index(self) -> int:
        return self._task.share.index

    def hear(self) -> None:
        """The client is there."""
        self._heard_at = time.monotonic()

    def obey(self, order: ShardOrder) -> None:
        """Do as the client wants."""
        with self._ordered:
            self._heard_at = time.monotonic()
            before, self._order = self._order, order
            self._held = max(self._held, order.concurrency)
            self._ordered.notify_all()
        if order.stop is not None:
            self.stop(order.stop, at_once=order.at_once)
        elif order != before:
            self._on_loop(lambda download: self._adjust(download, order))

    def stop(self, why: str, *, at_once: bool = False) -> None:
        """Stop cleanly, so that the rest may be done elsewhere; `at_once`, without what is in flight."""
        with self._ordered:
            wanted = 2 if at_once else 1
            more = max(0, wanted - len(self._stops))
            self._stops += [why] * more
            self._ordered.notify_all()
        for _ in range(more):
            self._on_loop(lambda download: download.stop(why))

    def status(self) -> ShardStatus:
        """Return how it stands; each notice is told once."""
        with self._ordered:
            notices, self._notices = self._notices, []
            order = self._order
        return ShardStatus(
            share=self._task.share,
            session=self._task.session,
            phase=self._phase,
            concurrency=self._held,
            part=0.0 if order is None else order.part,
            epoch=0 if self._lease is None else self._lease.epoch,
            segments=self._segments,
            snapshot=self._snapshot,
            notices=notices,
        )

    def _on_loop(self, work: Callable[[Download], object]) -> None:
        loop, download = self._loop, self._download
        if loop is not None and download is not None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(work, download)

    def _adjust(self, download: Download, order: ShardOrder) -> None:
        self._limit = order.concurrency
        download.adjust(concurrency=order.concurrency, is_paused=order.is_paused)
        download.take_part(order.part)

    # ---- in the thread of the task ----

    def run(self) -> ShardResult:
        """Run the shard until it has ended or is stopped.

        Raises:
            LeaseLost: it belongs to somebody else now; nothing of what was done since counts.
            StorageError: a disk failed; what has a segment is safe.
            ConfigError: a setting can't be used.
        """
        try:
            return self._run(self._first_order())
        except _Stopped:
            return not_begun(self._task, self._stops[0])
        finally:
            self._phase = "ended"
            shutil.rmtree(self._scratch, ignore_errors=True)
            self.ended.set()

    def _first_order(self) -> ShardOrder:
        """Wait for the part of the totals that this shard may have."""
        with self._ordered:
            while self._order is None:
                self._look_for_client()
                self._ordered.wait(self._task.times.tick_s)
            if self._stops:
                raise _Stopped
            return self._order

    def _pause(self, seconds: float) -> None:
        with self._ordered:
            self._look_for_client()
            self._ordered.wait(seconds)
            if self._stops:
                raise _Stopped

    def _look_for_client(self) -> None:
        if not self._stops and time.monotonic() - self._heard_at > self._task.times.client_s:
            self._stops.append(CLIENT_GONE)
        if self._stops:
            raise _Stopped

    def _run(self, order: ShardOrder) -> ShardResult:
        task = self._task
        settings, share = task.settings, task.share
        log = ShardLog(place_of(settings.output, fsync=settings.fsync), share.index)
        lease = self._lease = acquire(log, task.times.lease, self._pause)
        with kept_up(lease, task.times.lease):
            try:
                self._phase = "restoring"
                return self._run_leased(order, log, lease)
            except BaseException:
                with contextlib.suppress(StorageError):
                    lease.release(None)
                raise

    def _run_leased(self, order: ShardOrder, log: ShardLog, lease: Lease) -> ShardResult:
        task = self._task
        settings, share = task.settings, task.share
        follows = task.command == "crawl"
        earlier = log.counting()
        segments = keep_those_with_state(log, earlier) if follows else earlier
        log.settle_counts(lease.epoch, segments)
        lease.confirm()
        keeps = settings.store != "none"
        directory = RunDirectory(self._scratch)
        bodies = bodies_of(log.place, lease, directory)
        archives = archives_of(log, bodies)
        growing = archives if settings.store in {"warc", "parquet"} else None
        publish = bodies.publish if keeps else lambda _epoch, _lines: None
        if keeps:
            if archives is not None:
                archives.make()
            publish_counting(log, segments, publish, archives)
            if lease.is_handed_on:  # else somebody may still be writing to them
                bodies.inherit_parts(lease.epoch - 1)
            directory.parts = bodies.parts
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a process that had this number before
        restore(log, segments, directory, share, bodies.has, None if archives is None else archives.published)
        lease.confirm()
        if keeps:
            bodies.drop_earlier()
            if archives is not None:
                archives.index()
                archives.forget_earlier()
        store: Store = NoneStore()
        if keeps:
            store = bodies.open(settings) if growing is None else growing.open(settings)
        inbox = fill_inbox(log, directory, task.inbox) if follows else {}
        post = None
        if follows:
            post = ShardPost(ShareRules(share), directory.outbox, lambda: inbox)
        checkpoints = Checkpoints(directory, lease, publish, archives=growing, keeps_state=follows)
        settings = msgspec.structs.replace(
            settings, concurrency=order.concurrency, shard=(share.index, share.count)
        )
        run = self._fetch(
            settings, order, RunPlace(directory, store, post, bodies.path_bytes), checkpoints, lease
        )
        try:
            summary = wiring.run_loop(run)
        except LeaseLost:
            raise
        except BaseException:
            with contextlib.suppress(StorageError):
                checkpoints.write()
            raise
        self._phase = "ending"
        last = checkpoints.write(is_last=True)
        if last is None:  # it was stopped before there was a state
            lease.release(None)
            return not_begun(task, summary.stopped or HANDED_ON)
        self._segments = last.number
        if growing is not None:
            growing.finish()
        drop_copies(log, lease)
        if keeps and not summary.pending:
            bodies.drop()
        lease.require()
        lay_out(log.place, share.index, directory)
        claimed, read = crawl_progress(directory.own / "checkpoint.db") if follows else (0, [])
        end = ShardEnd(
            is_complete=summary.stopped is None and not summary.withheld,
            list_number=task.list_number,
            summary=summary,
            claimed=claimed,
            read=read,
        )
        posted = log.posted(log.counting()) if follows else {}
        lease.release(end)
        return ShardResult(share=share, end=end, snapshot=self._snapshot, epoch=lease.epoch, posted=posted)

    # ---- in the loop of the shard ----

    async def _fetch(
        self,
        settings: Settings,
        order: ShardOrder,
        place: RunPlace,
        checkpoints: Checkpoints,
        lease: Lease,
    ) -> Summary:
        task = self._task
        backend = LeasedBackend(wiring.make_backend(settings, may_send=lease.require), lease)
        download = Download(
            settings,
            environ=task.environ,
            observers=[self],
            backend=backend,
            command=task.command,
            place=place,
        )
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="fetcher-checkpoint") as thread:
            in_thread = partial(self._loop.run_in_executor, thread)
            watching = [
                asyncio.ensure_future(self._watch(download, lease)),
                asyncio.ensure_future(self._write_checkpoints(checkpoints, in_thread, download)),
            ]
            try:
                with self._ordered:
                    self._download = download
                    stops, latest = [*self._stops], self._order or order
                self._adjust(download, latest)
                for why in stops:
                    download.stop(why)
                self._phase = "running"
                return await download.run([ShardSource(lease.log.place, task.list_number, task.share.index)])
            finally:
                self._snapshot = download.snapshot()
                for one in watching:
                    one.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
                await backend.aclose()

    def on_event(self, event: Event) -> None:
        """Keep what the client is to hear, and count what the next checkpoint has to write."""
        if isinstance(event, OutcomesSettled):
            self._new_records += len(event.records)
        elif isinstance(event, LogMessage) and len(self._notices) < _MOST_NOTICES:
            with self._ordered:
                self._notices.append((event.level, event.text))

    async def _watch(self, download: Download, lease: Lease) -> None:
        """Let others see how it stands, and end the run when the lease is over or the client is gone."""
        times = self._task.times
        while True:
            self._snapshot = download.snapshot()
            with self._ordered:  # what is in flight goes on when there is to be less
                wanted = 0 if self._order is None else self._order.concurrency
                self._held = max(self._limit, wanted, self._snapshot.active)
            if not lease.is_held:
                self.stop("lease-lost", at_once=True)
            elif not self._stops and time.monotonic() - self._heard_at > times.client_s:
                self.stop(CLIENT_GONE)
            await asyncio.sleep(times.tick_s)

    async def _write_checkpoints(self, checkpoints: Checkpoints, in_thread: Any, download: Download) -> None:
        """Write one every some seconds or records, but spend no more than a tenth of the time on it."""
        times = self._task.times
        took, since = 0.0, time.monotonic()
        while True:
            now = time.monotonic()
            until = now + max(checkpoint_after(times, now - since), 10 * took)
            while time.monotonic() < until and self._new_records < times.checkpoint_records:  # noqa: ASYNC110
                await asyncio.sleep(times.tick_s)
            self._new_records = 0
            begun = time.monotonic()
            try:
                segment = await in_thread(checkpoints.write)
            except LeaseLost:
                self.stop("lease-lost", at_once=True)
                return
            except StorageError as error:
                download.notice("warning", f"{error.message}; the checkpoint is written again later")
                continue
            took = time.monotonic() - begun
            if segment is not None:
                self._segments = segment.number
