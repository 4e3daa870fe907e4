"""The messages of client and workers about shards: tasks, orders, states and results."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fetcher.cluster.lease import LeaseTimes, ShardEnd
from fetcher.events import Snapshot
from fetcher.model import Summary
from fetcher.policy.shares import Share
from fetcher.settings import Settings

HANDED_ON = "handed-on"  # the worker ends: the rest is for another one
CLIENT_GONE = "client-gone"
AGES = 30  # checkpoints in as much time again as a session has lasted


class ClusterTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: of leases, between checkpoints, and how long a shard goes on without word of its client.

    A shard that is at work for long has fewer checkpoints: one in a thirtieth of its time, up to
    `most_checkpoint_s`. Thousands of slow hosts would make millions of segments with a few records each.
    """

    lease: LeaseTimes = LeaseTimes()
    checkpoint_s: float = 10.0
    most_checkpoint_s: float = 600.0
    checkpoint_records: int = 10_000
    client_s: float = 60.0
    tick_s: float = 0.25


class ShardTask(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker is told of a shard. `run` names the run among those of the cluster.

    `inbox` has the names of files of links for it, by the shard that they are of.
    """

    run: str
    version: str
    command: str
    share: Share
    settings: Settings
    environ: Mapping[str, str]
    session: int
    list_number: int
    times: ClusterTimes
    inbox: Mapping[int, list[str]] = {}

    def __repr__(self) -> str:
        return f"ShardTask({self.share})"  # settings hold secrets, and this is logged


class ShardOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Order of a client to a shard: its part of the totals, and whether it is to stop or to pause."""

    concurrency: int
    part: float = 1.0
    stop: str | None = None
    at_once: bool = False
    is_paused: bool = False


class ShardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of a shard. `concurrency` and `part` are what it has of the totals, 0 before it was told.

    Where it was told to have fewer exchanges, those in flight count until they have ended.
    """

    share: Share
    session: int
    phase: str = "waiting"
    concurrency: int = 0
    part: float = 0.0
    epoch: int = 0
    segments: int = 0  # of this epoch
    snapshot: Snapshot = Snapshot()
    notices: list[tuple[str, str]] = []


class ShardResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a session of a shard; one that never began has epoch 0.

    `posted` are all files of links that the shard has left, by the shard that they are for.
    """

    share: Share
    end: ShardEnd
    snapshot: Snapshot = Snapshot()
    epoch: int = 0
    posted: dict[int, list[str]] = {}


def checkpoint_after(times: ClusterTimes, age_s: float) -> float:
    """Return how long a session of that age waits for its next checkpoint."""
    return max(times.checkpoint_s, min(times.most_checkpoint_s, age_s / AGES))


def not_begun(task: ShardTask, why: str) -> ShardResult:
    """Return the result of a session that was stopped before it began."""
    end = ShardEnd(is_complete=False, list_number=0, summary=Summary(stopped=why))
    return ShardResult(share=task.share, end=end)
