"""The listing of an object store, to be looked up. It is in a file that ends with its connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

_CREATE = "CREATE TABLE object (path TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID"


class ObjectListing:
    """Paths of objects and their lengths, as they were when they were listed."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(_CREATE)

    def fill(self, pages: Iterable[Sequence[tuple[str, int]]]) -> None:
        """Add what was listed."""
        for page in pages:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO object VALUES (?, ?)", page)
            self._db.execute("COMMIT")

    def length_of(self, path: str) -> int | None:
        """Return the length of the object at `path`; None if there was none."""
        found = self._db.execute("SELECT size FROM object WHERE path = ?", (path,)).fetchone()
        return None if found is None else found[0]

    def paths(self) -> Iterator[str]:
        """Yield every path."""
        for (path,) in self._db.execute("SELECT path FROM object ORDER BY path"):
            yield path

    def close(self) -> None:
        """Forget all of it."""
        self._db.close()
