"""Plain lines for people, on standard error: progress where there is no terminal, `-v`, and cron's `-q`.

Whatever came from outside passes `shown` before it is written, so no line carries a control character,
a line break or a secret. Writing is synchronous; a stream that is gone raises `OSError` to the caller,
who drops the observer. `LineDisplay.run` alone ends quietly then: a log nobody reads stops no run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TextIO

from fetcher.events import Event, HostHeld, Notice, Retrying, Snapshot
from fetcher.model import Record
from fetcher.observers import figures
from fetcher.policy.text import mask, visible

Say = Callable[[str], None]


def can_animate(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a live display suits `stream`: a terminal that can move its cursor."""
    return stream.isatty() and environ.get("TERM", "dumb").lower() not in {"", "dumb", "unknown"}


def shown(text: str, limit: int = 0) -> str:
    """Outside text as it may be shown: secrets masked, control characters visible, at most `limit` long."""
    return visible(mask(text), limit)


def trouble_line(record: Record) -> str:
    """One failed or refused URL as a line."""
    line = f"{record.state}: {shown(record.url, 500)}: {record.error or record.state}"
    message = record.message
    if message and message != record.error:
        line += f" ({shown(message, 300)})"
    return line


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
        self._pace = figures.Pace()

    def on_event(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.say(shown(figures.notice_text(event)))
        elif self._failures_to_tell:
            for record in figures.troubles(event)[: self._failures_to_tell]:
                self.say(trouble_line(record))
                self._failures_to_tell -= 1
                if not self._failures_to_tell:
                    self.say("further failures are only counted here; -v shows every one")

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


def progress_line(snapshot: Snapshot, rates: figures.Rates) -> str:
    """`12,300 of 20,000 · 1,230/s · 45 MB · 3 failed · 20 s left`."""
    parts = [figures.progress(snapshot), figures.rate(rates.urls_per_s), figures.size(snapshot.bytes)]
    if snapshot.failed:
        parts.append(f"{figures.count(snapshot.failed)} failed")
    if snapshot.refused:
        parts.append(f"{figures.count(snapshot.refused)} refused")
    if rates.left_s is not None:
        parts.append(f"{figures.duration(round(rates.left_s))} left")
    return " · ".join(parts)


class VerboseLines:
    """`-v`: retries, failures and holds as lines, through the `say` of whichever display is up."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def on_event(self, event: Event) -> None:
        for record in figures.troubles(event):
            self._say(trouble_line(record))
        if isinstance(event, Retrying):
            why = f"{event.error} ({shown(event.message, 300)})" if event.message else event.error
            self._say(
                f"retry: {shown(event.url, 500)}: {why}, attempt {event.attempt} failed, "
                f"again in {figures.duration(event.delay_s)}"
            )
        elif isinstance(event, HostHeld):
            self._say(held_line(event))


def held_line(event: HostHeld) -> str:
    """A host that asked for time, as a line."""
    line = f"hold: {shown(event.host)}: {shown(event.reason, 200)}"
    if event.seconds > 0:
        line += f", {figures.duration(event.seconds)}"
    if event.limit > 0:
        line += f", at most {event.limit} at once"
    return line


class QuietObserver:
    """`-q`: says nothing, and remembers what a scheduled job's owner needs if something failed.

    At most `most` failures and as many warnings are kept, whatever the run's length.
    """

    def __init__(self, most: int = 20) -> None:
        self.failed = 0
        self._most = most
        self._failures: list[str] = []
        self._notices: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, Notice):
            if event.level != "info" and len(self._notices) < self._most:
                self._notices.append(shown(figures.notice_text(event)))
            return
        for record in figures.troubles(event):
            self.failed += 1
            if len(self._failures) < self._most:
                self._failures.append(trouble_line(record))

    def lines(self) -> list[str]:
        """What to print before the summary when the run failed: warnings, then the first failures."""
        told = [*self._notices, *self._failures]
        if self.failed > len(self._failures):
            told.append(f"and {figures.count(self.failed - len(self._failures))} more")
        return told
