"""The library's verbs: `fetch`, `fetch_all`, `stream`, and the `Fetcher` that they stand on.

The library reads no file that it was not told of and no environment, prints nothing, and installs no
signal handler. A URL that fails is a `Result`; only misuse raises.

Invariant: a caller's loop is never kept for long: what runs need is imported in a thread (`loading`), so
nothing here imports it at the top.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

import msgspec

from fetcher.call_arguments import content_of, header_fields, with_params
from fetcher.errors import ConfigError, FetcherError
from fetcher.loading import loaded
from fetcher.model import Entry, Result, Summary
from fetcher.settings import (
    CRAWLING,
    LIMITS,
    OPTIONS,
    PARSING,
    REQUEST,
    SPEED,
    Settings,
    convert,
    crawl_defaults,
    make,
)
from fetcher.settings_dict import FetchDict, Fields, HeaderFields, Seconds, SettingsDict
from fetcher.streams import Crawl, Stream, Urls, cancelled
from fetcher.verb_types import gives_result, gives_results, gives_summary, lists_settings

if TYPE_CHECKING:
    from yarl import URL

    from fetcher.fetch_calls import FetchCall, FetchCalls
    from fetcher.ports import Backend

Url: TypeAlias = "str | URL | Mapping[str, Any] | Entry"

STREAM_MAX_SIZE = 64 * 1024 * 1024


@lists_settings(None)
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

    def __init__(self, **settings: Unpack[SettingsDict]) -> None:
        self._given: Mapping[str, Any] = {**settings}
        self.settings = make(settings)
        self._backend: Backend | None = None
        self._calls: FetchCalls | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Summary]] = set()

    async def __aenter__(self) -> Self:
        if self._backend is not None:
            raise RuntimeError("this Fetcher is open already")
        await loaded(self.settings)
        from fetcher import wiring

        self._backend = wiring.make_backend(self.settings)
        self._loop = asyncio.get_running_loop()
        return self

    if not TYPE_CHECKING:  # to a type checker it is none

        def __enter__(self) -> Self:
            raise TypeError("open a Fetcher by 'async with'; in plain code its functions need no 'with'")

        def __exit__(self, *_: object) -> None:
            """Never reached."""

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            await cancelled(task)
        if self._backend is not None:
            backend, self._backend = self._backend, None
            self._calls = None
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
        """Give results as they end, one for each item of `urls`, which may be endless or asynchronous.

        Items are URLs, or mappings with the columns of a JSONL input. `urls` is read at most
        2 × `concurrency` ahead of what was taken. Bodies stay in memory, `max_size` 64 MiB unless set,
        until the next result is asked for.
        """
        return Stream(urls, _for_streams(self.settings, self._given), self)

    @gives_result
    async def fetch(
        self,
        url: Url,
        *,
        method: str | None = None,
        headers: HeaderFields | None = None,
        params: Fields | str | None = None,
        data: str | bytes | Fields | None = None,
        json: Any = None,
        timeout: Seconds | None = None,  # noqa: ASYNC109  (the engine's own limit, on each hop)
    ) -> Result:
        """Fetch one URL over the open connections, within the limits that all calls and hosts share.

        `headers` (a mapping or pairs) come on top of the Fetcher's, and an empty value or None takes one
        away; they go to the URL's origin only. `params` is added to the query. `data` is a body as it is,
        or a mapping or pairs for a form; `json` is sent as JSON; with either the method is POST unless
        given. `timeout` (seconds) limits each hop, its time in queues apart; without it the Fetcher's does.

        Awaited inside a running loop. `.sync` is for plain code: of another thread it uses the open
        connections, and where the Fetcher is not open it opens some for this call.

        Raises:
            ConfigError: an argument can't be used. A URL that fails is a `Result`.
            RuntimeError: the Fetcher was closed meanwhile.

        Cancelling ends the exchange, and no other.
        """
        await loaded(self.settings)
        call = _call(url, method, headers, params, data, json, timeout)
        loop = self._loop
        if not self.is_open:
            async with Fetcher(**self._given) as own:
                return await own._fetch(call)
        if loop is None or loop is asyncio.get_running_loop():
            return await self._fetch(call)
        if not loop.is_running():
            raise RuntimeError("the loop that opened this Fetcher has ended")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._fetch(call), loop))

    async def _fetch(self, call: FetchCall) -> Result:
        from fetcher.fetch_calls import FetchCalls

        calls = self._calls
        if calls is None:
            calls = self._calls = FetchCalls(_for_streams(self.settings, self._given), self.backend)
            self.adopt(calls.task)
        return await calls.fetch(call)

    def crawl(self, seeds: Urls | str, **settings: Unpack[SettingsDict]) -> Crawl:
        """Follow links from `seeds`; pages as they end, each with `links` and `follow`.

        Keyword arguments are settings that differ for this crawl: `depth=2, scope="domain"`. What they and
        the Fetcher's own don't say has a crawl's default. The next page is asked for only when the last
        was taken; what it `follow`ed counts as a link of it. Bodies stay in memory until then.

        Raises:
            ConfigError: an unknown setting, a wrong type or a bad value.
        """
        settled = _for_crawls({**self._given, **settings})
        return Crawl([seeds] if isinstance(seeds, str) else seeds, settled, self)

    @gives_summary
    async def download(
        self, urls: Urls | str | os.PathLike[str], directory: str | os.PathLike[str] | None = None
    ) -> Summary:
        """Download into a run directory, as `fetcher get` does: files, `results.jsonl`, and the state.

        The same call continues what was interrupted. `directory` is `downloads` unless given. With `cluster`
        its shards are fetched by workers, over connections of their own. Awaited inside a running loop; in
        plain code it returns the summary.

        Raises:
            DirectoryInUse: another run holds the directory.
            StorageError: the disk or the state failed; what was settled is safe.

        Cancelling abandons what is in flight; the same call continues.
        """
        settings = self.settings
        await loaded(settings, keeps=True)
        from fetcher.download import Download
        from fetcher.sources.iterables import IterableSource

        if directory is not None:
            settings = msgspec.structs.replace(settings, output=os.fspath(directory))
        source = IterableSource([os.fspath(urls)] if isinstance(urls, str | os.PathLike) else urls, batch=256)
        if settings.cluster is not None:
            from fetcher.cluster.cluster_download import ClusterDownload

            return await ClusterDownload(settings).run([source])
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


@lists_settings("get", SPEED, LIMITS, REQUEST)
def stream(urls: Urls, **settings: Unpack[SettingsDict]) -> Stream:
    """Give results as they end, in async and in plain code; see `Fetcher.stream`."""
    return Stream(urls, _for_streams(make(settings), settings))


@lists_settings("crawl", SPEED, CRAWLING, PARSING, LIMITS, REQUEST)
def crawl(seeds: Urls | str, **settings: Unpack[SettingsDict]) -> Crawl:
    """Give the pages of a crawl as they end, in async and in plain code; see `Fetcher.crawl`."""
    return Crawl([seeds] if isinstance(seeds, str) else seeds, _for_crawls(settings))


@gives_result
@lists_settings("get", SPEED, LIMITS, REQUEST)
async def fetch(url: Url, **settings: Unpack[FetchDict]) -> Result:
    """Fetch one URL, with the limits, retries and redirects of a run.

    The same function in both worlds: awaited inside a running loop, returning a `Result` in plain code.
    Each call has connections of its own; for many, open a `Fetcher`, or use `fetch_all` and `stream`.

    `params` (a mapping, pairs or text) is added to the query; `data` is a body as it is, or a mapping or
    pairs for a form; `json` is sent as JSON. Everything else is a setting.

    Raises:
        ConfigError: an unknown setting, a wrong type or a bad value. A URL that fails is a `Result`.

    Cancelling closes the connection.
    """
    given: dict[str, Any] = {**settings}
    content = content_of(given.pop("data", None), given.pop("json", None))
    if content[0] is not None:
        given["data"] = content[0]
    if content[1] is not None:
        key = "header" if "header" in given else "headers"
        fields = tuple(convert(OPTIONS["headers"], given.get(key, ())))
        if not any(name.lower() == "content-type" for name, _ in fields):
            given[key] = (*fields, ("Content-Type", content[1]))
    if (params := given.pop("params", None)) is not None:
        await loaded(make(given))
        from fetcher.sources.iterables import entry_of

        entry = entry_of(url, 1)
        url = msgspec.structs.replace(entry, url=with_params(entry.url, params))
    async with contextlib.aclosing(stream([url], **given)._items()) as results:
        async for result in results:
            return result
    raise FetcherError("the run ended without a result")


@gives_results
@lists_settings("get", SPEED, LIMITS, REQUEST)
async def fetch_all(urls: Urls, **settings: Unpack[SettingsDict]) -> list[Result]:
    """Fetch all URLs; the list is in the order of the input, one `Result` for each item.

    Everything stays in memory: use `stream` for more than that holds. Cancelling abandons all.
    """
    results: list[Result] = []
    positions: list[int] = []
    async with contextlib.aclosing(stream(urls, **settings)._items(positions)) as ended:
        async for result in ended:
            results.append(result)  # noqa: PERF401  (the body of each is kept while the next is awaited)
    return [results[n] for n in sorted(range(len(results)), key=positions.__getitem__)]


def _call(
    url: Url,
    method: str | None,
    headers: HeaderFields | None,
    params: Fields | str | None,
    data: Any,
    json: Any,
    timeout: Seconds | None,
) -> FetchCall:
    """Return the call that the arguments of `Fetcher.fetch` make."""
    from fetcher.fetch_calls import FetchCall
    from fetcher.sources.iterables import entry_of

    entry = entry_of(url, 1)
    content, kind = content_of(data, json)
    own = {**(entry.headers or {})}
    if kind is not None:
        own["Content-Type"] = kind
    if headers is not None:
        given = header_fields(headers)
        names = {name.lower() for name in given}
        own = {name: value for name, value in own.items() if name.lower() not in names} | given
    fields = {name: getattr(entry, name) for name in Entry.__struct_fields__}
    fields["url"] = entry.url if params is None else with_params(entry.url, params)
    fields["headers"] = own or None
    if method is not None:
        fields["method"] = convert(OPTIONS["method"], method)
    seconds = None if timeout is None else convert(OPTIONS["timeout"], timeout)
    return FetchCall(**fields, content=content, timeout_s=seconds)


def _for_streams(settings: Settings, given: Mapping[str, Any]) -> Settings:
    if "max_size" in given:
        return settings
    return msgspec.structs.replace(settings, max_size=STREAM_MAX_SIZE)


def _for_crawls(given: Mapping[str, Any]) -> Settings:
    return crawl_defaults(make(given), given)


__all__ = [
    "ConfigError",
    "Crawl",
    "Fetcher",
    "Stream",
    "crawl",
    "fetch",
    "fetch_all",
    "stream",
]
