"""Names in the state: each is given once, to one URL, and never changes.

Invariant: a folded name belongs to one URL or is a directory (owner 0), never both; so no two URLs
write one file, and no file stands where a directory is needed.

The table `name` is ordered by a digest, so every new name dirties a page of its own. Names are therefore
gathered in memory, and a claim writes its own as one row of `naming`; now and then all of them move into
`name`, sorted, and `url`. After a kill the rows that are left move when the state is opened. What is in
memory is right only as long as every transaction succeeds: a session ends with the first that fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fetcher.model import Job, Outcome
from fetcher.policy.identity import text_key
from fetcher.policy.names import ancestors, fold, suffixed

_DIRECTORY = 0
_MOST_REMEMBERED = 20_000
_MOST_GATHERED = 4096
_CREATE = "CREATE TABLE IF NOT EXISTS naming (id INTEGER PRIMARY KEY, given TEXT NOT NULL)"
_GIVE = "INSERT INTO naming (given) VALUES (?)"
_TAKEN = "SELECT fold FROM json_each(?) CROSS JOIN name ON fold = value"
_INSERT = "INSERT OR IGNORE INTO name VALUES (?, ?)"
_SET_PATH = "UPDATE url SET path = ?, is_foreign = ? WHERE id = ? AND path IS NULL"

Given = tuple[int, int, str | None, bool]  # key, owner, and of a file its path and whether it is foreign

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Given]).decode


class Names:
    """Gives jobs their paths inside the transaction of their claim.

    `candidate` is the name template; `is_occupied` tells whether anything stands at a path on disk,
    so that a file which the state does not know is recognised as foreign.
    """

    def __init__(self, candidate: Callable[[Job], str], is_occupied: Callable[[str], bool]) -> None:
        self._candidate = candidate
        self._is_occupied = is_occupied
        self._directories: set[str] = set()
        self._owners: dict[int, int] = {}  # by key: of names that are not in `name` yet
        self._files: dict[int, tuple[str, bool]] = {}  # by owner: of those, what `url` does not have yet
        self._given: list[Given] = []  # in the transaction under way
        self._db: sqlite3.Connection

    def attach(self, db: sqlite3.Connection) -> None:
        """Work on this state, in the transaction under way; what a killed session gave is moved first."""
        self._db = db
        db.execute(_CREATE)
        for (text,) in db.execute("SELECT given FROM naming ORDER BY id"):
            self._gather(_decode(text))
        self.move()

    def give(self, jobs: Sequence[Job]) -> None:
        """Set `path` and `is_foreign` of every job that has no path yet."""
        unnamed = [job for job in jobs if job.path is None and job.target is not None]
        if not unnamed:
            return
        paths = [self._candidate(job) for job in unnamed]
        keys = [text_key(fold(path)) for path in paths]
        taken = {key for (key,) in self._db.execute(_TAKEN, (_encode(keys).decode(),))}
        owners, files, given = self._owners, self._files, self._given
        for job, wanted, digest in zip(unnamed, paths, keys, strict=True):
            assert job.target is not None
            number = job.id
            path, key = self._below_directories(wanted, job.target.url), digest
            if path is wanted and key not in taken and key not in owners:
                owners[key] = number
            else:
                path, key = self._free(path, job)
            job.path = path
            job.is_foreign = self._is_occupied(path)
            files[number] = path, job.is_foreign
            given.append((key, number, path, job.is_foreign))
        if given:
            self._db.execute(_GIVE, (_encode(given).decode(),))
            given.clear()
            if len(owners) >= _MOST_GATHERED:
                self.move()

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """These are safe: the rows of those that have ended have their paths."""
        files = self._files
        for outcome in outcomes:
            if outcome.record is not None:
                files.pop(outcome.job.id, None)

    def move(self) -> None:
        """Move what was gathered to where it belongs, in the transaction under way."""
        if self._owners:
            self._db.executemany(_INSERT, sorted(self._owners.items()))
            self._db.executemany(_SET_PATH, [(*file, number) for number, file in sorted(self._files.items())])
            self._db.execute("DELETE FROM naming")
            self._owners.clear()
            self._files.clear()

    def _gather(self, given: Iterable[Given]) -> None:
        for key, owner, path, is_foreign in given:
            self._owners[key] = owner
            if path is not None:
                self._files[owner] = path, is_foreign

    def _free(self, path: str, job: Job) -> tuple[str, int]:
        """A name that no other URL has, and its key."""
        assert job.target is not None
        url = job.target.url
        key = self._own(path, job.id)
        if key is None:
            path = suffixed(path, url)
            attempt = 0
            while (key := self._own(path, job.id)) is None:  # the same URL by another method or body
                attempt += 1
                path = suffixed(path, f"{url} {job.id} {attempt}")
        return path, key

    def _below_directories(self, path: str, url: str) -> str:
        """Make sure that every directory of `path` is one; a component that is a file is renamed."""
        parent = path.rpartition("/")[0]
        if not parent or parent in self._directories:
            return path
        depth = 0
        while depth < path.count("/"):
            directory = ancestors(path)[depth]
            if directory not in self._directories:
                key = self._own(directory, _DIRECTORY)
                if key is None:
                    path = suffixed(path, url, depth)
                    continue
                if len(self._directories) >= _MOST_REMEMBERED:
                    self._directories.clear()
                self._directories.add(directory)
                self._given.append((key, _DIRECTORY, None, False))
            depth += 1
        return path

    def _own(self, path: str, owner: int) -> int | None:
        """The key of a name that belongs to `owner` from now on, or did before; None if it is another's."""
        key = text_key(fold(path))
        known = self._owners.get(key)
        if known is None:
            found = self._db.execute("SELECT url FROM name WHERE fold = ?", (key,)).fetchone()
            known = None if found is None else found[0]
        if known is None:
            self._owners[key] = owner
        return key if known is None or known == owner else None
