"""One run in a run directory: what `fetcher get` and `fetcher crawl` do, and `Fetcher.download`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fetcher import wiring
from fetcher.engine.room import NoRoom
from fetcher.engine.run import DISK_FULL, Run
from fetcher.events import Snapshot
from fetcher.kept_output import check_output
from fetcher.model import Summary
from fetcher.network_disks import network_disk
from fetcher.object_output import ObjectOutput
from fetcher.policy.filenames import PATH_BYTES
from fetcher.policy.shares import Share, ShareRules
from fetcher.ports import Backend, Observer, Source, Store
from fetcher.run_dir import RunDirectory, directory_of
from fetcher.settings import Settings, check_for_list
from fetcher.sharding.kept_share import settle_share
from fetcher.sharding.list_division import divided_hosts
from fetcher.sharding.shard_folders import count_shards, make_post, run_directories

if TYPE_CHECKING:
    from fetcher.analysis.broken_links import LinkCheck
    from fetcher.done_hook import DoneHook
    from fetcher.frontiers.sqlite.crawl.shard_post import ShardPost


class RunPlace(NamedTuple):
    """Directory, store and post of a run that is part of a larger one, and how long a body's path may be."""

    directory: RunDirectory
    store: Store
    post: ShardPost | None
    path_bytes: int = PATH_BYTES


