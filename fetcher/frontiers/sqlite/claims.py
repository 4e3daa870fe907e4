"""Claims of the session, and the choice of the next: by rank, fairly by host, in order.

A claim is kept in memory only: it dies with the session, and the row is pending still. Invariants: a
claimed row is in `_held` until it is settled; no host has more than `per_host` there; the walk over the
hosts of a rank goes on where it ended, so every host has its turn.

Choosing reads the index alone, a share's worth past the host last served: one large host or several
small ones to a statement. The rows of all that was chosen come in one more. A rank that only full hosts
have is passed over, and that there is nothing but full hosts is looked up once.
"""

from __future__ import annotations

import itertools
import operator
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fetcher.frontiers.sqlite.converted_rows import CONVERTED_BYTES, has_converted
from fetcher.frontiers.sqlite.crawl.row_kinds import kind_of
from fetcher.frontiers.sqlite.crawl.seeds import Seeds
from fetcher.frontiers.sqlite.digests import unpack_digest
from fetcher.frontiers.sqlite.interning import InternTable
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import CacheEntry, Job, RequestOverrides, Target, Wait

_PAST_HOST = sql(
    """SELECT host, id FROM url WHERE state = :PENDING AND rank = ? AND host > ? ORDER BY host, id LIMIT ?"""
)
_OF_HOST = sql(
    "SELECT id FROM url WHERE state = :PENDING AND rank = ? AND host = ? AND id > ? ORDER BY id LIMIT ?"
)
# One JSON text out instead of a row at a time: a third of the cost.
_ROWS = """SELECT json_group_array({})
 FROM (SELECT value AS number FROM json_each(?)) AS chosen CROSS JOIN url ON url.id = chosen.number"""
_WHOLE = """json_array(id, rank, url, host, source, line, given, parent, depth, extra, attempts, waited,
 not_before, history, path, is_foreign, error, bytes, hex(sha256), etag, last_modified{})"""
# Most rows of `get` are new, and have nothing else to tell.
_NEW = "json_array(id, rank, url, host, source, line)"
_ROWS_OF_GET = _ROWS.format(
    f"""CASE WHEN host AND given IS NULL AND extra IS NULL AND path IS NULL AND sha256 IS NULL
 AND history IS NULL AND NOT attempts AND NOT depth THEN {_NEW} ELSE {_WHOLE.format("")} END"""
)
_ROWS_OF_CRAWL = _ROWS.format(_WHOLE.format(", NULL, kinds, hops, claimed"))
_ROWS_CONVERTED = _ROWS.format(_WHOLE.format(f", {CONVERTED_BYTES}, kinds, hops, claimed"))
_UNBUDGETED = sql("""SELECT id, host, rank FROM url INDEXED BY url_unbudgeted
 WHERE state = :PENDING AND (claimed <> 0 OR kinds = 2) AND id > ? AND (claimed > 0 OR kinds = 2)
 ORDER BY id LIMIT 500""")
_CHECKS = sql("""SELECT id, host, rank FROM url INDEXED BY url_checks WHERE state = :PENDING AND kinds >= 8
 AND id > ? ORDER BY id LIMIT 500""")
_FIRST_RANK = sql("SELECT min(rank) FROM url WHERE state = :PENDING")
_NEXT_RANK = sql("""SELECT rank FROM url WHERE state = :PENDING AND rank > ?
 AND host NOT IN (SELECT value FROM json_each(?)) ORDER BY rank LIMIT 1""")

_LEAST_SHARE = 8
_MOST_REMEMBERED = 50_000  # a list may have a rank for each URL

_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(list[list[Any]]).decode
_decode_extra = msgspec.json.Decoder(RequestOverrides).decode
_decode_history = msgspec.json.Decoder(tuple[Wait, ...]).decode

Row = tuple[Any, ...]

_host_of = operator.itemgetter(0)


