"""Allocation of file names: each is given once, to one URL, and never changes.

Invariant: a folded name belongs to one URL or is a directory (owner 0), never both; so no two URLs
write one file, and no file stands where a directory is needed.

The names of a claim are reserved in memory first, and the store is asked once what stands at them; the
transaction only writes. The table `name` is ordered by a digest, so every new name would dirty a page of its
own. So a claim writes its names as one row of `naming`; now and then all of them move into `name`, sorted,
and `url`. After a kill the rows that are left move when the state is opened. What is in memory is right only
as long as every transaction succeeds: a session ends with the first that fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from fetcher.model import Job, Outcome
from fetcher.policy.filenames import casefold_key, deduplicated, parents
from fetcher.policy.fingerprint import text_fingerprint

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


class FilenameAllocator:
    """File names for jobs that are claimed: `reserve`, then `write` in the transaction of the claim.

    `candidate` is the name template; `existing` returns those of some paths at which anything stands on disk,
    so that a file which the state does not know is recognised as foreign. With `is_late` a job gets its name
    not when it is claimed but when its answer is there, with `Job.hints`.
    """

    def __init__(
        self,
        candidate: Callable[[Job], str],
        existing: Callable[[Collection[str]], Collection[str]],
        *,
        is_late: bool = False,
    ) -> None:
        self.is_late = is_late
        self._candidate = candidate
        self._existing = existing
        self._directories: set[str] = set()
        self._owners: dict[int, int] = {}  # by key: of names that are not in `name` yet
        self._files: dict[int, tuple[str, bool]] = {}  # by owner: of those, what `url` does not have yet
        self._reserved: list[Given] = []  # and not written yet
        self._db: sqlite3.Connection

    def attach(self, db: sqlite3.Connection) -> None:
        """Work on this state, in the transaction under way; what a killed session gave is moved first."""
        self._db = db
        db.execute(_CREATE)
        for (text,) in db.execute("SELECT given FROM naming ORDER BY id"):
            self._gather(_decode(text))
        self.merge()

    def reserve(self, jobs: Iterable[Job]) -> bool:
        """Set `path` and `is_foreign` of every job that has no path yet. False if that is none."""
        unnamed = [job for job in jobs if job.path is None and job.target is not None]
        if not unnamed:
            return False
        paths = [self._candidate(job) for job in unnamed]
        keys = [text_fingerprint(casefold_key(path)) for path in paths]
        taken = {key for (key,) in self._db.execute(_TAKEN, (_encode(keys).decode(),))}
        owners = self._owners
        own: list[tuple[Job, str, int]] = []
        for job, wanted, digest in zip(unnamed, paths, keys, strict=True):
            assert job.target is not None
            path, key = self._below_directories(wanted, job.target.url), digest
            if path is wanted and key not in taken and key not in owners:
                owners[key] = job.id
            else:
                path, key = self._free(path, job)
            own.append((job, path, key))
        existing = self._existing([path for _, path, _ in own])
        for job, path, key in own:
            job.path, job.is_foreign = path, path in existing
            self._files[job.id] = path, job.is_foreign
            self._reserved.append((key, job.id, path, job.is_foreign))
        return True

    def write(self) -> None:
        """Store what was reserved, in the transaction under way."""
        self._db.execute(_GIVE, (_encode(self._reserved).decode(),))
        self._reserved.clear()
        if len(self._owners) >= _MOST_GATHERED:
            self.merge()

    def on_settled(self, outcomes: Sequence[Outcome]) -> None:
        """Forget the names of jobs that have ended and are safe: their rows have them."""
        files = self._files
        for outcome in outcomes:
            if outcome.record is not None:
                files.pop(outcome.job.id, None)

    def merge(self) -> None:
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
        """Find a name that no other URL has, and its key."""
        assert job.target is not None
        url = job.target.url
        key = self._own(path, job.id)
        if key is None:
            path = deduplicated(path, url)
            attempt = 0
            while (key := self._own(path, job.id)) is None:  # the same URL by another method or body
                attempt += 1
                path = deduplicated(path, f"{url} {job.id} {attempt}")
        return path, key

    def _below_directories(self, path: str, url: str) -> str:
        """Make sure that every directory of `path` is one; a component that is a file is renamed."""
        parent = path.rpartition("/")[0]
        if not parent or parent in self._directories:
            return path
        depth = 0
        while depth < path.count("/"):
            directory = parents(path)[depth]
            if directory not in self._directories:
                key = self._own(directory, _DIRECTORY)
                if key is None:
                    path = deduplicated(path, url, depth)
                    continue
                if len(self._directories) >= _MOST_REMEMBERED:
                    self._directories.clear()
                self._directories.add(directory)
                self._reserved.append((key, _DIRECTORY, None, False))
            depth += 1
        return path

    def _own(self, path: str, owner: int) -> int | None:
        """Make a name the `owner`'s and return its key; None if it is another's."""
        key = text_fingerprint(casefold_key(path))
        known = self._owners.get(key)
        if known is None:
            found = self._db.execute("SELECT url FROM name WHERE fold = ?", (key,)).fetchone()
            known = None if found is None else found[0]
        if known is None:
            self._owners[key] = owner
        return key if known is None or known == owner else None


def own_name(db: sqlite3.Connection, path: str, owner: int) -> bool:
    """Give a URL the name back that it had, in the transaction under way; False if it is another's."""
    folders = [(text_fingerprint(casefold_key(folder)), _DIRECTORY) for folder in parents(path)]
    name = text_fingerprint(casefold_key(path)), owner
    db.executemany(_INSERT, [*folders, name])
    return all(
        db.execute("SELECT url FROM name WHERE fold = ?", (key,)).fetchone()[0] == wanted
        for key, wanted in (*folders, name)
    )
