"""The durable frontier: every URL of a run directory in one SQLite file.

All statements run in one lane (the loop or one thread, never both at once), many URLs to a transaction.
Invariants:

- a row of state PENDING is in the index `url_pending`, and so is claimable; no other row is;
- a line of the journal is settled exactly when the transaction that stores its length is;
- what is claimed lives in `Claims` and dies with the session, so after a kill it is pending still.

A row has the session that listed it last, negative if one ended it or found it without, and the generation
in which it was asked for last.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fetcher.errors import ConfigError
from fetcher.frontiers.claims import Claims, Row
from fetcher.frontiers.endings import end_rows
from fetcher.frontiers.journal import Journal
from fetcher.frontiers.labels import Labels
from fetcher.frontiers.marks import Marks, suspected
from fetcher.frontiers.names import Names
from fetcher.frontiers.rules import CrawlRules
from fetcher.frontiers.sessions import Mode, begin_session
from fetcher.frontiers.state import extend_for_crawl, open_memory, open_state, storage_error
from fetcher.lane import Lane
from fetcher.model import Added, Counts, Findings, Job, Outcome, State
from fetcher.policy.identity import request_key

if TYPE_CHECKING:
    from fetcher.frontiers.crawl import Crawl

__all__ = ["Mode", "SqliteFrontier"]

_INSERT_PLAIN = """INSERT INTO url (id, key, check_key, url, host, rank, source, line, generation, session,
 state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (key) DO NOTHING"""
_INSERT = """INSERT INTO url (id, key, check_key, url, host, rank, source, line, generation, session, state,
 given, parent, depth, extra, has_secret, error)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"""
_FIND = "SELECT id, check_key, state, error, generation, session FROM url WHERE key = ?"
# Whatever stands at the path of a URL that failed is not ours: it was put there since.
_PUT_BACK = """UPDATE url SET state = 0, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, rank = ?, source = ?, line = ?, extra = ?, error = ?, generation = ?, session = ?,
 is_foreign = CASE WHEN state = 3 AND sha256 IS NULL THEN 1 ELSE is_foreign END,
 sha256 = CASE WHEN error = 'parse-failed' THEN NULL ELSE sha256 END WHERE id = ?"""
_GIVE_BACK = "UPDATE url SET state = 0, session = ? WHERE id = ?"
# In the order of `Counts`; grouping would sort all rows in memory.
_COUNT = """SELECT total(state = 0), total(state = 1), total(state = 2), total(state = 3), total(state = 4),
 total(state = 6) FROM url"""

_PLAIN = 10  # columns of an ordinary row
_NOT_ASKED_FOR = (State.FORGOTTEN, State.LEFT_OUT)
_ORDINARY = (None, None, 0, None, 0, None)  # what the others of it are

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode


class SqliteFrontier:
    """A frontier in `path`, with its records appended to `results`, and what parsers return to `data`.

    Without a path it is in memory, and ends with its session. `names` gives files their names, or is None
    where nothing is stored. `crawl` has the rules of a crawl, in which links are followed. `marks_claims`
    is for runs in which a parser could kill the process. Errors of the disk and the database are
    `StorageError`: the run stops, what was settled is safe.
    """

    is_spent = False

    def __init__(
        self,
        path: Path | None,
        results: Path | None,
        *,
        mode: Mode,
        lane: Lane,
        names: Names | None = None,
        fsync: bool = False,
        data: Path | None = None,
        crawl: CrawlRules | None = None,
        marks_claims: bool = False,
    ) -> None:
        self.is_durable = path is not None
        self._path = path
        self._results = None if results is None else Journal(results, fsync=fsync)
        self._data = None if data is None else Journal(data, fsync=fsync)
        self._journals = [
            (journal, name)
            for journal, name in ((self._results, "results_length"), (self._data, "data_length"))
            if journal is not None
        ]
        self._rules = crawl
        self._crawl: Crawl | None = None
        self._marks_claims = marks_claims or crawl is not None
        self._marks: Marks | None = None
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
        self._db = open_memory() if self._path is None else open_state(self._path, fsync=self._fsync)
        self._is_open = True
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        self._check_command(meta)
        self._session = int(meta.get("session", 0)) + 1
        # None: the state is new, and what is there is not of it.
        settled = {name: meta.get(name) for _, name in self._journals}
        for journal, name in self._journals:
            if self._mode.restart:
                journal.set_aside()
                settled[name] = 0
            journal.open(settled[name])
        self._db.execute("BEGIN IMMEDIATE")
        if self._names is not None:
            self._names.attach(self._db)  # first: what follows judges rows by the names that they have
        if self._marks_claims:
            extend_for_crawl(self._db)
        is_crawl = self._rules is not None
        self._generation, base = begin_session(self._db, meta, self._mode, is_crawl=is_crawl)
        self._set_meta(
            command=self._mode.command,
            session=self._session,
            generation=self._generation,
            mode=self._mode.label,
            is_complete=0,
            created=meta.get("created") or dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            **{name: journal.length for journal, name in self._journals},
        )
        self._first_id = (self._db.execute("SELECT max(id) FROM url").fetchone()[0] or 0) + 1
        self._next_id = self._first_id
        self._labels = Labels(self._db)
        if self._marks_claims:
            self._set_meta(is_clean=0)
        if self._rules is not None:
            self._begin_crawl(self._rules, base, meta)
        else:
            was_killed = self._marks_claims and not meta.get("is_clean", 1)
            suspects = suspected(self._db, self._session - 1) if was_killed else ()
            self._claims = Claims(self._db, self._labels, suspected=suspects)
            self._marks = Marks(self._db, self._session) if self._marks_claims else None
        self._db.execute("COMMIT")
        return self._count()

    def _begin_crawl(self, rules: CrawlRules, base: int, meta: dict[str, Any]) -> None:
        from fetcher.frontiers.crawl import Crawl  # noqa: PLC0415  only where links are followed

        crawl = self._crawl = Crawl(
            self._db,
            self._labels,
            rules,
            base=base,
            generation=self._generation,
            session=self._session,
            next_id=self._take_id,
            meta=meta,
        )
        self._claims, self._marks = crawl.claims, crawl.marks
        crawl.begin()
        self._set_meta(base=base, rules=rules.signature, sitemaps=int(rules.sitemaps))

    def _check_command(self, meta: dict[str, Any]) -> None:
        known = meta.get("command", self._mode.command)
        if known != self._mode.command:
            assert self._path is not None
            raise ConfigError(
                f"{self._path.parent.parent} belongs to fetcher {known}, not {self._mode.command}",
                hint="choose another --output",
            )

    def _take_id(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    def _set_meta(self, **values: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    async def counts(self) -> Counts:
        return await self._run(self._count, "counting")

    async def findings(self) -> Findings:
        """What a crawl came to, for its exit code. Empty for `get`."""
        crawl = self._crawl
        return Findings() if crawl is None else await self._run(crawl.findings, "counting")

    def _count(self) -> Counts:
        if self._crawl is not None:
            return self._crawl.count()
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
                if self._names is not None:
                    with contextlib.suppress(sqlite3.Error):  # no room: the next session moves them
                        self._transaction(self._names.move)
            if self._marks_claims:
                self._set_meta(is_clean=1)
        finally:
            for journal, _ in self._journals:
                journal.close()
            self._db.close()

    async def _run(self, work: Callable[[], _T], doing: str) -> _T:
        try:
            return await self._lane.run(work)
        except sqlite3.Error as error:
            raise storage_error(error, doing) from error

    def _transaction(self, work: Callable[[], _T]) -> _T:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        return result

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
        crawl = self._crawl
        for job, row in zip(jobs, rows, strict=True):
            if inserted is not None and row[0] not in inserted:
                self._meet_known(job, row, added)
            else:
                self._keep_secrets(row[0], job)
                if crawl is not None:
                    crawl.list_seed(row[0], job)
        if crawl is not None:
            added.again += crawl.listed()

    def _keep_secrets(self, number: int, job: Job) -> None:
        if job.secret is not None or job.secret_headers is not None:
            self._secrets[number] = job.secret, job.secret_headers

    def _row(self, job: Job, number: int) -> Row:
        """What is stored of a job: `_PLAIN` columns, and six more if it is out of the ordinary."""
        crawl = self._crawl
        key, check = request_key(job) if crawl is None else crawl.key(job)
        target = job.target
        url = job.url if target is None else target.url
        row = (
            number,
            key,
            check,
            url,
            0 if target is None else self._labels.host(target.host),
            job.rank if crawl is None else crawl.rank(job),
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
                if self._crawl is not None:
                    self._crawl.list_seed(number, job)
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
        elif session == -self._session and state != State.LEFT_OUT:
            # Left by an earlier list, or found on a page, it may have ended before this list came to it.
            self._db.execute("UPDATE url SET session = ? WHERE id = ?", (self._session, number))
            added.pending += 1
        elif state == State.WITHHELD:
            self._db.execute(_GIVE_BACK, (self._session, number))
            self._claims.look_again()
            added.again += 1
        elif state in _NOT_ASKED_FOR or (is_final and self._mode.refresh and generation != self._generation):
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
        if self._crawl is not None:
            self._crawl.list_seed(number, job, was=state)

    async def names_host(self, name: str, port: int | None) -> bool:
        crawl = self._crawl
        if crawl is not None:
            return crawl.seeds.names_host(name, port)
        return await self._run(lambda: self._labels.is_host(name, port), "looking up a host")

    # -- claiming ------------------------------------------------------------------------------------

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:
        return await self._run(lambda: self._claim(limit, per_host, now), "claiming")

    def _claim(self, limit: int, per_host: int, now: float) -> list[Job]:
        crawl = self._crawl
        if crawl is None:
            jobs = self._claims.claim(limit, per_host)
        else:
            jobs = crawl.claim(limit, per_host, now)
            self.is_spent = crawl.is_spent
        if jobs and (self._names is not None or self._marks is not None):
            self._transaction(lambda: self._stamp(jobs))
        if self._secrets:
            for job in jobs:
                job.secret, job.secret_headers = self._secrets.get(job.id, (None, None))
        return jobs

    def _stamp(self, jobs: Sequence[Job]) -> None:
        """Give claimed jobs their names, and the marks that tell of them after a kill."""
        if self._names is not None:
            self._names.give([job for job in jobs if _is_stored(job)] if self._crawl is not None else jobs)
        if self._marks is not None:
            self._marks.write(jobs, self._claims.counted)

    # -- settling ------------------------------------------------------------------------------------

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        return await self._run(lambda: self._settle(outcomes), "settling")

    def _settle(self, outcomes: Sequence[Outcome]) -> int:
        lengths = [(journal, journal.length) for journal, _ in self._journals]
        try:
            if self._results is not None:
                self._results.append([outcome.line for outcome in outcomes if outcome.line])
            if self._data is not None:
                self._data.append([line for outcome in outcomes for line in outcome.data])
            risen = self._transaction(lambda: self._update(outcomes))
        except BaseException:
            for journal, length in lengths:
                if journal.length > length:
                    journal.cut(length)
            raise
        if self._names is not None:
            self._names.settled(outcomes)
        for outcome in outcomes:
            if outcome.record is not None:
                self._claims.release(outcome.job)
                if self._secrets:
                    self._secrets.pop(outcome.job.id, None)
        return risen

    def _update(self, outcomes: Sequence[Outcome]) -> int:
        end_rows(self._db, outcomes, session=self._session, first_id=self._first_id)
        for journal, name in self._journals:
            self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (journal.length, name))
        return 0 if self._crawl is None else self._crawl.settle(outcomes)


def _is_stored(job: Job) -> bool:
    """Whether a job of a crawl may come to have a file."""
    return job.refusal is None and job.kind in {"page", "asset"}
