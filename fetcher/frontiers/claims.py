"""What the session has claimed, and choosing what to claim next: by rank, fairly by host, in order.

A claim is kept in memory only: it dies with the session, and the row is pending still. Invariants: a
claimed row is in `_held` until it is settled; no host has more than `per_host` there; the walk over the
hosts of a rank goes on where it ended, so every host has its turn.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from fetcher.frontiers.labels import Labels
from fetcher.model import Extra, Job, Known, Target, Wait

_CLAIM = """SELECT id, url, given, host, source, line, parent, depth, extra, attempts, waited, not_before,
 history, path, is_foreign, error, bytes, sha256, etag, last_modified
 FROM url WHERE state = 0 AND rank = ? AND host = ? AND id > ? ORDER BY id LIMIT ?"""
_HOSTS = """WITH RECURSIVE ready (host) AS (
   SELECT min(host) FROM url WHERE state = 0 AND rank = ?1 AND host > ?2
   UNION ALL
   SELECT (SELECT min(host) FROM url WHERE state = 0 AND rank = ?1 AND host > ready.host)
     FROM ready WHERE ready.host IS NOT NULL)
 SELECT host FROM ready WHERE host IS NOT NULL LIMIT ?3"""
_NEXT_RANK = "SELECT min(rank) FROM url WHERE state = 0 AND rank > ?"

_HOSTS_AT_ONCE = 256
_BELOW_ALL = -(2**62)

_decode_extra = msgspec.json.Decoder(Extra).decode
_decode_history = msgspec.json.Decoder(tuple[Wait, ...]).decode

Row = tuple[Any, ...]


class Claims:
    """Claims rows of the state and makes jobs of them. Used in the frontier's lane only."""

    def __init__(self, db: sqlite3.Connection, labels: Labels) -> None:
        self._db = db
        self._labels = labels
        self._held: dict[int, dict[int, int]] = {}  # host: id: rank
        self._last: dict[tuple[int, int], int] = {}  # (rank, host): the last id claimed
        self._turn: dict[int, int] = {}  # rank: the host that was served last

    def claim(self, limit: int, per_host: int) -> list[Job]:
        """Up to `limit` jobs that are pending and not claimed."""
        jobs: list[Job] = []
        rank = self._next_rank(_BELOW_ALL)
        while rank is not None and len(jobs) < limit:
            while len(jobs) < limit:
                before = len(jobs)
                self._walk(rank, limit, per_host, jobs)
                if len(jobs) == before:
                    break
            rank = self._next_rank(rank)
        return jobs

    def release(self, job: Job) -> None:
        """The job was settled as final."""
        target = job.target
        host = 0 if target is None else self._labels.host(target.host)
        held = self._held[host]
        rank = held.pop(job.id)
        if not held:
            del self._held[host]
            self._last.pop((rank, host), None)

    def look_again(self) -> None:
        """Rows were put back: some may lie before those that were claimed last."""
        self._last.clear()

    def _next_rank(self, above: int) -> int | None:
        rank: int | None = self._db.execute(_NEXT_RANK, (above,)).fetchone()[0]
        return rank

    def _walk(self, rank: int, limit: int, per_host: int, jobs: list[Job]) -> None:
        """Once round the hosts of one rank, from the one after the last served."""
        first = self._turn.get(rank, -1)
        after, is_second_half = first, False
        while len(jobs) < limit:
            rows = self._db.execute(_HOSTS, (rank, after, _HOSTS_AT_ONCE)).fetchall()
            hosts = [host for (host,) in rows if not is_second_half or host <= first]
            self._serve(rank, hosts, limit, per_host, jobs)
            if len(hosts) == _HOSTS_AT_ONCE:
                after = hosts[-1]
            elif is_second_half:
                return
            else:
                after, is_second_half = -1, True

    def _serve(self, rank: int, hosts: list[int], limit: int, per_host: int, jobs: list[Job]) -> None:
        """Give each of the hosts its share of what is left of `limit`."""
        held = self._held
        rooms = [(host, per_host - len(held.get(host, ())) if host else limit) for host in hosts]
        rooms = [(host, room) for host, room in rooms if room > 0]
        share = max(1, (limit - len(jobs)) // max(1, len(rooms)))
        for host, room in rooms:
            take = min(share, room, limit - len(jobs))
            if take <= 0:
                return
            self._take(rank, host, take, jobs)
            self._turn[rank] = host

    def _take(self, rank: int, host: int, take: int, jobs: list[Job]) -> None:
        """The next `take` rows of one host; past the last one, from the start, what is not claimed."""
        held = self._held.get(host)
        after = self._last.get((rank, host), 0) if held else 0
        rows = self._db.execute(_CLAIM, (rank, host, after, take)).fetchall()
        if held and (len(rows) < take or not after):
            fresh = {row[0]: row for row in rows if row[0] not in held}
            if len(fresh) < take:
                more = self._db.execute(_CLAIM, (rank, host, 0, take + len(held))).fetchall()
                fresh.update((row[0], row) for row in more if row[0] not in held)
            rows = list(fresh.values())[:take]
        if not rows:
            return
        if held is None:
            held = self._held[host] = {}
        self._last[rank, host] = rows[-1][0]
        for row in rows:
            held[row[0]] = rank
            jobs.append(self._job(row, rank))

    def _job(self, row: Row, rank: int) -> Job:
        (
            number, url, given, host, source, line, parent, depth, extra, attempts, waited, not_before,
            history, path, is_foreign, error, size, sha256, etag, last_modified,
        ) = row  # fmt: skip
        target = None
        if host:
            name, port, label = self._labels.parts(host)
            target = Target(url, "https" if url[4] == "s" else "http", name, port, label)
        job = Job(
            id=number,
            url=given or url,
            target=target,
            source=self._labels.source_name(source) if source else None,
            line=line,
            rank=rank,
            attempts=attempts,
            path=path,
        )
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
        if error and not host:
            slug, _, message = error.partition("\n")
            job.refusal = slug, message
        return job
