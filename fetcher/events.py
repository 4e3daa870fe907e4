"""What observers are told. Events inform, never steer; they come in batches, not one per URL."""

from __future__ import annotations

import msgspec

from fetcher.model import Record


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of all events."""


class Snapshot(msgspec.Struct, gc=False):
    """How a run stands, for displays: sampled, never pushed. Rates are the observer's to compute."""

    listed: int = 0  # of this list so far, duplicates apart
    input_ended: bool = False
    pending: int = 0  # not final yet, claimed or not
    active: int = 0  # exchanges in flight
    waiting: int = 0  # claimed and waiting for a time
    done: int = 0
    unchanged: int = 0
    failed: int = 0
    refused: int = 0
    duplicates: int = 0
    earlier: int = 0  # of this list, final before this session
    bytes: int = 0  # stored
    wire_bytes: int = 0
    requests: int = 0
    elapsed_s: float = 0.0
    errors: dict[str, int] = {}
    left_out: dict[str, int] = {}  # by rules of a crawl, at its end
    hosts: list[tuple[str, int, int, str]] = []  # busiest: host, active, queued, why it waits or ""

    @property
    def ended(self) -> int:
        return self.done + self.unchanged + self.failed + self.refused


class RunStarted(Event, frozen=True, gc=False):
    """The engine is up; `left` URLs were pending from an earlier list."""

    left: int


class Settled(Event, frozen=True, gc=False):
    """A batch of URLs ended and is safe; `lines` are the records as JSON, if they were encoded."""

    records: list[Record]
    lines: list[bytes]


class Retrying(Event, frozen=True, gc=False):
    """One attempt failed and another follows in `delay_s` seconds."""

    url: str
    error: str
    message: str
    attempt: int
    delay_s: float


class HostHeld(Event, frozen=True, gc=False):
    """A host asked for time, or is slowed down."""

    host: str
    reason: str
    seconds: float
    limit: int


class Notice(Event, frozen=True, gc=False):
    """Something a person should know once. `level` is info, warning or error."""

    level: str
    text: str


class RunEnded(Event, frozen=True, gc=False):
    """The run is over. `stopped` is None at the natural end, else why it stopped."""

    snapshot: Snapshot
    stopped: str | None
