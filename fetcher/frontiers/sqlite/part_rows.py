"""Rows of parts: how far the bodies that were cut off, or grow at this moment, have come on disk.

Invariant: a row is there only for a job that is not done, and vouches for the first bytes of its file. A
session begins with `attach`: what no row vouches for is removed or cut off, and a row without its file is
dropped.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from fetcher.model import Outcome, Part

# A state of an older version gets the table when it is opened.
_CREATE = "CREATE TABLE IF NOT EXISTS part (url INTEGER PRIMARY KEY, part TEXT NOT NULL)"
_PUT = "INSERT OR REPLACE INTO part VALUES (?, ?)"
_DROP = "DELETE FROM part WHERE url = ?"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Part).decode


class Parts:
    """The parts of one state. Used in the frontier's lane only; `folder` holds their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, Part] = {}
        self._db: sqlite3.Connection

    def attach(self, db: sqlite3.Connection, *, forget: bool) -> None:
        """Bring rows and files together, in the transaction under way; with `forget` nothing is left."""
        self._db = db
        db.execute(_CREATE)
        self._known = {}
        if forget:
            db.execute("DELETE FROM part")
        for number, text in db.execute("SELECT url, part FROM part").fetchall():
            with contextlib.suppress(msgspec.MsgspecError, OSError):
                part = _decode(text)
                if _is_whole(self._folder, part):
                    self._known[number] = part
        gone = [(number,) for (number,) in db.execute("SELECT url FROM part") if number not in self._known]
        db.executemany(_DROP, gone)
        self.sweep()

    def sweep(self) -> None:
        """Remove the files that no row names. Nothing may be writing one."""
        names = {part.name for part in self._known.values()}
        for entry in os.scandir(self._folder):
            if entry.name not in names and entry.is_file(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)

    def of(self, number: int) -> Part | None:
        """Return what is there of the body of a job."""
        return self._known.get(number)

    @property
    def is_empty(self) -> bool:
        return not self._known

    def put(self, parts: Iterable[tuple[int, Part]]) -> None:
        """Store rows, in the transaction under way."""
        rows = []
        for number, part in parts:
            self._known[number] = part
            rows.append((number, _encode(part).decode()))
        self._db.executemany(_PUT, rows)

    def settle(self, outcomes: Sequence[Outcome]) -> list[Part]:
        """Store what outcomes leave, and drop the rows of the others; in the transaction under way.

        A job may have been deferred and have ended since: what came last counts.

        Returns the parts whose files nobody needs when that transaction is safe: of jobs that are done. One
        that is deferred may be under way again by now, and the row is that of the body that grows.
        """
        last = {outcome.job.id: outcome for outcome in outcomes}
        left = [(number, outcome.part) for number, outcome in last.items() if outcome.part is not None]
        gone: list[Part] = []
        if self._known:
            dropped = []
            for number, outcome in last.items():
                part, kept = self._known.get(number), outcome.part
                if part is None:
                    continue
                if outcome.deferral is None and (kept is None or kept.name != part.name):
                    gone.append(part)
                if kept is None:
                    del self._known[number]
                    dropped.append((number,))
            self._db.executemany(_DROP, dropped)
        if left:
            self.put(left)
        return gone

    def remove(self, parts: Iterable[Part]) -> None:
        """Remove files; one that became a body is gone already."""
        for part in parts:
            with contextlib.suppress(OSError):
                (self._folder / part.name).unlink()


def _is_whole(folder: Path, part: Part) -> bool:
    """Cut the file of a part to what its row vouches for. False if it has not got that much."""
    if "/" in part.name or not part.held:
        return False
    descriptor = os.open(folder / part.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size, end = os.fstat(descriptor).st_size, part.extents[-1][1]
        if size > end:
            os.ftruncate(descriptor, end)
        return size >= end
    finally:
        os.close(descriptor)