class Claims:
    """Claimed rows, and jobs made of them. Used in the frontier's lane only.

    `seeds` are those of a crawl, None for `get`. `suspected` (id, host, rank) comes first.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        interned: InternTable,
        seeds: Seeds | None = None,
        suspected: Sequence[tuple[int, int, int]] = (),
    ) -> None:
        self._db = db
        self._interned = interned
        self._seeds = seeds
        self._rows = _ROWS_OF_GET
        if seeds is not None:
            self._rows = _ROWS_CONVERTED if has_converted(db) else _ROWS_OF_CRAWL
        self._suspected = list(suspected)
        self._suspects = {row[0] for row in suspected}
        self.counted: set[int] = set()  # of those held: the ones that an earlier claim has counted
        self._held: dict[int, dict[int, int]] = {}  # host: id: rank
        self._last: dict[tuple[int, int], int] = {}  # (rank, host): the last id claimed
        self._turn: dict[int, int] = {}  # rank: the host that was served last
        self._hosts_met: dict[int, int] = {}  # rank: hosts in the last walk that came full circle
        self._alone: set[int] = set()  # ranks where that was one host, and no rows came since
        self._per_host = 0
        self._full: set[int] = set()  # hosts with `per_host` held
        self._barren: tuple[int, frozenset[int]] | None = None  # above that rank, these hosts have it all

    def claim(self, limit: int, per_host: int) -> list[Job]:
        """Claim up to `limit` jobs that are pending and not claimed yet."""
        if per_host != self._per_host:
            self._per_host = per_host
            self._full = {host for host, held in self._held.items() if host and len(held) >= per_host}
        for remembered in (self._last, self._turn, self._hosts_met, self._alone):
            if len(remembered) > _MOST_REMEMBERED:
                remembered.clear()
        chosen: list[int] = []
        if self._suspected:
            chosen = self._of(self._suspected, limit, per_host)
        rank = self._db.execute(_FIRST_RANK).fetchone()[0]
        while rank is not None and len(chosen) < limit:
            share = max(_LEAST_SHARE, limit // max(1, self._hosts_met.get(rank, 1)))
            while len(chosen) < limit and self._walk(rank, share, limit, per_host, chosen):
                share *= 2
            if len(chosen) < limit:
                rank = self._next_rank(rank)
        return self._jobs(chosen)

    def claim_unbudgeted(self, limit: int, per_host: int) -> list[Job]:
        """Claim like `claim`, but only what is no page, or was counted as one before."""
        chosen: list[int] = []
        for statement in (_UNBUDGETED, _CHECKS):
            last = 0
            while len(chosen) < limit and (rows := self._db.execute(statement, (last,)).fetchall()):
                last = rows[-1][0]
                chosen += self._of(rows, limit - len(chosen), per_host)
        return self._jobs(chosen)

    def _jobs(self, chosen: list[int]) -> list[Job]:
        if not chosen:
            return []
        rows = self._db.execute(self._rows, (_encode(chosen).decode(),)).fetchone()[0]
        jobs = [self._job(row) for row in _decode_rows(rows)]
        if self._suspects:
            for job in jobs:
                job.was_claimed = job.id in self._suspects
        return jobs

    def _of(self, rows: list[tuple[int, int, int]], limit: int, per_host: int) -> list[int]:
        """Claim up to `limit` of these rows (id, host, rank); those of full hosts stay in the list."""
        chosen: list[int] = []
        left = []
        for row in rows:
            number, host, rank = row
            held = self._held.setdefault(host, {})
            if number in held:
                continue
            if len(chosen) >= limit or (host and len(held) >= per_host):
                left.append(row)
                continue
            held[number] = rank
            chosen.append(number)
            if host and len(held) >= per_host:
                self._full.add(host)
        rows[:] = left
        return chosen

    def release(self, jobs: Iterable[Job]) -> None:
        """Forget the claims of jobs that were settled as final."""
        numbers, full = self._interned.hosts, self._full
        for job in jobs:
            target = job.target
            host = 0 if target is None else numbers[target.host]
            held = self._held[host]
            rank = held.pop(job.id)
            if host in full:
                full.discard(host)
            if job.id in self.counted:
                self.counted.discard(job.id)
            if job.id in self._suspects:
                self._suspects.discard(job.id)
            if not held:
                del self._held[host]
                self._last.pop((rank, host), None)

    def reset_cursors(self) -> None:
        """Start from the front again: rows were put back, maybe before those that were claimed last."""
        self._last.clear()
        self._alone.clear()
        self._barren = None

    def on_insert(self, hosts: Iterable[int]) -> None:
        """Take note of new rows, of these hosts."""
        self._alone.clear()
        if self._barren is not None and not self._barren[1].issuperset(hosts):
            self._barren = None

    def _next_rank(self, above: int) -> int | None:
        """Find the next rank in which a host that is not full has rows."""
        barren = self._barren
        if barren is not None and above >= barren[0] and self._full.issuperset(barren[1]):
            return None
        found = self._db.execute(_NEXT_RANK, (above, _encode(list(self._full)).decode())).fetchone()
        if found is None:
            self._barren = above, frozenset(self._full)
            return None
        rank: int = found[0]
        return rank

    def _walk(self, rank: int, share: int, limit: int, per_host: int, chosen: list[int]) -> bool:
        """Go once round the hosts of one rank, from the one after the last served, a share for each.

        True if a host may have more than its share.
        """
        first = self._turn.get(rank, -1)
        if rank in self._alone and first >= 0:
            chosen += self._of_host(rank, first, None, limit - len(chosen), per_host)
            return False
        after, is_second_half, met, may_have_more = first, False, 0, False
        while len(chosen) < limit:
            most = min(share, limit - len(chosen), per_host)
            pairs = self._db.execute(_PAST_HOST, (rank, after, most)).fetchall()
            is_end = len(pairs) < most
            for host, group in itertools.groupby(pairs, key=_host_of):
                if is_second_half and host > first:
                    is_end = True
                    break
                take = min(share, limit - len(chosen))
                read = [number for _, number in group]
                numbers = self._of_host(rank, host, read, take, per_host)
                if numbers and len(numbers) in {take, len(read)}:  # else it is full, or has no more
                    may_have_more = True
                chosen += numbers
                self._turn[rank] = after = host
                met += 1
                if len(chosen) >= limit:
                    return False
            if is_end:
                if is_second_half or first < 0:
                    self._hosts_met[rank] = met
                    if met == 1:
                        self._alone.add(rank)
                    return may_have_more
                after, is_second_half = -1, True
        return False

    def _of_host(self, rank: int, host: int, read: list[int] | None, take: int, per_host: int) -> list[int]:
        """Claim up to `take` of one host's pending rows, whose first ones were `read`, if any were."""
        held = self._held.setdefault(host, {})
        if host:
            take = min(take, per_host - len(held))
        take = max(take, 0)
        if take and (held or read is None):
            read = self._unclaimed(rank, host, held, take)
        numbers = [] if read is None else read[:take]
        if numbers:
            self._last[rank, host] = numbers[-1]
            held.update(dict.fromkeys(numbers, rank))
            if host and len(held) >= per_host:
                self._full.add(host)
        return numbers

    def _unclaimed(self, rank: int, host: int, held: dict[int, int], take: int) -> list[int]:
        """Find the next rows of a host past the last claimed; then those before it that are not claimed."""
        last = self._last.get((rank, host), 0)
        numbers: list[int] = []
        if last:  # even there: a row that was put back may have been claimed after later ones
            past = self._db.execute(_OF_HOST, (rank, host, last, take))
            numbers = [number for (number,) in past if number not in held]
        if len(numbers) < take:
            before = self._db.execute(_OF_HOST, (rank, host, 0, take + len(held) + len(numbers)))
            known = {*numbers, *held}
            numbers += [number for (number,) in before if number not in known]
        return numbers

    def _job(self, row: list[Any]) -> Job:
        number, rank, url, host, source, line, *past = row
        target = None
        if host:
            name, port, label = self._interned.parts[host]
            target = Target(url, "https" if url[4] == "s" else "http", name, port, label)
        job = Job(
            id=number,
            url=url,
            target=target,
            source=self._interned.source_names[source] if source else None,
            line=line,
            rank=rank,
        )
        if past:
            self._add_past(job, past, host)
        return job

    def _add_past(self, job: Job, past: list[Any], host: int) -> None:
        """Set what a row has beyond a new one."""
        (
            given, parent, depth, extra, attempts, waited, not_before, history, path, is_foreign, error, size,
            sha256, etag, last_modified, *of_crawl,
        ) = past  # fmt: skip
        if given:
            job.url = given
        job.attempts, job.path = attempts, path
        if extra:
            job.overrides = _decode_extra(extra)
        if depth:
            job.parent, job.depth = parent, depth
        if path:
            job.is_foreign = bool(is_foreign)
        if attempts or history:
            job.waited_s, job.not_before = waited, not_before
            job.history = _decode_history(history) if history else ()
        if sha256:
            of_sha256, other = unpack_digest(sha256)
            held = of_crawl[0] if of_crawl else None
            job.cached = CacheEntry(path, size, of_sha256, etag, last_modified, other, held)
        if error and not host:
            slug, _, message = error.partition("\n")
            job.refusal = slug, message
        if self._seeds is not None:
            self._add_place(job, parent, *of_crawl[1:])

    def _add_place(self, job: Job, parent: str | None, kinds: int, hops: int, claimed: int) -> None:
        """Set what a job of a crawl has beyond one of `get`."""
        assert self._seeds is not None
        job.parent = parent  # the target of a seed's redirect has one, at depth 0
        job.kind = kind_of(kinds)
        job.hops = hops
        if job.target is not None:
            job.is_listed = self._seeds.lists(job.target)
            job.is_user_host = self._seeds.names_hostname(job.target)
        if claimed > 0:
            self.counted.add(job.id)
