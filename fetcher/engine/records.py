"""What is written of a URL that ended: its record, or for the library its result."""

from __future__ import annotations

import time

import msgspec

from fetcher.engine.body import Body
from fetcher.engine.fetch import Fetch
from fetcher.model import FinalState, Job, Record, Response, Result
from fetcher.policy.text import visible_json

_encode = msgspec.json.Encoder().encode


def encode_record(record: Record) -> bytes:
    """A record as a line of JSON that may be shown on a terminal."""
    line = _encode(record)
    return line if line.isascii() and b"\x7f" not in line else visible_json(line)


class Stamps:
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


class Recorder:
    """Makes records, or results with headers and body where `keeps_bodies`."""

    def __init__(self, backend: str, *, keeps_bodies: bool) -> None:
        self._backend = backend
        self.keeps_bodies = keeps_bodies
        self._stamp, self._stamp_start = Stamps(), Stamps()

    def record(
        self,
        fetch: Fetch,
        state: FinalState,
        ended_utc: float,
        *,
        response: Response | None = None,
        body: Body | None = None,
        error: str | None = None,
        message: str | None = None,
    ) -> Record:
        """The final record of a fetch. `path`, `bytes` and `sha256` of what is stored come with `body`."""
        job = fetch.job
        extra = job.extra
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
            elapsed=round(fetch.elapsed_s, 6),
            waited=round(fetch.waited_s, 6),
            backend=self._backend,
        )
        if fetch.redirects:
            record.redirects = fetch.redirects
        if job.parent is not None:
            record.parent, record.depth = job.parent, job.depth
        if extra is not None:
            record.meta = extra.meta
        if response is not None:
            _describe(record, response)
        if body is not None:
            record.wire_bytes = body.wire_bytes
            if state == "done":
                record.bytes = body.length
                record.sha256 = body.sha256 or None
        if isinstance(record, Result) and response is not None:  # without one the body is not whole
            record.headers = response.headers
            if body is not None:
                record.body = body.data() or b""
        return record

    def refused(self, job: Job, ended_utc: float, *, error: str, message: str) -> Record:
        """The record of a job that was refused before anything was asked of anybody."""
        stamp = self._stamp(ended_utc)
        cls = Result if self.keeps_bodies else Record
        return cls(
            url=job.url,
            state="refused",
            error=error,
            message=message,
            parent=job.parent,
            depth=job.depth,
            source=job.source,
            line=job.line,
            meta=job.extra.meta if job.extra is not None else None,
            started_at=stamp,
            ended_at=stamp,
        )


def _describe(record: Record, response: Response) -> None:
    find = response.headers.find
    record.status = response.status
    record.http_version = response.http_version
    record.completeness = response.completeness
    if (value := find(b"content-type")) is not None:
        record.content_type = value.decode("latin-1")
    if (value := find(b"etag")) is not None:
        record.etag = value.decode("latin-1")
    if (value := find(b"last-modified")) is not None:
        record.last_modified = value.decode("latin-1")