class Download:
    """One run in a run directory: what the command line does, and `Fetcher.download`.

    `environ` is where proxy variables are looked up. `list_again` opens the list of a shard once more, to be
    read before the run. `place` is for a run whose directory, store or post are not those that its settings
    name. Observers may be added until it runs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        observers: Iterable[Observer] = (),
        backend: Backend | None = None,
        command: str = "get",
        list_again: Callable[[], Sequence[Source]] | None = None,
        place: RunPlace | None = None,
    ) -> None:
        self.settings = settings
        self._follows = command == "crawl"
        self._place = place
        self.directory = directory_of(settings) if place is None else place.directory
        self._part = 1.0
        self._adjusted: tuple[int | None, bool | None] = None, None
        self.observers = list(observers)
        self._environ = environ or {}
        self._given_backend = backend
        self._list_again = list_again
        self._run: Run | None = None
        self._hook: DoneHook | None = None
        self._objects: ObjectOutput | None = None
        self._cut_short: Callable[[], object] | None = None  # what waits for an object store
        self._stopped: list[str] = []
        self._noticed: list[tuple[str, str]] = []
        self.link_check: LinkCheck | None = None  # what it found, once the run is over

    def notice(self, level: str, text: str) -> None:
        """Tell the observers something once, or as soon as there is a run."""
        if self._run is None:
            self._noticed.append((level, text))
        else:
            self._run.notice(level, text)

    def stop(self, why: str) -> None:
        """Stop cleanly; twice, at once. May be called before the run has begun."""
        self._stopped.append(why)
        if self._run is not None:
            self._run.stop(why)
        if self._hook is not None:
            if len(self._stopped) == 1:
                self._hook.stop()
            else:
                self._hook.kill()
        if self._cut_short is not None and (self._run is None or len(self._stopped) > 1):
            self._cut_short()

    def adjust(self, *, concurrency: int | None = None, is_paused: bool | None = None) -> None:
        """Change how many exchanges may be in flight, or pause: nothing more is started until that ends.

        It may be said before the run has begun. Limits of hosts stay as they are.
        """
        if self._run is None:
            self._adjusted = (
                self._adjusted[0] if concurrency is None else concurrency,
                self._adjusted[1] if is_paused is None else is_paused,
            )
        else:
            self._run.adjust(concurrency=concurrency, is_paused=is_paused)

    def take_part(self, part: float) -> None:
        """Have this part of the rate and the bandwidth of the settings from now on; others have the rest."""
        self._part = part
        if self._run is not None:
            self._run.take_part(part)

    def snapshot(self) -> Snapshot:
        """Return the state of the run at this moment."""
        if self._run is None:
            return Snapshot()
        found, hook = self._run.snapshot(), self._hook
        if hook is None:
            return found
        return msgspec.structs.replace(found, hook_failures=hook.failed, hooks_left=int(hook.left))

    async def run(self, sources: Sequence[Source]) -> Summary:
        """Run to the end, or until stopped.

        Raises:
            ConfigError: a setting can't be used; nothing was fetched.
            DirectoryInUse: another run holds the directory.
            StorageError: the disk or the state failed; what was settled is safe.

        Cancelling abandons what is in flight; the same call continues.
        """
        settings, directory = self.settings, self.directory
        if not self._follows:
            check_for_list(settings)
        deadline_s = wiring.deadline_of(settings)
        ends_at = None if deadline_s is None else asyncio.get_running_loop().time() + deadline_s
        async with contextlib.AsyncExitStack() as stack:
            backend = None
            processes = min(settings.processes, settings.concurrency)
            if processes == 1:
                backend = self._given_backend or wiring.make_backend(settings)
                if self._given_backend is None:
                    stack.push_async_callback(backend.aclose)
            directory.acquire()
            stack.callback(directory.release)
            check_output(directory)
            kept = await settle_share(directory, settings.shard, self._divided)
            share = None if kept is None else ShareRules(kept)
            if self._stopped and settings.shard is not None:
                return Summary(stopped=self._stopped[0])
            hook = self._hook = wiring.make_done_hook(settings, directory, self.notice)
            if hook is not None:
                self.observers.append(hook)
            place = self._place
            objects = self._objects = self._make_objects()
            store = (
                wiring.make_store(settings, directory, None if objects is None else objects.client)
                if place is None
                else place.store
            )
            stack.push_async_callback(store.aclose)
            if objects is not None and not await self._unless_stopped(self._open_objects(objects, store)):
                return Summary(stopped=self._stopped[0])
            frontier = wiring.make_frontier(
                settings,
                directory.state,
                directory.results,
                store,
                follows=self._follows,
                parts=directory.parts,
                share=share,
                post=self._make_post(share),
                path_bytes=wiring.most_path_bytes(directory) if place is None else place.path_bytes,
            )
            stored = None
            if place is None:
                stored = wiring.make_stored_parser(settings, frontier, directory.root, self.notice)
            observers = [*self.observers, *wiring.service_traces()]
            if backend is None:
                self._run = wiring.make_worker_run(
                    settings,
                    frontier,
                    directory,
                    processes,
                    observers=observers,
                    environ=self._environ,
                    follows=self._follows,
                    stored=stored,
                    share=share,
                )
            else:
                executor = stack.enter_context(wiring.writer_threads())
                root = directory.root if place is None else None
                reader = wiring.make_reader(settings, self.notice, follows=self._follows, root=root)
                if reader is not None:
                    stack.push_async_callback(reader.aclose)
                self._run = wiring.make_local_run(
                    settings,
                    backend,
                    frontier,
                    store,
                    observers=observers,
                    reader=reader,
                    environ=self._environ,
                    parts=directory.parts,
                    executor=executor,
                    follows=self._follows,
                    disk=directory.root,
                    stored=stored,
                    share=share,
                )
            self._run.take_part(self._part)
            self._run.adjust(concurrency=self._adjusted[0], is_paused=self._adjusted[1])
            if (kind := network_disk(directory.own)) is not None:
                self._run.notice(
                    "warning",
                    f"{directory.root} is on a network disk ({kind}), where a lost connection may damage"
                    " the state: a local --output is safer",
                )
            if settings.insecure:
                self._run.notice("warning", "--insecure: certificates are not checked")
            for level, text in self._noticed:
                self._run.notice(level, text)
            for why in self._stopped:
                self._run.stop(why)
            summary = await self._run_and_upload(self._run, sources)
            if settings.link_check:
                from fetcher.analysis.broken_links import write_link_check  # noqa: PLC0415

                self.link_check = await asyncio.to_thread(write_link_check, directory)
                summary = msgspec.structs.replace(summary, broken_links=self.link_check.broken)
            if settings.convert_links and self._follows and summary.stopped is None:
                summary = await self._convert_links(summary, store, ends_at)
        if share is not None and self._follows and place is None:
            self._tell_undelivered(share.share)
        return summary

    def _make_post(self, share: ShareRules | None) -> ShardPost | None:
        if self._place is not None:
            return self._place.post
        return None if share is None else make_post(self.directory, share)

    def _make_objects(self) -> ObjectOutput | None:
        """Make the output, if that is an object store."""
        directory = self.directory
        if directory.url is None:
            return None
        objects = ObjectOutput(directory, directory.url, self.notice, overwrite=self.settings.overwrite)
        self.observers.append(objects)
        return objects

    async def _open_objects(self, objects: ObjectOutput, store: Store) -> None:
        await objects.open()
        if self.settings.refresh or not objects.was_empty:
            await wiring.look_around(store)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for an object store, until a stop that may not wait for it; then False."""
        task = asyncio.ensure_future(work)
        self._cut_short = task.cancel
        if self._stopped and (self._run is None or len(self._stopped) > 1):
            task.cancel()
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            self._cut_short = None
        if task.cancelled():
            return False
        task.result()
        return True

    async def _run_and_upload(self, run: Run, sources: Sequence[Source]) -> Summary:
        """Run, and have the records in the object store too, if there is one."""
        objects = self._objects
        if objects is None:
            return await self._run_all(run, sources)
        keeping_up = asyncio.ensure_future(objects.keep_up())
        try:
            summary = await self._run_all(run, sources)
            if not await self._unless_stopped(objects.finish(keeping_up)):
                self.notice(
                    "warning", f"the records in {self.directory.url} are older; the next run writes them"
                )
        finally:
            keeping_up.cancel()
            await asyncio.gather(keeping_up, return_exceptions=True)
        return summary

    async def _run_all(self, run: Run, sources: Sequence[Source]) -> Summary:
        """Run, and give every file its turn of `on_done`."""
        hook = self._hook
        if hook is None:
            return await run.run(sources)
        try:
            summary = await run.run(sources)
        except BaseException:
            hook.kill()
            await hook.finish(0.0)
            raise
        if summary.stopped is not None:
            hook.stop()
        await hook.finish(self.settings.grace)
        stopped = summary.stopped or (self._stopped[0] if self._stopped else None)
        return msgspec.structs.replace(summary, hook_failures=hook.failed, stopped=stopped)

    async def _convert_links(self, summary: Summary, store: Store, ends_at: float | None) -> Summary:
        """Convert the links of what was saved, unless that is stopped."""
        now = asyncio.get_running_loop().time

        def stopped() -> str | None:
            return self._stopped[0] if self._stopped else "deadline" if ends_at and now() >= ends_at else None

        conversion = wiring.make_link_conversion(
            self.settings, self.directory, store, self.notice, lambda: stopped() is not None
        )
        try:
            is_whole = await conversion.run()
        except NoRoom as error:
            self.notice("error", error.message)
            return msgspec.structs.replace(summary, stopped=DISK_FULL)
        return summary if is_whole else msgspec.structs.replace(summary, stopped=stopped())

    async def _divided(self) -> dict[str, int] | None:
        """Divide hosts that are too large for one shard; how large those of a crawl are shows only later."""
        if self._list_again is None or self._follows or self.settings.no_split_hosts:
            return {}
        listed, is_stopped = self._list_again(), lambda: bool(self._stopped)
        hosts = await divided_hosts(self.settings, listed, self._environ, is_stopped)
        for host, shares in (hosts or {}).items():
            self.notice("info", f"{host} is too large for one shard: {shares} share its URLs and its limits")
        return hosts

    def _tell_undelivered(self, share: Share) -> None:
        counts = count_shards(run_directories([self.directory.root.resolve().parent]))
        waiting = {} if counts is None else counts.undelivered
        if number := sum(waiting.values()):
            names = ", ".join(f"{index}/{share.count}" for index in waiting)
            self.notice("info", f"{number:,} links wait to be read by the next runs of shards {names}")
