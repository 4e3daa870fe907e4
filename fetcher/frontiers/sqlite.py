"""The durable frontier: every URL of a run directory in one SQLite file.

All statements run in one lane (the loop or one thread, never both at once), many URLs to a
transaction. A claim writes nothing but names: what is claimed lives in `_claimed` and dies with the
session, so after a kill it is pending still. Invariants:

- a row of state PENDING is in the index `url_pending`, and so is claimable; no other row is;
- a line of the journal is settled exactly when the transaction that stores its length is;
- a name is given once: `name` maps the digest of its folded form to one URL, or to 0, a directory.

A *session* is one run of the program; a *generation* is one asking of a list. `--refresh` and
`--retry-failed` begin a generation unless the last one was interrupted under the same flags.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from fetcher.errors import ConfigError
from fetcher.frontiers.journal import Journal
from fetcher.frontiers.names import Names
from fetcher.frontiers.state import open_state, storage_error
from fetcher.lane import Lane
from fetcher.model import (
    FINAL_STATES,
    Added,
    Counts,
    Extra,
    Job,
    Known,
    Outcome,
    State,
    Target,
    Wait,
)
from fetcher.policy.identity import request_key

_INSERT = """INSERT INTO url (id, key, check_key, url, given, host, rank, state, source, line, parent, depth,
 extra, has_secret, error, generation, session) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)
 ON CONFLICT (key) DO NOTHING"""
_FIND = "SELECT id, check_key, state, error, generation, session FROM url WHERE key = ?"
_PUT_BACK = """UPDATE url SET state = 0, attempts = 0, waited = 0, not_before = 0, history = NULL,
 generation = ?, session = ? WHERE id = ?"""
_CLAIM = """SELECT id, url, given, host, source, line, parent, depth, extra, attempts, waited, not_before,
 history, path, is_foreign, error, bytes, sha256, etag, last_modified
 FROM url WHERE state = 0 AND rank = ? AND host = ? AND id > ? ORDER BY id LIMIT ?"""
_HOSTS = """WITH RECURSIVE ready (host) AS (
   SELECT min(host) FROM url WHERE state = 0 AND rank = ?1 AND host > ?2
   UNION ALL
   SELECT (SELECT min(host) FROM url WHERE state = 0 AND rank = ?1 AND host > ready.host)
     FROM ready WHERE ready.host IS NOT NULL)
 SELECT host FROM ready WHERE host IS NOT NULL LIMIT ?3"""
_SETTLE_KEPT = """UPDATE url SET state = ?, status = ?, error = NULL, attempts = ?, waited = ?,
 not_before = 0, history = ?, bytes = ?, sha256 = ?, etag = ?, last_modified = ?, path = ?,
 is_foreign = 0 WHERE id = ?"""
_SETTLE_LOST = """UPDATE url SET state = ?, status = ?, error = ?, attempts = ?, waited = ?, not_before = 0,
 history = ? WHERE id = ?"""
_DEFER = "UPDATE url SET attempts = ?, waited = ?, not_before = ?, history = ? WHERE id = ?"

_HOSTS_AT_ONCE = 256
_MOST_CACHED = 20_000
_BELOW_ALL = -(2**62)

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_decode_extra = msgspec.json.Decoder(Extra).decode
_decode_history = msgspec.json.Decoder(tuple[Wait, ...]).decode


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
        self._next_id = 1
        self._claimed: dict[int, dict[int, int]] = {}  # host: id: rank
        self._cursor: dict[tuple[int, int], int] = {}  # (rank, host): the last id claimed
        self._turn: dict[int, int] = {}  # rank: the host that was served last
        self._secrets: dict[int, tuple[str | None, dict[str, str] | None]] = {}
        self._hosts: dict[str, int] = {}
        self._host_parts: dict[int, tuple[str, int, str]] = {}
        self._sources: dict[str, int] = {}
        self._source_names: dict[int, str] = {}

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
        settled = int(meta.get("results_length", 0))
        is_interrupted = not meta.get("is_complete", 1)
        if self._mode.restart:
            self._journal.set_aside()
            settled = 0
        self._journal.open(settled)
        self._db.execute("BEGIN IMMEDIATE")
        begins = not (is_interrupted and meta.get("mode", "") == self._mode.label)
        if begins and (self._mode.label or self._mode.restart):
            self._generation += 1
            if self._mode.restart:
                self._forget()
            elif self._mode.retry_failed:
                self._put_back_failed()
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
        self._next_id = (self._db.execute("SELECT max(id) FROM url").fetchone()[0] or 0) + 1
        self._sources = dict(self._db.execute("SELECT name, id FROM source"))
        self._source_names = {number: name for name, number in self._sources.items()}
        if self._names is not None:
            self._names.attach(self._db)
        return self._count()

    def _forget(self) -> None:
        self._db.execute(
            """UPDATE url SET state = ?, attempts = 0, waited = 0, not_before = 0, history = NULL,
            status = NULL, error = NULL, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL""",
            (State.FORGOTTEN,),
        )

    def _put_back_failed(self) -> None:
        self._db.execute(
            """UPDATE url SET state = 0, attempts = 0, waited = 0, not_before = 0, history = NULL,
            generation = ? WHERE state = ? OR (state = ? AND error = 'robots-unreachable')""",
            (self._generation, State.FAILED, State.REFUSED),
        )

    def _set_meta(self, **values: Any) -> None:
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    async def counts(self) -> Counts:
        return await self._run(self._count, "counting")

    def _count(self) -> Counts:
        rows = dict(self._db.execute("SELECT state, count(*) FROM url GROUP BY state"))
        return Counts(
            pending=rows.get(State.PENDING, 0),
            done=rows.get(State.DONE, 0),
            unchanged=rows.get(State.UNCHANGED, 0),
            failed=rows.get(State.FAILED, 0),
            refused=rows.get(State.REFUSED, 0),
            withheld=rows.get(State.WITHHELD, 0),
        )

    async def aclose(self, *, complete: bool) -> None:
        if self._is_open:
            self._is_open = False
            await self._run(lambda: self._close(complete=complete), "closing the state")
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
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

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
        self._next_id += len(jobs)
        before = self._db.total_changes
        self._db.executemany(_INSERT, rows)
        added.new = self._db.total_changes - before
        inserted: set[int] | None = None
        if added.new != len(jobs):
            last = self._next_id
            inserted = {
                row[0]
                for row in self._db.execute("SELECT id FROM url WHERE id >= ? AND id < ?", (first, last))
            }
        for job, row in zip(jobs, rows, strict=True):
            if inserted is not None and row[0] not in inserted:
                self._meet_known(job, row, added)
            elif job.secret is not None or job.secret_headers is not None:
                self._secrets[row[0]] = job.secret, job.secret_headers

    def _row(self, job: Job, number: int) -> tuple[Any, ...]:
        key, check = request_key(job)
        target = job.target
        if target is None:
            url, host = job.url, 0
        else:
            url, host = target.url, self._hosts.get(target.host) or self._host_id(target.host)
        return (
            number,
            key,
            check,
            url,
            job.url if job.url != url else None,
            host,
            job.rank,
            self._sources.get(job.source) or self._source_id(job.source) if job.source else None,
            job.line,
            job.parent,
            job.depth,
            None if job.extra is None else _encode(job.extra).decode(),
            job.secret is not None or job.secret_headers is not None,
            None if job.refusal is None else "\n".join(job.refusal),
            self._generation,
            self._session,
        )

    def _meet_known(self, job: Job, row: tuple[Any, ...], added: Added) -> None:
        """A request that the state may know: look it up by its key, probing past collisions."""
        number, key, check = row[:3]
        while True:
            found = self._db.execute(_FIND, (key,)).fetchone()
            if found is None:
                self._db.execute(_INSERT, (number, key, *row[2:]))
                added.new += 1
                return
            if found[1] == check:
                break
            key = key + 1 if key < 2**63 - 1 else -(2**63)
        number, _, state, error, generation, session = found
        if job.secret is not None or job.secret_headers is not None:
            self._secrets[number] = job.secret, job.secret_headers
        is_final = State.DONE <= state <= State.REFUSED
        if session == self._session:
            added.duplicates += 1
        elif state in {State.FORGOTTEN, State.WITHHELD} or (
            is_final and self._mode.refresh and generation != self._generation
        ):
            self._db.execute(_PUT_BACK, (self._generation, self._session, number))
            self._cursor.clear()
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

    def _host_id(self, host: str) -> int:
        number = self._lookup("host", host)
        if len(self._hosts) >= _MOST_CACHED:
            self._hosts.clear()
        self._hosts[host] = number
        return number

    def _source_id(self, source: str) -> int:
        number = self._sources[source] = self._lookup("source", source)
        self._source_names[number] = source
        return number

    def _lookup(self, table: str, name: str) -> int:
        found = self._db.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if found is not None:
            return int(found[0])
        inserted = self._db.execute(f"INSERT INTO {table} (name) VALUES (?)", (name,))  # noqa: S608
        return inserted.lastrowid or 0

    async def names_host(self, name: str, port: int | None) -> bool:
        prefix = f"[{name}]:" if ":" in name else f"{name}:"
        query = "SELECT 1 FROM host WHERE name >= ? AND name < ? LIMIT 1"
        bounds = prefix, prefix[:-1] + ";"  # ";" follows ":"
        if port is not None:
            query, bounds = "SELECT 1 FROM host WHERE name IN (?, ?)", (f"{prefix}{port}",) * 2
        found = await self._run(lambda: self._db.execute(query, bounds).fetchone(), "looking up a host")
        return found is not None

    # -- claiming ------------------------------------------------------------------------------------

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:  # noqa: ARG002
        return await self._run(lambda: self._claim(limit, per_host), "claiming")

    def _claim(self, limit: int, per_host: int) -> list[Job]:
        jobs: list[Job] = []
        rank = self._level(None)
        while rank is not None and len(jobs) < limit:
            self._claim_level(rank, limit, per_host, jobs)
            rank = self._level(rank)
        if self._names is not None and jobs:
            names = self._names
            self._transaction(lambda: names.give(jobs))
        return jobs

    def _level(self, above: int | None) -> int | None:
        lowest = _BELOW_ALL if above is None else above
        query = "SELECT min(rank) FROM url WHERE state = 0 AND rank > ?"
        rank: int | None = self._db.execute(query, (lowest,)).fetchone()[0]
        return rank

    def _claim_level(self, rank: int, limit: int, per_host: int, jobs: list[Job]) -> None:
        """Walk round the hosts of one rank, from where the last claim ended, until nothing is got."""
        turn = self._turn.get(rank, -1)
        while len(jobs) < limit:
            got = len(jobs)
            after, wrapped = turn, False
            while len(jobs) < limit:
                rows = self._db.execute(_HOSTS, (rank, after, _HOSTS_AT_ONCE)).fetchall()
                hosts = [host for (host,) in rows if not wrapped or host <= turn]
                rooms = [(host, per_host - len(self._claimed.get(host, ()))) for host in hosts]
                open_hosts = [(host, room) for host, room in rooms if room > 0 or not host]
                share = max(1, (limit - len(jobs)) // max(1, len(open_hosts)))
                for host, room in open_hosts:
                    take = min(share, room if host else share, limit - len(jobs))
                    if take <= 0:
                        break
                    self._claim_host(rank, host, take, jobs)
                    self._turn[rank] = host
                if len(hosts) == _HOSTS_AT_ONCE:
                    after = hosts[-1]
                elif wrapped:
                    break
                else:
                    after, wrapped = -1, True
            turn = self._turn.get(rank, -1)
            if len(jobs) == got:
                break

    def _claim_host(self, rank: int, host: int, take: int, jobs: list[Job]) -> None:
        """The next `take` rows of one host; past the last one, from the start, what is not claimed."""
        held = self._claimed.get(host)
        after = self._cursor.get((rank, host), 0) if held else 0
        rows = self._db.execute(_CLAIM, (rank, host, after, take)).fetchall()
        if len(rows) < take and held:
            more = self._db.execute(_CLAIM, (rank, host, 0, take + len(held))).fetchall()
            fresh = {row[0] for row in rows}
            rows += [row for row in more if row[0] not in held and row[0] not in fresh][: take - len(rows)]
        if not rows:
            return
        if held is None:
            held = self._claimed[host] = {}
        self._cursor[rank, host] = rows[-1][0]
        for row in rows:
            held[row[0]] = rank
            jobs.append(self._job(row, rank))

    def _job(self, row: tuple[Any, ...], rank: int) -> Job:
        (
            number, url, given, host, source, line, parent, depth, extra, attempts, waited, not_before,
            history, path, is_foreign, error, size, sha256, etag, last_modified,
        ) = row  # fmt: skip
        job = Job(
            id=number,
            url=given or url,
            target=None,
            source=self._source_names[source] if source else None,
            line=line,
            rank=rank,
            attempts=attempts,
            path=path,
        )
        if host:
            name, port, label = self._host_parts.get(host) or self._parts_of(host)
            job.target = Target(url, "https" if url[4] == "s" else "http", name, port, label)
        elif error:
            slug, _, message = error.partition("\n")
            job.refusal = slug, message
        if extra:
            job.extra = _decode_extra(extra)
        if depth:
            job.parent, job.depth = parent, depth
        if path:
            job.is_foreign = bool(is_foreign)
        if attempts or history:
            job.waited_s, job.not_before = waited, not_before
            job.history = _decode_history(history) if history else ()
        if sha256:
            job.known = Known(path, size, sha256.hex(), etag, last_modified)
        if number in self._secrets:
            job.secret, job.secret_headers = self._secrets[number]
        return job

    def _parts_of(self, host: int) -> tuple[str, int, str]:
        label = self._db.execute("SELECT name FROM host WHERE id = ?", (host,)).fetchone()[0]
        name, _, port = label.rpartition(":")
        if len(self._host_parts) >= _MOST_CACHED:
            self._host_parts.clear()
        parts = self._host_parts[host] = name.strip("[]"), int(port), label
        return parts

    # -- settling ------------------------------------------------------------------------------------

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        await self._run(lambda: self._settle(outcomes), "settling")

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        length = self._journal.length
        self._journal.append([outcome.line for outcome in outcomes if outcome.line])
        try:
            self._transaction(lambda: self._update(outcomes))
        except BaseException:
            self._journal.cut(length)
            raise
        self._release(outcome.job for outcome in outcomes if outcome.record is not None)

    def _update(self, outcomes: Sequence[Outcome]) -> None:
        kept, lost, deferred = [], [], []
        for outcome in outcomes:
            record, job = outcome.record, outcome.job
            if record is None:
                deferral = outcome.deferral
                assert deferral is not None
                history = _encode(deferral.history).decode() if deferral.history else None
                deferred.append((deferral.attempts, deferral.waited_s, deferral.not_before, history, job.id))
                continue
            history = _encode(outcome.history).decode() if outcome.history else None
            state = FINAL_STATES[record.state]
            if state <= State.UNCHANGED:
                digest = bytes.fromhex(record.sha256) if record.sha256 else None
                kept.append(
                    (state, record.status, record.attempts, job.waited_s, history, record.bytes, digest,
                     record.etag, record.last_modified, record.path or job.path, job.id)
                )  # fmt: skip
            else:
                error = record.error
                if job.refusal is not None:
                    error = "\n".join(job.refusal)
                lost.append((state, record.status, error, record.attempts, job.waited_s, history, job.id))
        if kept:
            self._db.executemany(_SETTLE_KEPT, kept)
        if lost:
            self._db.executemany(_SETTLE_LOST, lost)
        if deferred:
            self._db.executemany(_DEFER, deferred)
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'results_length'", (self._journal.length,))

    def _release(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            target = job.target
            host = 0 if target is None else self._hosts.get(target.host) or self._host_id(target.host)
            held = self._claimed[host]
            rank = held.pop(job.id)
            if not held:
                del self._claimed[host]
                self._cursor.pop((rank, host), None)
            self._secrets.pop(job.id, None)
