"""Timing of one exchange, made as it ends: where its time went, by the marks that it left on its body.

Invariant: the phases add up to the time from start to end.
"""

from __future__ import annotations

from fetcher.engine.body import Body
from fetcher.engine.fetch_state import FetchState
from fetcher.errors import ExchangeError, FetcherError
from fetcher.model import Response
from fetcher.policy.redaction import mask, shown
from fetcher.timings import TimingNotes, pack_ordinary, pack_unusual

_LONGEST_MESSAGE = 300


def timing_of(
    fetch: FetchState,
    body: Body,
    response: Response | None,
    error: FetcherError | None,
    started: float,
    ended: float,
    utc_offset: float,
) -> bytes:
    """Pack what the exchange took that `fetch` has just had; times are the loop's."""
    if (
        error is None
        and response is not None
        and fetch.waits is None
        and fetch.redirects is None
        and not response.resent
        and not (body.connect_s or body.paused_s or body.resumed_at)
    ):
        answered = body.phase_since
        return pack_ordinary(
            fetch.job.id,
            started + utc_offset,
            fetch.cause,
            fetch.queue_s - fetch.settling_s,
            fetch.settling_s,
            response.status,
            answered - started,
            ended - answered,
        )
    waits, fetch.waits = fetch.waits_by_cause(), None
    head = response or body.response
    return pack_unusual(
        fetch.job.id,
        started + utc_offset,
        0 if head is None else head.status,
        _phases(body, error, started, ended),
        body.wire_bytes,
        TimingNotes(
            waits={cause: round(seconds, 6) for cause, seconds in waits.items()},
            url=mask(fetch.target.url) if fetch.redirects else None,
            error=None if error is None else error.slug,
            message=None if error is None else shown(error.message, _LONGEST_MESSAGE),
            resent=0 if response is None else response.resent,
            resumed_at=body.resumed_at[-1] if body.resumed_at and body.rest_of is None else None,
        ),
        is_new_connection=bool(body.connect_s or body.is_connecting),
    )


def _phases(
    body: Body, error: FetcherError | None, started: float, ended: float
) -> tuple[float, float, float, float, float, float, float]:
    name_s, tls_s, connect_s = body.name_s, body.tls_s, body.connect_s
    if body.is_connecting:  # it got no further
        connect_s += ended - body.phase_since
        rest_s = connect_s - name_s - tls_s
        if isinstance(error, ExchangeError) and error.phase == "name":
            name_s += rest_s
        elif isinstance(error, ExchangeError) and error.phase == "tls":
            tls_s += rest_s
    answered = body.phase_since if body.phase == "body" else ended
    throttled_s = min(body.throttled_s, body.paused_s)
    disk_s = body.paused_s - throttled_s
    return (
        name_s,
        max(connect_s - name_s - tls_s, 0.0),
        tls_s,
        max(answered - started - connect_s, 0.0),
        max(ended - answered - body.paused_s, 0.0),
        disk_s,
        throttled_s,
    )
