"""Traces of a run, as a collector on the loopback gets them over OTLP; and collectors that do not answer."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.faultserver import Exchange, FaultServer
from support.program import Program
from support.site import Site

from fetcher.cli import trace_export
from fetcher.cli.trace_export import exported_traces
from fetcher.events import ExchangesSettled
from fetcher.model import Job, Outcome, Target
from fetcher.timings import pack_ordinary


class Collector(FaultServer):
    """A collector that keeps what it is sent, or says nothing."""

    def __init__(self, *, answers: bool = True) -> None:
        super().__init__()
        self.requests: list[ExportTraceServiceRequest] = []
        self._answers = answers
        self.route("/v1/traces", self._take)

    async def _take(self, x: Exchange) -> None:
        if not self._answers:
            await x.reader.read()
            return
        self.requests.append(ExportTraceServiceRequest.FromString(x.hit.body))
        await x.answer(200, body=b"")

    def spans(self) -> list[Any]:
        groups = [group for one in self.requests for group in one.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    @property
    def services(self) -> set[str]:
        groups = [group for one in self.requests for group in one.resource_spans]
        found = {each.key: each.value.string_value for group in groups for each in group.resource.attributes}
        return {found["service.name"]}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def endpoint(server: FaultServer) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": server.url("")}


@pytest.mark.parametrize(
    ("options", "name"), [((), "fetcher"), (("--processes", "2"), "mirror"), (("-O", "one.bin"), "fetcher")]
)
def test_a_collector_gets_a_span_of_each_exchange(
    program: Program, site: Site, collector: Collector, options: tuple[str, ...], name: str
) -> None:
    urls = [site.url("/p/1")] if "-O" in options else [site.url("/p/1"), site.url("/p/2"), site.url("/none")]
    variables = {} if name == "fetcher" else {"OTEL_SERVICE_NAME": name, "OTEL_TRACES_SAMPLER": "always_on"}
    ended = program.run("get", *urls, "-q", *options, variables={**endpoint(collector), **variables})
    assert ended.code == (0 if len(urls) == 1 else 1), ended.err
    found = [{each.key: each.value for each in span.attributes} for span in collector.spans()]
    assert sorted(facts["url.full"].string_value for facts in found) == sorted(urls)
    statuses = sorted(facts["http.response.status_code"].int_value for facts in found)
    assert statuses == [200, 200, 404][: len(urls)]
    assert collector.services == {name}


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
async def test_the_environment_may_say_no(variables: dict[str, str]) -> None:
    told: list[str] = []
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **variables}
    async with exported_traces(environ, lambda _, text: told.append(text)) as observers:
        assert observers == []
    assert len(told) == ("OTEL_EXPORTER_OTLP_PROTOCOL" in variables)
    async with exported_traces({}, lambda _, text: told.append(text)) as observers:
        assert observers == []


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_collector_that_does_not_answer_delays_the_exit_for_seconds_and_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    monkeypatch.setattr(trace_export, "FAREWELL_S", 0.3)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    told: list[str] = []
    job = Job(id=1, url="http://h/", target=Target("http://h/", "http", "h", 80, "h:80"))
    done = Outcome(job=job, timings=pack_ordinary(1, 1e9, 0, 0.0, 0.0, 200, 0.1, 0.1))
    with Collector(answers=False) as deaf:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", deaf.url("") if is_there else "http://127.0.0.1:1")
        async with exported_traces(os.environ, lambda _, text: told.append(text)) as [traces]:
            traces.on_event(ExchangesSettled([done]))
            while not (deaf.log if is_there else told):
                await asyncio.sleep(0.01)
            traces.on_event(ExchangesSettled([done]))
            began = time.monotonic()
        assert time.monotonic() - began < 10
    await asyncio.sleep(0)
    assert len(told) == (not is_there)
