"""Columns of a table: those of records, and those that are found in objects nobody has described.

A column of found objects has the type that all its values share; where they differ, or are lists and
objects, it holds JSON.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from fetcher.model import Record

Kind = Literal["text", "integer", "number", "boolean", "time", "texts", "json", "bytes"]
MOST_FOUND = 500  # columns; beyond, what is found stays one column of JSON
_INTEGERS = range(-(2**63), 2**63)
_SPECIAL: Mapping[str, Kind] = {
    "started_at": "time",
    "ended_at": "time",
    "redirects": "texts",
    "resumed_at": "json",
    "meta": "json",
}
_encode = msgspec.json.Encoder().encode


class FieldColumn(NamedTuple):
    """A column's name and the kind of its values; any may be null."""

    name: str
    kind: Kind


def record_columns() -> list[FieldColumn]:
    """Return the columns of `Record`, in its order."""
    return [FieldColumn(field.name, _kind_of(field)) for field in msgspec.structs.fields(Record)]


def _kind_of(field: msgspec.structs.FieldInfo) -> Kind:
    if field.name in _SPECIAL:
        return _SPECIAL[field.name]
    text = str(field.type)
    if field.type is int or "int" in text:
        return "integer"
    return "number" if field.type is float else "text"


class FoundColumns:
    """The columns of objects that are shown to `see` one after another."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind | None] = {}
        self.are_too_many = False

    def see(self, found: Mapping[str, Any]) -> None:
        """Take the names and types of an object."""
        if self.are_too_many:
            return
        kinds = self._kinds
        for name, value in found.items():
            known = kinds.get(name)
            if value is None:
                kinds.setdefault(name, None)
                continue
            kind = _kind_of_value(value)
            if known is None:
                kinds[name] = kind
            elif known != kind:
                kinds[name] = "number" if {known, kind} == {"integer", "number"} else "json"
        self.are_too_many = len(kinds) > MOST_FOUND

    def columns(self, prefix: str = "") -> list[FieldColumn]:
        """Return the columns; what was null wherever it stood is text."""
        return [FieldColumn(prefix + name, kind or "text") for name, kind in self._kinds.items()]

    def row(self, found: Mapping[str, Any] | None) -> list[Any]:
        """Return the values of an object, column by column."""
        if found is None:
            return [None] * len(self._kinds)
        return [fit(found.get(name), kind or "text") for name, kind in self._kinds.items()]


def _kind_of_value(value: Any) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if value in _INTEGERS else "json"
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "json"


def fit(value: Any, kind: Kind) -> Any:
    """Return a value as its column has it."""
    if value is None:
        return None
    if kind == "json":
        return _encode(value).decode()
    if kind == "number":
        return float(value)
    if kind == "time":
        return moment(value)
    return value


def moment(text: str) -> dt.datetime | None:
    """Return a record's time; None if it is none."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return None


def moment_text(utc: float) -> str:
    """Return a time, UTC epoch seconds, as records spell it."""
    moment = dt.datetime.fromtimestamp(utc, dt.UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def plain(values: Sequence[Any]) -> Iterable[Any]:
    """Return values for tables that know neither lists nor times: as JSON, and as records spell them."""
    for value in values:
        if isinstance(value, list):
            yield _encode(value).decode()
        elif isinstance(value, dt.datetime):
            yield value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        else:
            yield value
