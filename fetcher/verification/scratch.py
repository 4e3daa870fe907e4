"""Scratch tables: records, rows and paths by 64 bits of their text, in a file that ends with its connection.

Memory stays flat for any number of them: SQLite spills what its cache does not hold. Rows go in by batches
and are indexed at the end, sorted, which costs a fraction of keeping an index up to date.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

_BATCH = 2000
_CREATE = """
CREATE TABLE record (url INTEGER, says INTEGER, line INTEGER, at INTEGER);
CREATE TABLE row (url INTEGER, says INTEGER, id INTEGER PRIMARY KEY);
CREATE TABLE path (path INTEGER);
"""
_INDEX = "CREATE INDEX record_url ON record (url, line, says)"
_INDEX_ROWS = "CREATE INDEX row_url ON row (url)"
_INDEX_PATHS = "CREATE INDEX path_path ON path (path)"
# A URL that several requests share has rows that are each right if any of its records agrees.
_DISAGREEING = """SELECT row.id, max(record.line), count(record.line)
 FROM row LEFT JOIN record ON record.url = row.url WHERE row.says IS NOT NULL GROUP BY row.id
 HAVING count(record.line) = 0 OR (
 (SELECT says FROM record AS last WHERE last.url = row.url ORDER BY line DESC LIMIT 1) IS NOT row.says
 AND ((SELECT count(*) FROM row AS other WHERE other.url = row.url) = 1
 OR NOT EXISTS (SELECT 1 FROM record AS any WHERE any.url = row.url AND any.says = row.says)))"""
_UNKNOWN = """SELECT line, at FROM record WHERE NOT EXISTS (SELECT 1 FROM row WHERE row.url = record.url)
 ORDER BY line"""


class Scratch:
    """The rows, records and paths of one run directory."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA cache_size = -32000")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.executescript(_CREATE)
        self._waiting: dict[str, list[tuple[Any, ...]]] = {"record": [], "row": [], "path": []}
        self._knows_paths = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def add_record(self, url: int, says: int, line: int, at: int) -> None:
        """Add the record in `line`, which begins at byte `at`."""
        self._add("record", (url, says, line, at))

    def add_row(self, url: int, says: int | None, number: int) -> None:
        """Add a row of the state; without `says` it may have a record and needs none."""
        self._add("row", (url, says, number))

    def add_path(self, path: int) -> None:
        """Add a path that the state gave to a URL."""
        self._add("path", (path,))

    def disagreeing(self) -> Iterator[tuple[int, int | None, bool]]:
        """Yield each row whose record differs or is lacking: its id, its last line, and if it has one."""
        self._flush()
        self._db.execute(_INDEX)
        self._db.execute(_INDEX_ROWS)
        for number, line, count in self._db.execute(_DISAGREEING):
            yield number, line, bool(count)

    def unknown_records(self) -> Iterator[tuple[int, int]]:
        """Yield line and place of the records whose URL no row has; after `disagreeing`."""
        yield from self._db.execute(_UNKNOWN)

    def knows_path(self, path: int) -> bool:
        """Tell whether a path was added; after the last of them."""
        if not self._knows_paths:
            self._flush()
            self._db.execute(_INDEX_PATHS)
            self._knows_paths = True
        return self._db.execute("SELECT 1 FROM path WHERE path = ?", (path,)).fetchone() is not None

    def _add(self, table: str, row: tuple[Any, ...]) -> None:
        waiting = self._waiting[table]
        waiting.append(row)
        if len(waiting) >= _BATCH:
            self._write(table)

    def _flush(self) -> None:
        for table in self._waiting:
            self._write(table)

    def _write(self, table: str) -> None:
        waiting = self._waiting[table]
        if waiting:
            places = ", ".join("?" * len(waiting[0]))
            self._db.execute("BEGIN")
            self._db.executemany(f"INSERT INTO {table} VALUES ({places})", waiting)  # noqa: S608
            self._db.execute("COMMIT")
            waiting.clear()
