"""The durable frontier: every URL of a run directory in one SQLite file.

All statements run in one lane (the loop or one thread, never both at once), many URLs to a transaction.
Invariants:

- a row of state PENDING is in the index `url_pending`, and so is claimable; no other row is;
- a line of the journal is settled exactly when the transaction that stores its length is;
- what is claimed lives in `Claims` and dies with the session, so after a kill it is pending still.

A *session* is one run of the program; a row has that of the last that listed it, negative if one ended it
without. A *generation* is one asking of a list. `--refresh` and `--retry-failed` begin a generation
unless the last one was interrupted under the same flags.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fetcher.errors import ConfigError
from fetcher.frontiers.claims import Claims, Row
from fetcher.frontiers.journal import Journal
from fetcher.frontiers.labels import Labels
from fetcher.frontiers.names import Names
from fetcher.frontiers.state import open_state, storage_error
from fetcher.lane import Lane
from fetcher.model import FINAL_STATES, Added, Counts, Job, Outcome, State
from fetcher.policy.identity import request_key

_INSERT_PLAIN = """INSERT INTO url (id, key, check_key, url, host, rank, source, line, generation, session,
 state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (key) DO NOTHING"""
_INSERT = """INSERT INTO url (id, key, check_key, url, host, rank, source, line, generation, session, state,
 given, parent, depth, extra, has_secret, error)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"""
_FIND = "SELECT id, check_key, state, error, generation, session FROM url WHERE key = ?"
# Whatever stands at the path of a URL that failed is not ours: it was put there since.
_PUT_BACK = """UPDATE url SET state = 0, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, rank = ?, source = ?, line = ?, extra = ?, error = ?, generation = ?, session = ?,
 is_foreign = CASE WHEN state = 3 AND sha256 IS NULL THEN 1 ELSE is_foreign END WHERE id = ?"""
_GIVE_BACK = "UPDATE url SET state = 0, session = ? WHERE id = ?"
_PUT_BACK_FAILED = """UPDATE url SET state = 0, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, error = NULL, is_foreign = CASE WHEN sha256 IS NULL THEN 1 ELSE is_foreign END
 WHERE state = ? OR (state = ? AND error = 'robots-unreachable')"""
_FORGET = """UPDATE url SET state = ?, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL"""
_KEEP_PLAIN = """UPDATE url SET state = ?, status = ?, attempts = ?, bytes = ?, sha256 = ?, etag = ?,
 last_modified = ? WHERE id = ?"""
_KEEP = """UPDATE url SET state = ?, status = ?, attempts = ?, bytes = ?, sha256 = ?, etag = ?,
 last_modified = ?, error = NULL, waited = ?, not_before = 0, history = ?, path = ?, is_foreign = 0
 WHERE id = ?"""
_LOSE = """UPDATE url SET state = ?, status = ?, error = ?, attempts = ?, waited = ?, not_before = 0,
 history = ? WHERE id = ?"""
_ENDED_UNLISTED = "UPDATE url SET session = -? WHERE id = ? AND session <> ?"
_DEFER = "UPDATE url SET attempts = ?, waited = ?, not_before = ?, history = ? WHERE id = ?"
# In the order of `Counts`; grouping would sort all rows in memory.
_COUNT = """SELECT total(state = 0), total(state = 1), total(state = 2), total(state = 3), total(state = 4),
 total(state = 6) FROM url"""

_PLAIN = 10  # columns of an ordinary row
_ORDINARY = (None, None, 0, None, 0, None)  # what the others of it are

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode


class Mode(msgspec.Struct, frozen=True):
    """What a session does with URLs that are final already."""

    command: str = "get"
    refresh: bool = False
    retry_failed: bool = False
    restart: bool = False

    @property
    def label(self) -> str:
        return ",".join(flag for flag in ("refresh", "retry_failed") if getattr(self, flag))


class SqliteFrontier:
    """A frontier in `path`, with its records appended to `results`.

    `names` gives files their names, or is None where nothing is stored. Errors of the disk and the
    database are `StorageError`: the run stops, what was settled is safe.
    """

    is_durable = True
    is_spent = False

    def __init__(
        self,
        path: Path,
        results: Path,
        *,
        mode: Mode,
        lane: Lane,
        names: Names | None = None,
        fsync: bool = False,
    ) -> None:
        self._path = path
        self._journal = Journal(results, fsync=fsync)
        self._mode = mode
        self._lane = lane
        self._names = names
        self._fsync = fsync
        self._db: sqlite3.Connection
        self._is_open = False
        self._session = 0
        self._generation = 0
        self._next_id = self._first_id = 1  # of this session
        self._labels: Labels
        self._claims: Claims
        self._secrets: dict[int, tuple[str | None, dict[str, str] | None]] = {}

    # -- a session ---------------------------------------------------------------------------------

    async def open(self) -> Counts:
        return await self._run(self._open_session, "opening the state")

    def _open_session(self) -> Counts:
        self._db = open_state(self._path, fsync=self._fsync)
        self._is_open = True
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        known = meta.get("command", self._mode.command)
        if known != self._mode.command:
            raise ConfigError(
                f"{self._path.parent.parent} belongs to fetcher {known}, not {self._mode.command}",
                hint="choose another --output",
            )
        self._session = int(meta.get("session", 0)) + 1
        self._generation = int(meta.get("generation", 0))
        settled = meta.get("results_length")  # None: the state is new, and what is there is not of it
        is_interrupted = not meta.get("is_complete", 1)
        if self._mode.restart:
            self._journal.set_aside()
            settled = 0
        self._journal.open(settled)
        self._db.execute("BEGIN IMMEDIATE")
        continues = is_interrupted and meta.get("mode", "") == self._mode.label
        if self._mode.restart:
            self._generation += 1
            self._db.execute(_FORGET, (State.FORGOTTEN,))
        elif self._mode.label and not continues:
            self._generation += 1
            if self._mode.retry_failed:
                self._db.execute(_PUT_BACK_FAILED, (State.FAILED, State.REFUSED))
            self._db.execute("UPDATE url SET generation = ? WHERE state = 0", (self._generation,))
        self._db.execute("UPDATE url SET state = ? WHERE state = 0 AND has_secret = 1", (State.WITHHELD,))
        self._set_meta(
            command=self._mode.command,
            session=self._session,
            generation=self._generation,
            mode=self._mode.label,
            is_complete=0,
            results_length=self._journal.length,
            created=meta.get("created") or dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        )
        self._db.execute("COMMIT")
        self._first_id = (self._db.execute("SELECT max(id) FROM url").fetchone()[0] or 0) + 1
        self._next_id = self._first_id
        self._labels = Labels(self._db)
        self._claims = Claims(self._db, self._labels)
        if self._names is not None:
            self._names.attach(self._db)
        return self._count()

    def _set_meta(self, **values: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    async def counts(self) -> Counts:
        return await self._run(self._count, "counting")

    def _count(self) -> Counts:
        return Counts(*map(int, self._db.execute(_COUNT).fetchone()))

    async def aclose(self, *, complete: bool) -> None:
        try:
            if self._is_open:
                self._is_open = False
                await self._run(lambda: self._close(complete=complete), "closing the state")
        finally:
            await self._lane.aclose()

    def _close(self, *, complete: bool) -> None:
        try:
            if complete:
                self._set_meta(is_complete=1)
        finally:
            self._journal.close()
            self._db.close()

    async def _run(self, work: Callable[[], _T], doing: str) -> _T:
        try:
            return await self._lane.run(work)
        except sqlite3.Error as error:
            raise storage_error(error, doing) from error

    def _transaction(self, work: Callable[[], None]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            work()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise

    # -- adding --------------------------------------------------------------------------------------

    async def add(self, jobs: Sequence[Job]) -> Added:
        return await self._run(lambda: self._add(jobs), "adding URLs")

    def _add(self, jobs: Sequence[Job]) -> Added:
        added = Added()
        self._transaction(lambda: self._insert(jobs, added))
        return added

    def _insert(self, jobs: Sequence[Job], added: Added) -> None:
        first = self._next_id
        rows = [self._row(job, first + index) for index, job in enumerate(jobs)]
        self._next_id = end = first + len(jobs)
        before = self._db.total_changes
        if all(len(row) == _PLAIN for row in rows):
            self._db.executemany(_INSERT_PLAIN, rows)
        else:
            self._db.executemany(_INSERT, [row if len(row) > _PLAIN else row + _ORDINARY for row in rows])
        added.new = self._db.total_changes - before
        self._claims.were_added(row[4] for row in rows)
        inserted: set[int] | None = None
        if added.new != len(jobs):
            found = self._db.execute("SELECT id FROM url WHERE id >= ? AND id < ?", (first, end))
            inserted = {number for (number,) in found}
        for job, row in zip(jobs, rows, strict=True):
            if inserted is not None and row[0] not in inserted:
                self._meet_known(job, row, added)
            else:
                self._keep_secrets(row[0], job)

    def _keep_secrets(self, number: int, job: Job) -> None:
        if job.secret is not None or job.secret_headers is not None:
            self._secrets[number] = job.secret, job.secret_headers

    def _row(self, job: Job, number: int) -> Row:
        """What is stored of a job: `_PLAIN` columns, and six more if it is out of the ordinary."""
        key, check = request_key(job)
        target = job.target
        url = job.url if target is None else target.url
        row = (
            number,
            key,
            check,
            url,
            0 if target is None else self._labels.host(target.host),
            job.rank,
            self._labels.source(job.source) if job.source is not None else None,
            job.line,
            self._generation,
            self._session,
        )
        if (
            job.url == url
            and job.extra is None
            and job.secret is None
            and target is not None
            and not job.depth
        ):
            return row
        return (
            *row,
            job.url if job.url != url else None,
            job.parent,
            job.depth,
            None if job.extra is None else _encode(job.extra).decode(),
            job.secret is not None or job.secret_headers is not None,
            None if job.refusal is None else "\n".join(job.refusal),
        )

    def _meet_known(self, job: Job, row: Row, added: Added) -> None:
        """A request that the state may know: look it up by its key, probing past collisions."""
        row = row if len(row) > _PLAIN else row + _ORDINARY
        number, key, check = row[:3]
        while True:
            found = self._db.execute(_FIND, (key,)).fetchone()
            if found is None:
                self._db.execute(_INSERT, (number, key, *row[2:]))
                self._keep_secrets(number, job)
                added.new += 1
                return
            if found[1] == check:
                break
            key = key + 1 if key < 2**63 - 1 else -(2**63)
        number, _, state, error, generation, session = found
        is_final = State.DONE <= state <= State.REFUSED
        if not is_final:
            self._keep_secrets(number, job)
        if session == self._session:
            added.duplicates += 1
        elif session == -self._session:  # left by an earlier list, it ended before this list came to it
            self._db.execute("UPDATE url SET session = ? WHERE id = ?", (self._session, number))
            added.pending += 1
        elif state == State.WITHHELD:
            self._db.execute(_GIVE_BACK, (self._session, number))
            self._claims.look_again()
            added.again += 1
        elif state == State.FORGOTTEN or (is_final and self._mode.refresh and generation != self._generation):
            rank, source, line, extra, refusal = *row[5:8], row[13], row[15]
            fields = rank, source, line, extra, refusal, self._generation, self._session, number
            self._db.execute(_PUT_BACK, fields)
            self._keep_secrets(number, job)
            self._claims.look_again()
            added.again += 1
        else:
            self._db.execute("UPDATE url SET session = ? WHERE id = ?", (self._session, number))
            if is_final:
                name = State(state).name.lower()
                added.finals[name] = added.finals.get(name, 0) + 1
                if error:
                    slug = error.partition("\n")[0]
                    added.errors[slug] = added.errors.get(slug, 0) + 1
            else:
                added.pending += 1

    async def names_host(self, name: str, port: int | None) -> bool:
        return await self._run(lambda: self._labels.is_host(name, port), "looking up a host")

    # -- claiming ------------------------------------------------------------------------------------

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:  # noqa: ARG002
        return await self._run(lambda: self._claim(limit, per_host), "claiming")

    def _claim(self, limit: int, per_host: int) -> list[Job]:
        jobs = self._claims.claim(limit, per_host)
        names = self._names
        if names is not None and jobs:
            self._transaction(lambda: names.give(jobs))
        if self._secrets:
            for job in jobs:
                job.secret, job.secret_headers = self._secrets.get(job.id, (None, None))
        return jobs

    # -- settling ------------------------------------------------------------------------------------

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        await self._run(lambda: self._settle(outcomes), "settling")
        return 0

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        length = self._journal.length
        self._journal.append([outcome.line for outcome in outcomes if outcome.line])
        try:
            self._transaction(lambda: self._update(outcomes))
        except BaseException:
            self._journal.cut(length)
            raise
        for outcome in outcomes:
            if outcome.record is not None:
                self._claims.release(outcome.job)
                if self._secrets:
                    self._secrets.pop(outcome.job.id, None)

    def _update(self, outcomes: Sequence[Outcome]) -> None:
        plain, kept, lost, deferred, older = [], [], [], [], []
        for outcome in outcomes:
            record, job = outcome.record, outcome.job
            if record is None:
                deferred.append(_deferral(outcome))
                continue
            if job.id < self._first_id:
                older.append((self._session, job.id, self._session))
            state = FINAL_STATES[record.state]
            history = _encode(outcome.history).decode() if outcome.history else None
            if state > State.UNCHANGED:
                error = record.error if job.refusal is None else "\n".join(job.refusal)
                lost.append((state, record.status, error, record.attempts, job.waited_s, history, job.id))
                continue
            digest = bytes.fromhex(record.sha256) if record.sha256 else None
            result = (
                state, record.status, record.attempts, record.bytes, digest, record.etag, record.last_modified
            )  # fmt: skip
            path = record.path or job.path
            if history is None and path == job.path and not (job.attempts or job.known or job.is_foreign):
                plain.append((*result, job.id))
            else:
                kept.append((*result, job.waited_s, history, path, job.id))
        for statement, rows in (
            (_KEEP_PLAIN, plain),
            (_KEEP, kept),
            (_LOSE, lost),
            (_DEFER, deferred),
            (_ENDED_UNLISTED, older),
        ):
            if rows:
                self._db.executemany(statement, rows)
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'results_length'", (self._journal.length,))


def _deferral(outcome: Outcome) -> Row:
    deferral = outcome.deferral
    assert deferral is not None
    history = _encode(deferral.history).decode() if deferral.history else None
    return deferral.attempts, deferral.waited_s, deferral.not_before, history, outcome.job.id
