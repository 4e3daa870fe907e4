"""Partition of hosts and limits among worker processes; supervisor and workers compute the same one.

Invariant: the shares of a divided limit add up to it, and each worker has at least one.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from fetcher.policy.throttle import HostThrottle


class Partition:
    """The part of worker `index` of `count`; the parent has an index too, and uses only the rules."""

    def __init__(self, index: int, count: int, throttle_of: Callable[[str], HostThrottle]) -> None:
        self.index = index
        self.count = count
        self._throttle_of = throttle_of
        self._pinned: dict[str, bool] = {}

    def share(self, total: int) -> int:
        """Return this worker's part of a number."""
        return share_of(total, self.index, self.count)

    def is_pinned(self, host: str) -> bool:
        """Return True if a host is for one worker: its starts are spaced, or its limit can't be divided."""
        pinned = self._pinned.get(host)
        if pinned is None:
            throttle = self._throttle_of(host)
            if len(self._pinned) > 100_000:
                self._pinned.clear()
            pinned = self._pinned[host] = throttle.is_spaced or throttle.most < self.count
        return pinned

    def owner(self, host: str) -> int:
        """Return the worker that a pinned host belongs to, and that another one is sent to by preference."""
        return crc32(host.encode()) % self.count

    def is_local(self, host: str) -> bool:
        """Return True if this worker may ask the host at all."""
        return not self.is_pinned(host) or self.owner(host) == self.index

    def throttle_of(self, host: str) -> HostThrottle:
        """Return the throttle of a host in this worker."""
        throttle = self._throttle_of(host)
        return throttle if self.is_pinned(host) else HostThrottle(self.share(throttle.most))


def share_of(total: int, index: int, count: int) -> int:
    """Return part `index` of `total` divided into `count` parts as equal as they can be."""
    return total // count + (index < total % count)
