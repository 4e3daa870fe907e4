"""Where names become classes, and settings become the engine's parts. Nothing else knows both sides.

The tables are the whole list of what can be plugged in; a class is imported when it is chosen.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib
import inspect
import os
import pickle
import random
import shutil
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

import fetcher
from fetcher.directory import RunDirectory
from fetcher.engine.body import BodyRules
from fetcher.engine.budget import Bandwidth, ByteBudget
from fetcher.engine.context import Policies, Ports
from fetcher.engine.intake import Intake
from fetcher.engine.ledger import Ledger
from fetcher.engine.plan import READ_AHEAD, Plan
from fetcher.engine.records import Recorder
from fetcher.engine.run import Run
from fetcher.engine.watchdog import Limits
from fetcher.errors import ConfigError
from fetcher.model import Job
from fetcher.policy.content import ACCEPT_ENCODING
from fetcher.policy.cookies import Jar, jar, load_netscape
from fetcher.policy.credentials import Credentials, HostCredentials
from fetcher.policy.names import Template, portable
from fetcher.policy.pace import HostPace
from fetcher.policy.proxies import SCHEMES, ProxyRules
from fetcher.policy.retry import RetryPolicy
from fetcher.ports import Backend, Clock, Frontier, Observer, Reader, Store
from fetcher.settings import Settings, deadline_seconds
from fetcher.stores.none import NoneStore

if TYPE_CHECKING:
    from fetcher.frontiers.rules import CrawlRules
    from fetcher.stores.files import FilesStore

T = TypeVar("T")

BACKENDS = {
    "asyncio": "fetcher.backends.aio:AioBackend",
    "curl": "fetcher.backends.curl:CurlBackend",
    "threads": "fetcher.backends.blocking:ThreadsBackend",
    "sync": "fetcher.backends.blocking:SyncBackend",
}
PROXY_SCHEMES = {"curl": SCHEMES | {"socks5", "socks5h"}}  # what others can: `SCHEMES`
STORES = {"files": "fetcher.stores.files:FilesStore", "none": "fetcher.stores.none:NoneStore"}

BYTE_BUDGET = 64 * 1024 * 1024


class MonotonicClock:
    """The clocks of the machine."""

    now = staticmethod(time.monotonic)
    utc = staticmethod(time.time)


def load(table: Mapping[str, str], kind: str, name: str) -> Any:
    """The class that a name of a table stands for. Raises `ConfigError` naming what there is."""
    if name not in table:
        raise ConfigError(f"{kind}: there is no {name!r}", hint=f"choose from {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_backend(settings: Settings) -> Backend:
    """The backend that the settings name, not yet connected to anything."""
    cls = load(BACKENDS, "backend", settings.backend)
    if settings.ipv4 and settings.ipv6:
        raise ConfigError("ipv4 and ipv6 exclude each other", hint="give one of them, or neither")
    for key in ("ca_file", "client_cert"):
        path = getattr(settings, key)
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"{key}: cannot read {path}", hint="name a PEM file")
    options: dict[str, Any] = {}
    parameters = inspect.signature(cls).parameters
    if "http" in parameters:
        options["http"] = settings.http
    if "concurrency" in parameters:  # it has something to make for each exchange
        options["concurrency"] = settings.concurrency
    backend: Backend = cls(
        connect_timeout_s=settings.connect_timeout,
        user_agent=user_agent(settings),
        family=4 if settings.ipv4 else 6 if settings.ipv6 else None,
        resolve={(host, port): address for host, port, address in settings.resolve},
        ca_file=settings.ca_file,
        client_cert=settings.client_cert,
        insecure=settings.insecure,
        **options,
    )
    versions = {"auto": None, "1.1": "1.1", "2": "2", "3": "3"}[settings.http]
    if versions is not None and versions not in backend.traits.http_versions:
        able = ", ".join(sorted(backend.traits.http_versions))
        raise ConfigError(
            f"http: the {settings.backend} backend can't do HTTP/{settings.http}", hint=f"it can do {able}"
        )
    return backend


def agent(settings: Settings) -> str:
    """The product token that a site's rules for robots may name."""
    from fetcher.policy.robots import agent_token  # noqa: PLC0415

    return agent_token(user_agent(settings))


def user_agent(settings: Settings) -> str:
    """What we call ourselves to servers."""
    return settings.user_agent if settings.user_agent is not None else f"fetcher/{fetcher.__version__}"


