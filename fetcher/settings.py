"""The settings: one table for the library, TOML files, the environment, flags, help and documents.

Invariant: a key stands in `OPTIONS` exactly when it is a field of `Settings` (`config` apart, which
names a file of settings). A default is the field's, or the option's own for `crawl`; how a value is
written, read, shown and hidden is the option's kind (`fetcher.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from fetcher.errors import ConfigError
from fetcher.kinds import Kind, as_text, optional
from fetcher.kinds.request import (
    DATA,
    HEADERS,
    METHOD,
    NAMES,
    PROXY,
    RESOLVE,
    USER,
    Header,
    host_key,
)
from fetcher.kinds.values import (
    BACKEND,
    DEADLINE,
    FLAG,
    FUNCTION,
    MEMORY,
    PATH,
    PATHS,
    PATTERNS,
    RATE,
    SECONDS,
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
    """What differs for one host; None is as for every host. `rate` is starts per second there."""

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
    output: str = "downloads"
    output_file: str | None = None
    name: str = "{host}/{path}"
    store: str = "files"
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
    sort_query: bool = False
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
    header: tuple[Header, ...] = ()
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
    restart: bool = False
    fsync: bool = False
    dry_run: bool = False
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    log_file: str | None = None
    log_format: str = "text"

    def __repr__(self) -> str:
        return _masked_repr(self, OPTIONS)


def _masked_repr(settings: Settings | HostSettings, options: Mapping[str, Option]) -> str:
    shown = [
        f"{field.name}={options[field.name].kind.masked(value)!r}"
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
        raise ValueError  # noqa: TRY004  the kinds' one way to say no
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
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place('')}{here}: expected a table of {', '.join(HOST_OPTIONS)}")
    found = {}
    for key, value in values.items():
        if key not in HOST_OPTIONS:
            raise unknown_key(key, HOST_OPTIONS, f"{place(str(key))}{here}")
        found[key] = convert(HOST_OPTIONS[key], value, f"{place(key)}{here}.{key}")
    return host, HostSettings(**found)


HOSTS = Kind(expected="a mapping of host names to their settings", metavar="", parse=_hosts)


# --- the table -----------------------------------------------------------------------------------


class Option(msgspec.Struct, frozen=True):
    """One setting: its key, kind, heading and help, where it may stand, and what is different for `crawl`."""

    key: str
    kind: Kind
    group: str
    help: str
    short: str | None = None
    metavar_override: str | None = None
    shown: str | None = None  # the default as text, where the field's value does not say it
    where: frozenset[Place] = EVERYWHERE
    only: Command | None = None  # the one command that takes it
    crawl_default: Any = msgspec.UNSET  # where it is not the field's

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def flag_off(self) -> str:
        """What turns a flag off: `--no-x`, and `--x` for `--no-x`."""
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
        """Whether `command` takes it; None is any."""
        return self.only is None or command is None or self.only == command

    def default_for(self, command: Command | None) -> str:
        """The default as a person would write it; empty where it is off or not given.

        Without a command, those of all: `8 (crawl: 4)`.
        """
        if self.shown is not None or self.is_flag or self.key == "config":
            return self.shown or ""
        of_get, of_crawl = (
            as_text(self.kind.plain(getattr(d, self.key))) for d in (DEFAULTS, CRAWL_DEFAULTS)
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
REPORTING: Final = "Reporting"
GROUPS: Final = (FILES, SPEED, CRAWLING, PARSING, LIMITS, REQUEST, CONTINUING, REPORTING)

# fmt: off
_TABLE = (
    Option("input", PATHS, FILES, "URLs from a file: lines, JSONL or CSV; - is stdin; repeatable", "-i",
           where=PROGRAM),
    Option("input_format", choice("auto", "text", "jsonl", "csv"), FILES, "format of the input files",
           where=PROGRAM),
    Option("output", PATH, FILES, "the run directory", "-o", "DIR", where=PROGRAM),
    Option("output_file", PATH, FILES, "one URL straight to a file; - is stdout", "-O", where=PROGRAM),
    Option("name", TEMPLATE, FILES,
           "names of files, from host path stem ext query sha256 index date and any input column"),
    Option("store", choice("files", "none"), FILES, "keep bodies as files, or only fetch and record"),
    Option("overwrite", FLAG, FILES, "replace files that the state does not know"),
    Option("mtime", FLAG, FILES, "set a file's time from Last-Modified"),

    Option("concurrency", whole(1, 100_000), SPEED, "exchanges in flight at once", "-c"),
    Option("per_host", whole(1, 100_000), SPEED, "exchanges in flight at once to one host", crawl_default=4),
    Option("delay", SECONDS, SPEED, "least seconds between two starts at one host"),
    Option("rate", optional(RATE), SPEED, "most starts per second (10/s, 300/m)"),
    Option("max_bandwidth", optional(SIZE), SPEED, "bytes per second for the whole run (500K, 10M)"),
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
    Option("ignore", words("nofollow", "meta", "canonical"), CRAWLING,
           "what pages say to crawlers that is not heeded: nofollow, meta, canonical", only="crawl"),
    Option("sort_query", FLAG, CRAWLING, "the order of a query's parameters does not tell pages apart",
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
    Option("read_timeout", TIMEOUT, LIMITS, "limit on silence"),
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
    Option("header", HEADERS, REQUEST, "a header for the listed hosts; repeatable", "-H"),
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
    Option("restart", FLAG, CONTINUING, "forget what happened to URLs; files stay"),
    Option("fsync", FLAG, CONTINUING, "sync to the disk before a URL counts as done; slower"),

    Option("dry_run", FLAG, REPORTING, "read, check, name and count; fetch nothing", where=PROGRAM),
    Option("json", FLAG, REPORTING, "each final record on stdout as it happens", where=PROGRAM),
    Option("config", PATH, REPORTING, "settings from a TOML file", shown="fetcher.toml if there",
           where=frozenset({"env", "cli"})),
    Option("quiet", FLAG, REPORTING, "print nothing unless something failed", "-q", where=PROGRAM),
    Option("verbose", FLAG, REPORTING, "say more", "-v", where=PROGRAM),
    Option("log_file", PATH, REPORTING, "write a log to a file", where=PROGRAM),
    Option("log_format", choice("text", "json"), REPORTING, "format of the log", where=PROGRAM),
)
# fmt: on

OPTIONS: Final[dict[str, Option]] = {option.key: option for option in _TABLE}
HOST_OPTIONS: Final[dict[str, Option]] = {
    key: msgspec.structs.replace(OPTIONS[key.removesuffix("s")], key=key, crawl_default=msgspec.UNSET)
    for key in ("per_host", "delay", "rate", "headers", "user")
}
EXCLUSIVE: Final = (("ipv4", "ipv6"), ("quiet", "verbose"))
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
    for key, value in values.items():
        if key not in allowed:
            raise unknown_key(key, allowed)
        found[key] = convert(allowed[key], value)
    return build(found)


def convert(option: Option, value: Any, label: str = "") -> Any:
    """The typed value of `option`. Raises `ConfigError` naming `label`, or the key."""
    if value is None and getattr(DEFAULTS, option.key, None) is None:
        return None
    try:
        return option.kind.parse(value)
    except ValueError:
        got = "the value given is not shown" if option.kind.is_secret else f"got {seen(value)}"
        kind = option.kind
        raise ConfigError(f"{label or option.key}: expected {kind.expected}, {got}") from None


def build(typed: Mapping[str, Any], command: Command = "get") -> Settings:
    """The settings of `command` from typed values, after the rules that concern several of them."""
    for one, other in EXCLUSIVE:
        if typed.get(one) and typed.get(other):
            raise ConfigError(f"{one}: cannot stand together with {other}")
    settings = Settings(**typed)
    if settings.data is not None and "method" not in typed:
        settings = msgspec.structs.replace(settings, method="POST")  # as in curl
    return crawl_defaults(settings, typed) if command == "crawl" else settings


def crawl_defaults(settings: Settings, given: Collection[str]) -> Settings:
    """`settings` for a crawl: what nobody chose (`given` are the keys) has the crawl's default."""
    different = {key: value for key, value in _DIFFERENT_FOR_CRAWL.items() if key not in given}
    return msgspec.structs.replace(settings, **different)


def unknown_key(key: Any, known: Iterable[str], label: str = "", sort: str = "key") -> ConfigError:
    """The error for a key that does not exist, with the closest one that does."""
    name = key if isinstance(key, str) and key.isidentifier() and key.isascii() else seen(key)
    close = closest(str(key), known)
    advice = f"; did you mean {close}?" if close else ""
    return ConfigError(f"{label}: unknown {sort} {name}{advice}".removeprefix(": "))


def closest(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that was probably meant, if any."""
    from difflib import get_close_matches  # noqa: PLC0415  only on the way to an error

    return next(iter(get_close_matches(name[:100].lower().replace("-", "_"), list(known), 1)), None)


def seen(value: Any) -> str:
    """What was given, for a message: on one line, escaped, cut short."""
    try:
        text = repr(value)
    except ValueError:  # an int with too many digits to print
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
