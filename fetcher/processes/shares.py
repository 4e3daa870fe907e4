"""Whose host is whose, and how much of a limit one worker has. Both sides decide by the same rules.

Invariant: the shares of a divided limit add up to it, and each worker has at least one.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from fetcher.policy.pace import HostPace


class Shares:
    """The part of worker `index` of `count`; the parent has an index too, and uses only the rules."""

    def __init__(self, index: int, count: int, pace_of: Callable[[str], HostPace]) -> None:
        self.index = index
        self.count = count
        self._pace_of = pace_of
        self._whole: dict[str, bool] = {}

    def of(self, total: int) -> int:
        """This worker's part of a number."""
        return share_of(total, self.index, self.count)

    def is_whole(self, host: str) -> bool:
        """Whether a host belongs to one worker: its starts are spaced, or its limit can't be divided."""
        whole = self._whole.get(host)
        if whole is None:
            pace = self._pace_of(host)
            if len(self._whole) > 100_000:
                self._whole.clear()
            whole = self._whole[host] = pace.is_spaced or pace.most < self.count
        return whole

    def owner(self, host: str) -> int:
        """The worker that a whole host belongs to, and that another one is sent to by preference."""
        return crc32(host.encode()) % self.count

    def is_ours(self, host: str) -> bool:
        """Whether this worker may ask the host at all."""
        return not self.is_whole(host) or self.owner(host) == self.index

    def pace_of(self, host: str) -> HostPace:
        """The pace of a host in this worker."""
        pace = self._pace_of(host)
        return pace if self.is_whole(host) else HostPace(self.of(pace.most))


def share_of(total: int, index: int, count: int) -> int:
    """Part `index` of `total` divided into `count` parts as equal as they can be."""
    return total // count + (index < total % count)
