"""Events for observers: they inform, never steer, and come in batches, not one per URL."""

from __future__ import annotations

import msgspec

from fetcher.model import Bottleneck, FinalCounts, Outcome, Record


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of all events."""


class Snapshot(FinalCounts, frozen=True, kw_only=True, gc=False):
    """State of a run for displays: sampled, never pushed. Rates are the observer's to compute."""

    listed: int = 0  # of this list so far, duplicates apart
    input_ended: bool = False
    pending: int = 0  # not final yet, claimed or not
    active: int = 0  # exchanges in flight
    waiting: int = 0  # claimed and waiting for a time
    duplicates: int = 0
    earlier: int = 0  # of this list, final before this session
    bytes: int = 0  # stored
    wire_bytes: int = 0  # received, bodies that still grow included
    requests: int = 0
    elapsed_s: float = 0.0
    is_stopping: bool = False  # nothing more is started; what is in flight may end
    is_paused: bool = False  # nothing more is started until somebody ends that
    concurrency: int = 0  # exchanges that may be in flight at once
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    hook_failures: int = 0  # of `on_done`
    hooks_left: int = 0  # 1 if some are due
    left_out: dict[str, int] = msgspec.field(default_factory=dict)  # by rules of a crawl, at its end
    # The busiest: host, active, queued, why it waits or "".
    hosts: list[tuple[str, int, int, str]] = msgspec.field(default_factory=list)
    # The largest bodies in flight: URL, bytes there, of how many.
    growing: list[tuple[str, int, int | None]] = msgspec.field(default_factory=list)
    bottleneck: Bottleneck | None = None  # what held the run back so far


class RunStarted(Event, frozen=True, gc=False):
    """The engine is up; `left` URLs were pending from an earlier list."""

    left: int


class OutcomesSettled(Event, frozen=True, gc=False):
    """A batch of URLs ended and is safe; `lines` are the records as JSON, if they were encoded."""

    records: list[Record]
    lines: list[bytes]


class ExchangesSettled(Event, frozen=True, gc=False):
    """A batch of outcomes is safe, deferrals too, with the timings of their exchanges.

    Only for observers that want it (`ports.Observer`).
    """

    outcomes: list[Outcome]


class Retrying(Event, frozen=True, gc=False):
    """One attempt failed and another follows in `delay_s` seconds."""

    url: str
    error: str
    message: str
    attempt: int
    delay_s: float


class HostThrottled(Event, frozen=True, gc=False):
    """A host asked for time, or is slowed down."""

    host: str
    reason: str
    seconds: float
    limit: int


class LogMessage(Event, frozen=True, gc=False):
    """Something a person should know once. `level` is info, warning or error."""

    level: str
    text: str


class RunEnded(Event, frozen=True, gc=False):
    """The run is over. `stopped` is None at the natural end, else why it stopped."""

    snapshot: Snapshot
    stopped: str | None
