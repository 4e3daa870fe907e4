"""A body that several connections fill at once: who has which range, and what of the whole is on disk.

The first connection, the leader, has all from where it begins. Another takes the first gap, if an earlier
attempt or a broken connection has left one, else the larger half of the range that would be ready last.
Nothing here does I/O; `Splitter` performs what is decided here.

Invariant: what the segments in flight bring is disjoint, and so from what is held. What the leader and
earlier attempts brought is kept whatever happens; what the others brought goes when the splitting is stopped,
because an answer then contradicted the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from fetcher.engine.body import Body
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.segment import Segment
from fetcher.errors import FetcherError
from fetcher.model import Part, Request
from fetcher.policy.resume import first_gap, merged

LEAST_SEGMENT = 1024 * 1024  # a smaller range is not worth a request
_RATE_S = 1.0  # for so long a connection counts as being as fast as the others are


class SegmentFetch(FetchState, kw_only=True):
    """A further connection of a body: it takes a `segment` when it has a slot."""

    split: BodySplit
    is_foreign: bool = False  # it asks a mirror
    segment: Segment | None = None


class BodySplit:
    """One body in segments. `part` is what earlier attempts have left of it, with its total.

    `leader` is the segment of the first exchange, that of `fetch`, `request` and `body`, which began at
    `started` (the loop's time). `waiting` are the fetches that will take a segment when they have a slot.
    """

    def __init__(
        self, part: Part, leader: Segment, fetch: FetchState, request: Request, body: Body, started: float
    ) -> None:
        assert part.total is not None
        self.total = part.total
        self.leader = leader
        self.fetch = fetch
        self.request = request
        self.body = body
        self.started = started
        self.in_flight = [leader]
        self.waiting: list[SegmentFetch] = []
        self.error: FetcherError | None = None  # what ended the splitting, or a connection
        self.is_stopped = False
        self.is_over = False  # handed on; an exchange that has brought nothing may end after that
        self.is_mixed = False  # bytes of mirrors are in it
        self.other_bytes = 0  # received by exchanges that are over, the leader's aside
        self._part = part
        self._own = list(part.extents)
        self._others: list[tuple[int, int]] = []

    @property
    def is_whole(self) -> bool:
        return first_gap(self._extents(), self.total) is None

    @property
    def received(self) -> int:
        """The bytes of the body that came, in this attempt and before."""
        return sum(
            end - begin for begin, end in merged([*self._held(), *((s.begin, s.at) for s in self.in_flight)])
        )

    def part(self) -> Part:
        """Return what is on disk, as another attempt or run can continue it."""
        live = sum(s.body.wire_bytes for s in self.in_flight if isinstance(s.body, Body))
        if self.leader not in self.in_flight:
            live += self.body.wire_bytes
        return msgspec.structs.replace(
            self._part,
            extents=self._extents(),
            resumed_at=self.body.resumed_at,
            wire_bytes=self._part.wire_bytes + self.other_bytes + live,
        )

    def next_range(self, now: float) -> tuple[int, int, Segment | None] | None:
        """Choose a range for one more connection, and the segment that loses it; None is none worth it."""
        if self.is_stopped or self.is_over:
            return None
        gap = first_gap([*self._held(), *((s.begin, s.end) for s in self.in_flight)], self.total)
        if gap is not None:
            return *gap, None
        slowest = max(self.in_flight, key=self._time_left(now), default=None)
        if slowest is None or slowest.end - slowest.at < 2 * LEAST_SEGMENT:
            return None
        return slowest.at + (slowest.end - slowest.at) // 2, slowest.end, slowest

    def take(self, now: float) -> Segment | None:
        """Give the next range to a connection that has none; None if none is worth one."""
        found = self.next_range(now)
        if found is None:
            return None
        begin, end, loser = found
        if loser is not None:
            loser.end = begin
        segment = Segment(begin, end, now, asked_end=end)
        self.in_flight.append(segment)
        return segment

    def began(self, segment: Segment) -> bool:
        """The answer for a segment fits: who is before it ends there. False if another is further by now."""
        taken = [*self._held(), *((s.begin, s.at) for s in self.in_flight if s is not segment)]
        if self.is_over or self.is_stopped or any(begin <= segment.begin < end for begin, end in taken):
            return False
        self._set_limits(segment)
        return True

    def ended(self, segment: Segment) -> None:
        """The exchange of a segment is over, and its file is closed: what is on disk is held."""
        self.in_flight.remove(segment)
        held = self._own if segment is self.leader else self._others
        self.is_mixed = self.is_mixed or (segment.is_foreign and segment.on_disk > segment.begin)
        held.append((segment.begin, segment.on_disk))
        if self.is_stopped:
            self._give_back()
        elif segment.on_disk == segment.begin:
            self._return_gaps()

    def stop(self, error: FetcherError) -> None:
        """Go on over one connection and trust no other: an answer contradicted the first one."""
        self.error = error
        self.is_stopped = True
        for segment in self.in_flight:
            if segment is not self.leader:
                segment.end = segment.at
                segment.limit_to(segment.at)
        self._give_back()

    def _return_gaps(self) -> None:
        """Let those in flight go on where another brought nothing, as far as their answers go."""
        taken = [begin for begin, end in self._held() if begin < end] + [s.begin for s in self.in_flight]
        for each in self.in_flight:
            following = min((begin for begin in taken if begin >= each.end), default=self.total)
            end = min(following, each.asked_end or self.total)
            each.end = max(each.end, end)
        self._set_limits()

    def _set_limits(self, begun: Segment | None = None) -> None:
        """Let each go on up to where another has begun to bring what follows; `begun` is about to."""
        filling = [s for s in self.in_flight if s.body is not None or s is begun]
        taken = [begin for begin, end in self._held() if begin < end] + [s.begin for s in filling]
        for each in filling:
            following = min((begin for begin in taken if begin > each.begin), default=self.total)
            each.limit_to(min(following, each.asked_end or self.total))

    def _give_back(self) -> None:
        """The leader is alone: what the others had is its own again, as far as its answer goes."""
        self._others.clear()
        if self.in_flight == [self.leader]:
            self.leader.end = self.total if self.leader.asked_end is None else self.leader.asked_end
            self.leader.limit_to(self.leader.end)

    def _held(self) -> Iterator[tuple[int, int]]:
        yield from self._own
        yield from self._others

    def _extents(self) -> tuple[tuple[int, int], ...]:
        live = self.in_flight if not self.is_stopped else [s for s in self.in_flight if s is self.leader]
        return merged([*self._held(), *((s.begin, s.on_disk) for s in live)])

    def _time_left(self, now: float) -> Callable[[Segment], float]:
        """Return how long a segment will take yet, by its own speed and, until that shows, the others'."""
        received = sum(s.at - s.begin for s in self.in_flight)
        seconds = sum(now - s.since for s in self.in_flight)
        mean = max(received, 1) / max(seconds, 0.001)

        def time_left(segment: Segment) -> float:
            speed = (segment.at - segment.begin + mean * _RATE_S) / (now - segment.since + _RATE_S)
            return (segment.end - segment.at) / speed

        return time_left
