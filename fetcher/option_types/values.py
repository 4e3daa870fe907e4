"""Types of any option: numbers, sizes, rates, times, words, texts, patterns, paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import time
from typing import Any, Final

import msgspec

from fetcher.native import system_path
from fetcher.option_types import OptionType, Plain

LONGEST_S: Final = 366 * 86400.0

_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,19}))?(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_RATE = re.compile(r"(.+?)\s*/\s*([smhd])")
_SPAN = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit})?" for unit in "dhms"))
_SHARD = re.compile(r"([0-9]{1,7})/([0-9]{1,7})")
_MOST_SHARDS = 1_000_000
_MOST_LOCAL = 1024
_SCHEDULERS = ("tcp", "tls", "ucx", "ws", "wss")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
CONTROL = re.compile("[\0-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # a tab may stand in a header
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


class Deadline(msgspec.Struct, frozen=True):
    """End of the whole run: after some seconds, or at a local time of day."""

    after_s: float | None = None
    clock: time | None = None


def _number(value: Any) -> float:
    if isinstance(value, str) and len(value) <= 64 and _NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63:
        return float(value)
    raise ValueError


def _short(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def whole(least: int, most: int) -> OptionType:
    """Return a whole number within bounds."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError
        return value

    return OptionType(expected=f"a whole number from {least} to {most}", metavar="N", parse=parse)


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


SIZE = OptionType(
    expected="a size such as 500K, 10M or 1.5G", metavar="SIZE", parse=_size, to_plain=_size_plain
)


def _memory(value: Any) -> int:
    size = _size(value)
    if size < 1024**2:
        raise ValueError
    return size


MEMORY = msgspec.structs.replace(SIZE, expected="a size from 1M on, such as 512M", parse=_memory)


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


RATE = OptionType(
    expected="a rate such as 10/s, 300/m or 5/h", metavar="N/s", parse=_rate, to_plain=_rate_plain
)


def _seconds(value: Any) -> float:
    if isinstance(value, str) and (span := _SPAN.fullmatch(value.strip())) and any(span.groups()):
        value = sum(float(n) * _UNITS[unit] for n, unit in zip(span.groups(), "dhms", strict=True) if n)
    seconds = _number(value)
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError
    return seconds


