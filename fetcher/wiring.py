"""Factories: names become classes, and settings the engine's parts. Nothing else knows both sides.

The tables are the whole list of what can be plugged in; a class is imported when it is chosen.

Over 400 lines, because each part of a run is made by one function here, and by none elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib
import os
import random
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from fetcher.engine.body_options import BodyOptions
from fetcher.engine.budget import Bandwidth, ByteBudget
from fetcher.engine.digest import Algorithms
from fetcher.engine.engine_state import Policies
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.record_builder import RecordBuilder
from fetcher.engine.room import DiskRoom, SharedClaims
from fetcher.engine.run import Run
from fetcher.engine.run_config import READ_AHEAD, RunConfig
from fetcher.engine.run_context import RunContext
from fetcher.engine.stored_parser import StoredParser
from fetcher.engine.task_pool import TaskPool
from fetcher.engine.timeouts import Limits
from fetcher.errors import ConfigError, StorageError, removed
from fetcher.model import Headers, Outcome, SpeedSettings
from fetcher.policy.content_encoding import ACCEPT_ENCODING
from fetcher.policy.credentials import Credentials, HostCredentials
from fetcher.policy.filenames import PATH_BYTES, name_template
from fetcher.policy.object_urls import is_object_url
from fetcher.policy.proxies import SCHEMES, SOCKS_SCHEMES, ProxyRules
from fetcher.policy.retry import RetryPolicy
from fetcher.policy.shares import ShareRules
from fetcher.policy.throttle import HostThrottle
from fetcher.ports import Backend, Clock, ConnectionOptions, Frontier, Observer, Reader, Store
from fetcher.processors import cores
from fetcher.run_dir import RunDirectory
from fetcher.setting_files import read_checksums, read_cookies, read_netrc
from fetcher.settings import Settings, deadline_seconds
from fetcher.stores.none import NoneStore
from fetcher.version import __version__

if TYPE_CHECKING:
    from fetcher.conversion.link_conversion import LinkConversion
    from fetcher.done_hook import DoneHook
    from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
    from fetcher.frontiers.sqlite.crawl.shard_post import ShardPost
    from fetcher.frontiers.sqlite.frontier import SqliteFrontier
    from fetcher.observers.exchange_traces import ExchangeTraces
    from fetcher.stores.files import FilesStore
    from fetcher.stores.object_client import ObjectClient

T = TypeVar("T")

BACKENDS = {
    "asyncio": "fetcher.backends.aiohttp:AiohttpBackend",
    "curl": "fetcher.backends.curl:CurlBackend",
    "threads": "fetcher.backends.blocking:ThreadsBackend",
    "sync": "fetcher.backends.blocking:SyncBackend",
}
STORES = {
    "files": "fetcher.stores.files:FilesStore",
    "none": "fetcher.stores.none:NoneStore",
    "warc": "fetcher.stores.warc:WarcStore",
    "parquet": "fetcher.stores.parquet:ParquetStore",
}

_OF_EVERY_RUN = (
    *("fetcher.fetch_calls", "fetcher.frontiers.memory", "fetcher.sources.iterables", "fetcher.stores.none"),
    # What else is imported at its first use only:
    *("aiofiles.threadpool", "brotli", "email.utils", "idna.core", "idna.uts46data"),
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",
)
_OF_STATES = (
    *("fetcher.frontiers.sqlite.filename_allocator", "fetcher.frontiers.sqlite.frontier"),
    *("fetcher.frontiers.sqlite.part_rows", "fetcher.serial_executor"),
)
_OF_PAGES = (
    *("fetcher.frontiers.sqlite.crawl.crawl_frontier", "fetcher.parsers.page", "fetcher.parsers.reader"),
    *("fetcher.policy.robots", "fetcher.policy.scope"),
)

WORKER_CODE = "from fetcher.worker_main import main; main()"  # no import: it stands above this module
BYTE_BUDGET = 64 * 1024 * 1024


class MonotonicClock:
    """The clocks of the machine."""

    now = staticmethod(time.monotonic)
    utc = staticmethod(time.time)


def load(table: Mapping[str, str], kind: str, name: str) -> Any:
    """Return the class that a name of a table stands for. Raises `ConfigError` naming what there is."""
    if name not in table:
        raise ConfigError(f"{kind}: there is no {name!r}", hint=f"choose from {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def preload(settings: Settings, *, follows: bool = False, keeps: bool = False) -> None:
    """Import what runs of `settings` need later, in a thread that may wait for it.

    `follows` is for runs that read pages, `keeps` for those in a run directory.
    """
    names = [*_OF_EVERY_RUN]
    if settings.backend in BACKENDS:
        names.append(BACKENDS[settings.backend].partition(":")[0])
    if keeps:
        names += [
            "filelock",
            "fetcher.download",
            STORES.get(settings.store, "fetcher.stores.none:").partition(":")[0],
        ]
    if keeps and settings.cluster is not None:
        names.append("fetcher.cluster.cluster_download")
    if keeps or follows:
        names += _OF_STATES
    if follows:
        names += _OF_PAGES
    for name in names:
        importlib.import_module(name)


def make_backend(settings: Settings, *, may_send: Callable[[], None] | None = None) -> Backend:
    """Return the backend that the settings name, not yet connected to anything.

    `may_send` raises where no request may be sent any more; see `ConnectionOptions`.
    """
    cls = load(BACKENDS, "backend", settings.backend)
    if settings.ipv4 and settings.ipv6:
        raise ConfigError("ipv4 and ipv6 exclude each other", hint="give one of them, or neither")
    for key in ("ca_file", "client_cert"):
        if (path := getattr(settings, key)) is not None:
            _check_readable(key, path)
    backend: Backend = cls(msgspec.structs.replace(connection_options(settings), may_send=may_send))
    versions = {"auto": None, "1.1": "1.1", "2": "2", "3": "3"}[settings.http]
    if versions is not None and versions not in backend.traits.http_versions:
        able = ", ".join(sorted(backend.traits.http_versions))
        raise ConfigError(
            f"http: the {settings.backend} backend can't do HTTP/{settings.http}", hint=f"it can do {able}"
        )
    return backend


def connection_options(settings: Settings) -> ConnectionOptions:
    """The settings of connections, as every backend takes them."""
    return ConnectionOptions(
        connect_timeout_s=settings.connect_timeout,
        user_agent=user_agent(settings),
        family=4 if settings.ipv4 else 6 if settings.ipv6 else None,
        resolve={(host, port): address for host, port, address in settings.resolve},
        ca_file=settings.ca_file,
        client_cert=settings.client_cert,
        insecure=settings.insecure,
        http=settings.http,
        concurrency=settings.concurrency,
    )


def _check_readable(key: str, path: str) -> None:
    """Raise `ConfigError` unless the regular file `path` can be opened."""
    try:
        reason = "" if Path(path).is_file() else "there is no such file"
        if not reason:
            Path(path).open("rb").close()
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise ConfigError(f"{key}: cannot read {path}: {reason}", hint="name a PEM file")


def agent(settings: Settings) -> str:
    """Return the product token that a site's rules for robots may name."""
    from fetcher.policy.robots import agent_token  # noqa: PLC0415

    return agent_token(user_agent(settings))


