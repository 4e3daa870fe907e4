"""The settings: one table for the library, TOML files, the environment, flags, help and documents.

Invariant: a key stands in `OPTIONS` exactly when it is a field of `Settings` (`config` apart, which
names a file of settings). A default is the field's; how a value is written, read, shown and hidden
is the option's kind. A kind's `parse` also takes what it returns, and reads back what `plain` gives.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Any, Final, Literal, TypeAlias

import msgspec

from fetcher.errors import ConfigError

Plain: TypeAlias = "bool | int | float | str | list[int] | list[str] | None"
Place = Literal["toml", "env", "library", "cli"]
EVERYWHERE: Final[frozenset[Place]] = frozenset({"toml", "env", "library", "cli"})
PROGRAM: Final[frozenset[Place]] = frozenset({"toml", "env", "cli"})  # the library has no such thing
MASK: Final = "***"
LONGEST_S: Final = 366 * 86400.0
RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


Header: TypeAlias = tuple[str, str | None]  # None takes the field away


class Deadline(msgspec.Struct, frozen=True):
    """When the whole run stops: after some seconds, or at a local time of day."""

    after_s: float | None = None
    clock: time | None = None


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
    """Every setting as the engine takes it.

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
    http: str = "auto"
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


# --- kinds: how a value is written ---------------------------------------------------------------


def _as_is(value: Any) -> Any:
    return value


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How values of one sort are read and shown.

    `parse` takes text or a native value and raises `ValueError` if it is not as `expected` says.
    `plain` gives what TOML would hold. A secret is never shown: `masked` says what may be.
    """

    expected: str
    metavar: str
    parse: Callable[[Any], Any]
    plain: Callable[[Any], Plain] = _as_is
    masked: Callable[[Any], Any] = _as_is
    is_secret: bool = False
    is_repeatable: bool = False
    takes_none: bool = False
    choices: tuple[str, ...] = ()


def optional(kind: Kind) -> Kind:
    """`kind`, where `none` and 0 mean no limit."""

    def parse(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
            return None
        return kind.parse(value) or None

    def plain(value: Any) -> Plain:
        return "none" if value is None else kind.plain(value)

    expected = f"{kind.expected}, or none"
    return msgspec.structs.replace(kind, expected=expected, parse=parse, plain=plain, takes_none=True)


_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,19}))?(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_RATE = re.compile(r"(.+?)\s*/\s*([smhd])")
_SPAN = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit})?" for unit in "dhms"))
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_RESOLVE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):([0-9]{1,5}):(.+)")
_PROXY = re.compile(r"(?:(?:https?|socks4a?|socks5h?)://)?[^\s/?#\\\0-\x1f]+/?|", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]\\]+)(?::([0-9]{1,5}))?")
_CONTROL = re.compile("[\0-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # a tab may stand in a header
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def _number(value: Any) -> float:
    if isinstance(value, str) and len(value) <= 64 and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63:
        return float(value)
    raise ValueError


def _short(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def whole(least: int, most: int) -> Kind:
    """A whole number within bounds."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError
        return value

    return Kind(expected=f"a whole number from {least} to {most}", metavar="N", parse=parse)


def _size(value: Any) -> int:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None or (match[2] and not match[3]):
            raise ValueError
        unit = 1024 ** ("KMGT".index(match[3].upper()) + 1) if match[3] else 1
        part = match[2] or "0"
        value = int(match[1]) * unit + int(part) * unit // 10 ** len(part)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError
    return value


def _size_plain(value: int) -> int | str:
    power = max((p for p in range(5) if value % 1024**p == 0), default=0) if value else 0
    return f"{value // 1024**power}{'KMGT'[power - 1]}" if power else value


SIZE = Kind(expected="a size such as 500K, 10M or 1.5G", metavar="SIZE", parse=_size, plain=_size_plain)


def _rate(value: Any) -> float:
    unit = 1
    if isinstance(value, str) and (match := _RATE.fullmatch(value.strip())):
        value, unit = match[1], _UNITS[match[2]]
    rate = _number(value) / unit
    if rate and not 1 / LONGEST_S <= rate <= 1e6:
        raise ValueError
    return rate


def _rate_plain(value: float) -> str:
    for unit, seconds in _UNITS.items():
        count = round(value * seconds)
        if count and count / seconds == value:
            return f"{count}/{unit}"
    return f"{value!r}/s"


