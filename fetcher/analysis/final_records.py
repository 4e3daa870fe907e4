"""The last record of each URL of one or several run directories, streamed: the one that counts.

Memory stays flat: which lines count is sorted by SQLite, which spills what its cache does not hold.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from fetcher.errors import StorageError
from fetcher.policy.fingerprint import text_fingerprint
from fetcher.run_dir import RunDirectory
from fetcher.verification.records import Line, lines_of, record_of

_BATCH = 5000
_PLACE_BITS = 44  # of a place: which directory above, where in its file below
_MOST_OPEN = 64
_IN_FILE = (1 << _PLACE_BITS) - 1
_LAST = "SELECT max(at) AS last FROM line GROUP BY url ORDER BY last"
_TWO_LAST = """SELECT before, at FROM (SELECT at, lag(at) OVER (PARTITION BY url ORDER BY at) AS before,
 lead(at) OVER (PARTITION BY url ORDER BY at) AS after FROM line) WHERE after IS NULL AND before IS NOT NULL
 ORDER BY at"""


class _Located(msgspec.Struct, gc=False):
    url: str


class FinalRecords:
    """The records of the run directories at `roots`, as their `results.jsonl` stand now.

    Where several know a URL, the last of them counts. `not_records` counts the lines that are none, such
    as a torn last one.

    Raises:
        ConfigError: one is no run directory.
    """

    def __init__(self, *roots: Path) -> None:
        directories = [RunDirectory(root) for root in roots]
        for directory in directories:
            directory.require()
        self.roots = roots
        self.paths = [directory.results for directory in directories]
        self.not_records = 0
        self._db: sqlite3.Connection | None = None
        self._files: dict[int, BinaryIO] = {}

    def __enter__(self) -> Self:
        """Find out which lines count.

        Raises:
            StorageError: the file can't be read.
        """
        self._db = db = sqlite3.connect("", isolation_level=None)
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("CREATE TABLE line (url INTEGER, at INTEGER)")
        decode = msgspec.json.Decoder(_Located).decode
        waiting: list[tuple[int, int]] = []
        for at, line in self._lines():
            try:
                waiting.append((text_fingerprint(decode(line).url), at))
            except (msgspec.MsgspecError, UnicodeError):
                self.not_records += 1
                continue
            if len(waiting) >= _BATCH:
                self._note(waiting)
        self._note(waiting)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._db is not None:
            self._db.close()
        for file in self._files.values():
            file.close()

    def __iter__(self) -> Iterator[Line]:
        """Yield the last record of each URL, in the order in which they were written."""
        return (record for _, record in self.located())

    def located(self) -> Iterator[tuple[int, Line]]:
        """Yield the same with the place of each line, for `at`."""
        assert self._db is not None
        wanted = self._db.execute(_LAST)
        found = wanted.fetchone()
        for at, line in self._lines():
            if found is None:
                return
            if at != found[0]:
                continue
            found = wanted.fetchone()
            if (record := record_of(line)) is not None:
                yield at, record

    def two_last(self) -> Iterator[tuple[Line, Line]]:
        """Yield the last record of each URL that has several, behind the one before it."""
        assert self._db is not None
        for before, last in self._db.execute(_TWO_LAST):
            old, new = self.at(before), self.at(last)
            if old is not None and new is not None:
                yield old, new

    def at(self, place: int | None) -> Line | None:
        """Return the record whose line begins at a place; None if there is none."""
        if place is None:
            return None
        number = place >> _PLACE_BITS
        file = self._files.get(number)
        if file is None:
            if len(self._files) >= _MOST_OPEN:
                self._files.pop(next(iter(self._files))).close()
            file = self._files[number] = self.paths[number].open("rb")
        file.seek(place & _IN_FILE)
        return record_of(file.readline())

    def root_at(self, place: int) -> Path:
        """Return the directory of the record at a place."""
        return self.roots[place >> _PLACE_BITS]

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        for number, path in enumerate(self.paths):
            try:
                for at, line in lines_of(path):
                    yield number << _PLACE_BITS | at, line
            except OSError as error:
                raise StorageError(f"cannot read {path}: {error.strerror}") from error

    def _note(self, waiting: list[tuple[int, int]]) -> None:
        assert self._db is not None
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO line VALUES (?, ?)", waiting)
        self._db.execute("COMMIT")
        waiting.clear()
