"""The exchanges of a run as spans of OpenTelemetry, by its conventions for HTTP clients (the extra `otel`).

A span is made after the fact, from the timing that its exchange has left, so the exchange itself is not
slowed. A URL of one exchange is one span; the exchanges of another (redirects, retries) stand below a span of
its own. Invariant: of URLs that are tried again, at most `_MOST_OPEN` have such a span open.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from yarl import URL

from fetcher.events import Event, ExchangesSettled, RunEnded
from fetcher.model import Job, Outcome
from fetcher.policy.redaction import without_secrets
from fetcher.policy.redirects import next_method
from fetcher.timings import Timing, read_timings

_MOST_OPEN = 10_000
_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)


class _Chain(msgspec.Struct):
    """The exchanges of one URL so far; `span` is above them."""

    method: str
    span: Span | None = None
    context: Context | None = None
    requests: int = 0
    ended_at: float = 0.0


class ExchangeTraces:
    """Observer that gives the exchanges of settled outcomes to `tracer`.

    Spans stand below the one that is current now, or was when their job was adopted. Of at most `most_per_s`
    URLs a second there are any; the tracer's sampler decides on those.
    """

    wants_exchanges = True

    def __init__(self, tracer: Tracer, *, most_per_s: int | None = None) -> None:
        self._tracer = tracer
        self._most_per_s = most_per_s
        self._context = contexts.get_current()
        self._open: OrderedDict[int, _Chain] = OrderedDict()
        self._second = self._in_second = 0
        self._parents: dict[int, Context] = {}

    def on_event(self, event: Event) -> None:
        if isinstance(event, ExchangesSettled):
            for outcome in event.outcomes:
                if outcome.timings and (outcome.job.id in self._open or self._has_room()):
                    self._trace(outcome)
        elif isinstance(event, RunEnded):
            while self._open:
                self._end(self._open.popitem()[1])

    def adopt(self, number: int) -> None:
        """Have the spans of a job stand below the one that is current now."""
        self._parents[number] = contexts.get_current()

    def leave(self, number: int) -> None:
        """Forget an adopted job."""
        self._parents.pop(number, None)

    def _has_room(self) -> bool:
        if self._most_per_s is None:
            return True
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second <= self._most_per_s

    def _trace(self, outcome: Outcome) -> None:
        job = outcome.job
        timings = [each for each in read_timings(outcome.timings) if each.id == job.id]
        if not timings:
            return
        chain = self._open.pop(job.id, None) or _Chain((job.overrides and job.overrides.method) or "GET")
        parent = self._parents.get(job.id, self._context)
        if chain.span is None and (len(timings) > 1 or outcome.deferral is not None):
            chain.span = self._tracer.start_span(
                "fetch", parent, attributes=dict(_address(job)), start_time=_ns(timings[0].started_at)
            )
            chain.context = trace.set_span_in_context(chain.span, parent)
        for timing in timings:
            is_last = timing is timings[-1] and outcome.deferral is None
            self._span(chain, chain.context or parent, timing, outcome, is_last=is_last)
        if outcome.deferral is None:
            self._end(chain)
            return
        self._open[job.id] = chain
        if len(self._open) > _MOST_OPEN:
            self._end(self._open.popitem(last=False)[1])

    def _span(
        self, chain: _Chain, parent: Context, timing: Timing, outcome: Outcome, *, is_last: bool
    ) -> None:
        method = chain.method if chain.method in _METHODS else "_OTHER"
        chain.requests += 1 + timing.notes.resent
        chain.ended_at = timing.started_at + timing.seconds
        span = self._tracer.start_span(
            "HTTP" if method == "_OTHER" else method,
            parent,
            SpanKind.CLIENT,
            {"http.request.method": method},
            start_time=_ns(timing.started_at),
        )
        if span.is_recording():
            span.set_attributes(dict(_attributes(chain, timing, outcome, is_last=is_last)))
            if timing.notes.error is not None or timing.status >= 400:
                span.set_status(Status(StatusCode.ERROR, timing.notes.message))
        span.end(_ns(chain.ended_at))
        chain.method = next_method(chain.method, timing.status)

    def _end(self, chain: _Chain) -> None:
        if chain.span is not None:
            chain.span.end(_ns(chain.ended_at))


def _attributes(
    chain: _Chain, timing: Timing, outcome: Outcome, *, is_last: bool
) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of one exchange; those with a prefix of their own are seconds."""
    record = outcome.record if is_last else None
    url = timing.notes.url or (record.final_url if record is not None else None)
    yield from _address(outcome.job, url)
    if chain.method not in _METHODS:
        yield "http.request.method_original", chain.method
    if chain.requests > 1:
        yield "http.request.resend_count", chain.requests - 1
    if timing.status:
        yield "http.response.status_code", timing.status
    if timing.notes.error is not None or timing.status >= 400:
        yield "error.type", timing.notes.error or str(timing.status)
    if record is not None and record.http_version is not None:
        yield "network.protocol.version", record.http_version
    if timing.wire_bytes is not None:
        yield "http.response.body.size", timing.wire_bytes
    for prefix, seconds in (("phase", timing.phases), ("wait", timing.waits)):
        for name, value in seconds.items():
            if value > 0:
                yield f"fetcher.{prefix}.{name}", round(value, 6)


def _address(job: Job, url: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield where a request goes: to a URL, or that of the job."""
    if url is None:
        if job.target is None:
            return
        url = job.target.url
    yield "url.full", without_secrets(url)
    try:
        place = URL(url, encoded=True)
        yield "server.address", place.host or ""
        yield "server.port", place.port or 0
    except ValueError:
        pass


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
