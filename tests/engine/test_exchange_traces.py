"""Exchanges as spans of OpenTelemetry: what they say, below what they stand, and how many are kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from support.faultserver import FaultServer

import fetcher
from fetcher.events import ExchangesSettled, RunEnded, Snapshot
from fetcher.model import Deferral, Job, Outcome, Target
from fetcher.observers import exchange_traces
from fetcher.observers.exchange_traces import ExchangeTraces
from fetcher.timings import pack_ordinary

SECRETS = "?q=1&access_token=canary&X-Amz-Signature=canary"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What the tracer provider of this process is given."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def clients(spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
    """Those of exchanges, in the order in which they began."""
    return sorted((one for one in spans if one.kind is SpanKind.CLIENT), key=lambda one: one.start_time or 0)


async def test_an_exchange_is_a_client_span_of_the_callers(
    kept: InMemorySpanExporter, server: FaultServer
) -> None:
    with trace.get_tracer("service").start_as_current_span("request") as above:
        result = await fetcher.fetch(server.url(f"/ok{SECRETS}").replace("//", "//user:canary@"))
    assert result.ok
    span, _ = kept.get_finished_spans()
    assert span.parent is not None
    assert span.parent.span_id == above.get_span_context().span_id
    assert (span.name, span.kind, span.status.is_ok) == ("GET", SpanKind.CLIENT, True)
    facts = told(span)
    assert (
        facts.items()
        >= {
            "http.request.method": "GET",
            "url.full": server.url("/ok?q=1&access_token=REDACTED&X-Amz-Signature=REDACTED"),
            "server.address": "127.0.0.1",
            "server.port": server.port,
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
        }.items()
    )
    assert not {"http.request.resend_count", "error.type"} & facts.keys()
    assert facts["fetcher.phase.header"] > 0
    assert facts["fetcher.phase.connect"] > 0
    took_s = ((span.end_time or 0) - (span.start_time or 0)) / 1e9
    assert took_s == pytest.approx(sum(v for k, v in facts.items() if ".phase." in k), abs=1e-4)
    assert "canary" not in str(facts)


async def test_the_exchanges_of_one_url_are_counted_below_one_span(
    kept: InMemorySpanExporter, server: FaultServer
) -> None:
    url = server.url("/redirect/2?status=303")
    async with fetcher.Fetcher(retries=1) as client:
        await client.fetch(url, method="POST", data=b"x")
        await client.fetch(server.url("/status/503"))
        await client.fetch("http://127.0.0.1:1/")
    spans = kept.get_finished_spans()
    assert [
        (
            told(one)["http.request.method"],
            told(one).get("http.request.resend_count"),
            told(one).get("error.type"),
        )
        for one in clients(spans)
    ] == [
        ("POST", None, None),
        ("GET", 1, None),
        ("GET", 2, None),
        ("GET", None, "503"),
        ("GET", 1, "503"),
        ("GET", None, "connect-failed"),
        ("GET", 1, "connect-failed"),
    ]
    above = {one.context.span_id: one for one in spans if one.name == "fetch"}
    assert len(above) == 3
    for one in clients(spans):
        assert one.parent is not None
        parent = above[one.parent.span_id]
        assert (parent.start_time or 0) <= (one.start_time or 0)
        assert (one.end_time or 0) <= (parent.end_time or 0)
    assert [told(one)["url.full"] for one in clients(spans)[:3]] == [
        url,
        server.url("/redirect/1?status=303"),
        server.url("/ok/end"),
    ]


async def test_calls_of_one_fetcher_stand_each_below_its_own_caller(
    kept: InMemorySpanExporter, server: FaultServer
) -> None:
    tracer = trace.get_tracer("service")
    async with fetcher.Fetcher() as client:
        with tracer.start_as_current_span("one"):
            await client.fetch(server.url("/ok/1"))
        with tracer.start_as_current_span("two"):
            await client.fetch(server.url("/ok/2"))
    spans = kept.get_finished_spans()
    names = {one.context.span_id: one.name for one in spans}
    assert [names[one.parent.span_id] for one in clients(spans) if one.parent] == ["one", "two"]


def outcome(number: int, *, defers: bool = False) -> Outcome:
    target = Target("http://h/", "http", "h", 80, "h:80")
    return Outcome(
        job=Job(id=number, url="http://h/", target=target),
        deferral=Deferral(0.0, 1, 0.0, ()) if defers else None,
        timings=pack_ordinary(number, 1e9, 0, 0.0, 0.0, 503, 0.1, 0.1),
    )


def test_spans_of_urls_that_wait_are_bounded_and_end_with_the_run(
    kept: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_traces, "_MOST_OPEN", 3)
    traces = ExchangeTraces(trace.get_tracer("fetcher"))
    traces.on_event(ExchangesSettled([outcome(number, defers=True) for number in range(1, 6)]))
    assert sum(one.name == "fetch" for one in kept.get_finished_spans()) == 2
    traces.on_event(RunEnded(Snapshot(), None))
    assert sum(one.name == "fetch" for one in kept.get_finished_spans()) == 5


def test_only_so_many_urls_a_second_are_traced(kept: InMemorySpanExporter) -> None:
    traces = ExchangeTraces(trace.get_tracer("fetcher"), most_per_s=10)
    traces.on_event(ExchangesSettled([outcome(number) for number in range(1, 1001)]))
    assert 10 <= len(kept.get_finished_spans()) <= 20


def test_a_process_without_traces_imports_nothing_of_them(server: FaultServer) -> None:
    code = (
        "import sys, fetcher; assert fetcher.fetch(sys.argv[1]).ok;"
        "assert not [name for name in sys.modules if 'opentelemetry' in name]"
    )
    subprocess.run([sys.executable, "-c", code, server.url("/ok")], check=True, timeout=60)
