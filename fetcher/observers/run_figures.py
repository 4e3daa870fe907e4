"""The figures of a run for Prometheus, by its conventions: base units, counters that end in `_total`.

Invariant: the number of series is bounded, whatever servers and lists hold: states, slugs and classes of
status are few, and hosts beyond the busiest are one. The library is the extra `metrics`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import (
    Counter as Figure,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from fetcher.events import Event, HostThrottled, OutcomesSettled, Retrying, Snapshot
from fetcher.model import FINAL_STATES
from fetcher.whole_file import write_whole

OTHER: Final = "(other)"  # no host's name
_MOST_HOSTS = 50
_MOST_KNOWN = 10_000  # hosts that are counted without a series of their own
_ELAPSED_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_HOST = re.compile(r"\w+://(?:[^/?#@]*@)?([^/?#]{1,255})")


class HostCounts:
    """Counts by host and state for the `most` busiest hosts; the others are one, `OTHER`.

    A host that has overtaken a named one twice over takes its place, and counts from there: so every count
    only grows, and their sum is exact.
    """

    def __init__(self, most: int = _MOST_HOSTS) -> None:
        self._most = most
        self.named: dict[str, Counter[str]] = {}
        self.other: Counter[str] = Counter()
        self._known: Counter[str] = Counter()  # of those that are not named
        self._least = 0  # no named host has fewer

    def add(self, host: str, state: str) -> None:
        """Count one outcome; an empty host is one of the others."""
        counts = self.named.get(host)
        if counts is None and host and (len(self.named) < self._most or self._overtakes(host)):
            counts = self.named[host] = Counter()
        if counts is None:
            counts = self.other
        counts[state] += 1

    def _overtakes(self, host: str) -> bool:
        """Count a host without a name; True if it takes the place of one that was named."""
        self._known[host] += 1
        number = self._known[host]
        if number <= 2 * self._least + 1:
            if len(self._known) > _MOST_KNOWN:
                self._known = Counter(dict(self._known.most_common(_MOST_KNOWN // 2)))
            return False
        idlest = min(self.named, key=lambda name: self.named[name].total())
        self._least = self.named[idlest].total()
        if number <= 2 * self._least + 1:
            return False
        self.other.update(self.named.pop(idlest))
        self._known[idlest] = self._least
        del self._known[host]
        return True


class RunFigures:
    """Observer that counts what happens, and gives it with the state of the run as Prometheus's text."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._hosts = HostCounts()
        self._outcomes = Figure(
            "fetcher_outcomes", "URLs that ended in this run, by state", ["state"], registry=registry
        )
        self._errors = Figure(
            "fetcher_errors",
            "URLs that failed or were refused, by the record's error",
            ["error"],
            registry=registry,
        )
        self._answers = Figure(
            "fetcher_answers",
            "URLs that ended with an answer, by class of status",
            ["class"],
            registry=registry,
        )
        self._retries = Figure(
            "fetcher_retries", "attempts that another follows", ["error"], registry=registry
        )
        self._holds = Figure(
            "fetcher_holds", "times that a host asked for time", ["reason"], registry=registry
        )
        self._elapsed = Histogram(
            "fetcher_url_duration_seconds",
            "time of all attempts at a URL",
            buckets=_ELAPSED_S,
            registry=registry,
        )
        for state in FINAL_STATES:
            self._outcomes.labels(state)
        registry.register(_StateCollector(snapshot, self._hosts))

    def on_event(self, event: Event) -> None:
        if isinstance(event, OutcomesSettled):
            for record in event.records:
                self._outcomes.labels(record.state).inc()
                if record.error is not None:
                    self._errors.labels(record.error).inc()
                if record.status is not None:
                    self._answers.labels(f"{record.status // 100}xx").inc()
                if record.state != "refused":
                    self._elapsed.observe(record.elapsed)
                found = _HOST.match(record.url)
                self._hosts.add(found[1].lower() if found else "", record.state)
        elif isinstance(event, Retrying):
            self._retries.labels(event.error).inc()
        elif isinstance(event, HostThrottled):
            self._holds.labels(event.reason).inc()

    def set_end(self, exit_code: int) -> None:
        """Add how and when the run ended."""
        for name, text, value in (
            ("fetcher_run_exit_code", "exit code of the last run", exit_code),
            ("fetcher_run_end_timestamp_seconds", "when the last run ended", time.time()),
        ):
            Gauge(name, text, registry=self.registry).set(value)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)

    def write(self, path: str, labels: Mapping[str, str]) -> None:
        """Write the text to a whole file; `labels` are added to every sample.

        Raises `OSError`.
        """
        labelled = CollectorRegistry(auto_describe=False)
        labelled.register(_Labelled(self.registry, labels))
        write_whole(path, generate_latest(labelled))


class _StateCollector:
    """The state of the run, taken when it is asked for."""

    def __init__(self, snapshot: Callable[[], Snapshot], hosts: HostCounts) -> None:
        self._snapshot = snapshot
        self._hosts = hosts

    def collect(self) -> Iterator[Metric]:
        now = self._snapshot()
        urls = GaugeMetricFamily(
            "fetcher_urls", "URLs of the list by state, earlier runs included", labels=["state"]
        )
        for state, number in {**now.finals(), "pending": now.pending}.items():
            urls.add_metric([state], number)
        yield urls
        for name, text, value in (
            ("fetcher_exchanges_in_flight", "exchanges in flight", now.active),
            ("fetcher_urls_waiting", "URLs that only time can make ready", now.waiting),
            ("fetcher_run_duration_seconds", "time since the run began", now.elapsed_s),
            ("fetcher_input_ended", "1 when the list was read to its end", int(now.input_ended)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, value in (
            ("fetcher_requests", "requests that were sent", now.requests),
            ("fetcher_received_bytes", "bytes of bodies received", now.wire_bytes),
            ("fetcher_stored_bytes", "bytes of bodies stored", now.bytes),
        ):
            yield CounterMetricFamily(name, text, value=value)
        hosts = CounterMetricFamily(
            "fetcher_host_outcomes", "URLs that ended, by host and state", labels=["host", "state"]
        )
        for host, counts in [*self._hosts.named.items(), (OTHER, self._hosts.other)]:
            for state, number in counts.items():
                hosts.add_metric([host, state], number)
        yield hosts


class _Labelled:
    """Everything of a registry, with more labels."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self._registry = registry
        self._labels = dict(labels)

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample._replace(labels={**sample.labels, **self._labels}) for sample in metric.samples
            ]
            yield metric
