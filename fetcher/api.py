"""The library's verbs: `fetch`, `fetch_all`, `stream`, and the `Fetcher` that they stand on.

The library reads no file that it was not told of and no environment, prints nothing, and installs no
signal handler. A URL that fails is a `Result`; only misuse raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

import msgspec

from fetcher import compose
from fetcher.bridge import async_or_sync, iterate
from fetcher.directory import RunDirectory
from fetcher.engine.context import Ports
from fetcher.engine.run import Run
from fetcher.errors import ConfigError, FetcherError
from fetcher.events import Snapshot
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Entry, Outcome, Result, Summary
from fetcher.ports import Backend, Observer, Source
from fetcher.settings import Settings, crawl_defaults, make
from fetcher.sources.iterables import IterableSource
from fetcher.stores.none import NoneStore

if TYPE_CHECKING:
    from fetcher.parsers.page import Page

Item = TypeVar("Item", bound=Result)

Urls: TypeAlias = Iterable[Any] | AsyncIterable[Any]

STREAM_MAX_SIZE = 64 * 1024 * 1024
_OF_CONNECTIONS = (  # a crawl that differs in one of these has connections of its own
    *("backend", "http", "connect_timeout", "user_agent", "resolve", "ca_file", "client_cert"),
    *("insecure", "ipv4", "ipv6"),
)
_MOST_PULLED = 32  # items of a plain iterable that are taken in one go


class Download:
    """One run in a run directory: what the command line does, and `Fetcher.download`.

    `environ` is where proxy variables are looked up. Observers may be added until it runs.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        observers: Iterable[Observer] = (),
        backend: Backend | None = None,
        command: str = "get",
    ) -> None:
        self.settings = settings
        self.command = command
        self.directory = RunDirectory(Path(settings.output))
        self.observers = list(observers)
        self._environ = environ or {}
        self._given_backend = backend
        self._run: Run | None = None
        self._stopped: list[str] = []
        self._noticed: list[tuple[str, str]] = []

    def _notice(self, level: str, text: str) -> None:
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

    def snapshot(self) -> Snapshot:
        """How the run stands."""
        return Snapshot() if self._run is None else self._run.snapshot()

    async def run(self, sources: Sequence[Source]) -> Summary:
        """Run to the end, or until stopped.

        Raises:
            ConfigError: a setting can't be used; nothing was fetched.
            DirectoryInUse: another run holds the directory.
            StorageError: the disk or the state failed; what was settled is safe.

        Cancelling abandons what is in flight; the same call continues.
        """
        settings, directory = self.settings, self.directory
        async with contextlib.AsyncExitStack() as stack:
            backend = None
            processes = min(settings.processes, settings.concurrency)
            if processes == 1:
                backend = self._given_backend or compose.make_backend(settings)
                if self._given_backend is None:
                    stack.push_async_callback(backend.aclose)
            directory.acquire()
            stack.callback(directory.release)
            store = compose.make_store(settings, directory)
            stack.push_async_callback(store.aclose)
            ports = compose.DurablePorts(
                store=store,
                frontier=compose.make_frontier(
                    settings, directory.state, directory.results, store, self.command
                ),
                clock=compose.MonotonicClock(),
                observers=self.observers,
            )
            if backend is None:
                stack.callback(directory.clear_parts)  # those of a worker that died
                self._run = compose.fleet_run(
                    settings, ports, directory, processes, self._environ, self.command
                )
            else:
                executor = stack.enter_context(compose.writer_threads())
                reader = compose.make_reader(settings, self.command, root=directory.root, notice=self._notice)
                if reader is not None:
                    stack.push_async_callback(reader.aclose)
                self._run = compose.local_run(
                    settings, ports, directory, backend, executor, self._environ, self.command, reader
                )
            if settings.insecure:
                self._run.notice("warning", "--insecure: certificates are not checked")
            for level, text in self._noticed:
                self._run.notice(level, text)
            for why in self._stopped:
                self._run.stop(why)
            return await self._run.run(sources)