def make_policies(settings: Settings, environ: Mapping[str, str]) -> Policies:
    """The run's decisions. `environ` is where proxy variables are looked up; empty for the library.

    Reads the files that the settings name: cookies, and `~/.netrc` for `netrc`.
    """
    hosts = settings.hosts

    def pace_of(host: str) -> HostPace:
        own = hosts.get(host) or hosts.get(host.rpartition(":")[0].strip("[]"))
        if own is None:
            return HostPace(settings.per_host, delay_s=settings.delay)
        return HostPace(
            own.per_host if own.per_host is not None else settings.per_host,
            delay_s=own.delay if own.delay is not None else settings.delay,
            rate=own.rate,
        )

    schemes = PROXY_SCHEMES.get(settings.backend, SCHEMES)
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
            headers=settings.header,
            user=settings.user,
            hosts={
                name: HostCredentials(headers=own.headers, user=own.user)
                for name, own in hosts.items()
                if own.headers or own.user
            },
            netrc=_netrc() if settings.netrc else None,
        ),
        proxies=proxies,
        pace_of=pace_of,
        jar=_cookies(settings.cookies),
        private_addresses=settings.private_addresses,
        max_redirects=settings.max_redirects,
        rate=settings.rate,
    )


def _cookies(path: str | None) -> Jar:
    if path is None:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cookies: cannot read {path}: {error}") from error
    return jar(load_netscape(text, path))


def _netrc() -> Mapping[str, tuple[str, str | None, str | None]]:
    import netrc  # noqa: PLC0415

    path = Path("~/.netrc").expanduser()
    try:
        return netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        return {}
    except netrc.NetrcParseError as error:
        raise ConfigError(f"netrc: {path}: line {error.lineno}: {error.msg}") from error
    except OSError as error:
        raise ConfigError(f"netrc: cannot read {path}: {error.strerror}") from error


def make_plan(
    settings: Settings, *, ahead: int | None = None, keeps_bodies: bool = False, follows: bool = False
) -> Plan:
    """The figures of a run. `ahead` bounds how many URLs a stream may be ahead of its consumer."""
    deadline_s = None
    if settings.deadline is not None:
        deadline_s = deadline_seconds(settings.deadline, dt.datetime.now())  # noqa: DTZ005  (a local clock time)
    return Plan(
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
        deadline_s=deadline_s,
        max_failures=settings.max_failures,
        min_free=settings.min_free,
        keeps_bodies=keeps_bodies,
        ahead=READ_AHEAD if ahead is None else ahead,
        follows=follows,
    )


