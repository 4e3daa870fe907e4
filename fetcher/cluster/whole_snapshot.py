"""The snapshots of shards as one of the whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fetcher.events import Snapshot
from fetcher.model import FINAL_STATES, Bottleneck, Summary
from fetcher.policy.shares import Share

_HOSTS = 5
_GROWING = 3
OTHER_SHARD = "other-shard"


class WholeSnapshot:
    """Knowledge of every shard. A shard may have several sessions: what they did adds up."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[int, int], Snapshot] = {}
        self._latest: dict[int, int] = {}
        self._earlier: dict[int, int] = {}
        self._listed: dict[int, int] = {}
        self.running: set[int] = set()
        self.count = 0  # of shards

    def expect(self, shard: int, listed: int) -> None:
        """There will be a session of a shard with so many URLs."""
        self._listed[shard] = listed

    def skip(self, shard: int, summary: Summary) -> None:
        """A shard had ended before this run."""
        ended = summary.ended
        self._sessions[shard, 0] = Snapshot(
            done=summary.done,
            unchanged=summary.unchanged,
            failed=summary.failed,
            refused=summary.refused,
            listed=ended + summary.pending,
            input_ended=True,
            pending=summary.pending,
            duplicates=summary.duplicates,
            earlier=ended,
            errors=summary.errors,
            left_out={} if summary.findings is None else summary.findings.left_out,
        )
        self._latest[shard] = 0

    def update(self, shard: int, epoch: int, snapshot: Snapshot) -> None:
        """Take the snapshot of a session."""
        self._sessions[shard, epoch] = snapshot
        first = min(number for one, number in self._sessions if one == shard and number)
        if epoch == first:
            self._earlier[shard] = snapshot.earlier
        self._latest[shard] = max(epoch, self._latest.get(shard, 0))

    def failed(self, before: Mapping[int, int]) -> int:
        """Return how many URLs failed, beyond those that had `before` by shard."""
        return sum(
            max(0, self._sessions[shard, epoch].failed - before.get(shard, 0))
            for shard, epoch in self._latest.items()
        )

    def snapshot(self, **fields: object) -> Snapshot:
        """Return the snapshot of the whole; `fields` are its own."""
        latest = {shard: self._sessions[shard, epoch] for shard, epoch in self._latest.items()}
        waiting = {shard: number for shard, number in self._listed.items() if shard not in latest}
        now = [one for shard, one in latest.items() if shard in self.running]
        hosts = sorted((host for one in now for host in one.hosts), key=lambda host: -host[1] - host[2])
        growing = sorted((body for one in now for body in one.growing), key=lambda body: -body[1])
        left_out = sums(one.left_out for one in latest.values())
        left_out.pop(OTHER_SHARD, None)
        every = self._sessions.values()
        return Snapshot(
            **{name: sum(getattr(one, name) for one in latest.values()) for name in FINAL_STATES},
            listed=sum(one.listed for one in latest.values()) + sum(waiting.values()),
            input_ended=not waiting and all(one.input_ended for one in latest.values()),
            pending=sum(one.pending for one in latest.values()) + sum(waiting.values()),
            active=sum(one.active for one in now),
            waiting=sum(one.waiting for one in now),
            duplicates=sum(one.duplicates for one in latest.values()),
            earlier=sum(self._earlier.get(shard, one.earlier) for shard, one in latest.items()),
            bytes=sum(one.bytes for one in every),
            wire_bytes=sum(one.wire_bytes for one in every),
            requests=sum(one.requests for one in every),
            errors=sums(one.errors for one in latest.values()),
            left_out=left_out,
            hosts=hosts[:_HOSTS],
            growing=growing[:_GROWING],
            **fields,  # type: ignore[arg-type]
        )

    def bottleneck(self, elapsed_s: float) -> Bottleneck | None:
        """Name what held the shard that took longest, and that shard."""
        longest = max(
            (item for item in self._sessions.items() if item[1].bottleneck is not None),
            key=lambda item: item[1].elapsed_s,
            default=None,
        )
        if longest is None:
            return None
        (shard, _), snapshot = longest
        found = snapshot.bottleneck
        assert found is not None
        where = f"the slowest shard was {Share(shard, self.count)}, at work for {snapshot.elapsed_s:.0f} s"
        return Bottleneck(
            cause=found.cause,
            share=found.share * min(1.0, snapshot.elapsed_s / elapsed_s) if elapsed_s else found.share,
            text=f"{where}; {found.text}",
            host=found.host,
            setting=found.setting,
            saves_s=found.saves_s,
        )


def sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of counts by their names."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
