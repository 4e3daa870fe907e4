"""Timings of exchanges: what each waited for, and what its time went into; packed as they are kept.

An exchange is measured once, where it ends (`engine/exchange_timing.py`), and becomes one entry of bytes.
Outcomes carry entries through processes, the state keeps those of a batch as one blob, and `read_timings`
gives them back. All figures of an entry are seconds that follow one another, so any number of entries can be
added up: what its URL waited for (`waits`, a key of `CAUSES` each), then `name`, `connect`, `tls`, `header`,
`body`, and of the body's time what the server was made to wait for, `disk` and `bandwidth`.

Invariant: an ordinary exchange (on a kept connection, no fault, one cause of waiting, and what was
not settled yet) is 36 bytes and one call of `pack_ordinary`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import msgspec

# What a URL waits for before an exchange. Stored by their places: new ones go to the end.
CAUSES = (
    "concurrency",  # as many exchanges were in flight as there may be
    "per-host",
    "delay",
    "rate",
    "retry-after",
    "backoff",
    "hold",  # a time of its own that an earlier run has set
    "descriptors",  # there were no more of them
    "settling",  # what had ended was not safe yet: parser or disk were behind
    "memory",  # the byte budget was spent
    "robots",  # the robots.txt of its origin was not known yet
)
CONCURRENCY, PER_HOST = CAUSES.index("concurrency"), CAUSES.index("per-host")
PHASES = ("name", "connect", "tls", "header", "body", "disk", "bandwidth")

_ORDINARY, _UNUSUAL, _PARSED, _STORED = range(4)
_ordinary = struct.Struct("<BBHqdffff")
_unusual = struct.Struct("<BBHqd7fQI")
_parsed = struct.Struct("<Bqff")
_stored = struct.Struct("<Bf")
_pack_ordinary = _ordinary.pack


class TimingNotes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Notes on an unusual exchange.

    `url` is that of a hop, `resumed_at` the offset that a body was continued from, `error` and `message` say
    why it failed before it had an answer, or within it, `resent` how often it went out again, at once,
    because a kept connection had ended.
    """

    waits: Mapping[str, float] = {}
    url: str | None = None
    error: str | None = None
    message: str | None = None
    resumed_at: int | None = None
    resent: int = 0


class Timing(msgspec.Struct, kw_only=True):
    """One exchange of the job `id`. `started_at` is UTC epoch seconds; `status` 0 is no answer.

    `phases` has a figure for each of `PHASES`. `parse` is what a page waited for its parser and spent there;
    `stored` what writing the files of its batch took. None is not known.
    """

    id: int
    started_at: float
    status: int
    waits: dict[str, float]
    phases: dict[str, float]
    wire_bytes: int | None = None
    is_new_connection: bool = False
    notes: TimingNotes = TimingNotes()
    parse: tuple[float, float] | None = None
    stored: float | None = None

    @property
    def seconds(self) -> float:
        """The time that it took, without that of waiting."""
        return sum(self.phases.values())


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TimingNotes).decode


def pack_ordinary(
    number: int,
    started_at: float,
    cause: int,
    waited_s: float,
    settling_s: float,
    status: int,
    header_s: float,
    body_s: float,
) -> bytes:
    """Pack an exchange on a kept connection that went as it should.

    It waited for `cause`, and for settling, and for nothing else.
    """
    return _pack_ordinary(
        _ORDINARY, cause, status, number, started_at, waited_s, settling_s, header_s, body_s
    )


def pack_unusual(
    number: int,
    started_at: float,
    status: int,
    phases: tuple[float, float, float, float, float, float, float],
    wire_bytes: int,
    notes: TimingNotes,
    *,
    is_new_connection: bool,
) -> bytes:
    """Pack any exchange. `phases` are in the order of `PHASES`."""
    rest = _encode(notes)
    head = _unusual.pack(
        _UNUSUAL, is_new_connection, status, number, started_at, *phases, wire_bytes, len(rest)
    )
    return head + rest


def pack_parsed(number: int, waited_s: float, took_s: float) -> bytes:
    """Pack how long a page, fetched by the entries before, waited for its parser and was with it."""
    return _parsed.pack(_PARSED, number, waited_s, took_s)


def pack_stored(took_s: float) -> bytes:
    """Pack how long the files of all entries since the last of these took to be written."""
    return _stored.pack(_STORED, took_s)


def read_timings(entries: bytes) -> Iterator[Timing]:
    """Yield the exchanges that were packed, in their order.

    Raises:
        struct.error, ValueError, msgspec.MsgspecError: they are damaged.
    """
    found: list[Timing] = []
    by_job: dict[int, Timing] = {}
    at = unstored = 0
    while at < len(entries):
        tag = entries[at]
        if tag == _ORDINARY:
            _, cause, status, number, started_at, waited_s, settling_s, header_s, body_s = (
                _ordinary.unpack_from(entries, at)
            )
            at += _ordinary.size
            phases = {**dict.fromkeys(PHASES, 0.0), "header": header_s, "body": body_s}
            waits = {CAUSES[cause]: waited_s} if cause < len(CAUSES) else {}
            if settling_s:
                waits["settling"] = settling_s
            timing = Timing(id=number, started_at=started_at, status=status, waits=waits, phases=phases)
        elif tag == _UNUSUAL:
            _, is_new, status, number, started_at, *rest, wire_bytes, size = _unusual.unpack_from(entries, at)
            at += _unusual.size
            notes = _decode(entries[at : at + size])
            at += size
            timing = Timing(
                id=number,
                started_at=started_at,
                status=status,
                waits=dict(notes.waits),
                phases=dict(zip(PHASES, rest, strict=True)),
                wire_bytes=wire_bytes,
                is_new_connection=bool(is_new),
                notes=notes,
            )
        elif tag == _PARSED:
            _, number, waited_s, took_s = _parsed.unpack_from(entries, at)
            at += _parsed.size
            if number in by_job:
                by_job[number].parse = waited_s, took_s
            continue
        elif tag == _STORED:
            took_s = _stored.unpack_from(entries, at)[1]
            at += _stored.size
            for timing in found[unstored:]:
                timing.stored = took_s
            unstored = len(found)
            continue
        else:
            raise ValueError(f"a timing of an unknown kind, {tag}")
        found.append(timing)
        by_job[timing.id] = timing
    yield from found