class _Stream(Generic[Item]):
    """What ends in a run, an item at a time; iterates in both worlds.

    Leaving the loop early, or cancelling, frees every connection. Each iteration fetches anew.
    """

    def __init__(self, urls: Urls, settings: Settings, owner: Fetcher | None = None) -> None:
        self._urls = urls
        self._settings = settings
        self._owner = owner

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._items()

    def __iter__(self) -> Iterator[Item]:
        if (
            self._owner is not None and self._owner.is_open
        ):  # its connections belong to the loop that opened it
            raise RuntimeError("iterate what an open Fetcher gives by 'async for'")
        return iterate(self._items)

    async def _items(self, positions: list[int] | None = None) -> AsyncGenerator[Item]:
        """The items; `positions` gets the place in the input of each, from 1."""
        ended: deque[Outcome] = deque()
        wake = asyncio.Event()

        def deliver(outcome: Outcome) -> None:
            ended.append(outcome)
            wake.set()

        async with contextlib.AsyncExitStack() as stack:
            if self._owner is not None and self._is_tied():
                backend = self._owner.backend
            else:
                backend = compose.make_backend(self._settings)
                stack.push_async_callback(backend.aclose)
            batch = min(_MOST_PULLED, max(1, self._settings.concurrency // 2))
            run = self._make_run(backend, deliver, batch, stack)
            task = asyncio.create_task(run.run([IterableSource(self._urls, batch=batch)]))
            task.add_done_callback(lambda _: wake.set())
            if self._owner is not None:
                self._owner.adopt(task)
            try:
                while True:
                    while ended:
                        outcome = ended.popleft()
                        if positions is not None:
                            positions.append(outcome.job.id)
                        item = self._item(outcome)
                        yield item
                        self._taken(run, outcome, item)
                    if task.done():
                        if task.cancelled():
                            raise RuntimeError("the Fetcher was closed while this was read")
                        task.result()
                        return
                    wake.clear()
                    await wake.wait()
            finally:
                await _cancelled(task)
                while ended:
                    self._dropped(ended.popleft(), run)

    def _is_tied(self) -> bool:
        """Whether it uses the connections of its Fetcher."""
        return self._owner is not None

    def _make_run(
        self,
        backend: Backend,
        deliver: Callable[[Outcome], None],
        batch: int,
        stack: contextlib.AsyncExitStack,
    ) -> Run:
        raise NotImplementedError

    def _item(self, outcome: Outcome) -> Item:
        raise NotImplementedError

    def _taken(self, run: Run, outcome: Outcome, item: Item) -> None:
        raise NotImplementedError

    def _dropped(self, outcome: Outcome, run: Run) -> None:
        raise NotImplementedError


class Stream(_Stream[Result]):
    """Results as they end: `async for`, and `for` in plain code. See `Fetcher.stream`."""

    def _make_run(
        self,
        backend: Backend,
        deliver: Callable[[Outcome], None],
        batch: int,
        stack: contextlib.AsyncExitStack,  # noqa: ARG002
    ) -> Run:
        settings = self._settings
        clock = compose.MonotonicClock()
        return Run.local(
            compose.make_plan(settings, ahead=2 * settings.concurrency - batch + 1, keeps_bodies=True),
            Ports(backend=backend, frontier=MemoryFrontier(distinct=False), store=NoneStore(), clock=clock),
            compose.make_policies(settings, {}),
            compose.make_rules(settings, clock, keep_error_bodies=True),
            compose.make_intake(settings),
            deliver=deliver,
        )

    def _item(self, outcome: Outcome) -> Result:
        assert isinstance(outcome.record, Result)
        return outcome.record

    def _taken(self, run: Run, outcome: Outcome, item: Result) -> None:  # noqa: ARG002
        run.taken(outcome)

    def _dropped(self, outcome: Outcome, run: Run) -> None:
        run.taken(outcome)


class Crawl(_Stream["Page"]):
    """Pages of a crawl as they end: `async for`, and `for` in plain code. See `Fetcher.crawl`."""

    def _is_tied(self) -> bool:
        owner = self._owner
        if owner is None or not owner.is_open:
            return False
        return all(getattr(self._settings, key) == getattr(owner.settings, key) for key in _OF_CONNECTIONS)

    def _make_run(
        self,
        backend: Backend,
        deliver: Callable[[Outcome], None],
        batch: int,
        stack: contextlib.AsyncExitStack,
    ) -> Run:
        settings = self._settings
        clock = compose.MonotonicClock()

        def review(outcome: Outcome) -> bool:
            if outcome.record is None or outcome.job.kind not in {"page", "asset"}:
                return False
            deliver(outcome)
            return True

        reader = compose.make_reader(settings, "crawl")
        assert reader is not None
        stack.push_async_callback(reader.aclose)
        return Run.local(
            compose.make_plan(
                settings, ahead=2 * settings.concurrency - batch + 1, keeps_bodies=True, follows=True
            ),
            Ports(
                backend=backend,
                frontier=compose.make_frontier(settings, None, None, NoneStore(), "crawl"),
                store=NoneStore(),
                clock=clock,
                reader=reader,
            ),
            compose.make_policies(settings, {}),
            compose.make_rules(settings, clock, keep_error_bodies=True),
            compose.make_intake(settings),
            review=review,
        )

    def _item(self, outcome: Outcome) -> Page:
        from fetcher.parsers.page import page_of  # noqa: PLC0415  (only crawls need it)

        assert isinstance(outcome.record, Result)
        return page_of(outcome.record, outcome.links)

    def _taken(self, run: Run, outcome: Outcome, item: Page) -> None:
        if item.followed:
            outcome.links = [*(outcome.links or ()), *item.followed]
        run.reviewed(outcome)

    def _dropped(self, outcome: Outcome, run: Run) -> None:  # noqa: ARG002
        if outcome.body is not None:
            outcome.body.discard()


class Fetcher:
    """Settings and a backend that several calls share.

    Keyword arguments are the settings' names: `concurrency=100, per_host=10, max_size="32M"`.

    >>> async def titles(urls):
    ...     async with Fetcher(concurrency=100) as f:
    ...         async for result in f.stream(urls):
    ...             print(result.url, result.status)

    Raises:
        ConfigError: an unknown setting, a wrong type or a bad value.
    """

    def __init__(self, **settings: Any) -> None:
        self._given = settings
        self.settings = make(settings)
        self._backend: Backend | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Summary]] = set()

    async def __aenter__(self) -> Self:
        if self._backend is not None:
            raise RuntimeError("this Fetcher is open already")
        self._backend = compose.make_backend(self.settings)
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            await _cancelled(task)
        if self._backend is not None:
            backend, self._backend = self._backend, None
            await backend.aclose()

    @property
    def is_open(self) -> bool:
        return self._backend is not None

    @property
    def backend(self) -> Backend:
        """The open backend. Raises `RuntimeError` outside `async with`, and in another loop."""
        if self._backend is None:
            raise RuntimeError("open the Fetcher first: async with fetcher.Fetcher(…) as f")
        if self._loop not in {None, asyncio.get_running_loop()}:
            raise RuntimeError("this Fetcher belongs to the loop that opened it: open another one here")
        return self._backend

    def adopt(self, task: asyncio.Task[Summary]) -> None:
        """Cancel `task` when the fetcher is closed."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stream(self, urls: Urls) -> Stream:
        """Results as they end, one for each item of `urls`, which may be endless or asynchronous.

        Items are URLs, or mappings with the columns of a JSONL input. `urls` is read at most
        2 × `concurrency` ahead of what was taken. Bodies stay in memory, `max_size` 64 MiB unless set,
        until the next result is asked for.
        """
        return Stream(urls, _for_streams(self.settings, self._given), self)

    def crawl(self, seeds: Urls | str, **settings: Any) -> Crawl:
        """Follow links from `seeds`; pages as they end, each with `links` and `follow`.

        Keyword arguments are settings that differ for this crawl: `depth=2, scope="domain"`. What they and
        the Fetcher's own don't say has a crawl's default. The next page is asked for only when the last
        was taken; what it `follow`ed counts as a link of it. Bodies stay in memory until then.

        Raises:
            ConfigError: an unknown setting, a wrong type or a bad value.
        """
        return Crawl([seeds] if isinstance(seeds, str) else seeds, _for_crawls(self._given | settings), self)

    @async_or_sync
    async def download(
        self, urls: Urls | str | os.PathLike[str], directory: str | os.PathLike[str] | None = None
    ) -> Summary:
        """Download into a run directory, as `fetcher get` does: files, `results.jsonl`, and the state.

        The same call continues what was interrupted. `directory` is `downloads` unless given. Awaited
        inside a running loop; in plain code it returns the summary.

        Raises:
            DirectoryInUse: another run holds the directory.
            StorageError: the disk or the state failed; what was settled is safe.

        Cancelling abandons what is in flight; the same call continues.
        """
        settings = self.settings
        if directory is not None:
            settings = msgspec.structs.replace(settings, output=os.fspath(directory))
        source = IterableSource([os.fspath(urls)] if isinstance(urls, str | os.PathLike) else urls, batch=256)
        if not self.is_open:
            return await Download(settings).run([source])
        run = Download(settings, backend=self.backend).run([source])
        task = asyncio.create_task(run)
        self.adopt(task)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise RuntimeError("the Fetcher was closed during this download") from None


def stream(urls: Urls, **settings: Any) -> Stream:
    """Results as they end, in both worlds; see `Fetcher.stream`."""
    return Stream(urls, _for_streams(make(settings), settings))


def crawl(seeds: Urls | str, **settings: Any) -> Crawl:
    """Pages of a crawl as they end, in both worlds; see `Fetcher.crawl`."""
    return Crawl([seeds] if isinstance(seeds, str) else seeds, _for_crawls(settings))


@async_or_sync
async def fetch(url: str | Mapping[str, Any] | Entry, **settings: Any) -> Result:
    """Fetch one URL with all the engine's manners; a stream of one.

    The same function in both worlds: awaited inside a running loop, returning a `Result` in plain code.

    Raises:
        ConfigError: an unknown setting, a wrong type or a bad value. A URL that fails is a `Result`.

    Cancelling closes the connection.
    """
    async with contextlib.aclosing(stream([url], **settings)._items()) as results:
        async for result in results:
            return result
    raise FetcherError("the run ended without a result")


@async_or_sync
async def fetch_all(urls: Urls, **settings: Any) -> list[Result]:
    """Fetch all URLs; the list is in the order of the input, one `Result` for each item.

    Everything stays in memory: use `stream` for more than that holds. Cancelling abandons all.
    """
    results: list[Result] = []
    positions: list[int] = []
    async with contextlib.aclosing(stream(urls, **settings)._items(positions)) as ended:
        async for result in ended:
            results.append(result)  # noqa: PERF401  (the body of each is kept while the next is awaited)
    return [results[n] for n in sorted(range(len(results)), key=positions.__getitem__)]


def _for_streams(settings: Settings, given: Mapping[str, Any]) -> Settings:
    if "max_size" in given:
        return settings
    return msgspec.structs.replace(settings, max_size=STREAM_MAX_SIZE)


def _for_crawls(given: Mapping[str, Any]) -> Settings:
    return crawl_defaults(make(given), given)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever that is; a cancellation of our own is raised then."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # seen: whoever reads the results has had it
    if cancelled is not None:
        raise cancelled


__all__ = [
    "ConfigError",
    "Crawl",
    "Download",
    "Fetcher",
    "Stream",
    "crawl",
    "fetch",
    "fetch_all",
    "stream",
]
