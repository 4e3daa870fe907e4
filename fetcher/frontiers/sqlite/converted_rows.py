"""Saved files whose links were converted: what they are now, and how to get back what was served.

Invariants: the row is stored before the file is replaced, so a file is at any moment as it was served (the
digest of its URL's row), or as one of its rows here says; once the new file is there, only its row is left. A
row goes when a body is stored for its URL, and is void where that has another digest than it names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from fetcher.model import ConvertedFile, Outcome

_CREATE = """CREATE TABLE IF NOT EXISTS converted (
    url INTEGER NOT NULL, path TEXT NOT NULL,
    sha256 BLOB NOT NULL, bytes INTEGER NOT NULL, way_back BLOB NOT NULL, -- of the converted file
    served BLOB NOT NULL,           -- the digest of what it was made of, as `url` has it
    made_for INTEGER NOT NULL,      -- the fingerprint of all saved files
    is_there INTEGER NOT NULL,      -- it has been put in its place
    PRIMARY KEY (url, sha256)
)"""
_CREATE_INDEX = "CREATE INDEX IF NOT EXISTS converted_path ON converted (path)"
_FORMS = """SELECT converted.url, converted.sha256, converted.bytes, way_back FROM converted
 JOIN url ON url.id = converted.url WHERE served = url.sha256 AND """
_OF_ROWS = f"{_FORMS} converted.url IN (SELECT value FROM json_each(?))"  # noqa: S608
_OF_PATH = f"{_FORMS} converted.path = ?"
_PUT = "INSERT OR REPLACE INTO converted VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
_IS_THERE = "UPDATE converted SET is_there = 1 WHERE url = ? AND sha256 = ?"
_OTHERS = "DELETE FROM converted WHERE url = ? AND sha256 <> ?"
_VOID = "DELETE FROM converted WHERE served IS NOT (SELECT sha256 FROM url WHERE id = converted.url)"

# Of a row of `url`: the length of its file if its links were converted.
CONVERTED_BYTES = """(SELECT converted.bytes FROM converted WHERE converted.url = url.id
 AND served = url.sha256 ORDER BY is_there DESC LIMIT 1)"""

_encode = msgspec.json.Encoder().encode


class Conversion(msgspec.Struct, frozen=True):
    """The file of a URL with its links converted; `served` is the packed digest of what it was made of."""

    url: int
    path: str
    form: ConvertedFile
    served: bytes


def has_converted(db: sqlite3.Connection) -> bool:
    """Tell whether links were ever converted here."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'converted'").fetchone() is not None


def forms_of_rows(db: sqlite3.Connection, numbers: Iterable[int]) -> dict[int, list[ConvertedFile]]:
    """Return, by row of `url`, what its file may be beside what was served."""
    found: dict[int, list[ConvertedFile]] = {}
    if has_converted(db):
        for number, *columns in db.execute(_OF_ROWS, (_encode([*numbers]).decode(),)):
            found.setdefault(number, []).append(ConvertedFile(*columns))
    return found


def drop_forms(db: sqlite3.Connection, outcomes: Iterable[Outcome]) -> None:
    """Remove the rows of files in whose place a body was stored, in the transaction under way."""
    stored = [
        (outcome.job.id,)
        for outcome in outcomes
        if (record := outcome.record) is not None and record.path is not None and record.state != "unchanged"
    ]
    db.executemany("DELETE FROM converted WHERE url = ?", stored)


class ConvertedRows:
    """The table `converted`, for those that write it and those that look up files."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def create(self) -> None:
        """Make the table if there is none, and remove the rows that are void."""
        self._db.execute(_CREATE)
        self._db.execute(_CREATE_INDEX)
        self._db.execute(_VOID)

    def of_path(self, path: str) -> list[ConvertedFile]:
        """Return what the file at a path may be beside what was served."""
        return [ConvertedFile(*columns) for _, *columns in self._db.execute(_OF_PATH, (path,))]

    def announce(self, conversions: Sequence[Conversion], made_for: int) -> None:
        """Store what files are about to become, in one transaction."""
        rows = [
            (one.url, one.path, one.form.sha256, one.form.length, one.form.way_back, one.served, made_for)
            for one in conversions
        ]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(_PUT, rows)
        self._db.execute("COMMIT")

    def settle(self, conversions: Sequence[Conversion]) -> None:
        """Store that the files are there, in one transaction."""
        rows = [(one.url, one.form.sha256) for one in conversions]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(_IS_THERE, rows)
        self._db.executemany(_OTHERS, rows)
        self._db.execute("COMMIT")

    def complete(self, made_for: int, length: int) -> None:
        """Store that all files are made for that fingerprint, as records of that length name them."""
        self._db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [("converted_for", made_for), ("converted_length", length)],
        )

    def is_complete(self, made_for: int, length: int) -> bool:
        """Tell whether they are."""
        rows = self._db.execute("SELECT name, value FROM meta WHERE name LIKE 'converted_%'")
        return dict(rows) == {"converted_for": made_for, "converted_length": length}
