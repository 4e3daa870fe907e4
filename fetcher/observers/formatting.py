"""Figures for people: counts, sizes, durations and rates as short text, and the speed of a run.

Sizes count in 1024s, as the options read them (`10M`). Everything here is pure: `RateEstimator` takes its
clock from the snapshots it is given, so the same snapshots always give the same figures.
"""

from __future__ import annotations

import math

import msgspec

from fetcher.events import Event, LogMessage, OutcomesSettled, Snapshot
from fetcher.model import Record

_UNITS = ("KB", "MB", "GB", "TB", "PB")
_SETTLING_S = 5.0  # what happened this long ago still weighs 1/e in a rate
_INSTANT_S = 0.001  # a shorter while between two samples says nothing of a rate
_LONGEST_LEFT_S = 100 * 86400.0  # beyond this a forecast says nothing


def count(number: int) -> str:
    """12300 as `12,300`."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 URL`, `2 URLs`, `3 retries`."""
    if number == 1:
        return f"1 {noun}"
    ending = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {ending}"


def size(octets: float) -> str:
    """Bytes as `999 B`, `4.5 KB`, `45 MB`."""
    if octets < 1000:
        return f"{octets:.0f} B"
    value = float(octets)
    for unit in _UNITS:
        value /= 1024
        if value < 9.95:
            return f"{value:.1f} {unit}"
        if value < 999.5:
            return f"{value:.0f} {unit}"
    return f"{value:,.0f} {_UNITS[-1]}"


def duration(seconds: float) -> str:
    """Seconds as `0.3 s`, `20 s`, `1 min 05 s`, `2 h 03 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24} h"


def rate(per_s: float) -> str:
    """Format a rate as `1,230/s`, `4.5/s`, or `12/min` below one a second."""
    if per_s >= 9.95:
        return f"{per_s:,.0f}/s"
    if per_s >= 0.995 or per_s <= 0:
        return f"{per_s:.1f}".removesuffix(".0") + "/s"
    return f"{per_s * 60:.0f}/min" if per_s * 60 >= 0.95 else f"{per_s * 3600:.0f}/h"


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters, the middle left out: both ends of a URL tell the most."""
    if len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    head = width // 2
    return f"{text[:head]}…{text[len(text) - (width - head - 1) :]}"


class Rates(msgspec.Struct, frozen=True):
    """Speeds of a run. `left_s` is None while that can't be known; `bodies` are bytes/s by URL."""

    urls_per_s: float = 0.0
    bytes_per_s: float = 0.0
    left_s: float | None = None
    bodies: dict[str, float] = {}


class RateEstimator:
    """Smoothed rates from successive snapshots.

    A weighted mean that forgets exponentially, normalised by the weight it has seen, so that the first
    figures are neither zero nor a spike. URLs that ended in earlier sessions are no speed of this one.
    """

    def __init__(self) -> None:
        self._before = (0.0, 0, 0)  # time, URLs ended in this session, bytes received
        self._weight = 0.0
        self._urls = 0.0
        self._bytes = 0.0
        self._bodies: dict[str, _BodyPace] = {}

    def sample(self, snapshot: Snapshot) -> Rates:
        """Return the rates as of this snapshot; one at the same instant as the last changes nothing."""
        now = (snapshot.elapsed_s, snapshot.ended - snapshot.earlier, snapshot.wire_bytes)
        passed = now[0] - self._before[0]
        if passed >= _INSTANT_S:
            keep = math.exp(-passed / _SETTLING_S)
            fresh = 1 - keep
            self._weight = self._weight * keep + fresh
            self._urls = self._urls * keep + max(now[1] - self._before[1], 0) / passed * fresh
            self._bytes = self._bytes * keep + max(now[2] - self._before[2], 0) / passed * fresh
            self._before = now
        if not self._weight:
            return Rates()
        urls_per_s, bytes_per_s = self._urls / self._weight, self._bytes / self._weight
        bodies = self._sample_bodies(snapshot)
        return Rates(urls_per_s, bytes_per_s, _left(snapshot, urls_per_s, bytes_per_s, bodies), bodies)

    def _sample_bodies(self, snapshot: Snapshot) -> dict[str, float]:
        paces = {url: self._bodies.get(url) or _BodyPace() for url, _, _ in snapshot.growing}
        self._bodies = paces
        return {url: paces[url].sample(snapshot.elapsed_s, length) for url, length, _ in snapshot.growing}