RATE = Kind(expected="a rate such as 10/s, 300/m or 5/h", metavar="N/s", parse=_rate, plain=_rate_plain)


def _seconds(value: Any) -> float:
    if isinstance(value, str) and (span := _SPAN.fullmatch(value.strip())) and any(span.groups()):
        value = sum(float(n) * _UNITS[unit] for n, unit in zip(span.groups(), "dhms", strict=True) if n)
    seconds = _number(value)
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError
    return seconds


SECONDS = Kind(
    expected="seconds, or a time such as 1.5s, 2m or 1h30m", metavar="S", parse=_seconds, plain=_short
)


def _some_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError
    return seconds


TIMEOUT = msgspec.structs.replace(SECONDS, expected=f"more than 0 {SECONDS.expected}", parse=_some_seconds)


def _deadline(value: Any) -> Deadline:
    if isinstance(value, Deadline):
        return value
    if isinstance(value, str) and (match := _CLOCK.fullmatch(value.strip())):
        hour, minute, second = (int(part or 0) for part in match.groups())
        value = time(hour, minute, second)
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise ValueError
        return Deadline(clock=value.replace(microsecond=0))
    return Deadline(after_s=_some_seconds(value))


def _deadline_plain(value: Deadline) -> Plain:
    if value.clock is None:
        return _short(value.after_s or 0.0)
    return value.clock.isoformat("seconds" if value.clock.second else "minutes")


DEADLINE = Kind(
    expected="a duration such as 2h, or a time of day such as 06:00",
    metavar="DUR",
    parse=_deadline,
    plain=_deadline_plain,
)


def _split(value: Any) -> list[Any]:
    """The items of a list: text with commas, one item, or any collection."""
    if isinstance(value, str):
        return [] if value.strip().lower() in {"", "none"} else [part.strip() for part in value.split(",")]
    return (
        list(value) if isinstance(value, Collection) and not isinstance(value, (bytes, Mapping)) else [value]
    )


def _statuses(value: Any) -> frozenset[int]:
    status = whole(400, 999).parse
    return frozenset(status(item) for item in _split(value))


STATUSES = Kind(
    expected="statuses from 400 to 999 such as 429,503",
    metavar="LIST",
    parse=_statuses,
    plain=sorted,
)


def _flag(value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
    if word not in _WORDS:
        raise ValueError
    return _WORDS[word]


FLAG = Kind(expected="true or false", metavar="", parse=_flag)


def choice(*words: str) -> Kind:
    """One of a few words; numbers that look like one are taken too (`http = 2`)."""

    def parse(value: Any) -> str:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = f"{value:g}"
        if not isinstance(value, str) or (word := value.strip().lower()) not in words:
            raise ValueError
        return word

    expected = f"{', '.join(words[:-1])} or {words[-1]}"
    return Kind(expected=expected, metavar="|".join(words), parse=parse, choices=words)


def _matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value) or _CONTROL.search(value):
            raise ValueError
        return value

    return parse


TEXT = Kind(
    expected="text without control characters", metavar="TEXT", parse=_matching(re.compile(".*", re.DOTALL))
)
TEMPLATE = Kind(
    expected="a template such as {host}/{path}", metavar="TEMPLATE", parse=_matching(re.compile(".+"))
)
BACKEND = Kind(
    expected="the name of a backend", metavar="NAME", parse=_matching(re.compile("[a-z][a-z0-9_-]*"))
)


def _method(value: Any) -> str:
    method = _matching(_TOKEN)(value)
    if method.upper() == "CONNECT":  # a tunnel, not a request for a URL
        raise ValueError
    usual = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return method.upper() if method.upper() in usual else method


METHOD = Kind(expected="an HTTP method such as GET or POST", metavar="METHOD", parse=_method)


def _path(value: Any) -> str:
    path = os.fsdecode(value) if isinstance(value, (str, os.PathLike)) else ""
    if not path or "\0" in path:
        raise ValueError
    return path


def _each(value: Any, one: type | tuple[type, ...]) -> Iterable[Any]:
    if isinstance(value, one):
        return (value,)
    if isinstance(value, (list, tuple)):
        return value
    raise ValueError


PATH = Kind(expected="the path of a file", metavar="FILE", parse=_path)
PATHS = Kind(
    expected="paths of files",
    metavar="FILE",
    parse=lambda value: tuple(_path(item) for item in _each(value, (str, os.PathLike))),
    plain=list,
    is_repeatable=True,
)