def user_agent(settings: Settings) -> str:
    """Return the product token of the User-Agent, or the user's own."""
    return settings.user_agent if settings.user_agent is not None else f"fetcher/{__version__}"


def make_policies(
    settings: Settings,
    environ: Mapping[str, str],
    share: ShareRules | None = None,
    *,
    follows: bool = False,
) -> Policies:
    """Return the run's decisions. `environ` is where proxy variables are looked up; empty for the library.

    With a `share`, hosts have its part of their limits. Reads the files that the settings name: cookies,
    and `~/.netrc` for `netrc`.
    """
    hosts = settings.hosts

    def whole_throttle_of(host: str) -> HostThrottle:
        own = hosts.get(host) or hosts.get(host.rpartition(":")[0].strip("[]"))
        if own is None:
            return HostThrottle(settings.per_host, delay_s=settings.delay)
        return HostThrottle(
            own.per_host if own.per_host is not None else settings.per_host,
            delay_s=own.delay if own.delay is not None else settings.delay,
            rate=own.rate,
        )

    throttle_of = whole_throttle_of
    if share is not None:

        def throttle_of(host: str) -> HostThrottle:
            return share.throttle(host, whole_throttle_of)

    schemes = SCHEMES
    if settings.backend == "curl" or find_spec("python_socks") is not None:
        schemes |= SOCKS_SCHEMES
    if settings.proxy:
        proxies = ProxyRules.explicit(settings.proxy, no_proxy=settings.no_proxy or "", schemes=schemes)
    elif settings.proxy is None:
        variables = dict(environ)
        if settings.no_proxy is not None:
            variables["no_proxy"] = settings.no_proxy
        proxies = ProxyRules.from_environ(variables, schemes=schemes)
    else:
        proxies = ProxyRules()
    return Policies(
        retry=RetryPolicy(settings.retries, settings.retry_on, settings.max_wait, random.random),
        credentials=Credentials(
            user_agent=user_agent(settings),
            accept_encoding=ACCEPT_ENCODING,
            headers=settings.headers,
            user=settings.user,
            hosts={
                name: HostCredentials(headers=own.headers, user=own.user)
                for name, own in hosts.items()
                if own.headers or own.user
            },
            netrc=read_netrc() if settings.netrc else None,
        ),
        proxies=proxies,
        throttle_of=throttle_of,
        jar=read_cookies(settings.cookies),
        private_addresses=settings.private_addresses,
        max_redirects=settings.max_redirects,
        server_names=settings.server_names,
        extension=settings.extension,
        rate=settings.rate,
        link_check=settings.link_check,
        has_links=_may_hold_links() if follows and settings.link_check and settings.parser is None else None,
    )


