"""A frontier in memory: for the library's streams, and for runs that need no resuming.

Invariant: a job is in exactly one of a host's queue, `_claimed`, or gone. With `distinct` off nothing
is de-duplicated, so that a stream has one result for each item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fetcher.model import FINAL_STATES, Added, Bottleneck, Counts, CrawlFindings, Job, Outcome, Part
from fetcher.policy.fingerprint import request_fingerprint
from fetcher.policy.http import authority

_MOST_NAMED = 100_000  # an endless stream must not grow; the oldest names are forgotten first


class MemoryFrontier:
    """Pending jobs by rank and host; smaller ranks first, hosts in turn. No I/O at all."""

    is_durable = False
    is_spent = False
    notes: Sequence[str] = ()

    def __init__(self, *, distinct: bool = True) -> None:
        self._distinct = distinct
        self._seen: set[tuple[int, int]] = set()
        self._levels: dict[int, dict[str, deque[Job]]] = {}
        self._claimed: dict[str, int] = {}
        self._named: dict[str, None] = {}
        self._last_id = 0
        self._pending = 0
        self._ended = dict.fromkeys(FINAL_STATES, 0)

    async def open(self) -> Counts:
        return Counts()

    async def add(self, jobs: Sequence[Job]) -> Added:
        added = Added()
        for job in jobs:
            if self._distinct:
                key = request_fingerprint(job)
                if key in self._seen:
                    added.duplicates += 1
                    continue
                self._seen.add(key)
            self._last_id += 1
            job.id = self._last_id
            hosts = self._levels.get(job.rank)
            if hosts is None:
                hosts = self._levels[job.rank] = {}
            host = job.host
            queue = hosts.get(host)
            if queue is None:
                queue = hosts[host] = deque()
                if job.target is not None:
                    self._remember(job.target.hostname, host)
            queue.append(job)
            added.new += 1
        self._pending += added.new
        return added

    def _remember(self, name: str, host: str) -> None:
        for key in (name, host):
            self._named.pop(key, None)
            self._named[key] = None
        while len(self._named) > _MOST_NAMED:
            del self._named[next(iter(self._named))]

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:  # noqa: ARG002
        claimed: list[Job] = []
        for rank in sorted(self._levels):
            if len(claimed) >= limit:
                break
            self._claim_level(rank, limit - len(claimed), per_host, claimed)
        return claimed

    def _claim_level(self, rank: int, limit: int, per_host: int, claimed: list[Job]) -> None:
        """Take from the hosts of one rank in turn; a host that was served goes to the end."""
        hosts = self._levels[rank]
        held = self._claimed
        while limit > 0:
            ready = [host for host in hosts if not host or held.get(host, 0) < per_host]
            if not ready:
                break
            share = max(1, limit // len(ready))
            for host in ready:
                queue = hosts.pop(host)
                room = per_host - held.get(host, 0) if host else limit
                take = min(share, room, len(queue), limit)
                claimed.extend([queue.popleft() for _ in range(take)])
                held[host] = held.get(host, 0) + take
                limit -= take
                if queue:
                    hosts[host] = queue
                if limit <= 0:
                    break
        if not hosts:
            del self._levels[rank]

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        for outcome in outcomes:
            record = outcome.record
            if record is None:
                continue
            host = outcome.job.host
            left = self._claimed[host] - 1
            if left:
                self._claimed[host] = left
            else:
                del self._claimed[host]
            self._pending -= 1
            self._ended[record.state] += 1
        return 0

    async def name_file(self, job: Job) -> None:
        """Do nothing: no file has a name here."""

    async def keep_parts(self, parts: Sequence[tuple[int, Part]]) -> None:
        """Do nothing: what is in memory ends with the session."""

    async def keep_bottleneck(self, bottleneck: Bottleneck) -> None:
        """Do nothing either."""

    async def is_user_host(self, name: str, port: int | None) -> bool:
        if port is not None:
            name = authority(name, port)
        return name in self._named

    async def counts(self) -> Counts:
        return Counts(pending=self._pending, **self._ended)

    async def findings(self) -> CrawlFindings:
        return CrawlFindings()

    async def aclose(self, *, complete: bool) -> None:
        pass