# Values of these fields may be shown; of any other, nobody knows whether it is a secret.
_OPEN_HEADERS = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-type"}
    | {"dnt", "host", "if-match", "if-modified-since", "if-none-match", "if-range", "origin", "pragma"}
    | {"range", "te", "user-agent"}
)


def _header(item: Any) -> Header:
    """One field, as curl reads it: `Name:` takes the field away, `Name;` sends it without a value."""
    if isinstance(item, str):
        name, colon, text = item.partition(":")
        value = text.strip(" \t") or None
        if not colon:
            name, value = item[:-1], "" if item.endswith(";") else "\0"
    else:
        name, value = item  # ValueError if they are not two
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError
    if value is not None and (not isinstance(value, str) or _CONTROL.search(value)):  # RFC 9110 §5.5
        raise ValueError
    return name, value


def _headers(value: Any) -> tuple[Header, ...]:
    if isinstance(value, Mapping):
        return tuple(_header((name, text or None)) for name, text in value.items())
    items = _each(value, str)
    if not all(isinstance(item, (str, tuple)) for item in items):
        raise ValueError
    return tuple(_header(item) for item in items)


def _headers_plain(value: tuple[Header, ...]) -> list[str]:
    return [f"{name};" if text == "" else f"{name}: {text or ''}".rstrip() for name, text in value]


def _headers_masked(value: tuple[Header, ...]) -> tuple[Header, ...]:
    return tuple((name, text and (text if name.lower() in _OPEN_HEADERS else MASK)) for name, text in value)


HEADERS = Kind(
    expected="'Name: value' on one line",
    metavar="'N: V'",
    parse=_headers,
    plain=_headers_plain,
    masked=_headers_masked,
    is_secret=True,
    is_repeatable=True,
)


def _user(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 2 and ":" not in str(value[0]):
        value = f"{value[0]}:{value[1]}"
    if not isinstance(value, str) or ":" not in value or _CONTROL.search(value):
        raise ValueError
    return value


def _hidden(mask: str) -> Callable[[Any], Any]:
    return lambda value: None if value is None else mask


USER = Kind(
    expected="USER:PASSWORD",
    metavar="USER:PASS",
    parse=_user,
    masked=_hidden(f"{MASK}:{MASK}"),
    is_secret=True,
)


def _data(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise ValueError


DATA = Kind(expected="text", metavar="DATA", parse=_data, masked=_hidden(MASK), is_secret=True)


def _proxy(value: Any) -> str:
    if not isinstance(value, str) or not _PROXY.fullmatch(value):
        raise ValueError
    return "" if value.lower() == "none" else value


PROXY = Kind(
    expected="a URL such as http://127.0.0.1:3128",
    metavar="URL",
    parse=_proxy,
    masked=lambda value: value and re.sub("^([A-Za-z0-9]+://)?.*@", rf"\1{MASK}:{MASK}@", value),
    is_secret=True,
)


def _names(value: Any) -> str:
    name = _matching(re.compile(r"[^\s,]+"))
    return ",".join(name(item) for item in _split(value) if item != "")


NAMES = Kind(expected="host names such as localhost,example.org", metavar="LIST", parse=_names)


def _address(text: str) -> str:
    import ipaddress  # noqa: PLC0415  only where an address is given

    if "%" in text:  # RFC 6874: zones are for link-local addresses
        raise ValueError
    return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))


def _resolve(value: Any) -> tuple[tuple[str, int, str], ...]:
    found: list[tuple[str, int, str]] = []
    for item in _each(value, str):
        if isinstance(item, (list, tuple)) and len(item) == 3:
            host, port, addresses = (str(part) for part in item)
        elif isinstance(item, str) and (match := _RESOLVE.fullmatch(item.strip())):
            host, port, addresses = match.groups()
        else:
            raise ValueError
        number = whole(1, 65535).parse(port)
        found += [(host_key(host), number, _address(part.strip())) for part in addresses.split(",")]
    return tuple(found)


def _bracketed(text: str) -> str:
    return f"[{text}]" if ":" in text else text


