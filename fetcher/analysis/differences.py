"""Differences between run directories, or between the last two records of each URL of one.

A URL that was had and is had no longer is `gone` where it is not listed any more or answers 404 or 410, and
`newly-failing` otherwise. Content is told apart by its digest, or where none was computed by validator and
length.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from fetcher.analysis.final_records import FinalRecords
from fetcher.policy.fingerprint import text_fingerprint
from fetcher.verification.records import Line

DifferenceKind = Literal["new", "changed", "moved", "gone", "newly-failing", "recovered"]
KINDS: tuple[DifferenceKind, ...] = get_args(DifferenceKind)
_GONE = frozenset({404, 410})
_BATCH = 5000
_JOINED = """SELECT old.at, new.at FROM side AS {left} LEFT JOIN side AS {right}
 ON {right}.url = {left}.url AND {right}.is_new = {right_is_new} WHERE {left}.is_new = {left_is_new}
 AND {which} ORDER BY {left}.at"""
_IN_NEW = _JOINED.format(
    left="new", right="old", left_is_new=1, right_is_new=0, which="old.says IS NOT new.says"
)
_ONLY_OLD = _JOINED.format(left="old", right="new", left_is_new=0, right_is_new=1, which="new.at IS NULL")


class Side(msgspec.Struct):
    """A URL on one side."""

    state: str
    status: int | None
    error: str | None
    final_url: str | None
    sha256: str | None
    bytes: int
    ended_at: str | None


class UrlDifference(msgspec.Struct):
    """A URL that differs, and how. Where it is on one side only, the other is null."""

    kind: DifferenceKind
    url: str
    old: Side | None
    new: Side | None


def compare_directories(old: Sequence[Path], new: Sequence[Path]) -> Iterator[UrlDifference]:
    """Yield what differs from `old` to `new`: in the order of the new records, then what is only in `old`.

    Raises:
        ConfigError: one of them is no run directory.
        StorageError: records can't be read.
    """
    with (
        FinalRecords(*old) as old_records,
        FinalRecords(*new) as new_records,
        contextlib.closing(sqlite3.connect("", isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("CREATE TABLE side (is_new INTEGER, url INTEGER, says INTEGER, at INTEGER)")
        for is_new, records in enumerate((old_records, new_records)):
            _note(db, is_new, records)
        db.execute("CREATE INDEX side_url ON side (url, is_new)")
        for statement in (_IN_NEW, _ONLY_OLD):
            for old_at, new_at in db.execute(statement):
                yield from differences_of(old_records.at(old_at), new_records.at(new_at))


def compare_generations(*roots: Path) -> Iterator[UrlDifference]:
    """Yield what differs between the last two records of each URL that was asked for again.

    Raises:
        ConfigError: one is no run directory.
        StorageError: records can't be read.
    """
    with FinalRecords(*roots) as records:
        for old, new in records.two_last():
            yield from differences_of(old, new)


def differences_of(old: Line | None, new: Line | None) -> Iterator[UrlDifference]:
    """Yield how a URL differs; nothing if it does not. One that has moved may have changed too."""
    one = old or new
    if one is None:
        return
    for kind in _kinds(old, new):
        yield UrlDifference(kind, one.url, _side(old), _side(new))


def _kinds(old: Line | None, new: Line | None) -> Iterator[DifferenceKind]:
    if old is None:
        yield "new"
    elif new is None:
        yield "gone"
    elif _is_had(old) and not _is_had(new):
        yield "gone" if new.status in _GONE else "newly-failing"
    elif _is_had(new) and not _is_had(old):
        yield "recovered"
    elif _is_had(new):
        if (old.final_url or old.url) != (new.final_url or new.url):
            yield "moved"
        if _content(old) != _content(new):
            yield "changed"


def _is_had(record: Line) -> bool:
    return record.state in {"done", "unchanged"}


def _content(record: Line) -> str:
    if record.sha256 is not None:
        return record.sha256
    if record.digest not in {None, "none"}:
        return str(record.digest)
    return f"{record.etag}\0{record.last_modified}\0{record.bytes}"


def _side(record: Line | None) -> Side | None:
    if record is None:
        return None
    return Side(**{name: getattr(record, name) for name in Side.__struct_fields__})


def _note(db: sqlite3.Connection, is_new: int, records: FinalRecords) -> None:
    batch: list[tuple[int, int, int, int]] = []
    for at, record in records.located():
        text = f"{_content(record)}\0{record.final_url or record.url}" if _is_had(record) else ""
        batch.append((is_new, text_fingerprint(record.url), text_fingerprint(text), at))
        if len(batch) >= _BATCH:
            _insert(db, batch)
    _insert(db, batch)


def _insert(db: sqlite3.Connection, batch: list[tuple[int, int, int, int]]) -> None:
    db.execute("BEGIN")
    db.executemany("INSERT INTO side VALUES (?, ?, ?, ?)", batch)
    db.execute("COMMIT")
    batch.clear()
