"""The record of a URL that ended, or for the library its result."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from fetcher.engine.body import Body
from fetcher.engine.fetch_state import FetchState
from fetcher.model import FinalState, Job, Record, Response, Result
from fetcher.policy.redaction import escape_controls_json

_encode = msgspec.json.Encoder().encode


def encode_records(records: Sequence[Record]) -> list[bytes]:
    """Encode records as lines of JSON that may be shown on a terminal, without their ends."""
    return [
        line if line.isascii() and b"\x7f" not in line else escape_controls_json(line)
        for line in map(_encode, records)
    ]


def encode_record(record: Record) -> bytes:
    """Encode one record as `encode_records` does."""
    return encode_records([record])[0]


class TimestampCache:
    """UTC times as RFC 3339 with milliseconds; what is the same as last time is not made again."""

    __slots__ = ("_moment", "_second", "_text", "_text_of_second")

    def __init__(self) -> None:
        self._moment = self._second = -1
        self._text = self._text_of_second = ""

    def __call__(self, utc: float) -> str:
        moment = int(utc * 1000)
        if moment != self._moment:
            self._moment = moment
            second, ms = divmod(moment, 1000)
            if second != self._second:
                self._second = second
                self._text_of_second = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._text = f"{self._text_of_second}{ms:03d}Z"
        return self._text


class RecordBuilder:
    """Makes records, or results with headers and body where `keeps_bodies`."""

    def __init__(self, backend: str, *, keeps_bodies: bool) -> None:
        self._backend = backend
        self.keeps_bodies = keeps_bodies
        self._stamp, self._stamp_start = TimestampCache(), TimestampCache()

    def record(
        self,
        fetch: FetchState,
        state: FinalState,
        ended_utc: float,
        *,
        response: Response | None = None,
        body: Body | None = None,
        error: str | None = None,
        message: str | None = None,
    ) -> Record:
        """The final record of a fetch. `path`, `bytes` and digests of what is stored come with `body`."""
        job = fetch.job
        extra = job.overrides
        cls = Result if self.keeps_bodies else Record
        record = cls(
            url=job.url,
            final_url=fetch.target.url,
            state=state,
            error=error,
            message=message,
            attempts=fetch.attempts,
            source=job.source,
            line=job.line,
            started_at=self._stamp_start(fetch.started_utc),
            ended_at=self._stamp(ended_utc),
            elapsed=int(fetch.elapsed_s * 1e6 + 0.5) / 1e6,  # `round` costs more
            waited=int(fetch.waited_s * 1e6 + 0.5) / 1e6,
            backend=self._backend,
        )
        if fetch.redirects:
            record.redirects = fetch.redirects
        if job.parent is not None:
            record.parent, record.depth = job.parent, job.depth
        if extra is not None:
            record.meta = extra.meta
        if response is not None:
            first = response.headers.first
            record.status = response.status
            record.http_version = response.http_version
            record.completeness = response.completeness
            if b"content-type" in first:
                record.content_type = first[b"content-type"].decode("latin-1")
            if b"etag" in first:
                record.etag = first[b"etag"].decode("latin-1")
            if b"last-modified" in first:
                record.last_modified = first[b"last-modified"].decode("latin-1")
        if body is not None:
            record.wire_bytes = body.earlier_bytes + body.wire_bytes
            if body.resumed_at:
                record.resumed_at = list(body.resumed_at)
            if state == "done":
                record.bytes = body.length
                record.sha256, record.digest = body.sha256 or None, body.digest or None
        if self.keeps_bodies and response is not None:  # without one the body is not whole
            assert isinstance(record, Result)
            record.headers = response.headers
            if body is not None:
                record.body = body.data() or b""
        return record

    def unfetched(self, job: Job, state: FinalState, ended_utc: float, *, error: str, message: str) -> Record:
        """The record of a job that ended without an exchange of its own: refused, or given up."""
        stamp = self._stamp(ended_utc)
        cls = Result if self.keeps_bodies else Record
        return cls(
            url=job.url,
            state=state,
            error=error,
            message=message,
            attempts=job.attempts,
            parent=job.parent,
            depth=job.depth,
            source=job.source,
            line=job.line,
            meta=job.overrides.meta if job.overrides is not None else None,
            started_at=stamp,
            ended_at=stamp,
        )