def _may_hold_links() -> Callable[[Headers], bool]:
    from fetcher.extract.links import may_hold_links  # noqa: PLC0415

    return may_hold_links


def deadline_of(settings: Settings) -> float | None:
    """Return how many seconds there are until the deadline, if there is one."""
    if settings.deadline is None:
        return None
    return deadline_seconds(settings.deadline, dt.datetime.now())  # noqa: DTZ005  (a local clock time)


def make_run_config(settings: Settings, *, ahead: int | None = None, follows: bool = False) -> RunConfig:
    """Return the figures of a run. `ahead` bounds how many URLs a stream may be ahead of its consumer."""
    return RunConfig(
        concurrency=settings.concurrency,
        per_host=settings.per_host,
        limits=Limits(
            connect_s=settings.connect_timeout,
            header_s=settings.header_timeout,
            read_s=settings.read_timeout,
            total_s=settings.timeout,
            min_speed=settings.min_speed,
        ),
        grace_s=settings.grace,
        deadline_s=deadline_of(settings),
        max_failures=settings.max_failures,
        min_free=settings.min_free,
        ahead=READ_AHEAD if ahead is None else ahead,
        follows=follows,
        speed=SpeedSettings(
            concurrency=settings.concurrency,
            per_host=settings.per_host,
            delay=settings.delay,
            rate=settings.rate,
            max_bandwidth=settings.max_bandwidth,
            processes=min(settings.processes, settings.concurrency),
            backend=settings.backend,
            parser_workers=settings.parser_workers,
            cores=cores(),
            own_hosts=frozenset(settings.hosts or ()),
            stores_objects=is_object_url(settings.output),
        ),
    )


