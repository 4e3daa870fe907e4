"""Rows of timings and of sessions: what `fetcher why` tells beyond the rows of URLs and the records.

A batch of outcomes leaves one row of timings (see `fetcher.timings`), so a URL costs no statement of its own.
Invariant: what is kept is bounded: the timings of the last whole asking (`--refresh`, `--restart`, or the
first run) and of the one before it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence

import msgspec

from fetcher.model import Bottleneck, Outcome

# A state of an older version gets the tables when it is opened.
_CREATE = (
    """CREATE TABLE IF NOT EXISTS timing (id INTEGER PRIMARY KEY, session INTEGER NOT NULL,
 settled REAL NOT NULL, entries BLOB NOT NULL)""",
    # `mode` has the flags it ran with; `asks` is 1 if it began a whole asking; `ended` NULL if it was killed.
    """CREATE TABLE IF NOT EXISTS session (id INTEGER PRIMARY KEY, began REAL NOT NULL, mode TEXT NOT NULL,
 asks INTEGER NOT NULL, ended REAL)""",
    "CREATE TABLE IF NOT EXISTS bottleneck (session INTEGER PRIMARY KEY, told BLOB NOT NULL)",
)
_KEEP_BOTTLENECK = "INSERT OR REPLACE INTO bottleneck VALUES (?, ?)"
_BEGIN = "INSERT OR REPLACE INTO session (id, began, mode, asks) VALUES (?, ?, ?, ?)"
_FORGET = """DELETE FROM timing WHERE session < (SELECT max(id) FROM session WHERE asks = 1 AND id < ?)"""
_PUT = "INSERT INTO timing (session, settled, entries) VALUES (?, ?, ?)"
_END = "UPDATE session SET ended = ? WHERE id = ?"


class TimingRows:
    """Writer of the timings of one session, inside the frontier's transactions."""

    def __init__(self, db: sqlite3.Connection, session: int, mode: str, *, asks: bool) -> None:
        """Begin a session, in the transaction under way. `asks` says that it asks for everything anew."""
        self._db = db
        self._session = session
        for statement in _CREATE:
            db.execute(statement)
        db.execute(_BEGIN, (session, time.time(), mode, asks))
        if asks:
            db.execute(_FORGET, (session,))

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what outcomes have brought, in the transaction under way."""
        entries = b"".join([outcome.timings for outcome in outcomes])
        if entries:
            self._db.execute(_PUT, (self._session, time.time(), entries))

    def keep_bottleneck(self, bottleneck: Bottleneck) -> None:
        """Keep what holds the session back, in the transaction under way."""
        self._db.execute(_KEEP_BOTTLENECK, (self._session, msgspec.json.encode(bottleneck)))

    def end(self) -> None:
        """Note that the session ended as it should."""
        self._db.execute(_END, (time.time(), self._session))


def read_bottleneck(db: sqlite3.Connection, session: int) -> Bottleneck | None:
    """Read what held a session back; None where that is not known."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'bottleneck'").fetchone() is None:
        return None
    found = db.execute("SELECT told FROM bottleneck WHERE session = ?", (session,)).fetchone()
    with contextlib.suppress(msgspec.MsgspecError):
        return None if found is None else msgspec.json.decode(found[0], type=Bottleneck)
    return None
