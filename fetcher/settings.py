"""The settings: one table for the library, TOML files, the environment, flags, help and documents.

Invariant: a key stands in `OPTIONS` exactly when it is a field of `Settings` (`config` apart, which
names a file of settings). A default is the field's, or the option's own for `crawl`; how a value is
written, read, shown and hidden is the option's type (`fetcher.option_types`).

Over 400 lines, because it is one table: an option is a field and a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any, Final, Literal

import msgspec

from fetcher.errors import ConfigError
from fetcher.option_types import OptionType, as_text, optional
from fetcher.option_types.command import COMMAND
from fetcher.option_types.request import (
    DATA,
    ENDPOINT,
    HEADERS,
    LISTEN,
    METHOD,
    NAMES,
    PROXY,
    RESOLVE,
    USER,
    Header,
    host_key,
)
from fetcher.option_types.values import (
    BACKEND,
    CLUSTER,
    COLUMN,
    DEADLINE,
    FLAG,
    FUNCTION,
    MEMORY,
    PATH,
    PATHS,
    PATTERNS,
    RATE,
    SECONDS,
    SHARD,
    SIZE,
    STATUSES,
    TEMPLATE,
    TEXT,
    TIMEOUT,
    Deadline,
    choice,
    whole,
    words,
)

Command = Literal["get", "crawl"]
Place = Literal["toml", "env", "library", "cli"]
EVERYWHERE: Final[frozenset[Place]] = frozenset({"toml", "env", "library", "cli"})
PROGRAM: Final[frozenset[Place]] = frozenset({"toml", "env", "cli"})  # the library has no such thing
RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one host that differ; None is as for every host. `rate` is starts per second there."""

    per_host: int | None = None
    delay: float | None = None
    rate: float | None = None
    headers: tuple[Header, ...] = ()
    user: str | None = None

    def __repr__(self) -> str:
        return _masked_repr(self, HOST_OPTIONS)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting as the engine takes it; the defaults are those of `get`.

    Sizes are bytes, durations seconds, rates starts per second; None is no limit or not given. The
    repr shows what differs from the defaults, secrets masked.
    """

    input: tuple[str, ...] = ()
    input_format: str = "auto"
    url_column: str = "url"
    output: str = "downloads"
    state: str | None = None
    output_file: str | None = None
    name: str = "{host}/{path}"
    server_names: bool = False
    extension: bool = False
    store: str = "files"
    digest: Literal["sha256", "blake3", "none"] = "sha256"
    checksums: tuple[str, ...] = ()
    link_check: bool = False
    overwrite: bool = False
    mtime: bool = False
    concurrency: int = 64
    per_host: int = 8
    delay: float = 0.0
    rate: float | None = None
    max_bandwidth: int | None = None
    backend: str = "asyncio"
    processes: int = 1
    http: str = "auto"
    depth: int = 5
    max_pages: int | None = None
    max_host_pages: int | None = None
    max_variants: int | None = 1000
    scope: str = "host"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    no_robots: bool = False
    sitemaps: bool = False
    assets: bool = False
    ignore: frozenset[str] = frozenset()  # of "nofollow", "meta", "canonical"
    convert_links: bool = False
    sort_query: bool = False
    keep_session_ids: bool = False
    parser: str | Callable[..., Any] | None = (
        None  # "module:function"; in the library, the function itself too
    )
    offload: str = "auto"
    parser_workers: int | None = None  # None: one for each core
    parser_timeout: float = 10.0
    parser_memory: int = 512 * 1024**2
    retries: int = 3
    retry_on: frozenset[int] = RETRIED_STATUSES
    max_wait: float = 300.0
    connect_timeout: float = 10.0
    header_timeout: float = 60.0
    read_timeout: float = 30.0
    timeout: float | None = None
    min_speed: int | None = 100  # bytes per second, over 60 s
    max_size: int | None = None
    max_redirects: int = 10
    deadline: Deadline | None = None
    max_failures: int | None = None
    min_free: int | None = 256 * 1024**2
    grace: float = 10.0
    method: str = "GET"  # POST where there is data and no method was given
    data: bytes | None = None
    headers: tuple[Header, ...] = ()
    user: str | None = None  # "user:password"
    user_agent: str | None = None  # None is this program's own
    proxy: str | None = None  # None: as the environment says; "": none at all
    no_proxy: str | None = None  # names with commas between; None: as the environment says
    cookies: str | None = None
    netrc: bool = False
    ca_file: str | None = None
    client_cert: str | None = None
    insecure: bool = False
    ipv4: bool = False
    ipv6: bool = False
    resolve: tuple[tuple[str, int, str], ...] = ()  # host, port, address
    private_addresses: str = "seeds"
    hosts: dict[str, HostSettings] = {}  # by "name" or "name:port"
    refresh: bool = False
    retry_failed: bool = False
    no_resume: bool = False
    split: int = 1
    split_size: int = 64 * 1024**2
    restart: bool = False
    reparse: bool = False
    fsync: bool = False
    on_done: str | Callable[..., Any] | None = None  # a command; in the library, a function
    shard: tuple[int, int] | None = None  # index, and number of all
    no_split_hosts: bool = False
    cluster: str | None = None  # address of a scheduler, or the file that it wrote, or "local:N"
    shards: int | None = None  # None: 4 for each thread of a worker
    dry_run: bool = False
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    log_file: str | None = None
    log_format: str = "text"
    notify: str | None = None
    notify_always: bool = False
    metrics: tuple[str, int] | None = None  # host and port
    metrics_file: str | None = None
    dashboard: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return _masked_repr(self, OPTIONS)


def _masked_repr(settings: Settings | HostSettings, options: Mapping[str, Option]) -> str:
    shown = [
        f"{field.name}={options[field.name].kind.redacted(value)!r}"
        for field in msgspec.structs.fields(settings)
        if (value := getattr(settings, field.name)) not in (field.default, {})
    ]
    return f"{type(settings).__name__}({', '.join(shown)})"


def deadline_seconds(value: Deadline, now: datetime) -> float:
    """Seconds from `now` (local) until the deadline; a time of day is the next one to come.

    A naive `now` is in the system's zone. Clock changes count: the seconds are those that pass.
    """
    if value.clock is None:
        return value.after_s or 0.0
    clock = value.clock
    today = now.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0, fold=0)
    tomorrow = today + timedelta(days=1)
    gaps = (at.timestamp() - now.timestamp() for at in (today, today.replace(fold=1), tomorrow))
    return next(gap for gap in gaps if gap > 0)


# --- hosts ---------------------------------------------------------------------------------------


def _hosts(value: Any) -> dict[str, HostSettings]:
    if not isinstance(value, Mapping):
        raise ValueError  # noqa: TRY004  the types' one way to say no
    return dict(
        (host_key(name), item) if isinstance(item, HostSettings) else host_settings(name, item)
        for name, item in value.items()
    )


def host_settings(
    name: Any, values: Any, place: Callable[[str], str] = lambda _: ""
) -> tuple[str, HostSettings]:
    """The key and the settings of one host; `place` gives what errors about one of its keys begin with."""
    here = f'host."{name}"' if isinstance(name, str) and name.isprintable() else f"host.{seen(name)}"
    try:
        host = host_key(name if isinstance(name, str) else "")
    except ValueError:
        raise ConfigError(f"{place('')}{here}: expected a host such as example.org") from None
    if "*" in host:
        raise ConfigError(f"{place('')}{here}: a host is named whole: no part of it stands for others")
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place('')}{here}: expected a table of {', '.join(HOST_OPTIONS)}")
    found = {}
    for key, value in with_new_keys(values).items():
        if key not in HOST_OPTIONS:
            if isinstance(value, Mapping) and "." not in host:  # [host.example.org]
                raise ConfigError(
                    f"{place(str(key))}{here}: expected its settings, got a table {seen(key)}",
                    hint='a name with dots stands in quotes: [host."example.org"]',
                )
            raise unknown_key(key, HOST_OPTIONS, f"{place(str(key))}{here}")
        found[key] = convert(HOST_OPTIONS[key], value, f"{place(key)}{here}.{key}")
    return host, HostSettings(**found)


HOSTS = OptionType(expected="a mapping of host names to their settings", metavar="", parse=_hosts)


# --- the table -----------------------------------------------------------------------------------


class Option(msgspec.Struct, frozen=True):
    """One setting: its key, kind, heading and help, where it may stand, and what is different for `crawl`."""

    key: str
    kind: OptionType
    group: str
    help: str
    short: str | None = None
    metavar_override: str | None = None
    shown: str | None = None  # the default as text, where the field's value does not say it
    where: frozenset[Place] = EVERYWHERE
    only: Command | None = None  # the one command that takes it
    crawl_default: Any = msgspec.UNSET  # where it is not the field's
    flag_override: str | None = None

    @property
    def flag(self) -> str:
        return self.flag_override or "--" + self.key.replace("_", "-")

    @property
    def flag_off(self) -> str:
        """The flag that turns a flag off: `--no-x`, and `--x` for `--no-x`."""
        name = self.flag.removeprefix("--")
        return f"--{name.removeprefix('no-')}" if name.startswith("no-") else f"--no-{name}"

    @property
    def variable(self) -> str:
        return "FETCHER_" + self.key.upper()

    @property
    def metavar(self) -> str:
        return self.metavar_override or self.kind.metavar

    @property
    def is_flag(self) -> bool:
        return self.kind is FLAG

    @property
    def is_path(self) -> bool:
        return self.kind is PATH or self.kind is PATHS

    def is_for(self, command: Command | None) -> bool:
        """Return True if `command` takes it; None is any."""
        return self.only is None or command is None or self.only == command

    def default_for(self, command: Command | None) -> str:
        """Return the default as a person would write it; empty where it is off or not given.

        Without a command, those of all: `8 (crawl: 4)`.
        """
        if self.shown is not None or self.is_flag or self.key == "config":
            return self.shown or ""
        of_get, of_crawl = (
            as_text(self.kind.to_plain(getattr(d, self.key))) for d in (DEFAULTS, CRAWL_DEFAULTS)
        )
        if command is None and of_get != of_crawl:
            return f"{of_get} (crawl: {of_crawl})"
        return of_crawl if command == "crawl" else of_get


FILES: Final = "Input and output"
SPEED: Final = "Speed and politeness"
LIMITS: Final = "Retries and limits"
CRAWLING: Final = "Following links (crawl only)"
PARSING: Final = "Parsing"
REQUEST: Final = "Request"
CONTINUING: Final = "Continuing"
SHARDS: Final = "Many machines"
REPORTING: Final = "Reporting"
GROUPS: Final = (FILES, SPEED, CRAWLING, PARSING, LIMITS, REQUEST, CONTINUING, SHARDS, REPORTING)

# fmt: off
_TABLE = (
    Option("input", PATHS, FILES, "URLs from a file: lines, JSON(L), CSV, Metalink; - is stdin; repeatable",
           "-i", where=PROGRAM),
    Option("input_format", choice("auto", "text", "jsonl", "csv", "metalink", "parquet"), FILES,
           "format of the input files", where=PROGRAM),
    Option("url_column", COLUMN, FILES, "the column that holds the URL, in a list with columns",
           where=PROGRAM),
    Option("output", PATH, FILES, "the run directory, or an object store (s3://BUCKET/PREFIX, gs://, az://)",
           "-o", "DIR", where=PROGRAM),
    Option("state", PATH, FILES, "where state and records are when the output is an object store",
           metavar_override="DIR", shown="in the output"),
    Option("output_file", PATH, FILES, "one URL straight to a file; - is stdout", "-O", where=PROGRAM),
    Option("name", TEMPLATE, FILES,
           "names of files, from host path stem ext query sha256 index date and any input column"),
    Option("server_names", FLAG, FILES, "names from Content-Disposition, where the server gives one"),
    Option("extension", FLAG, FILES, "complete the ending of a name, or {ext}, from the content type"),
    Option("store", choice("files", "none", "warc", "parquet"), FILES, "what keeps the bodies"),
    Option("digest", choice("sha256", "blake3", "none"), FILES, "what is computed over a body"),
    Option("checksums", PATHS, FILES, "SHA256SUMS and the like, to be met by what they name; repeatable"),
    Option("link_check", FLAG, FILES, "keep nothing, and report broken links by the page that holds them"),
    Option("overwrite", FLAG, FILES, "replace files that the state does not know"),
    Option("mtime", FLAG, FILES, "set a file's time from Last-Modified"),

    Option("concurrency", whole(1, 100_000), SPEED, "exchanges in flight at once", "-c"),
    Option("per_host", whole(1, 100_000), SPEED, "exchanges in flight at once to one host", crawl_default=4),
    Option("delay", SECONDS, SPEED, "least seconds between two starts at one host"),
    Option("rate", optional(RATE), SPEED, "most starts per second (10/s, 300/m)"),
    Option("max_bandwidth", optional(SIZE), SPEED, "bytes per second for the whole run (500K, 10M)"),
    Option("split", whole(1, 64), SPEED, "connections for one large body, where its server takes ranges"),
    Option("split_size", SIZE, SPEED, "the size of a body from which --split is for it"),
    Option("backend", BACKEND, SPEED, "what performs the exchanges"),
    Option("processes", whole(1, 256), SPEED, "worker processes; every limit stays a total"),
    Option("http", choice("auto", "1.1", "2", "3"), SPEED, "HTTP version"),
    Option("hosts", HOSTS, SPEED, "settings of single hosts", shown="", where=frozenset({"library"})),

    Option("depth", whole(0, 10**6), CRAWLING, "most links from a seed to a page", only="crawl"),
    Option("max_pages", optional(whole(0, 10**12)), CRAWLING, "most pages in all, over all continuations",
           only="crawl"),
    Option("max_host_pages", optional(whole(0, 10**12)), CRAWLING, "most pages of one host", only="crawl"),
    Option("max_variants", optional(whole(0, 10**9)), CRAWLING,
           "most URLs of one path that differ in their query", only="crawl"),
    Option("scope", choice("host", "domain", "prefix", "any"), CRAWLING,
           "follow links to the seeds' hosts, to their domains, below their paths, or anywhere",
           only="crawl"),
    Option("include", PATTERNS, CRAWLING, "follow only URLs that match (RE2); repeatable", only="crawl"),
    Option("exclude", PATTERNS, CRAWLING, "follow no URL that matches (RE2); repeatable", only="crawl"),
    Option("no_robots", FLAG, CRAWLING, "neither ask for robots.txt nor obey it", only="crawl"),
    Option("sitemaps", FLAG, CRAWLING, "find pages in the sites' sitemaps too", only="crawl"),
    Option("assets", FLAG, CRAWLING, "fetch what pages are shown with: images, styles, scripts",
           only="crawl"),
    Option("convert_links", FLAG, CRAWLING,
           "once it has ended, let links of saved pages lead to saved files", only="crawl", where=PROGRAM),
    Option("ignore", words("nofollow", "meta", "canonical"), CRAWLING,
           "what pages say to crawlers that is not heeded: nofollow, meta, canonical", only="crawl"),
    Option("sort_query", FLAG, CRAWLING, "the order of a query's parameters does not tell pages apart",
           only="crawl"),
    Option("keep_session_ids", FLAG, CRAWLING,
           "URLs that differ in a session id alone (;jsessionid=, PHPSESSID) are pages of their own",
           only="crawl"),

    Option("parser", FUNCTION, PARSING, "called with every page; what it returns is written to data.jsonl"),
    Option("offload", choice("auto", "inline", "threads", "processes"), PARSING,
           "where the parser runs; inline and threads give no protection from a bad page"),
    Option("parser_workers", optional(whole(0, 256)), PARSING, "processes or threads that parse",
           shown="one for each core"),
    Option("parser_timeout", TIMEOUT, PARSING, "limit on one page in a process"),
    Option("parser_memory", MEMORY, PARSING, "memory that a process may take for one page"),

    Option("retries", whole(0, 1000), LIMITS, "more attempts after the first"),
    Option("retry_on", STATUSES, LIMITS, "statuses that are tried again"),
    Option("max_wait", SECONDS, LIMITS, "longest that one URL waits for Retry-After in all"),
    Option("connect_timeout", TIMEOUT, LIMITS, "limit on connecting"),
    Option("header_timeout", TIMEOUT, LIMITS, "limit until the final header is complete"),
    Option("read_timeout", TIMEOUT, LIMITS, "limit on the wait for the next bytes"),
    Option("timeout", optional(SECONDS), LIMITS, "limit on one hop in all; time in queues never counts",
           crawl_default=120.0),
    Option("min_speed", optional(SIZE), LIMITS, "a body with fewer bytes per second over 60 s is retried"),
    Option("max_size", optional(SIZE), LIMITS, "a larger body fails as too-large",
           crawl_default=32 * 1024**2),
    Option("max_redirects", whole(0, 1000), LIMITS, "most redirects followed for one URL"),
    Option("deadline", optional(DEADLINE), LIMITS, "stop cleanly by then (2h, 06:00)"),
    Option("max_failures", optional(whole(0, 10**9)), LIMITS, "stop cleanly after so many failed URLs"),
    Option("min_free", optional(SIZE), LIMITS, "stop cleanly before the disk has less than this; 0 is off"),
    Option("grace", SECONDS, LIMITS, "how long a stop waits for what is in flight"),

    Option("method", METHOD, REQUEST, "request method", "-X", shown="GET, or POST with data"),
    Option("data", DATA, REQUEST, "request body; @FILE reads it from a file"),
    Option("headers", HEADERS, REQUEST, "a header for the listed hosts; repeatable", "-H",
           flag_override="--header"),
    Option("user", USER, REQUEST, "credentials for the listed hosts", "-u"),
    Option("user_agent", TEXT, REQUEST, "the User-Agent header", shown="fetcher/VERSION"),
    Option("proxy", PROXY, REQUEST, "proxy; empty is none at all", shown="from the environment"),
    Option("no_proxy", NAMES, REQUEST, "hosts reached without the proxy", shown="from the environment"),
    Option("cookies", PATH, REQUEST, "cookies from a Netscape file, which is never written"),
    Option("netrc", FLAG, REQUEST, "credentials from ~/.netrc"),
    Option("ca_file", PATH, REQUEST, "certificates of authorities to trust (PEM)"),
    Option("client_cert", PATH, REQUEST, "the client's certificate and key (PEM)"),
    Option("insecure", FLAG, REQUEST, "accept any certificate"),
    Option("ipv4", FLAG, REQUEST, "only IPv4 addresses", "-4"),
    Option("ipv6", FLAG, REQUEST, "only IPv6 addresses", "-6"),
    Option("resolve", RESOLVE, REQUEST, "the address to use for a host and port; repeatable"),
    Option("private_addresses", choice("seeds", "deny", "allow"), REQUEST,
           "seeds: private addresses only for hosts that you named"),

    Option("refresh", FLAG, CONTINUING, "ask for the listed URLs again, conditionally"),
    Option("retry_failed", FLAG, CONTINUING, "put failed URLs back"),
    Option("no_resume", FLAG, CONTINUING, "begin a body that was cut off anew"),
    Option("restart", FLAG, CONTINUING, "forget what happened to URLs; files stay"),
    Option("reparse", FLAG, CONTINUING, "give stored pages to the parser again, without a request"),
    Option("fsync", FLAG, CONTINUING, "sync to the disk before a URL counts as done; slower"),

    Option("on_done", COMMAND, REPORTING, "a command for each file that is there; {path} is the file"),
    Option("shard", SHARD, SHARDS, "fetch this share of the hosts only, of N shares from 0 to N-1",
           where=PROGRAM),
    Option("no_split_hosts", FLAG, SHARDS, "never divide one host over shares"),
    Option("cluster", CLUSTER, SHARDS,
           "run on a Dask cluster: tcp://HOST:PORT, a scheduler file, or local:N for N processes"),
    Option("shards", optional(whole(1, 1_000_000)), SHARDS, "shares of the hosts on a cluster",
           shown="4 for each thread of a worker"),

    Option("dry_run", FLAG, REPORTING, "read, check, name and count; fetch nothing", where=PROGRAM),
    Option("json", FLAG, REPORTING, "each final record on stdout as it happens", where=PROGRAM),
    Option("config", PATH, REPORTING, "settings from a TOML file", shown="fetcher.toml if there",
           where=frozenset({"env", "cli"})),
    Option("quiet", FLAG, REPORTING, "print nothing unless something failed", "-q", where=PROGRAM),
    Option("verbose", FLAG, REPORTING, "say more", "-v", where=PROGRAM),
    Option("log_file", PATH, REPORTING, "write a log to a file", where=PROGRAM),
    Option("log_format", choice("text", "json"), REPORTING, "format of the log", where=PROGRAM),
    Option("notify", ENDPOINT, REPORTING, "post the summary there, as JSON, when the exit code is not 0",
           where=PROGRAM),
    Option("notify_always", FLAG, REPORTING, "post it when all is well, too", where=PROGRAM),
    Option("dashboard", LISTEN, REPORTING, "a live page while it runs; its address is told", where=PROGRAM),
    Option("metrics", LISTEN, REPORTING, "figures for Prometheus at /metrics while it runs", where=PROGRAM),
    Option("metrics_file", PATH, REPORTING, "the same at the end, in a file for node_exporter",
           where=PROGRAM),
)
# fmt: on

OPTIONS: Final[dict[str, Option]] = {option.key: option for option in _TABLE}
HOST_OPTIONS: Final[dict[str, Option]] = {
    key: msgspec.structs.replace(OPTIONS[key], crawl_default=msgspec.UNSET)
    for key in ("per_host", "delay", "rate", "headers", "user")
}
EXCLUSIVE: Final = (
    ("ipv4", "ipv6"),
    ("quiet", "verbose"),
    ("retry_failed", "restart"),
    ("refresh", "restart"),
    ("reparse", "restart"),
)
_NEEDS_BODIES: Final = ("method", "data", "output_file", "checksums", "on_done")
OLD_KEYS: Final = {"header": "headers"}  # names that a key had before, and still goes by
SYNONYMS: Final = {  # names that other programs and libraries have for a setting
    "allow_redirects": "max_redirects",
    "auth": "user",
    "ca_bundle": "ca_file",
    "cacert": "ca_file",
    "cert": "client_cert",
    "cookie": "cookies",
    "follow_redirects": "max_redirects",
    "limit": "concurrency",
    "max_concurrency": "concurrency",
    "max_connections": "concurrency",
    "max_retries": "retries",
    "max_workers": "concurrency",
    "no_verify": "insecure",
    "proxies": "proxy",
    "rate_limit": "rate",
    "threads": "concurrency",
    "tries": "retries",
    "verify": "insecure",
    "verify_ssl": "insecure",
    "workers": "concurrency",
}
DEFAULTS: Final = Settings()
_DIFFERENT_FOR_CRAWL: Final[dict[str, Any]] = {
    key: option.crawl_default for key, option in OPTIONS.items() if option.crawl_default is not msgspec.UNSET
}
CRAWL_DEFAULTS: Final = msgspec.structs.replace(DEFAULTS, **_DIFFERENT_FOR_CRAWL)


# --- from values to settings ---------------------------------------------------------------------


def make(values: Mapping[str, Any]) -> Settings:
    """Settings from the library's keyword arguments; what is not given has its default.

    Raises `ConfigError` for an unknown key, with the closest one, and for a bad value.
    """
    allowed = {key: option for key, option in OPTIONS.items() if "library" in option.where}
    found = {}
    for key, value in with_new_keys(values).items():
        if key not in allowed:
            raise unknown_key(key, allowed)
        found[key] = convert(allowed[key], value)
    return build(found)


def with_new_keys(values: Mapping[Any, Any], place: str = "") -> dict[Any, Any]:
    """`values` with the names that keys have now. Raises `ConfigError` where both names are given."""
    for old, new in OLD_KEYS.items():
        if old in values and new in values:
            raise ConfigError(f"{place}{old}: is {new} by its old name, and {new} is given too")
    return {OLD_KEYS.get(key, key) if isinstance(key, str) else key: value for key, value in values.items()}


def convert(option: Option, value: Any, label: str = "") -> Any:
    """Return the typed value of `option`. Raises `ConfigError` naming `label`, or the key."""
    if value is None and getattr(DEFAULTS, option.key, None) is None:
        return None
    try:
        return option.kind.parse(value)
    except ValueError:
        if option.kind.is_repeatable and isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        got = "the value given is not shown" if option.kind.is_secret else f"got {seen(value)}"
        kind = option.kind
        is_url = isinstance(value, str) and value.startswith(("http://", "https://"))
        hint = "it takes a value, which stands before the URL" if is_url else ""
        raise ConfigError(f"{label or option.key}: expected {kind.expected}, {got}", hint=hint) from None


def check_library(settings: Settings) -> None:
    """Raise `ConfigError` if the store needs a library that is not installed here."""
    for store, module, extra in (("warc", "warcio", "warc"), ("parquet", "pyarrow", "table")):
        if settings.store == store and find_spec(module) is None:
            raise ConfigError(f"store: {store} needs a library", hint=f"pip install 'fetcher[{extra}]'")


def build(
    typed: Mapping[str, Any], command: Command = "get", *, place: Callable[[str], str] = str
) -> Settings:
    """Return the settings of `command` from typed values, after the rules that concern several of them.

    `place` gives what messages call a key.
    """
    for one, other in EXCLUSIVE:
        if typed.get(one) and typed.get(other):
            raise ConfigError(f"{place(one)}: cannot stand together with {place(other)}")
    settings = Settings(**typed)
    check_library(settings)
    if settings.digest == "blake3" and find_spec("blake3") is None:
        raise ConfigError("digest: blake3 needs a library", hint="pip install 'fetcher[blake3]'")
    if settings.reparse and settings.parser is None:
        raise ConfigError(f"{place('reparse')}: there is no parser", hint="name it: --parser MODULE:FUNCTION")
    if settings.link_check:
        settings = _for_link_check(settings, typed, place)
    if settings.convert_links and settings.store != "files":
        message = f"{place('convert_links')}: there are no saved pages with {place('store')} {settings.store}"
        raise ConfigError(message, hint="it is for --store files")
    if settings.data is not None and "method" not in typed:
        settings = msgspec.structs.replace(settings, method="POST")  # as in curl
    return crawl_defaults(settings, typed) if command == "crawl" else settings


def _for_link_check(settings: Settings, typed: Mapping[str, Any], place: Callable[[str], str]) -> Settings:
    """Return the settings of a link check, which keeps no body. Raises `ConfigError` for what needs one."""
    for key in _NEEDS_BODIES:
        if typed.get(key):
            raise ConfigError(f"{place('link_check')}: cannot stand together with {place(key)}")
    if typed.get("store", "none") != "none":
        raise ConfigError(f"{place('link_check')}: nothing is kept", hint=f"leave {place('store')} away")
    return msgspec.structs.replace(settings, store="none")


def check_for_list(settings: Settings) -> None:
    """Raise `ConfigError` for what a crawl has a use for, and a list has none."""
    if settings.link_check and settings.parser is not None:
        raise ConfigError("parser: a link check of a list reads no page", hint="crawl, or leave it away")


def crawl_defaults(settings: Settings, given: Collection[str]) -> Settings:
    """`settings` for a crawl: what nobody chose (`given` are the keys) has the crawl's default."""
    different = {key: value for key, value in _DIFFERENT_FOR_CRAWL.items() if key not in given}
    if settings.link_check and "assets" not in given:
        different["assets"] = True
    return msgspec.structs.replace(settings, **different)


def unknown_key(key: Any, known: Iterable[str], label: str = "", sort: str = "key") -> ConfigError:
    """Return the error for a key that does not exist, with the closest one that does."""
    name = key if isinstance(key, str) and key.isidentifier() and key.isascii() else seen(key)
    close = closest(str(key), known)
    advice = f"; did you mean {close}?" if close else ""
    return ConfigError(f"{label}: unknown {sort} {name}{advice}".removeprefix(": "))


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that was probably meant, if any."""
    from difflib import get_close_matches  # noqa: PLC0415  only on the way to an error

    known, name = list(known), name[:100].lower().replace("-", "_")
    synonym = SYNONYMS.get(name)
    return synonym if synonym in known else next(iter(get_close_matches(name, known, 1)), None)


def seen(value: Any) -> str:
    """Show a value in a message: on one line, escaped, cut short."""
    try:
        text = repr(value)
    except ValueError:  # an int with too many digits to print
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