RESOLVE = Kind(
    expected="HOST:PORT:ADDRESS, with IPv6 in brackets",
    metavar="HOST:PORT:ADDR",
    parse=_resolve,
    plain=lambda value: [f"{_bracketed(host)}:{port}:{_bracketed(addr)}" for host, port, addr in value],
    is_repeatable=True,
)


def host_key(text: str) -> str:
    """The key of a host in `Settings.hosts`: lower case, punycode, and its port if one was named.

    Without a port, an IPv6 address has no brackets. Raises `ValueError` for what can't be a host.
    """
    match = _HOST.fullmatch(text)
    if match is None and ":" in text:
        return _address(text)
    if match is None or _CONTROL.search(text):
        raise ValueError
    name, port = match.groups()
    if name.startswith("["):
        name = _address(name)
    elif not name.isascii():
        from yarl import URL  # noqa: PLC0415  only for international names

        name = URL.build(scheme="http", host=name).raw_host or ""
    name = name.lower()
    return name if port is None else f"{_bracketed(name)}:{whole(1, 65535).parse(port)}"


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
    """One setting: its key, kind, heading and help, and where it may stand."""

    key: str
    kind: Kind
    group: str
    help: str
    short: str | None = None
    metavar_override: str | None = None
    shown: str | None = None  # the default as text, where the field's value does not say it
    where: frozenset[Place] = EVERYWHERE

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

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

    @property
    def default_text(self) -> str:
        """The default as a person would write it; empty where it is off or not given."""
        if self.shown is not None or self.is_flag or self.key == "config":
            return self.shown or ""
        return as_text(self.kind.plain(getattr(DEFAULTS, self.key)))


def as_text(plain: Plain) -> str:
    """A plain value as one argument of a command line; lists are joined with commas."""
    if isinstance(plain, list):
        return ",".join(str(item) for item in plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return "" if plain is None else str(plain)


FILES: Final = "Input and output"
SPEED: Final = "Speed and politeness"
LIMITS: Final = "Retries and limits"
REQUEST: Final = "Request"
CONTINUING: Final = "Continuing"
REPORTING: Final = "Reporting"
GROUPS: Final = (FILES, SPEED, LIMITS, REQUEST, CONTINUING, REPORTING)

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
    Option("per_host", whole(1, 100_000), SPEED, "exchanges in flight at once to one host"),
    Option("delay", SECONDS, SPEED, "least seconds between two starts at one host"),
    Option("rate", optional(RATE), SPEED, "most starts per second (10/s, 300/m)"),
    Option("max_bandwidth", optional(SIZE), SPEED, "bytes per second for the whole run (500K, 10M)"),
    Option("backend", BACKEND, SPEED, "what performs the exchanges"),
    Option("http", choice("auto", "1.1", "2", "3"), SPEED, "HTTP version"),
    Option("hosts", HOSTS, SPEED, "settings of single hosts", shown="", where=frozenset({"library"})),

    Option("retries", whole(0, 1000), LIMITS, "more attempts after the first"),
    Option("retry_on", STATUSES, LIMITS, "statuses that are tried again"),
    Option("max_wait", SECONDS, LIMITS, "longest that one URL waits for Retry-After in all"),
    Option("connect_timeout", TIMEOUT, LIMITS, "limit on connecting"),
    Option("header_timeout", TIMEOUT, LIMITS, "limit until the final header is complete"),
    Option("read_timeout", TIMEOUT, LIMITS, "limit on silence"),
    Option("timeout", optional(SECONDS), LIMITS, "limit on one hop in all; time in queues never counts"),
    Option("min_speed", optional(SIZE), LIMITS, "a body with fewer bytes per second over 60 s is retried"),
    Option("max_size", optional(SIZE), LIMITS, "a larger body fails as too-large"),
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
    key: msgspec.structs.replace(OPTIONS[key.removesuffix("s")], key=key)
    for key in ("per_host", "delay", "rate", "headers", "user")
}
EXCLUSIVE: Final = (("ipv4", "ipv6"), ("quiet", "verbose"))
DEFAULTS: Final = Settings()


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


def build(typed: Mapping[str, Any]) -> Settings:
    """Settings from typed values, after the rules that concern several of them."""
    for one, other in EXCLUSIVE:
        if typed.get(one) and typed.get(other):
            raise ConfigError(f"{one}: cannot stand together with {other}")
    if typed.get("data") is not None and "method" not in typed:
        return Settings(**typed, method="POST")  # as in curl
    return Settings(**typed)


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
