"""Shares of the hosts, for runs that several directories or machines do together.

Invariants: the share that a URL belongs to is the same in every version of the program, on every machine and
for every spelling of the URL, so each URL is in exactly one; a host is in one share, but for a divided one,
whose URLs are spread over `k` shares that keep the `k`th part of its limits each. The hash is the first 8
bytes of SHA-256, as a big-endian number: of the host and its port (`example.org:443`) modulo the number of
shares, and of the URL as it is sent modulo `k` for the share of a divided host, counted from the host's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

import msgspec

from fetcher.model import Job, Target
from fetcher.policy.throttle import HostThrottle

_MOST_CACHED = 50_000
_COUNTERS_PER_SHARE = 16
_LEAST_COUNTERS = 1024


class Share(msgspec.Struct, frozen=True):
    """Share `index` of `count`; `divided` has the number of shares for each host that is divided."""

    index: int
    count: int
    divided: Mapping[str, int] = {}

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class ShareRules:
    """The URLs that belong to a share, and its part of a host's limits."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self._owners: dict[str, int] = {}

    def owner(self, target: Target) -> int:
        """Return the share that a URL belongs to."""
        host = target.host
        owner = self._owner(host)
        k = self.share.divided.get(host)
        return owner if k is None else (owner + stable_hash(target.url) % k) % self.share.count

    def is_own(self, target: Target) -> bool:
        return self.owner(target) == self.share.index

    def takes(self, job: Job) -> bool:
        """Return True if a job is for this share; one that is refused goes by its text."""
        if job.target is None:
            return stable_hash(job.url) % self.share.count == self.share.index
        return self.is_own(job.target)

    def throttle(self, host: str, make: Callable[[str], HostThrottle]) -> HostThrottle:
        """Make the throttle of a host in this share.

        A divided host has its part of each limit. A host of others is asked only where a redirect leads: so
        many shares may come to it at once that each has its part too.
        """
        whole = make(host)
        count = self.share.count
        k = self.share.divided.get(host, 1)
        place = (self.share.index - self._owner(host)) % count
        if place >= k:
            k, place = count, self.share.index
        if k == 1:
            return whole
        return whole.part(place, k)

    def _owner(self, host: str) -> int:
        owner = self._owners.get(host)
        if owner is None:
            if len(self._owners) >= _MOST_CACHED:
                self._owners.clear()
            owner = self._owners[host] = stable_hash(host) % self.share.count
        return owner


def stable_hash(text: str) -> int:
    """Return the first 8 bytes of the text's SHA-256 as a number."""
    return int.from_bytes(sha256(text.encode(errors="backslashreplace")).digest()[:8])


class HeavyHosts:
    """Sketch of the hosts that a list names most, in memory that does not grow with it.

    Misra and Gries (1982): a count is never too large, and too small by at most the length of the list over
    the number of counters. Whoever reads the same list comes to the same counts.
    """

    def __init__(self, shares: int) -> None:
        self._shares = shares
        self._most = max(_LEAST_COUNTERS, _COUNTERS_PER_SHARE * shares)
        self._counts: dict[str, int] = {}
        self._total = 0

    def count(self, hosts: Iterable[str]) -> None:
        """Count a host for each time that it is named."""
        counts, most = self._counts, self._most
        for host in hosts:
            self._total += 1
            if host in counts:
                counts[host] += 1
            elif len(counts) < most:
                counts[host] = 1
            else:
                self._counts = counts = {name: number - 1 for name, number in counts.items() if number > 1}

    def divided(self, most_exchanges: Callable[[str], int]) -> dict[str, int]:
        """Return over how many shares each host of more than two shares' worth is divided.

        At most over all of them, and over as many as it may have exchanges at once.
        """
        worth = max(1, -(-self._total // self._shares))
        found = {}
        for host, number in sorted(self._counts.items()):
            if number > 2 * worth:
                k = min(-(-number // worth), self._shares, most_exchanges(host))
                if k > 1:
                    found[host] = k
        return found