def make_body_options(
    settings: Settings,
    clock: Clock,
    *,
    parts: Path | None = None,
    executor: ThreadPoolExecutor | None = None,
    keep_error_bodies: bool = False,
    keeps_wire: bool = False,
    divided_by: int = 1,
    claims: SharedClaims | None = None,
) -> BodyOptions:
    """Make the options of bodies: held in memory only, or spooled to `parts` by `executor`.

    With `keeps_wire` they are kept as they came too, and none is continued: archives have whole answers only.
    The byte budget is the whole run's, `divided_by` its processes, whose `claims` are on one disk.
    """
    return BodyOptions(
        budget=ByteBudget(BYTE_BUDGET // divided_by),
        now=clock.now,
        max_size=settings.max_size,
        block=1024 * 1024,
        largest_block=4 * 1024 * 1024,
        parts=None if parts is None else str(parts),
        executor=executor,
        bandwidth=Bandwidth(settings.max_bandwidth, clock) if settings.max_bandwidth else None,
        keep_error_bodies=keep_error_bodies,
        keeps_wire=keeps_wire,
        resumes=parts is not None and not settings.no_resume and not keeps_wire,
        connections=1 if keeps_wire else settings.split,
        split_size=settings.split_size,
        syncs=settings.fsync,
        room=None
        if parts is None or not settings.min_free
        else DiskRoom(free_bytes(parts), settings.min_free, claims=claims),
        algorithms=Algorithms(settings.digest),
    )


def make_store(
    settings: Settings, directory: RunDirectory, client: ObjectClient | None = None, **staged: Any
) -> Store:
    """Return the store that the settings name, below the run directory, or where its bodies go.

    `client` has the connection to an object store; without it, nothing is written there. `staged` is what an
    archive is told that is published elsewhere (see `ArchiveStore`).
    """
    if directory.url is not None and settings.store == "files":
        from fetcher.stores.object_client import ObjectClient  # noqa: PLC0415
        from fetcher.stores.objects import ObjectStore  # noqa: PLC0415

        return ObjectStore(client or ObjectClient(directory.url, directory.own), overwrite=settings.overwrite)
    cls = load(STORES, "store", settings.store)
    if settings.store == "none":
        none: Store = cls()
        return none
    if settings.store == "warc":
        info = {
            "software": f"fetcher/{__version__}",
            "format": "WARC File Format 1.1",
            "conformsTo": "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
            "http-header-user-agent": user_agent(settings),
            "robots": "ignore" if settings.no_robots else "obey",
        }
        warc: Store = cls(directory.root, own=directory.own, info=info, fsync=settings.fsync, **staged)
        return warc
    if settings.store == "parquet":
        parquet: Store = cls(directory.root, own=directory.own, fsync=settings.fsync, **staged)
        return parquet
    store: FilesStore = cls(
        directory.root,
        parts=directory.parts,
        overwrite=settings.overwrite,
        mtime=settings.mtime,
        fsync=settings.fsync,
    )
    return store


async def open_worker_store(settings: Settings, directory: RunDirectory) -> Store:
    """Return the store of a worker process, connected where it is an object store. Raises `StorageError`."""
    if directory.url is None or settings.store != "files":
        return make_store(settings, directory)
    from fetcher.stores.object_client import ObjectClient  # noqa: PLC0415

    client = ObjectClient(directory.url, directory.own)
    await asyncio.to_thread(client.connect)
    store = make_store(settings, directory, client)
    if settings.refresh:
        await look_around(store)
    return store


async def look_around(store: Store) -> None:
    """Have an object store list what is there. Raises `StorageError`."""
    from fetcher.stores.objects import ObjectStore  # noqa: PLC0415

    if isinstance(store, ObjectStore):
        await store.look()


def most_path_bytes(directory: RunDirectory) -> int:
    """Return how long the path of a file may be."""
    return PATH_BYTES if directory.url is None else directory.url.path_bytes


def make_done_hook(
    settings: Settings, directory: RunDirectory, notice: Callable[[str, str], None]
) -> DoneHook | None:
    """Make the hook of `on_done`, if there is one. `notice` is told what failed."""
    if settings.on_done is None:
        return None
    from fetcher.done_hook import CallbackAction, CommandAction, DoneHook  # noqa: PLC0415

    chosen = settings.on_done
    place = str(directory.url or directory.root)
    action = CommandAction(chosen, place) if isinstance(chosen, str) else CallbackAction(chosen)
    return DoneHook(directory, action, notice)


def make_frontier(
    settings: Settings,
    state: Path | None,
    results: Path | None,
    store: Store,
    *,
    follows: bool = False,
    parts: Path | None = None,
    share: ShareRules | None = None,
    post: ShardPost | None = None,
    path_bytes: int = PATH_BYTES,
) -> SqliteFrontier:
    """Return the frontier in `state`, with its records in `results`; without them, in memory.

    A file's path has at most `path_bytes`. `follows` makes it a crawl's. Of a list it takes what belongs to
    its `share`; links to others go by its `post`. `parts` is the folder in which large bodies grow.
    """
    from fetcher.frontiers.sqlite.filename_allocator import FilenameAllocator  # noqa: PLC0415  (sqlite3 is the durable runs' alone)
    from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier  # noqa: PLC0415
    from fetcher.frontiers.sqlite.part_rows import Parts  # noqa: PLC0415
    from fetcher.serial_executor import SerialExecutor  # noqa: PLC0415

    has_parser = settings.parser is not None
    names = None
    if store.keeps_files:
        today = dt.datetime.now().strftime("%Y-%m-%d")  # noqa: DTZ005  (people name files by their own calendar)
        names = FilenameAllocator(
            name_template(settings.name, date=today, most=path_bytes),
            store.existing,
            is_late=settings.server_names or settings.extension,
        )
    return SqliteFrontier(
        state,
        results,
        mode=Mode(
            command="crawl" if follows else "get",
            refresh=settings.refresh,
            retry_failed=settings.retry_failed,
            restart=settings.restart,
            reparse=settings.reparse,
            link_check=settings.link_check,
        ),
        lane=SerialExecutor("fetcher-state"),
        names=names,
        parts=None if parts is None else Parts(parts),
        fsync=settings.fsync,
        data=results.with_name("data.jsonl") if results is not None and has_parser else None,
        share=share,
        crawl=make_crawl_options(settings, share, post) if follows else None,
        marks_claims=has_parser,
        recover=store.recover,
    )


def make_link_conversion(
    settings: Settings,
    directory: RunDirectory,
    store: Store,
    notice: Callable[[str, str], None],
    is_stopped: Callable[[], bool],
) -> LinkConversion:
    """Make the pass that converts links, after a crawl."""
    from fetcher.conversion.link_conversion import LinkConversion  # noqa: PLC0415

    room = DiskRoom(free_bytes(directory.root), settings.min_free) if settings.min_free else None
    return LinkConversion(
        directory,
        store,
        make_crawl_options(settings),
        notice=notice,
        is_stopped=is_stopped,
        room=room,
        fsync=settings.fsync,
    )


_CRAWL_RULES = (
    *("depth", "scope", "include", "exclude", "max_variants", "max_host_pages", "ignore", "assets"),
    "keep_session_ids",
)


def make_crawl_options(
    settings: Settings, share: ShareRules | None = None, post: ShardPost | None = None
) -> CrawlOptions:
    """Make the options of a crawl. Raises `ConfigError` for a pattern that is none."""
    from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions  # noqa: PLC0415
    from fetcher.policy.scope import Scope  # noqa: PLC0415

    scope = Scope(
        scope=cast("Any", settings.scope),
        depth=settings.depth,
        include=settings.include,
        exclude=settings.exclude,
    )
    return CrawlOptions(
        scope=scope,
        agent=agent(settings),
        obeys_robots=not settings.no_robots,
        sitemaps=settings.sitemaps,
        max_pages=settings.max_pages,
        max_variants=settings.max_variants,
        max_host_pages=settings.max_host_pages,
        sort_query=settings.sort_query,
        keep_session_ids=settings.keep_session_ids,
        max_hops=settings.max_redirects,
        share=share,
        post=post,
        checks=settings.link_check,
        signature=repr([_sorted(getattr(settings, key)) for key in _CRAWL_RULES]),
    )


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def make_reader(
    settings: Settings,
    notice: Callable[[str, str], None] = lambda _level, _text: None,
    *,
    follows: bool = False,
    root: Path | None = None,
    divided_by: int = 1,
) -> Reader | None:
    """Make the reader of pages: a crawl's links, and the user's parser. None if there is nothing to read.

    `notice` is told where the parser runs. Worker processes of a run share the parser's workers.
    """
    if not follows and settings.parser is None:
        return None
    from fetcher.parsers import reader  # noqa: PLC0415
    from fetcher.parsers.run_parser import LinkOptions  # noqa: PLC0415

    links = None
    if follows:
        links = LinkOptions(
            settings.assets, settings.ignore, agent(settings).lower(), texts=settings.link_check
        )
    workers = settings.parser_workers or cores()
    return reader.make_reader(
        links=links,
        notice=notice,
        parser=settings.parser,
        offload=cast("Any", settings.offload),
        workers=max(1, workers // divided_by),
        timeout_s=settings.parser_timeout,
        memory=settings.parser_memory,
        root=root if _keeps_pages(settings) else None,  # else there is nothing to repeat a page from
    )


def _keeps_pages(settings: Settings) -> bool:
    """Tell whether pages are files of the run directory."""
    return settings.store == "files" and not is_object_url(settings.output)


def make_stored_parser(
    settings: Settings, frontier: SqliteFrontier, root: Path, notice: Callable[[str, str], None]
) -> StoredParser | None:
    """Make what parses stored pages below `root`; None where there is no parser, or no file to parse."""
    if settings.parser is None or not _keeps_pages(settings):
        return None

    def reader() -> Reader:
        made = make_reader(settings, notice, root=root)
        assert made is not None
        return made

    return StoredParser(frontier, root, reader)


def make_local_run(
    settings: Settings,
    backend: Backend,
    frontier: Frontier,
    store: Store,
    *,
    observers: Sequence[Observer] = (),
    reader: Reader | None = None,
    environ: Mapping[str, str] | None = None,
    parts: Path | None = None,
    executor: ThreadPoolExecutor | None = None,
    follows: bool = False,
    ahead: int | None = None,
    keeps_bodies: bool = False,
    deliver: Callable[[Outcome], None] | None = None,
    review: Callable[[Outcome], bool] | None = None,
    disk: Path | None = None,
    job_factory: JobFactory | None = None,
    stored: StoredParser | None = None,
    share: ShareRules | None = None,
) -> Run:
    """Return a run whose exchanges are performed by tasks of this loop.

    With `parts`, large bodies grow there, written by `executor`; with `keeps_bodies`, records are results
    that hold their bodies. `ahead` is `make_run_config`'s, `review` the outcome queue's, `deliver` the run's.
    `disk` is where room is looked for.
    """
    clock = MonotonicClock()
    config = make_run_config(settings, ahead=ahead, follows=follows)
    body_options = make_body_options(
        settings,
        clock,
        parts=parts,
        executor=executor,
        keep_error_bodies=keeps_bodies or store.keeps_exchanges,
        keeps_wire=store.keeps_exchanges,
    )
    context = RunContext(
        frontier=frontier,
        store=store,
        clock=clock,
        recorder=RecordBuilder(backend.traits.name, keeps_bodies=keeps_bodies),
        observers=observers,
        room=body_options.room,
        review=review,
    )
    pool = TaskPool(
        config,
        context,
        backend,
        make_policies(settings, environ or {}, share, follows=follows),
        body_options,
        reader,
    )
    lists = read_checksums(settings.checksums, context.events.notice_once)
    return Run(
        config,
        context,
        pool,
        job_factory or JobFactory(settings.method, settings.data, lists),
        lists=lists,
        deliver=deliver,
        stored=stored,
        free_bytes=None if disk is None else free_bytes(disk),
    )


def make_worker_run(
    settings: Settings,
    frontier: Frontier,
    directory: RunDirectory,
    processes: int,
    *,
    observers: Sequence[Observer],
    environ: Mapping[str, str],
    follows: bool,
    stored: StoredParser | None = None,
    share: ShareRules | None = None,
) -> Run:
    """Return a run whose exchanges are performed by worker processes, which have the stores."""
    import pickle  # noqa: PLC0415

    from fetcher.processes import Partition, WorkerPool, supervisor  # noqa: PLC0415  (only where there are any)
    from fetcher.processes.messages import config_frame  # noqa: PLC0415

    policies = make_policies(
        settings, environ, share, follows=follows
    )  # what is wrong in it is said before anything starts
    try:
        configs = [
            config_frame(settings, index, processes, environ, follows=follows) for index in range(processes)
        ]
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"parser: it can't go to worker processes: {error}",
            hint="define it in a module of its own, or do with one process",
        ) from error
    SharedClaims.create(directory.claims, processes)
    context = RunContext(
        frontier=frontier,
        store=NoneStore(),
        clock=MonotonicClock(),
        recorder=RecordBuilder(settings.backend, keeps_bodies=False),
        observers=observers,
    )
    pool = WorkerPool(
        Partition(processes, processes, policies.throttle_of),
        context,
        lambda index: (WORKER_CODE, configs[index]),
        per_host=settings.per_host,
        divides_rate=settings.rate is not None or settings.max_bandwidth is not None,
        keep=[directory.held],
        # A parser that runs inline keeps its worker from saying anything.
        silence_s=supervisor.SILENCE_S + (settings.parser_timeout if settings.parser is not None else 0.0),
    )
    lists = read_checksums(settings.checksums, context.events.notice_once)
    return Run(
        make_run_config(settings, follows=follows),
        context,
        pool,
        JobFactory(settings.method, settings.data, lists),
        lists=lists,
        stored=stored,
        free_bytes=free_bytes(directory.root),
    )


def service_traces() -> list[ExchangeTraces]:
    """Return the observer that traces exchanges, where this process has a tracer provider of OpenTelemetry's.

    Spans stand below the one that is current now. Nothing is imported where the process has not.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return []
    provider = api.get_tracer_provider()
    if isinstance(provider, (api.ProxyTracerProvider, api.NoOpTracerProvider)):
        return []
    from fetcher.observers.exchange_traces import ExchangeTraces  # noqa: PLC0415  (the library is there)

    return [ExchangeTraces(provider.get_tracer("fetcher", __version__))]


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fastest loop there is. For processes of our own: never in an importer's."""
    # Threads that write wait for the interpreter: at the default of 5 ms a batch takes twice as long.
    sys.setswitchinterval(0.0005)
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)
    finally:
        work.close()  # where there was no loop for it


def free_bytes(root: Path) -> Callable[[], int]:
    """Return a function that measures the space left on the disk of `root`, in bytes.

    It raises `StorageError` once `root` is not there any more.
    """

    def free() -> int:
        try:
            disk = os.statvfs(root)
        except FileNotFoundError as error:
            raise removed(root) from error
        except OSError as error:
            raise StorageError(f"cannot see how much room {root} has: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize

    return free


def writer_threads() -> ThreadPoolExecutor:
    """Return the threads that write part files, apart from the loop's own, which DNS may use."""
    return ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 2)), thread_name_prefix="fetcher-write")
