"""Loads of hosts: how many of a host's URLs are claimed and not settled.

Invariant: a host is full exactly when its load reached the cap and has not fallen to half of it since; so its
next claim is worth a look, and not one for each URL that ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fetcher.model import Job


class HostLoads:
    """Loads by host; `cap` is how many of one host are claimed at most. What is no URL has none."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._loads: Counter[str] = Counter()
        self._full: set[str] = set()  # may have more than they were allowed to claim

    def take(self, jobs: Iterable[Job]) -> None:
        """Count jobs that were claimed."""
        loads = self._loads
        for job in jobs:
            if job.target is not None:
                host = job.target.host
                load = loads[host] = loads[host] + 1
                if load >= self.cap:
                    self._full.add(host)

    def give_back(self, jobs: Iterable[Job]) -> bool:
        """Count jobs that are settled. True if a host of theirs may have more to claim now."""
        loads, full = self._loads, self._full
        has_more = False
        for job in jobs:
            if job.target is None:
                continue
            host = job.target.host
            load = loads[host] = loads[host] - 1
            if not load:
                del loads[host]
            if host in full and load <= self.cap // 2:
                full.discard(host)
                has_more = True
        return has_more
