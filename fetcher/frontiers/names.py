"""Names in the state: each is given once, to one URL, and never changes.

Invariant: a folded name belongs to one URL or is a directory (owner 0), never both; so no two URLs
write one file, and no file stands where a directory is needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from fetcher.model import Job
from fetcher.policy.identity import text_key
from fetcher.policy.names import ancestors, fold, suffixed

_DIRECTORY = 0
_MOST_REMEMBERED = 20_000
_INSERT = "INSERT OR IGNORE INTO name VALUES (?, ?)"


class Names:
    """Gives jobs their paths inside the transaction of their claim.

    `candidate` is the name template; `is_occupied` tells whether anything stands at a path on disk,
    so that a file which the state does not know is recognised as foreign.
    """

    def __init__(self, candidate: Callable[[Job], str], is_occupied: Callable[[str], bool]) -> None:
        self._candidate = candidate
        self._is_occupied = is_occupied
        self._directories: set[str] = set()
        self._db: sqlite3.Connection

    def attach(self, db: sqlite3.Connection) -> None:
        self._db = db

    def give(self, jobs: Sequence[Job]) -> None:
        """Set `path` and `is_foreign` of every job that has no path yet."""
        rows = []
        for job in jobs:
            if job.path is None and job.target is not None:
                self._give(job)
                rows.append((job.path, job.is_foreign, job.id))
        if rows:
            self._db.executemany("UPDATE url SET path = ?, is_foreign = ? WHERE id = ?", rows)

    def _give(self, job: Job) -> None:
        assert job.target is not None
        url = job.target.url
        path = self._below_directories(self._candidate(job), url)
        if not self._own(path, job.id):
            path = suffixed(path, url)
            attempt = 0
            while not self._own(path, job.id):  # the same URL by another method or body
                attempt += 1
                path = suffixed(path, f"{url} {job.id} {attempt}")
        job.path = path
        job.is_foreign = self._is_occupied(path)

    def _below_directories(self, path: str, url: str) -> str:
        """Make sure that every directory of `path` is one; a component that is a file is renamed."""
        parent = path.rpartition("/")[0]
        if not parent or parent in self._directories:
            return path
        depth = 0
        while depth < path.count("/"):
            directory = ancestors(path)[depth]
            if directory not in self._directories and not self._own(directory, _DIRECTORY):
                path = suffixed(path, url, depth)
                continue
            if len(self._directories) >= _MOST_REMEMBERED:
                self._directories.clear()
            self._directories.add(directory)
            depth += 1
        return path

    def _own(self, path: str, owner: int) -> bool:
        key = text_key(fold(path))
        if self._db.execute(_INSERT, (key, owner)).rowcount > 0:
            return True
        found = self._db.execute("SELECT url FROM name WHERE fold = ?", (key,)).fetchone()
        return found is not None and found[0] == owner
