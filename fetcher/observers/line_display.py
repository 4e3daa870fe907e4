"""Plain lines for people, on standard error: progress where there is no terminal, `-v`, and cron's `-q`.

Whatever came from outside passes `shown` before it is written, so no line carries a control character,
a line break or a secret. Writing is synchronous; a stream that is gone raises `OSError` to the caller,
who drops the observer. `LineDisplay.run` alone ends quietly then: a log nobody reads stops no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TextIO

from fetcher.events import Event, HostThrottled, LogMessage, Retrying, Snapshot
from fetcher.model import Record
from fetcher.observers import formatting
from fetcher.policy.redaction import shown

Say = Callable[[str], None]


def can_animate(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return True if a live display suits `stream`: a terminal that can move its cursor."""
    return stream.isatty() and environ.get("TERM", "dumb").lower() not in {"", "dumb", "unknown"}


def trouble_line(record: Record) -> str:
    """Return one failed or refused URL as a line, with where it was listed or the page that links there."""
    line = f"{record.state}: {shown(record.url, 500)}: {record.error or record.state}"
    message = record.message
    if message and message != record.error:
        line += f" ({shown(message, 300)})"
    place = place_of(record)
    return f"{line}, {place}" if place else line


def place_of(record: Record) -> str:
    """Return where a URL came from: `list.txt:210`, `linked from` a page; empty for an argument."""
    if record.parent is not None:
        return f"linked from {shown(record.parent, 500)}"
    if record.source in {None, "argv"} or record.line is None:
        return ""
    name = "standard input" if record.source == "-" else shown(str(record.source), 300)
    return f"{name}:{record.line}"


class LineDisplay:
    """One line of totals every `every_s` seconds, with notices and the first failures as they come.

    `failures` is how many failed URLs get a line of their own (0 where `VerboseLines` tells them all).
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], stream: TextIO, *, every_s: float = 10, failures: int = 10
    ) -> None:
        self._snapshot = snapshot
        self._stream = stream
        self._every_s = every_s
        self._failures_to_tell = failures
        self._failures_told = 0
        self._pace = formatting.RateEstimator()

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogMessage):
            self.say(shown(formatting.notice_text(event)))
        elif self._failures_to_tell:
            for record in formatting.troubles(event):
                if self._failures_told == self._failures_to_tell:
                    self.say("further failures are only counted here; -v shows every one")
                    self._failures_to_tell = 0
                    return
                self.say(trouble_line(record))
                self._failures_told += 1

    def say(self, line: str) -> None:
        """Write one line. Raises `OSError` if the stream is gone."""
        self._stream.write(line + "\n")
        self._stream.flush()

    async def run(self) -> None:
        """Write the line of totals until cancelled, or until the stream is gone."""
        while True:
            await asyncio.sleep(self._every_s)
            snapshot = self._snapshot()
            try:
                self.say(progress_line(snapshot, self._pace.sample(snapshot)))
            except OSError:
                return


def progress_line(snapshot: Snapshot, rates: formatting.Rates) -> str:
    """`12,300 of 20,000 · 1,230/s · 45 MB · 1.2 MB/s · 3 failed · 20 s left`; bytes are those received.

    One body alone is shown as `23 MB of 50 MB, 47 %`.
    """
    parts = [formatting.progress(snapshot)]
    if formatting.total(snapshot) == 1 and snapshot.growing:
        parts.append(formatting.body(*snapshot.growing[0][1:]))
    else:
        parts += [formatting.rate(rates.urls_per_s), formatting.size(snapshot.wire_bytes)]
    parts.append(f"{formatting.size(rates.bytes_per_s)}/s")
    if snapshot.failed:
        parts.append(f"{formatting.count(snapshot.failed)} failed")
    if snapshot.refused:
        parts.append(f"{formatting.count(snapshot.refused)} refused")
    if snapshot.is_stopping:
        parts.append("stopping")
    elif snapshot.is_paused:
        parts.append("paused")
    elif rates.left_s is not None:
        parts.append(f"{formatting.duration(round(rates.left_s))} left")
    return " · ".join(parts)


class VerboseLines:
    """`-v`: retries, failures and holds as lines, through the `say` of whichever display is up."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def on_event(self, event: Event) -> None:
        for record in formatting.troubles(event):
            self._say(trouble_line(record))
        if isinstance(event, Retrying):
            why = f"{event.error} ({shown(event.message, 300)})" if event.message else event.error
            self._say(
                f"retry: {shown(event.url, 500)}: {why}, attempt {event.attempt} failed, "
                f"again in {formatting.duration(event.delay_s)}"
            )
        elif isinstance(event, HostThrottled):
            self._say(held_line(event))


def held_line(event: HostThrottled) -> str:
    """Return a host that asked for time, as a line."""
    line = f"hold: {shown(event.host)}: {shown(event.reason, 200)}"
    if event.seconds > 0:
        line += f", {formatting.duration(event.seconds)}"
    if event.limit > 0:
        line += f", at most {event.limit} at once"
    return line


class QuietObserver:
    """`-q`: silence, and a memory of what a scheduled job's owner needs if something failed.

    At most `most` failures and as many warnings are kept, whatever the run's length.
    """

    def __init__(self, most: int = 20) -> None:
        self.failed = 0
        self._most = most
        self._failures: list[str] = []
        self._notices: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogMessage):
            if event.level != "info" and len(self._notices) < self._most:
                self._notices.append(shown(formatting.notice_text(event)))
            return
        for record in formatting.troubles(event):
            self.failed += 1
            if len(self._failures) < self._most:
                self._failures.append(trouble_line(record))

    def lines(self) -> list[str]:
        """Return the lines before the summary of a run that failed: warnings, then the first failures."""
        told = [*self._notices, *self._failures]
        if self.failed > len(self._failures):
            told.append(f"and {formatting.count(self.failed - len(self._failures))} more")
        return told