SECONDS = OptionType(
    expected="seconds, or a time such as 1.5s, 2m or 1h30m", metavar="S", parse=_seconds, to_plain=_short
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


def _shard(value: Any) -> tuple[int, int]:
    if isinstance(value, str) and (match := _SHARD.fullmatch(value.strip())):
        value = int(match[1]), int(match[2])
    if not isinstance(value, tuple) or len(value) != 2 or not 0 <= value[0] < value[1] <= _MOST_SHARDS:
        raise ValueError
    return value


SHARD = OptionType(
    expected=f"a shard of several, from 0/N to N-1/N, such as 3/16; N is at most {_MOST_SHARDS:,}",
    metavar="K/N",
    parse=_shard,
    to_plain=lambda value: None if value is None else f"{value[0]}/{value[1]}",
)


def _cluster(value: Any) -> str:
    if not isinstance(value, str) or not value or CONTROL.search(value):
        raise ValueError
    kind, colon, rest = value.partition(":")
    if kind == "local" and colon:
        if not (rest.isascii() and rest.isdigit() and 0 < int(rest) <= _MOST_LOCAL):
            raise ValueError
    elif "://" in value and kind not in _SCHEDULERS:
        raise ValueError
    return value


CLUSTER = OptionType(
    expected="tcp://HOST:PORT or tls://HOST:PORT of a scheduler, the file that it wrote, or local:N",
    metavar="ADDRESS",
    parse=_cluster,
)


DEADLINE = OptionType(
    expected="a duration such as 2h, or a time of day such as 06:00",
    metavar="DUR",
    parse=_deadline,
    to_plain=_deadline_plain,
)


def split(value: Any) -> list[Any]:
    """Return the items of a list: text with commas, one item, or any collection."""
    if isinstance(value, str):
        return [] if value.strip().lower() in {"", "none"} else [part.strip() for part in value.split(",")]
    return (
        list(value) if isinstance(value, Collection) and not isinstance(value, (bytes, Mapping)) else [value]
    )


def _statuses(value: Any) -> frozenset[int]:
    status = whole(400, 999).parse
    return frozenset(status(item) for item in split(value))


STATUSES = OptionType(
    expected="statuses from 400 to 999 such as 429,503",
    metavar="LIST",
    parse=_statuses,
    to_plain=sorted,
)


def _flag(value: Any) -> bool:
    word = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
    if word not in _WORDS:
        raise ValueError
    return _WORDS[word]


FLAG = OptionType(expected="true or false", metavar="", parse=_flag)


def choice(*words: str) -> OptionType:
    """Return one of a few words; numbers that look like one are taken too (`http = 2`)."""

    def parse(value: Any) -> str:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = f"{value:g}"
        if not isinstance(value, str) or (word := value.strip().lower()) not in words:
            raise ValueError
        return word

    expected = f"{', '.join(words[:-1])} or {words[-1]}"
    return OptionType(expected=expected, metavar="|".join(words), parse=parse, choices=words)


def words(*known: str) -> OptionType:
    """Make the type of some of a few words, with commas between."""
    one = choice(*known).parse
    return OptionType(
        expected=f"some of {', '.join(known)}",
        metavar="LIST",
        parse=lambda value: frozenset(one(item) for item in split(value)),
        to_plain=sorted,
        choices=known,
    )


def matching(pattern: re.Pattern[str]) -> Callable[[Any], str]:
    """Return a `parse` for text that `pattern` matches as a whole, without control characters."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value) or CONTROL.search(value):
            raise ValueError
        return value

    return parse


TEXT = OptionType(
    expected="text without control characters", metavar="TEXT", parse=matching(re.compile(".*", re.DOTALL))
)
COLUMN = OptionType(expected="the name of a column", metavar="NAME", parse=matching(re.compile(".+")))
TEMPLATE = OptionType(
    expected="a template such as {host}/{path}", metavar="TEMPLATE", parse=matching(re.compile(".+"))
)
BACKEND = OptionType(
    expected="the name of a backend", metavar="NAME", parse=matching(re.compile("[a-z][a-z0-9_-]*"))
)


def each(value: Any, one: type | tuple[type, ...]) -> Iterable[Any]:
    """Return the items of a list or tuple, or of one item alone."""
    if isinstance(value, one):
        return (value,)
    if isinstance(value, (list, tuple)):
        return value
    raise ValueError


def _patterns(value: Any) -> tuple[str, ...]:
    pattern = matching(re.compile(".+"))
    return tuple(pattern(item) for item in each(value, str))


PATTERNS = OptionType(  # that they are RE2 is the judgement of who searches with them
    expected="regular expressions", metavar="RE", parse=_patterns, to_plain=list, is_repeatable=True
)


def _function(value: Any) -> Any:
    if callable(value):
        return value
    module, _, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    is_file = module.endswith(".py") and module.isprintable()
    names = name.split(".") if is_file else [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() for part in names):
        raise ValueError
    return value


def _function_plain(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return f"{getattr(value, '__module__', '?')}:{getattr(value, '__qualname__', type(value).__qualname__)}"


FUNCTION = OptionType(  # in the library, anything that can be called
    expected="MODULE:FUNCTION, such as my_pages:read",
    metavar="MODULE:FUNCTION",
    parse=_function,
    to_plain=_function_plain,
)


def _path(value: Any) -> str:
    path = os.fsdecode(value) if isinstance(value, (str, os.PathLike)) else ""
    if not path or "\0" in path:
        raise ValueError
    return system_path(path)


PATH = OptionType(expected="the path of a file", metavar="FILE", parse=_path)
PATHS = OptionType(
    expected="paths of files",
    metavar="FILE",
    parse=lambda value: tuple(_path(item) for item in each(value, (str, os.PathLike))),
    to_plain=list,
    is_repeatable=True,
)
