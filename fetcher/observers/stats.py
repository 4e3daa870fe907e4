"""Counts of a run, in bounded memory: by state, error, host and status class, and how long URLs took.

Latencies go into a histogram with buckets 5 % apart, so a percentile is right within 5 % whatever the
number of URLs. At most `MOST_HOSTS` hosts have counts of their own; later ones share `others`.
"""

from __future__ import annotations

import math
from typing import Any

from fetcher.events import Event, HostHeld, Retrying, Settled
from fetcher.model import Record

MOST_HOSTS = 10_000
OTHERS = "others"


class Histogram:
    """Durations in seconds from 0.1 ms to three days, in buckets each 5 % wider than the last."""

    _SMALLEST_S = 1e-4
    _STEP = math.log(1.05)
    _BUCKETS = 450

    def __init__(self) -> None:
        self._counts = [0] * self._BUCKETS
        self.total = 0
        self.sum_s = 0.0
        self.most_s = 0.0

    def add(self, seconds: float) -> None:
        bucket = 0
        if seconds > self._SMALLEST_S:
            bucket = min(int(math.log(seconds / self._SMALLEST_S) / self._STEP) + 1, self._BUCKETS - 1)
        self._counts[bucket] += 1
        self.total += 1
        self.sum_s += seconds
        self.most_s = max(self.most_s, seconds)

    def percentile(self, percent: float) -> float:
        """The duration that `percent` of all did not exceed, rounded up to its bucket's edge; 0 if none."""
        if not self.total:
            return 0.0
        rank = max(math.ceil(self.total * percent / 100), 1)
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(self._SMALLEST_S * math.exp(bucket * self._STEP), self.most_s)
        return self.most_s

    def as_dict(self) -> dict[str, float]:
        figures = {f"p{percent}": round(self.percentile(percent), 6) for percent in (50, 90, 95, 99)}
        mean = self.sum_s / self.total if self.total else 0.0
        return {"mean": round(mean, 6), **figures, "max": round(self.most_s, 6)}


class Stats:
    """An observer that counts. Read it with `as_dict` at any time."""

    def __init__(self) -> None:
        self.states: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.statuses: dict[str, int] = {}
        self.hosts: dict[str, list[int]] = {}  # ended, failed, bytes stored
        self.latency = Histogram()
        self.bytes = 0
        self.wire_bytes = 0
        self.retries = 0
        self.holds = 0

    def on_event(self, event: Event) -> None:
        if isinstance(event, Settled):
            for record in event.records:
                self._count(record)
        elif isinstance(event, Retrying):
            self.retries += 1
        elif isinstance(event, HostHeld):
            self.holds += 1

    def _count(self, record: Record) -> None:
        self.states[record.state] = self.states.get(record.state, 0) + 1
        if record.error is not None:
            self.errors[record.error] = self.errors.get(record.error, 0) + 1
        if record.status is not None:
            group = _status_class(record.status)
            self.statuses[group] = self.statuses.get(group, 0) + 1
        if record.attempts:
            self.latency.add(record.elapsed)
        self.bytes += record.bytes
        self.wire_bytes += record.wire_bytes
        host = self._host(_host_of(record.url))
        host[0] += 1
        host[1] += record.state == "failed"
        host[2] += record.bytes

    def _host(self, name: str) -> list[int]:
        counts = self.hosts.get(name)
        if counts is None:
            if len(self.hosts) >= MOST_HOSTS:
                name = OTHERS
            counts = self.hosts.setdefault(name, [0, 0, 0])
        return counts

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data; hosts from the busiest down."""
        busiest = sorted(self.hosts.items(), key=lambda item: (-item[1][0], item[0]))
        return {
            "ended": sum(self.states.values()),
            "states": dict(self.states),
            "errors": _commonest_first(self.errors),
            "statuses": dict(sorted(self.statuses.items())),
            "hosts": {
                name: {"ended": ended, "failed": failed, "bytes": octets}
                for name, (ended, failed, octets) in busiest
            },
            "latency_s": self.latency.as_dict(),
            "bytes": self.bytes,
            "wire_bytes": self.wire_bytes,
            "retries": self.retries,
            "holds": self.holds,
        }


def _commonest_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _status_class(status: int) -> str:
    return f"{status // 100}xx" if 100 <= status <= 999 else "other"


def _host_of(url: str) -> str:
    """Name and port as written, without userinfo; `-` for what is no URL. A count needs no parser."""
    _, mark, rest = url.partition("://")
    if not mark:
        return "-"
    authority = rest.split("/", 1)[0].split("?", 1)[0].split("#", 1)[0]
    return authority.rpartition("@")[2].lower()[:260] or "-"
