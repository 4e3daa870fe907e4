"""One range of a body that several connections fill: what one exchange brings of it.

Invariant: `begin` <= `on_disk` <= `at` <= `limit`. `end` comes forward when another connection takes the
rest, and back when that brings nothing; `limit` follows only once the other's answer is there and fits. So a
connection that is refused costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class SegmentFilled(Exception):
    """An exchange brought all of its segment, and its answer holds more: what follows is another's."""


class SegmentWriter(Protocol):
    """The body of an exchange, as far as a segment looks at it."""

    length: int

    @property
    def spooled_to(self) -> int: ...

    def limit_to(self, end: int) -> None: ...


class Segment:
    """Range of bytes from `begin` up to `end`, taken at `since` (the loop's time); no more than to `limit`.

    `asked_end` is the end that the request names, None for the rest of the whole. `body` is there as soon as
    the answer has been found to fit. `is_foreign` says that a mirror is asked for it. `give_up` ends its
    exchange.
    """

    __slots__ = ("asked_end", "begin", "body", "end", "give_up", "is_foreign", "limit", "since")

    def __init__(self, begin: int, end: int, since: float, *, asked_end: int | None) -> None:
        self.begin = begin
        self.end = self.limit = end
        self.since = since
        self.asked_end = asked_end
        self.is_foreign = False
        self.body: SegmentWriter | None = None
        self.give_up: Callable[[], None] = _nothing

    @property
    def at(self) -> int:
        """The end of what was received."""
        return self.begin if self.body is None else max(self.begin, self.body.length)

    @property
    def on_disk(self) -> int:
        """The end of what its file has."""
        return self.begin if self.body is None else max(self.begin, self.body.spooled_to)

    def limit_to(self, limit: int) -> None:
        """Receive up to `limit` and no more."""
        self.limit = limit
        if self.body is not None:
            self.body.limit_to(limit)


def _nothing() -> None:
    """End nothing: there is no exchange yet."""
