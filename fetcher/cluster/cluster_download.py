"""One run on a cluster: what `--cluster` does, in the place of a `Download` on this machine.

The client divides the list, has the shards run, hands out limits and links, and joins the records. What it
knows it has from the output: so one that dies leaves a run that the same command continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fetcher import wiring
from fetcher.cluster.client_lock import ClientLock, client_lock
from fetcher.cluster.divided_list import SpooledList
from fetcher.cluster.lease import LeaseLost, read_end
from fetcher.cluster.rounds import Rounds
from fetcher.cluster.settings_check import check_settings
from fetcher.cluster.settled_list import ListedRun, settle_list
from fetcher.cluster.shard_log import ShardLog
from fetcher.cluster.shard_messages import ClusterTimes, ShardResult, ShardStatus, ShardTask
from fetcher.cluster.shared_output import place_of
from fetcher.cluster.state_copies import StateCopies
from fetcher.cluster.whole_records import NewRecords, join_records
from fetcher.cluster.whole_snapshot import WholeSnapshot
from fetcher.download import Download
from fetcher.engine.event_bus import EventBus
from fetcher.engine.job_factory import JobFactory
from fetcher.errors import WorkerDied
from fetcher.events import RunEnded, RunStarted, Snapshot
from fetcher.model import CrawlFindings, Summary
from fetcher.policy.shares import Share
from fetcher.ports import Observer, Source
from fetcher.settings import Settings, check_for_list
from fetcher.version import __version__

if TYPE_CHECKING:
    from distributed import Client

    from fetcher.cluster.conductor import Conductor

SHARDS_PER_THREAD = 4
WORKERS_DIED = "workers-died"
_FAILED = "failed"  # an error ended the run
_AT_ONCE = 16  # shards that are looked at
_LOCK_LOOK_S = 1.0


class ClusterDownload(Download):
    """One run whose shards are fetched by the workers of a cluster.

    `times` are those of leases, checkpoints and silence.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        observers: Iterable[Observer] = (),
        command: str = "get",
        times: ClusterTimes | None = None,
    ) -> None:
        check_settings(settings, command)
        super().__init__(settings, environ=environ, observers=observers, command=command)
        self._command = command
        self._times = times or ClusterTimes()
        self._output = place_of(settings.output, fsync=settings.fsync)
        self._copies = None if settings.state is None else StateCopies(self._output, Path(settings.state))
        self._whole = WholeSnapshot()
        self._rounds = Rounds(settings.max_pages if self._follows else None)
        self._bus: EventBus | None = None
        self._conductor: Conductor | None = None
        self._began: float | None = None
        self._is_paused = False
        self._finished: Snapshot | None = None
        self._failed_before: dict[int, int] = {}
        self._segments: dict[tuple[int, int], int] = {}
        self._unread: set[int] = set()
        self._has_news = asyncio.Event()
        self._summaries: dict[int, Summary] = {}

    # ---- what others see and want ----

    def notice(self, level: str, text: str) -> None:
        """Tell the observers something once, or as soon as there is a run."""
        if self._bus is None:
            self._noticed.append((level, text))
        else:
            self._bus.notice_once(level, text)

    def stop(self, why: str) -> None:
        """Stop all shards cleanly; twice, at once."""
        self._stopped.append(why)
        if self._conductor is not None:
            self._conductor.stop(why, at_once=len(self._stopped) > 1)

    def adjust(self, *, concurrency: int | None = None, is_paused: bool | None = None) -> None:  # noqa: ARG002
        """Pause all shards, or go on. The concurrency of a cluster stays as it was given."""
        if is_paused is not None and self._conductor is not None:
            self._is_paused = is_paused
            self._conductor.adjust(is_paused=is_paused)

    def snapshot(self) -> Snapshot:
        """Return the state of the whole run, as far as it was heard of."""
        if self._finished is not None:
            return self._finished
        elapsed_s = 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began
        return self._whole.snapshot(
            elapsed_s=elapsed_s,
            is_stopping=bool(self._stopped),
            is_paused=self._is_paused,
            concurrency=self.settings.concurrency,
            bottleneck=self._whole.bottleneck(elapsed_s),
        )

    # ---- the run ----

    async def run(self, sources: Sequence[Source]) -> Summary:
        """Run all shards to the end, or until stopped.

        Raises:
            ConfigError: a setting or the cluster can't be used; nothing was fetched.
            DirectoryInUse: another client runs here.
            StorageError: the output or a worker's disk failed; what has a segment is safe.
            WorkerDied: the cluster is gone; the same command continues.

        Cancelling abandons what is in flight; the same call continues.
        """
        from fetcher.cluster.connection import check_workers, connected  # noqa: PLC0415  (distributed is heavy)

        settings = self.settings
        if not self._follows:
            check_for_list(settings)
        throttle_of = wiring.make_policies(settings, self._environ, follows=self._follows).throttle_of
        bus = self._bus = EventBus(self.observers)
        self._began = asyncio.get_running_loop().time()
        for level, text in self._noticed:
            bus.notice_once(level, text)
        async with contextlib.AsyncExitStack() as stack:
            lock = await stack.enter_async_context(
                client_lock(self._output, self._times.lease, self.notice, lambda: bool(self._stopped))
            )
            if lock is None:
                return Summary(stopped=self._stopped[0])
            if self._copies is not None:
                self._copies.check()
            client = await stack.enter_async_context(connected(settings.cluster or ""))
            threads = await check_workers(client)
            most_shards = settings.shards or SHARDS_PER_THREAD * threads
            spooled = SpooledList(JobFactory(settings.method, settings.data), most_shards)
            try:
                if not await spooled.read(sources, lambda: bool(self._stopped)):
                    return Summary(stopped=self._stopped[0])
                listed = await asyncio.to_thread(
                    settle_list,
                    self._output,
                    spooled,
                    settings,
                    self._command,
                    most_shards,
                    most_exchanges=lambda host: throttle_of(host).most,
                    notice=self.notice,
                )
            finally:
                spooled.close()
            self._whole.count = listed.manifest.shards
            shards = range(listed.manifest.shards)
            records = await asyncio.to_thread(NewRecords, self._output, shards)
            await asyncio.to_thread(self._look_at_shards, listed)
            bus.emit(RunStarted(0))
            stopped = await self._conduct(client, listed, threads, records, lock)
            if len(self._stopped) < 2:
                await asyncio.to_thread(join_records, self._output, shards)
                if self._copies is not None:
                    await asyncio.to_thread(self._copies.make, listed.manifest)
        return self._sum_up(stopped)

    # ---- before anything is fetched ----

    def _look_at_shards(self, listed: ListedRun) -> None:
        """See from the output what each shard has to do."""
        rounds, settings = self._rounds, self.settings
        again = settings.refresh or settings.retry_failed
        logs = [ShardLog(self._output, shard) for shard in range(listed.manifest.shards)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            ends = [*threads.map(read_end, logs)]
        for shard, (log, (epoch, end)) in enumerate(zip(logs, ends, strict=True)):
            number = listed.list.of(shard)
            is_over = rounds.begin(
                shard,
                number,
                end,
                was_begun=epoch > 0,
                list_number=listed.list.number,
                again=again and epoch > 0,
            )
            if self._follows and epoch:
                rounds.posted(shard, log.posted(log.counting()))
            if end is not None:
                self._summaries[shard] = end.summary
                self._failed_before[shard] = end.summary.failed
                self._whole.skip(shard, end.summary)
            elif not is_over:
                self._whole.expect(shard, number)

    # ---- while shards run ----

    async def _conduct(
        self, client: Client, listed: ListedRun, threads: int, records: NewRecords, lock: ClientLock
    ) -> str | None:
        """Have all shards run that have something to do. Returns why the run was stopped, if it was."""
        from fetcher.cluster.conductor import Conductor, ShardLostWorkers  # noqa: PLC0415

        settings, rounds = self.settings, self._rounds
        deadline_s = wiring.deadline_of(settings)
        run = "fetcher-" + hashlib.sha256(os.fsencode(self._output.name)).hexdigest()[:12]
        failure: BaseException | None = None
        lost: list[int] = []
        async with contextlib.AsyncExitStack() as stack:
            conductor = await stack.enter_async_context(
                Conductor(
                    client,
                    run,
                    lambda shard, session: self._task(run, listed, shard, session),
                    threads=threads,
                    concurrency=settings.concurrency,
                    rate=settings.rate,
                    bandwidth=settings.max_bandwidth,
                    silence_s=self._times.lease.takeover_s,
                    progress=self._progress,
                    on_status=self._hear,
                )
            )
            self._conductor = conductor
            stack.callback(setattr, self, "_conductor", None)
            for why in self._stopped:
                conductor.stop(why)
            tasks = [asyncio.create_task(self._read(records)), asyncio.create_task(self._keep(lock))]
            if deadline_s is not None:
                tasks.append(asyncio.create_task(self._stop_in_time(deadline_s)))
            stack.push_async_callback(_end, tasks)
            while True:
                if not self._stopped and failure is None:
                    ready = [shard for shard in rounds.runnable(conductor.running) if shard not in lost]
                    conductor.submit(ready)
                if not conductor.running:
                    break
                try:
                    self._take(await conductor.next_ended())
                except ShardLostWorkers as error:
                    lost.append(error.shard)
                    self.notice("error", error.message)
                except Exception as error:  # noqa: BLE001  (the others end first)
                    failure = failure or error
                    if isinstance(error, WorkerDied):
                        break
                    conductor.stop(_FAILED)
            if lock.is_held:
                await self._emit(records, range(listed.manifest.shards))
        if failure is None or isinstance(failure, LeaseLost):
            lock.require()  # which tells more
        if failure is not None:
            raise failure
        if self._follows and rounds.undelivered and not self._stopped and not lost:
            raise RuntimeError(f"{rounds.undelivered} files of links are undelivered, and no shard runs")
        return self._stopped[0] if self._stopped else WORKERS_DIED if lost else None

    def _task(self, run: str, listed: ListedRun, shard: int, session: int) -> ShardTask:
        settings, rounds = self.settings, self._rounds
        is_first = shard not in rounds.had_session
        settings = msgspec.structs.replace(
            settings,
            input=(),
            output=self._output.name,
            state=None,
            deadline=None,
            max_failures=None,
            max_pages=rounds.pages(shard) if self._follows else None,
            refresh=settings.refresh and is_first,
            retry_failed=settings.retry_failed and is_first,
            cluster=None,
            shards=None,
        )
        manifest = listed.manifest
        return ShardTask(
            run=run,
            version=__version__,
            command=self._command,
            share=Share(shard, manifest.shards, manifest.divided),
            settings=settings,
            environ={name: value for name, value in self._environ.items() if name.lower().endswith("_proxy")},
            session=session,
            list_number=listed.list.number,
            times=self._times,
            inbox=rounds.unread(shard) if self._follows else {},
        )

    def _progress(self, shard: int) -> int:
        return len(ShardLog(self._output, shard).counting())

    def _hear(self, status: ShardStatus) -> None:
        """Take note of how a shard stands."""
        shard = status.share.index
        for level, text in status.notices:
            self.notice(level, text)
        if not status.epoch:
            return
        self._whole.running.add(shard)
        if status.phase in {"running", "ending"}:
            self._whole.update(shard, status.epoch, status.snapshot)
        if self._segments.get((shard, status.epoch), 0) < status.segments:
            self._segments[shard, status.epoch] = status.segments
            self._unread.add(shard)
            self._has_news.set()
        most = self.settings.max_failures
        if most is not None and not self._stopped and self._whole.failed(self._failed_before) >= most:
            self.stop("max-failures")

    def _take(self, result: ShardResult) -> None:
        """Take note of a session that has ended."""
        shard, end = result.share.index, result.end
        self._whole.running.discard(shard)
        if end.summary.stopped is not None and not self._stopped:
            self.stop(end.summary.stopped)
        if not result.epoch:
            return
        self._whole.update(shard, result.epoch, result.snapshot)
        self._summaries[shard] = end.summary
        self._rounds.ended(shard, end)
        if self._follows:
            self._rounds.posted(shard, result.posted)
        self._unread.add(shard)
        self._has_news.set()

    async def _keep(self, lock: ClientLock) -> None:
        """Stop at once when the run is another client's."""
        while lock.is_held:  # noqa: ASYNC110  (the lease of an object store is kept by a thread)
            await asyncio.sleep(_LOCK_LOOK_S)
        self.stop(_FAILED)
        self.stop(_FAILED)

    async def _stop_in_time(self, deadline_s: float) -> None:
        await asyncio.sleep(deadline_s)
        if self._stopped:  # a second stop would cut the grace period short
            return
        self.stop("deadline")

    async def _read(self, records: NewRecords) -> None:
        """Tell observers of new records, as segments come."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            shards, self._unread = self._unread, set()
            await self._emit(records, shards)

    async def _emit(self, records: NewRecords, shards: Iterable[int]) -> None:
        assert self._bus is not None
        for shard in shards:
            for event in await asyncio.to_thread(records.read, shard):
                self._bus.emit(event)

    # ---- at the end ----

    def _sum_up(self, stopped: str | None) -> Summary:
        final = self._finished = self.snapshot()
        assert self._bus is not None
        self._bus.emit(RunEnded(final, stopped))
        findings = [one.findings for one in self._summaries.values() if one.findings is not None]
        return Summary(
            **final.finals(),
            pending=final.pending,
            withheld=sum(one.withheld for one in self._summaries.values()),
            duplicates=final.duplicates,
            earlier=final.earlier,
            bytes=final.bytes,
            wire_bytes=final.wire_bytes,
            requests=final.requests,
            elapsed=final.elapsed_s,
            errors=final.errors,
            stopped=stopped,
            findings=CrawlFindings(broken=sum(one.broken for one in findings), left_out=final.left_out)
            if self._follows
            else None,
        )


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
