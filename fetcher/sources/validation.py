"""Entries from columns, and the checks of those columns.

Every source makes its entries here, or directly where a line is known to be nothing but an ordinary
URL. A value that can't be used makes an entry that is `bad`, never an exception: one bad line costs
one line. All text of an entry fits in UTF-8, because records and state are written in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import msgspec

from fetcher.model import Entry
from fetcher.policy.checksums import checksum_of

BATCH = 4_096  # most entries that a source hands over at once
NOT_UTF8 = "not UTF-8"
MOST_PRIORITY = 2**53 - 1  # exact in every JSON reader, and room in 64 bits
_SHOWN = 200  # characters of a line that are worth showing
_MOST_NAMED = 20  # columns that a message lists

_PRIVATE = frozenset({"headers", "body"})  # may hold secrets: never shown
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")


def is_unicode(text: str) -> bool:
    """Return True if `text` fits in UTF-8: no lone surrogates, so no escaped bytes either."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    r"""`text` with its undecodable bytes spelled as `\xff` and its lone surrogates as `\ud800`."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")


def shortened(text: str) -> str:
    """Return the first 200 characters of `text`, readable, with an ellipsis where more was left out."""
    return readable(text) if len(text) <= _SHOWN else readable(text[:_SHOWN]) + "…"


def plain(url: str, source: str | None, line: int | None) -> Entry:
    """Return an entry of a URL alone, in whatever characters it came."""
    if url.isascii() or is_unicode(url):
        return Entry(url, source, line)
    return refused(url, NOT_UTF8, source, line)


def refused(
    text: str, why: str, source: str | None, line: int | None, meta: dict[str, Any] | None = None
) -> Entry:
    """Return an entry that says why its line can't be one; `text` shows which line it was."""
    return Entry(shortened(text), source, line, meta=meta or None, bad=why)


def from_columns(
    columns: Mapping[str, Any],
    source: str | None,
    line: int | None,
    shown: str = "",
    *,
    url_column: str = "url",
) -> Entry:
    """Return an entry of named values; those that the contract does not name go to `meta` as they are.

    `url_column` holds the URL: the name as it is, else in any case.
    """
    key = url_column if url_column in columns else _in_any_case(url_column, columns)
    if key is None:
        meta = {name: value for name, value in columns.items() if name not in RULES}
        why = f"no {url_column}" + (
            f"; its columns are {enumerated(columns)}, and --url-column NAME says which holds the URL"
            if columns
            else ""
        )
        return typed({}, meta, source, line, shown, why=why)
    if len(columns) == 1:
        return typed({"url": columns[key]}, {}, source, line, shown)
    named = {name: value for name, value in columns.items() if name in RULES and name not in {key, "url"}}
    meta = {name: value for name, value in columns.items() if name not in named and name != key}
    return typed({"url": columns[key], **named}, meta, source, line, shown)


def _in_any_case(wanted: str, columns: Iterable[Any]) -> str | None:
    wanted = wanted.lower()
    return next((name for name in columns if isinstance(name, str) and name.lower() == wanted), None)


def enumerated(names: Iterable[Any]) -> str:
    """List names of columns for a message, at most 20 of them."""
    some = [str(name) for name in islice(names, _MOST_NAMED + 1)]
    told = ", ".join(shortened(name) or "(no name)" for name in some[:_MOST_NAMED])
    return f"{told} …" if len(some) > _MOST_NAMED else told


def typed(
    named: Mapping[str, Any],
    meta: dict[str, Any],
    source: str | None,
    line: int | None,
    shown: str = "",
    *,
    why: str = "no url",
) -> Entry:
    """Return an entry of values for the contract's columns, checked, and of `meta` beside them.

    A value that is None is absent. `shown` stands for the URL where there is none to show; `why` says
    that there is none.
    """
    fields: dict[str, Any] = {}
    wrong = why if named.get("url") is None else None
    for name, value in named.items():
        if value is not None:
            check, expected = RULES[name]
            fields[name] = kept = check(value)
            if kept is None and wrong is None:
                wrong = f"{name}: expected {expected}, got {_kind(value, is_shown=name not in _PRIVATE)}"
    url = fields.get("url")
    if meta and (unstorable := _unstorable(meta)):
        wrong, meta = wrong or unstorable, {}
    if url is None:
        return refused(shown, wrong or "", source, line, meta)
    wrong = wrong or _unstorable(fields)
    if wrong is not None:
        return refused(url, wrong, source, line, meta)
    return Entry(source=source, line=line, meta=meta or None, **fields)


def _unstorable(columns: Mapping[str, Any]) -> str | None:
    """Return the reason why `columns` can't be written as JSON, or None."""
    try:
        msgspec.json.encode(columns)
    except UnicodeEncodeError:
        return NOT_UTF8
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return f"a column cannot be written as JSON: {error}"
    return None


def _kind(value: Any, *, is_shown: bool) -> str:
    """Name the type of `value` in the words of JSON; short values are shown."""
    match value:
        case bool() | int() | float() if is_shown and abs(value) < 1e20:
            return shortened(str(value))
        case str() if is_shown:
            return repr(shortened(value))
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "an array"
        case _:
            return type(value).__name__


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _some_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _url(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _digest(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) and _DIGEST.fullmatch(value) else None


def _checksum(value: Any) -> str | None:
    return checksum_of(value) if isinstance(value, str) else None


def _priority(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -MOST_PRIORITY <= value <= MOST_PRIORITY else None


def _headers(value: Any) -> dict[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    if not all(isinstance(key, str) and isinstance(field, str) for key, field in value.items()):
        return None
    return dict(value)


def _mirrors(value: Any) -> tuple[str, ...] | None:
    """Read a list of URLs, or text with spaces between them."""
    urls = value.split() if isinstance(value, str) else value
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) and url.strip() for url in urls):
        return None
    return tuple(url.strip() for url in urls)


RULES: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "url": (_url, "text"),
    "name": (_some_text, "a file name"),
    "sha256": (_digest, "64 hex digits"),
    "checksum": (_checksum, "sha256:, sha512:, sha1: or md5: and hex digits"),
    "priority": (_priority, "a whole number of at most 53 bits"),
    "method": (_some_text, "a method such as POST"),
    "body": (_text, "text"),
    "headers": (_headers, "an object of text values"),
    "mirrors": (_mirrors, "URLs"),
}