def make_rules(
    settings: Settings,
    clock: Clock,
    *,
    parts: Path | None = None,
    executor: ThreadPoolExecutor | None = None,
    keep_error_bodies: bool = False,
    divided_by: int = 1,
) -> BodyRules:
    """How bodies are held: in memory only, or spooled to `parts` by `executor`.

    The byte budget is the whole run's, `divided_by` its processes.
    """
    return BodyRules(
        budget=ByteBudget(BYTE_BUDGET // divided_by),
        now=clock.now,
        max_size=settings.max_size,
        block=1024 * 1024,
        parts=None if parts is None else str(parts),
        executor=executor,
        bandwidth=Bandwidth(settings.max_bandwidth, clock) if settings.max_bandwidth else None,
        keep_error_bodies=keep_error_bodies,
    )


def make_intake(settings: Settings) -> Intake:
    """What makes jobs of entries, with the run's own method and body."""
    return Intake(settings.method, settings.data)


def make_candidate(template: str) -> Callable[[Job], str]:
    """The name template as a function of a job."""
    rendered = Template(template)
    today = dt.datetime.now().strftime("%Y-%m-%d")  # noqa: DTZ005  (people name files by their own calendar)

    def candidate(job: Job) -> str:
        assert job.target is not None
        extra = job.extra
        if extra is None:
            return rendered.render(job.target, index=job.id, date=today)
        if extra.name:
            return portable(extra.name)
        return rendered.render(job.target, index=job.id, date=today, columns=extra.meta)

    return candidate


def make_store(settings: Settings, directory: RunDirectory) -> Store:
    """The store that the settings name, below the run directory."""
    cls = load(STORES, "store", settings.store)
    if settings.store == "none":
        none: Store = cls()
        return none
    store: FilesStore = cls(
        directory.root,
        parts=directory.parts,
        overwrite=settings.overwrite,
        mtime=settings.mtime,
        fsync=settings.fsync,
    )
    return store


class DurablePorts(msgspec.Struct, frozen=True, kw_only=True):
    """The adapters of a run in a run directory, its backend apart."""

    frontier: Frontier
    store: Store
    clock: Clock
    observers: Sequence[Observer]


def make_frontier(
    settings: Settings, state: Path | None, results: Path | None, store: Store, command: str
) -> Frontier:
    """The frontier in `state`, with its records in `results`; without them, in memory."""
    from fetcher.frontiers.names import Names  # noqa: PLC0415  (sqlite3 is the durable runs' alone)
    from fetcher.frontiers.sqlite import Mode, SqliteFrontier  # noqa: PLC0415
    from fetcher.lane import Lane  # noqa: PLC0415

    has_parser = settings.parser is not None
    return SqliteFrontier(
        state,
        results,
        mode=Mode(
            command=command,
            refresh=settings.refresh,
            retry_failed=settings.retry_failed,
            restart=settings.restart,
        ),
        lane=Lane("fetcher-state"),
        names=Names(make_candidate(settings.name), store.occupied) if store.keeps_files else None,
        fsync=settings.fsync,
        data=results.with_name("data.jsonl") if results is not None and has_parser else None,
        crawl=make_crawl_rules(settings) if command == "crawl" else None,
        marks_claims=has_parser,
    )


_CRAWL_RULES = ("depth", "scope", "include", "exclude", "max_variants", "max_host_pages", "ignore", "assets")


def make_crawl_rules(settings: Settings) -> CrawlRules:
    """What a crawl follows. Raises `ConfigError` for a pattern that is none."""
    from fetcher.frontiers.rules import CrawlRules  # noqa: PLC0415
    from fetcher.policy.scope import Scope  # noqa: PLC0415

    scope = Scope(
        scope=cast("Any", settings.scope),
        depth=settings.depth,
        include=settings.include,
        exclude=settings.exclude,
    )
    return CrawlRules(
        scope=scope,
        agent=agent(settings),
        obeys_robots=not settings.no_robots,
        sitemaps=settings.sitemaps,
        max_pages=settings.max_pages,
        max_variants=settings.max_variants,
        max_host_pages=settings.max_host_pages,
        sort_query=settings.sort_query,
        max_hops=settings.max_redirects,
        signature=repr([_sorted(getattr(settings, key)) for key in _CRAWL_RULES]),
    )


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value


def make_reader(
    settings: Settings,
    command: str,
    *,
    root: Path | None = None,
    divided_by: int = 1,
    notice: Callable[[str, str], None] = lambda _level, _text: None,
) -> Reader | None:
    """What reads pages: a crawl's links, and the user's parser. None where there is nothing to read.

    `notice` is told where the parser runs. Worker processes of a run share the parser's workers.
    """
    if command != "crawl" and settings.parser is None:
        return None
    from fetcher.parsers.reader import cores  # noqa: PLC0415
    from fetcher.parsers.reader import make_reader as make  # noqa: PLC0415

    workers = settings.parser_workers or cores()
    return make(
        follows=command == "crawl",
        notice=notice,
        assets=settings.assets,
        ignore=settings.ignore,
        agent=agent(settings).lower() if command == "crawl" else "",
        parser=settings.parser,
        offload=cast("Any", settings.offload),
        workers=max(1, workers // divided_by),
        timeout_s=settings.parser_timeout,
        memory=settings.parser_memory,
        root=root if settings.store == "files" else None,  # else there is nothing to repeat a page from
    )


def local_run(
    settings: Settings,
    ports: DurablePorts,
    directory: RunDirectory,
    backend: Backend,
    executor: ThreadPoolExecutor,
    environ: Mapping[str, str],
    command: str,
    reader: Reader | None,
) -> Run:
    """A durable run in this process."""
    return Run.local(
        make_plan(settings, follows=command == "crawl"),
        Ports(
            backend=backend,
            frontier=ports.frontier,
            store=ports.store,
            clock=ports.clock,
            observers=ports.observers,
            reader=reader,
        ),
        make_policies(settings, environ),
        make_rules(settings, ports.clock, parts=directory.parts, executor=executor),
        make_intake(settings),
        free_bytes=free_bytes(directory.root),
    )


def fleet_run(
    settings: Settings,
    ports: DurablePorts,
    directory: RunDirectory,
    processes: int,
    environ: Mapping[str, str],
    command: str,
) -> Run:
    """A durable run whose exchanges are performed by worker processes."""
    from fetcher.processes import Fleet, Shares  # noqa: PLC0415  (only where there are any)
    from fetcher.worker import MODULE, charge_of  # noqa: PLC0415

    policies = make_policies(settings, environ)  # what is wrong in it is said before anything starts
    try:
        charges = [charge_of(settings, index, processes, environ, command) for index in range(processes)]
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"parser: it can't go to worker processes: {error}",
            hint="define it in a module of its own, or do with one process",
        ) from error
    ledger = Ledger(
        frontier=ports.frontier,
        store=NoneStore(),
        clock=ports.clock,
        recorder=Recorder(settings.backend, keeps_bodies=False),
        observers=ports.observers,
    )
    fleet = Fleet(
        Shares(processes, processes, policies.pace_of),
        ledger,
        lambda index: (["-m", MODULE], charges[index]),
        per_host=settings.per_host,
        is_shared=settings.rate is not None or settings.max_bandwidth is not None,
        keep=[directory.held],
    )
    return Run(
        make_plan(settings, follows=command == "crawl"),
        fleet,
        ledger,
        make_intake(settings),
        free_bytes=free_bytes(directory.root),
    )


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fastest loop there is. For processes of our own: never in an importer's."""
    # Threads that write wait for the interpreter: at the default of 5 ms a batch takes twice as long.
    sys.setswitchinterval(0.0005)
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def free_bytes(root: Path) -> Callable[[], int]:
    """How much the disk of `root` has left."""
    return lambda: shutil.disk_usage(root).free


def writer_threads() -> ThreadPoolExecutor:
    """The threads that write part files, apart from the loop's own, which DNS may use."""
    return ThreadPoolExecutor(max(2, min(4, os.cpu_count() or 2)), thread_name_prefix="fetcher-write")
