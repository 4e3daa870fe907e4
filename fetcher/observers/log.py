"""`--log-file`: one line for each settled URL, retry, hold and notice, as text or JSON.

A value never breaks its line and never carries a raw control or bidi character (CWE-117), and secrets
are masked. One event is one write of whole lines to a file opened for appending, so two programs may
share it. Nothing is formatted that is not written; no logging framework stands in between.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from fetcher.events import Event, HostThrottled, LogMessage, OutcomesSettled, Retrying, RunEnded, RunStarted
from fetcher.model import Record
from fetcher.policy.redaction import escape_controls, mask

Fields = dict[str, Any]
_LEVELS = {"failed": "warning"}


class LogObserver:
    """Writer of a log to a path (opened by `open`, mode 0600 if it is new) or to a text stream.

    `verbose` adds to each URL its redirects and where it ended, its path, type, attempts, waits, times,
    backend, version of HTTP and what the input said beside it. Every method raises `OSError` when the log
    can't be written; the composer then drops the observer.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | TextIO,
        *,
        format: Literal["text", "json"] = "text",  # noqa: A002  # the option's name
        verbose: bool = False,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(target) if isinstance(target, (str, os.PathLike)) else None
        self._stream = None if isinstance(target, (str, os.PathLike)) else target
        self._descriptor: int | None = None
        self._line = _json_line if format == "json" else _text_line
        self._verbose = verbose
        self._utc = utc
        self._second = -1
        self._stamp = ""

    def open(self) -> None:
        """Open the file for appending. A FIFO that nobody reads is an `OSError`, and not waited for."""
        if self._path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
            os.set_blocking(self._descriptor, True)

    def close(self) -> None:
        """Close the file; a stream stays its owner's. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def on_event(self, event: Event) -> None:
        entries = self._entries(event)
        if entries:
            stamp = self._time()
            self._write("".join(self._line(stamp, level, name, fields) for level, name, fields in entries))

    def _entries(self, event: Event) -> list[tuple[str, str, Fields]]:
        """Return the log entries of an event: level, name of the entry, fields."""
        match event:
            case OutcomesSettled():
                return [
                    (_LEVELS.get(record.state, "info"), "settled", _settled(record, verbose=self._verbose))
                    for record in event.records
                ]
            case Retrying(url=url, error=error, message=message, attempt=attempt, delay_s=delay_s):
                fields = {"url": mask(url), "error": error, "message": mask(message), "attempt": attempt}
                return [("info", "retrying", {**fields, "delay": round(delay_s, 3)})]
            case HostThrottled(host=host, reason=reason, seconds=seconds, limit=limit):
                held = {"host": host, "reason": mask(reason), "seconds": round(seconds, 3), "limit": limit}
                return [("info", "held", held)]
            case LogMessage(level=level, text=text):
                return [(level, "notice", {"message": mask(text)})]
            case RunStarted(left=left):
                return [("info", "started", {"left": left})]
            case RunEnded(snapshot=end, stopped=stopped):
                totals = {"left": end.pending, "bytes": end.bytes, "elapsed": round(end.elapsed_s, 3)}
                why = {} if stopped is None else {"stopped": mask(stopped)}
                return [("info", "ended", {**end.finals(), **totals, **why})]
        return []

    def _time(self) -> str:
        """Return the time of day as RFC 3339 in UTC, made once a second."""
        second = int(self._utc())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        return self._stamp

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
        elif self._descriptor is not None:
            rest = memoryview(text.encode("utf-8", "backslashreplace"))
            while rest:  # a write may take less than it was given, on a pipe or a full disk
                rest = rest[os.write(self._descriptor, rest) :]


def _settled(record: Record, *, verbose: bool) -> Fields:
    fields: Fields = {
        "url": mask(record.url),
        "state": record.state,
        "status": record.status,
        "error": record.error,
        "bytes": record.bytes,
        "elapsed": round(record.elapsed, 3),
    }
    if record.message is not None:
        fields["message"] = mask(record.message)
    if verbose:
        fields["final_url"] = None if record.final_url is None else mask(record.final_url)
        fields["path"] = record.path
        fields["content_type"] = record.content_type
        fields["attempts"] = record.attempts
        fields["waited"] = round(record.waited, 3)
        fields["wire_bytes"] = record.wire_bytes
        fields["backend"] = record.backend
        fields["http_version"] = record.http_version
        fields["redirects"] = [mask(url) for url in record.redirects]
        fields["meta"] = record.meta
        fields["started_at"] = record.started_at
        fields["ended_at"] = record.ended_at
    return fields


def _text_line(stamp: str, level: str, name: str, fields: Fields) -> str:
    pairs = " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
    return f"{stamp} {level} {name} {pairs}\n"


def _plain(value: object) -> str:
    """Return a value of a text line: `-` if absent, in quotes if it has spaces, quotes or nothing in it."""
    if value is None:
        return "-"
    text = escape_controls(str(value) if isinstance(value, str | int | float) else json.dumps(value))
    if not text or text == "-" or any(mark in text for mark in ' "'):
        return '"' + text.replace('"', '\\"') + '"'
    return text


def _json_line(stamp: str, level: str, name: str, fields: Fields) -> str:
    entry = {"time": stamp, "level": level, "event": name, **fields}
    try:
        line = msgspec.json.encode(entry).decode()
    except UnicodeEncodeError:  # a lone surrogate
        line = ""
    if line.isascii() and "\x7f" not in line and line:
        return line + "\n"
    # JSON's own escapes keep the value and show no character that a terminal would obey.
    return json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n"