class _BodyPace:
    """The smoothed rate of one body, from the moment it was first seen."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None
        self._weight = 0.0
        self._bytes = 0.0

    def sample(self, elapsed_s: float, length: int) -> float:
        """Return the bytes per second, 0 at first."""
        if self._before is not None and (passed := elapsed_s - self._before[0]) >= _INSTANT_S:
            keep = math.exp(-passed / _SETTLING_S)
            self._weight = self._weight * keep + 1 - keep
            self._bytes = self._bytes * keep + max(length - self._before[1], 0) / passed * (1 - keep)
        self._before = elapsed_s, length
        return self._bytes / self._weight if self._weight else 0.0


def _left(
    snapshot: Snapshot, urls_per_s: float, bytes_per_s: float, bodies: dict[str, float]
) -> float | None:
    """Return the seconds left: by bytes where all that is pending is seen to grow, else by URLs.

    No body that is seen to grow ends later than that; a run that is paused or stops has no such time.
    """
    if not snapshot.input_ended or snapshot.is_paused or snapshot.is_stopping:
        return None
    missing = missing_bytes(snapshot)
    if missing is not None:
        left = missing / bytes_per_s if bytes_per_s > 0 else _LONGEST_LEFT_S
    elif urls_per_s > 0:
        left = max(total(snapshot) - snapshot.ended, 0) / urls_per_s
        of_bodies = [
            max(whole - length, 0) / bodies[url]
            for url, length, whole in snapshot.growing
            if whole and bodies.get(url, 0) > 0
        ]
        left = max([left, *of_bodies])
    else:
        return None
    return left if left < _LONGEST_LEFT_S else None


def missing_bytes(snapshot: Snapshot) -> int | None:
    """Return the bytes still to come, where every pending URL is a body in flight whose length is known."""
    growing = snapshot.growing
    if not growing or snapshot.pending != len(growing):
        return None
    totals = [(length, whole) for _, length, whole in growing if whole is not None]
    return sum(max(whole - length, 0) for length, whole in totals) if len(totals) == len(growing) else None


def share(snapshot: Snapshot) -> float:
    """Return the share of the run that has ended, from 0 to 1; a body in flight counts by its bytes."""
    whole = total(snapshot)
    grown = sum(min(length / of, 1.0) for _, length, of in snapshot.growing if of)
    return min((snapshot.ended + grown) / whole, 1.0) if whole else 0.0


def body(length: int, whole: int | None) -> str:
    """Return a body in flight as `23 MB of 50 MB, 47 %`, or as what is there of it."""
    if not whole:
        return size(length)
    return f"{size(length)} of {size(whole)}, {min(length * 100 // whole, 100)} %"


def total(snapshot: Snapshot) -> int:
    """Return the number of URLs to end, as far as is known, those left by an earlier list included."""
    return max(snapshot.listed, snapshot.ended + snapshot.pending)


def progress(snapshot: Snapshot) -> str:
    """`12,300 of 20,000`, or what is known while the input is still being read."""
    if snapshot.input_ended:
        return f"{count(snapshot.ended)} of {count(total(snapshot))}"
    return f"{count(snapshot.ended)} of {count(total(snapshot))}, reading…"


def troubles(event: Event) -> list[Record]:
    """Return the records of a batch that a person should hear of: failed, or refused by other than robots."""
    if not isinstance(event, OutcomesSettled):
        return []
    return [
        record
        for record in event.records
        if record.state == "failed" or (record.state == "refused" and record.error != "robots")
    ]


def notice_text(notice: LogMessage) -> str:
    """Return a notice as one line; an information stands for itself, the rest says how grave it is."""
    return notice.text if notice.level == "info" else f"{notice.level}: {notice.text}"
