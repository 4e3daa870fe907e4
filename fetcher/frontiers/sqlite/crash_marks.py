"""Marks at claim: which URLs were given out, kept with the rows, so that a killed run can be told.

Invariants: a mark is stored before its URL is given out; it is positive exactly when that counted as one
of `--max-pages`, so their number is exact over kills and continuations, and a URL counts once however
often it is given out. Only what a session held when it was killed is suspected: what kills us when it
is parsed comes first the next time, and alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import Job

_SUSPECTED = sql("SELECT id, host, rank FROM url WHERE state = :PENDING AND claimed IN (?, -?)")
_COUNTED = "SELECT count(*) FROM url WHERE claimed > 0"
_MARK = "UPDATE url SET claimed = ? WHERE id = ?"


class CrashMarks:
    """Writer of the column `claimed`, inside the transaction of a claim."""

    def __init__(self, db: sqlite3.Connection, session: int, max_pages: int | None = None) -> None:
        self._db = db
        self._session = session
        self._left = None
        if max_pages is not None:
            self._left = max(0, max_pages - int(db.execute(_COUNTED).fetchone()[0]))

    @property
    def left(self) -> int | None:
        """Number of pages that may still be claimed; None if there is no limit."""
        return self._left

    def within_budget(self, jobs: Iterable[Job], counted: set[int]) -> tuple[list[Job], list[Job]]:
        """Part the jobs that may be given out from those that the budget has no room for.

        `counted` has the ids that were counted in an earlier session.
        """
        given, beyond = [], []
        for job in jobs:
            if (
                self._left is not None
                and job.kind == "page"
                and job.refusal is None
                and job.id not in counted
            ):
                if self._left <= 0:
                    beyond.append(job)
                    continue
                self._left -= 1
            given.append(job)
        return given, beyond

    def write(self, jobs: Sequence[Job], counted: set[int]) -> None:
        """Mark what is given out. What is refused, and what has no row, has no mark."""
        session = self._session
        rows = [
            (session if job.kind == "page" or job.id in counted else -session, job.id)
            for job in jobs
            if job.refusal is None and job.id > 0
        ]
        if rows:
            self._db.executemany(_MARK, rows)


def crash_suspects(db: sqlite3.Connection, session: int) -> list[tuple[int, int, int]]:
    """Find id, host and rank of what the session that was killed had given out and not settled."""
    return db.execute(_SUSPECTED, (session, session)).fetchall()
