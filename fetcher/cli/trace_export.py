"""The export of traces over OTLP, where OpenTelemetry's own environment asks for it (the extra `otel`).

`OTEL_EXPORTER_OTLP_ENDPOINT` turns it on; sampler, headers, service name and limits are the SDK's to read. An
exporter that is not answered delays the exit by `FAREWELL_S` at most, and the run never.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fetcher.ports import Observer

FAREWELL_S: Final = 3.0
_LONGEST = 200  # of what is told
_MOST_PER_S = 20  # URLs, where the environment names no sampler
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


@asynccontextmanager
async def exported_traces(
    environ: Mapping[str, str], notice: Callable[[str, str], None]
) -> AsyncIterator[list[Observer]]:
    """Give the observer that exports the exchanges of a run until the block ends, or none.

    `notice` is told, by level and text, what keeps traces from being exported; never more than once.
    """
    from fetcher import __version__
    from fetcher.wiring import service_traces

    if not _is_wanted(environ) or service_traces():
        yield []
        return
    protocol = next((found for name in _PROTOCOLS if (found := environ.get(name))), "http/protobuf")
    if protocol != "http/protobuf":
        notice("warning", f"no traces: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, and must be http/protobuf")
        yield []
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from fetcher.observers.exchange_traces import ExchangeTraces
    except ImportError:
        notice("warning", "no traces: OTEL_EXPORTER_OTLP_ENDPOINT needs pip install 'fetcher[otel]'")
        yield []
        return
    with _complaints(notice):
        try:
            own = Resource({SERVICE_NAME: "fetcher", "service.version": __version__})
            detected = Resource.create()
            if not str(detected.attributes[SERVICE_NAME]).startswith("unknown_service"):
                own = Resource({"service.version": __version__})
            provider = TracerProvider(resource=detected.merge(own), shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        except (
            ValueError,
            OSError,
        ) as error:  # a setting that means nothing, a certificate that is not there
            notice("warning", f"no traces: {error}")
            yield []
            return
        most = None if environ.get("OTEL_TRACES_SAMPLER") else _MOST_PER_S
        yield [ExchangeTraces(provider.get_tracer("fetcher", __version__), most_per_s=most)]
        await _at_most(provider.shutdown, FAREWELL_S)


def _is_wanted(environ: Mapping[str, str]) -> bool:
    return (
        any(environ.get(name) for name in _ENDPOINTS)
        and environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "otlp"
    )


async def _at_most(act: Callable[[], None], limit_s: float) -> None:
    """Have a thread do something that blocks, and wait no longer than so; it may outlive us."""
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        act()
        with contextlib.suppress(RuntimeError):  # the loop has gone on without us
            loop.call_soon_threadsafe(is_over.set)

    threading.Thread(target=run, name="fetcher-traces", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(is_over.wait(), limit_s)


@contextlib.contextmanager
def _complaints(notice: Callable[[str, str], None]) -> Iterator[None]:
    """Have the first complaint of the SDK told, and none written over the display."""
    log, teller = logging.getLogger("opentelemetry"), _Teller(notice)
    log.addHandler(teller)
    log.propagate, was = False, log.propagate
    try:
        yield
    finally:
        log.propagate = was
        log.removeHandler(teller)


class _Teller(logging.Handler):
    """Teller of the first complaint, on the loop, wherever it comes from."""

    def __init__(self, notice: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice
        self._loop = asyncio.get_running_loop()
        self._has_told = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._has_told:
            self._has_told = True
            with contextlib.suppress(RuntimeError):  # the loop is over
                self._loop.call_soon_threadsafe(
                    self._notice, "warning", f"traces: {record.getMessage()[:_LONGEST]}"
                )
