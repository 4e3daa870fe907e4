"""The durable frontier: every URL of a run directory in one SQLite file.

All statements run in one lane (the loop or one thread, never both at once), many URLs to a transaction.
Invariants:

- a row of state PENDING is in the index `url_pending`, and so is claimable; no other row is;
- a line of the journal is settled exactly when the transaction that stores its length is;
- what is claimed lives in `Claims` and dies with the session, so after a kill it is pending still.

A row has the session that listed it last, negative if one ended it or found it without, and the generation
in which it was asked for last.

One class, and longer than most modules, because it is the one place where rows, journals and what is kept in
memory are put together in transactions; each step is a module of its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fetcher.errors import ConfigError
from fetcher.frontiers.soundness import DAMAGE, SUSPICIOUS, damage_of, damaged
from fetcher.frontiers.sqlite.claims import Claims, Row
from fetcher.frontiers.sqlite.crash_marks import CrashMarks, crash_suspects
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions, CrawlSession
from fetcher.frontiers.sqlite.filename_allocator import FilenameAllocator
from fetcher.frontiers.sqlite.interning import InternTable
from fetcher.frontiers.sqlite.journal import Journal
from fetcher.frontiers.sqlite.outcomes import apply_outcomes
from fetcher.frontiers.sqlite.part_rows import Parts
from fetcher.frontiers.sqlite.request_keys import RequestKeys
from fetcher.frontiers.sqlite.schema import (
    ARCHIVE,
    archive_lengths,
    extend_for_crawl,
    open_memory,
    open_state,
    rebuild_command,
    refuse_lost,
    storage_error,
)
from fetcher.frontiers.sqlite.sessions import Mode, begin_session
from fetcher.frontiers.sqlite.stored_pages import StoredPages
from fetcher.frontiers.sqlite.timing_rows import TimingRows
from fetcher.frontiers.sqlite.url_rows import count_rows, put_back, sql
from fetcher.model import (
    FINAL,
    Added,
    Bottleneck,
    Counts,
    CrawlFindings,
    Job,
    Outcome,
    Part,
    State,
    StoredPage,
)
from fetcher.policy.fingerprint import request_fingerprint
from fetcher.policy.shares import ShareRules
from fetcher.serial_executor import SerialExecutor

if TYPE_CHECKING:
    from fetcher.frontiers.sqlite.crawl.crawl_frontier import CrawlFrontier

__all__ = ["Mode", "SqliteFrontier"]

_INSERT_PLAIN = sql("""INSERT INTO url (id, key, check_key, url, host, rank, source, line, generation,
 session, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, :PENDING)""")
_INSERT = sql("""INSERT INTO url (id, key, check_key, url, host, rank, source, line, generation,
 session, state, given, parent, depth, extra, has_secret, error)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, :PENDING, ?, ?, ?, ?, ?, ?)""")
_FIND = "SELECT check_key, id, state, error, generation, session FROM url WHERE id = ?"
_LIST_AGAIN = put_back(
    "state = :PENDING, rank = ?, source = ?, line = ?, extra = ?, error = ?, generation = ?, session = ?"
)
_GIVE_BACK = sql("UPDATE url SET state = :PENDING, session = ? WHERE id = ?")

_PLAIN = 10  # columns of an ordinary row
_NOT_ASKED_FOR = (State.FORGOTTEN, State.LEFT_OUT)
_ORDINARY = (None, None, 0, None, 0, None)  # what the others of it are

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode


class SqliteFrontier:
    """A frontier in `path`, with its records appended to `results`, and what parsers return to `data`.

    Without a path it is in memory, and ends with its session. `names` gives files their names, or is None
    where nothing is stored. Jobs of other shares than `share` are not taken. `crawl` has the rules of a
    crawl, in which links are followed. `marks_claims` is for runs in which a parser could kill the process.
    `recover` is given the settled lengths of archives, once, and they are kept up to date. Errors of the disk
    and the database are `StorageError`: the run stops, what was settled is safe.
    """

    is_spent = False

    def __init__(
        self,
        path: Path | None,
        results: Path | None,
        *,
        mode: Mode,
        lane: SerialExecutor,
        names: FilenameAllocator | None = None,
        parts: Parts | None = None,
        fsync: bool = False,
        data: Path | None = None,
        share: ShareRules | None = None,
        crawl: CrawlOptions | None = None,
        marks_claims: bool = False,
        recover: Callable[[Mapping[str, int]], None] = lambda _: None,
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
        self._stored = None
        if path is not None and results is not None:
            self._stored = StoredPages(results, has_parser=data is not None)
        self._share = share
        self._options = crawl
        self._crawl: CrawlFrontier | None = None
        self._marks_claims = marks_claims or crawl is not None
        self._marks: CrashMarks | None = None
        self._mode = mode
        self._lane = lane
        self._names = names
        self._parts = parts
        self._fsync = fsync
        self._timings: TimingRows | None = None
        self._db: sqlite3.Connection
        self._is_open = False
        self._session = 0
        self._generation = 0
        self._next_id = self._first_id = 1  # of this session
        self._keys: RequestKeys
        self._interned: InternTable
        self._claims: Claims
        self._secrets: dict[int, tuple[str | None, dict[str, str] | None]] = {}
        self._has_lost_records = False
        self._recover = recover
        self._archives: dict[str, int] = {}  # their settled lengths, as the store sees them
        self.notes: Sequence[str] = ()

    # -- a session ---------------------------------------------------------------------------------

    async def open(self) -> Counts:
        return await self._run(self._open_session, "opening the state")

    def _open_session(self) -> Counts:
        if self._path is not None and not self._mode.restart:
            refuse_lost(self._path)
        self._db = open_memory() if self._path is None else open_state(self._path, fsync=self._fsync)
        self._is_open = True
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        self._check_command(meta)
        self._session = int(meta.get("session", 0)) + 1
        if self._path is not None and "results_length" not in meta and not self._mode.restart:
            refuse_lost(self._path, is_new=True)
        # None: the state is new, and what is there is not of it.
        settled = {name: meta.get(name) for _, name in self._journals}
        if self._stored is not None and self._data is not None:
            moved = self._stored.move_data(self._db, meta, self._data, again=self._mode.reparse)
            settled["data_length"] = settled["data_length"] if moved is None else moved
        for journal, name in self._journals:
            if self._mode.restart:
                journal.set_aside()
                settled[name] = 0
            journal.open(settled[name])
        self._tell_damage(meta)
        self._archives.update(archive_lengths(meta))
        self._recover(self._archives)
        self._db.execute("BEGIN IMMEDIATE")
        if self._names is not None:
            self._names.attach(self._db)  # first: what follows judges rows by the names that they have
        if self._parts is not None:
            self._parts.attach(self._db, forget=self._mode.restart)
        if self._stored is not None:
            self._stored.attach(self._db, meta, forget=self._mode.restart)
        if self._marks_claims:
            extend_for_crawl(self._db)
        is_crawl = self._options is not None
        self._generation, base = begin_session(self._db, meta, self._mode, is_crawl=is_crawl)
        if self.is_durable:
            asks = self._generation != int(meta.get("generation", 0)) and not self._mode.retry_failed
            self._timings = TimingRows(
                self._db, self._session, self._mode.flags, asks=asks or "session" not in meta
            )
        self._set_meta(
            command=self._mode.command,
            link_check=int(self._mode.link_check),
            session=self._session,
            generation=self._generation,
            mode=self._mode.label,
            is_complete=0,
            created=meta.get("created") or dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            records_lost=int(self._has_lost_records),
            **{name: journal.length for journal, name in self._journals},
        )
        self._first_id = (self._db.execute("SELECT max(id) FROM url").fetchone()[0] or 0) + 1
        self._next_id = self._first_id
        self._keys = RequestKeys(self._db)
        self._interned = InternTable(self._db)
        if self._marks_claims:
            self._set_meta(is_clean=0)
        if self._options is not None:
            self._begin_crawl(self._options, base, meta)
        else:
            was_killed = self._marks_claims and not meta.get("is_clean", 1)
            suspects = crash_suspects(self._db, self._session - 1) if was_killed else ()
            self._claims = Claims(self._db, self._interned, suspected=suspects)
            self._marks = CrashMarks(self._db, self._session) if self._marks_claims else None
        self._db.execute("COMMIT")
        return self._count()

    def _tell_damage(self, meta: dict[str, Any]) -> None:
        """Note that records are lost, at every start until they were made anew."""
        lost = [journal.path.name for journal, _ in self._journals if journal.is_damaged]
        results = self._results
        is_off = results is not None and (results.is_damaged or bool(meta.get("records_lost")))
        self._has_lost_records = is_off and not self._mode.restart
        if self._path is not None and (lost or self._has_lost_records) and not self._mode.restart:
            names = " and ".join(lost or ["results.jsonl"])
            command = rebuild_command(self._path.parent.parent)
            self.notes = [f"{names} is not as the last run left it; to make lost records anew: {command}"]

    def _begin_crawl(self, options: CrawlOptions, base: int, meta: dict[str, Any]) -> None:
        from fetcher.frontiers.sqlite.crawl.crawl_frontier import CrawlFrontier  # noqa: PLC0415  only where links are followed

        shared = self._db, self._keys, self._interned, options
        session = CrawlSession(*shared, base, self._generation, self._session, self._take_id)
        crawl = self._crawl = CrawlFrontier(session, meta)
        self._claims, self._marks = crawl.claims, crawl.marks
        crawl.begin()
        self._set_meta(
            base=base,
            rules=options.signature,
            sitemaps=int(options.sitemaps),
            agent=options.agent if options.obeys_robots else None,
            sort_query=int(options.sort_query),
        )

    def _check_command(self, meta: dict[str, Any]) -> None:
        known = meta.get("command", self._mode.command)
        if known != self._mode.command:
            assert self._path is not None
            raise ConfigError(
                f"{self._path.parent.parent} belongs to fetcher {known}, not {self._mode.command}",
                hint="choose another --output",
            )
        was_check = int(meta.get("link_check", 0)) if "session" in meta else -1
        if was_check >= 0 and was_check != self._mode.link_check:  # below 0 nobody knows
            assert self._path is not None
            raise ConfigError(
                f"{self._path.parent.parent} holds {'a' if was_check else 'no'} link check",
                hint=f"choose another --output, or {'add' if was_check else 'leave out'} --link-check",
            )

    def _take_id(self) -> int:
        number = self._next_id
        self._next_id += 1
        return number

    def _set_meta(self, **values: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    async def counts(self) -> Counts:
        return await self._run(self._count, "counting")

    async def findings(self) -> CrawlFindings:
        """Return what decides the exit code of a crawl. Empty for `get`."""
        crawl = self._crawl
        return CrawlFindings() if crawl is None else await self._run(crawl.findings, "counting")

    def _count(self) -> Counts:
        if self._crawl is not None:
            return self._crawl.count()
        return count_rows(self._db)

    async def aclose(self, *, complete: bool) -> None:
        try:
            if self._is_open:
                self._is_open = False
                await self._run(lambda: self._close(complete=complete), "closing the state")
        finally:
            await self._lane.aclose()

    def _close(self, *, complete: bool) -> None:
        try:
            if self._crawl is not None:
                self._transaction(self._crawl.end)
            if complete:
                self._set_meta(is_complete=1)
                if self._names is not None:
                    with contextlib.suppress(sqlite3.Error):  # no room: the next session moves them
                        self._transaction(self._names.merge)
            if self._marks_claims:
                self._set_meta(is_clean=1)
            if self._timings is not None:
                self._timings.end()
            if self._parts is not None:
                with contextlib.suppress(OSError):  # the next session's beginning removes them
                    self._parts.sweep()  # those of a worker that died
        finally:
            for journal, _ in self._journals:
                journal.close()
            self._db.close()

    async def _run(self, work: Callable[[], _T], doing: str) -> _T:
        try:
            return await self._lane.run(work)
        except sqlite3.Error as error:
            raise storage_error(error, doing, self._path) from error
        except (*DAMAGE, *SUSPICIOUS) as error:
            if self._path is None or not self._is_open:
                raise
            damage = await self._lane.run(lambda: damage_of(self._db))
            if damage is None and not isinstance(error, DAMAGE):
                raise  # a defect
            raise damaged(self._path, damage or error) from error

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
        if self._share is not None:
            jobs = self._own(jobs, self._share)
        first = self._next_id
        rows = [self._row(job, first + index) for index, job in enumerate(jobs)]
        self._next_id = first + len(jobs)
        new = self._keys.add_new(rows)
        if max(map(len, new), default=0) == _PLAIN:
            self._db.executemany(_INSERT_PLAIN, new)
        else:
            self._db.executemany(_INSERT, [row if len(row) > _PLAIN else row + _ORDINARY for row in new])
        added.new = len(new)
        self._claims.on_insert({row[4] for row in rows})
        inserted = None if len(new) == len(jobs) else {row[0] for row in new}
        crawl = self._crawl
        for job, row in zip(jobs, rows, strict=True):
            if inserted is not None and row[0] not in inserted:
                self._meet_known(job, row, added)
            else:
                if job.secret is not None or job.secret_headers is not None:
                    self._keep_secrets(row[0], job)
                if crawl is not None:
                    crawl.list_seed(row[0], job)
        if crawl is not None:
            added.again += crawl.flush_seeds()
        self._keys.move()

    def _own(self, jobs: Sequence[Job], share: ShareRules) -> list[Job]:
        """Return the jobs of this share. The hosts of all others are named by the user all the same."""
        own = []
        for job in jobs:
            if share.takes(job):
                own.append(job)
            elif job.target is None:
                continue
            elif self._crawl is None:
                self._interned.hosts[job.target.host]  # it has a number from now on
            else:
                self._crawl.list_elsewhere(job, job.target)
        return own

    def _keep_secrets(self, number: int, job: Job) -> None:
        if job.secret is not None or job.secret_headers is not None:
            self._secrets[number] = job.secret, job.secret_headers

    def _row(self, job: Job, number: int) -> Row:
        """Make the row of a job: `_PLAIN` columns, and six more if it is out of the ordinary."""
        crawl = self._crawl
        key, check = request_fingerprint(job) if crawl is None else crawl.key(job)
        target = job.target
        url = job.url if target is None else target.url
        row = (
            number,
            key,
            check,
            url,
            0 if target is None else self._interned.hosts[target.host],
            job.rank if crawl is None else crawl.rank(job),
            self._interned.sources[job.source] if job.source is not None else None,
            job.line,
            self._generation,
            self._session,
        )
        if (
            job.url == url
            and job.overrides is None
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
            None if job.overrides is None else _encode(job.overrides).decode(),
            job.secret is not None or job.secret_headers is not None,
            None if job.refusal is None else "\n".join(job.refusal),
        )

    def _meet_known(self, job: Job, row: Row, added: Added) -> None:
        """Look up a request that the state may know, and count it, list it again, or insert it after all."""
        row = row if len(row) > _PLAIN else row + _ORDINARY
        number, key, check = row[:3]
        key, found = self._keys.find(_FIND, key, check)
        if found is None:
            self._db.execute(_INSERT, (number, key, *row[2:]))
            self._keys.add(key, number)
            self._keep_secrets(number, job)
            added.new += 1
            if self._crawl is not None:
                self._crawl.list_seed(number, job)
            return
        _, number, state, error, generation, session = found
        is_final = state in FINAL
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
            self._claims.reset_cursors()
            added.again += 1
        elif state in _NOT_ASKED_FOR or (is_final and self._mode.refresh and generation != self._generation):
            rank, source, line, extra, refusal = *row[5:8], row[13], row[15]
            fields = rank, source, line, extra, refusal, self._generation, self._session, number
            self._db.execute(_LIST_AGAIN, fields)
            self._keep_secrets(number, job)
            self._claims.reset_cursors()
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

    async def is_user_host(self, name: str, port: int | None) -> bool:
        crawl = self._crawl
        if crawl is not None:
            return crawl.seeds.is_user_host(name, port)
        return await self._run(lambda: self._interned.is_host(name, port), "looking up a host")

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
        if jobs:
            names = self._names
            has_names = (
                names is not None
                and not names.is_late
                and names.reserve(jobs if crawl is None else [job for job in jobs if _is_stored(job)])
            )
            if has_names or self._marks is not None:
                self._transaction(lambda: self._stamp(jobs, names if has_names else None))
        if self._parts is not None and not self._parts.is_empty:
            for job in jobs:
                job.part = self._parts.of(job.id)
        if self._secrets:
            for job in jobs:
                job.secret, job.secret_headers = self._secrets.get(job.id, (None, None))
        return jobs

    def _stamp(self, jobs: Sequence[Job], names: FilenameAllocator | None) -> None:
        """Store the names of claimed jobs, and the marks that tell of them after a kill."""
        if names is not None:
            names.write()
        if self._marks is not None:
            self._marks.write(jobs, self._claims.counted)

    async def name_file(self, job: Job) -> None:
        names = self._names
        if names is not None:
            await self._run(lambda: names.reserve([job]) and self._transaction(names.write), "naming a file")

    async def keep_parts(self, parts: Sequence[tuple[int, Part]]) -> None:
        keeper = self._parts
        if keeper is not None:
            await self._run(lambda: self._transaction(lambda: keeper.put(parts)), "keeping parts")

    async def keep_bottleneck(self, bottleneck: Bottleneck) -> None:
        timings = self._timings
        if timings is not None:
            keep = partial(timings.keep_bottleneck, bottleneck)
            await self._run(lambda: self._transaction(keep), "keeping the bottleneck")

    # -- settling ------------------------------------------------------------------------------------

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        return await self._run(lambda: self._settle(outcomes), "settling")

    def _settled(self, outcomes: Sequence[Outcome], update: Callable[[Sequence[Outcome]], int]) -> int:
        """Append lines and data, and `update` the rows in one transaction; or nothing of it."""
        lengths = [(journal, journal.length) for journal, _ in self._journals]
        try:
            if self._results is not None:
                self._results.append([outcome.line for outcome in outcomes if outcome.line])
            if self._data is not None:
                self._data.append([line for outcome in outcomes for line in outcome.data])
            return self._transaction(lambda: update(outcomes))
        except BaseException:
            for journal, length in lengths:
                if journal.length > length:
                    journal.cut(length)
            raise

    def _settle(self, outcomes: Sequence[Outcome]) -> int:
        gone: list[Part] = []
        grown = dict(outcome.archived for outcome in outcomes if outcome.archived is not None)
        risen = self._settled(outcomes, lambda batch: self._update(batch, gone, grown))
        self._archives |= grown
        if self._parts is not None and gone:
            self._parts.remove(gone)
        if self._names is not None:
            self._names.on_settled(outcomes)
        ended = [outcome.job for outcome in outcomes if outcome.record is not None]
        self._claims.release(ended)
        if self._secrets:
            for job in ended:
                self._secrets.pop(job.id, None)
        return risen

    def _store_lengths(self) -> None:
        for journal, name in self._journals:
            self._db.execute("UPDATE meta SET value = ? WHERE name = ?", (journal.length, name))

    def _update(self, outcomes: Sequence[Outcome], gone: list[Part], grown: Mapping[str, int]) -> int:
        apply_outcomes(self._db, outcomes, session=self._session, first_id=self._first_id)
        self._store_lengths()
        if grown:
            self._set_meta(**{f"{ARCHIVE}{name}": length for name, length in grown.items()})
        if self._timings is not None:
            self._timings.settle(outcomes)
        if self._parts is not None:
            gone += self._parts.settle(outcomes)
        if self._stored is not None:
            self._stored.settle(outcomes)
        if self._crawl is None:
            return 0
        risen = self._crawl.settle(outcomes)
        self._keys.move()
        return risen

    # -- stored pages --------------------------------------------------------------------------------

    async def find_stored(self) -> int:
        stored = self._stored
        return 0 if stored is None else await self._run(stored.find, "looking for stored pages")

    async def next_stored(self, limit: int) -> list[StoredPage]:
        assert self._stored is not None
        stored = self._stored
        return await self._run(lambda: stored.next(limit), "reading stored pages")

    async def settle_stored(self, outcomes: Sequence[Outcome]) -> int:
        return await self._run(lambda: self._settled(outcomes, self._update_stored), "settling")

    def _update_stored(self, outcomes: Sequence[Outcome]) -> int:
        assert self._stored is not None
        self._stored.settle_stored(outcomes)
        self._store_lengths()
        return 0 if self._crawl is None else self._crawl.settle_stored(outcomes)

    async def finish_stored(self) -> None:
        assert self._stored is not None
        await self._run(self._stored.finish, "settling")


def _is_stored(job: Job) -> bool:
    """Return True for a job of a crawl that may come to have a file."""
    return job.refusal is None and job.kind in {"page", "asset"}
