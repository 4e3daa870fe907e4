"""The live display: a few lines at the foot of the terminal that show how the run goes.

`render` is pure: a snapshot, rates and the last errors in, at most `height` lines of at most `width`
cells out, the most telling first. `LiveDisplay` samples the snapshot on the loop a few times a second
and has a thread of its own draw the frame, so that a terminal that has stopped (Ctrl-S, a lost ssh)
never stops the transfers. Only one frame is under way at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from fetcher.events import Event, LogMessage, Snapshot
from fetcher.model import Record
from fetcher.observers import formatting
from fetcher.observers.line_display import place_of
from fetcher.policy.redaction import shown

_HOSTS = 5
_ERRORS = 3
_WIDEST = 120  # of the head: beyond this the eye loses the line
_WIDE = 140  # from here on, lines say where a URL came from
_AGAIN = "what is in flight may end; press Ctrl-C again to stop at once"
_BODY_BAR = 12  # cells
_WITH_BODY_BARS = 80  # from this width on
_WITH_BOTTLENECK = 8  # lines, from this height on
_LINES_KEPT = 1000  # to be printed above the display with the next frame


class _Terminal(Console):
    """A console that leaves a stream's errors to its user."""

    def on_broken_pipe(self) -> None:
        """Raise on: rich would point standard output at /dev/null and exit the program."""
        raise  # noqa: PLE0704  # called where a BrokenPipeError is handled


class LiveDisplay:
    """Display of the run on `stream`, a terminal, until `run` is cancelled; then the frame is removed.

    `say` prints a line that stays, above the display. `keys` says what keys do, where any are read.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        stream: TextIO,
        *,
        title: str,
        refresh_s: float = 0.25,
        keys: str = "",
    ) -> None:
        self._snapshot = snapshot
        self._title = shown(title)
        self._refresh_s = refresh_s
        self._keys = keys
        self._console = _Terminal(file=stream, highlight=False, markup=False, emoji=False)
        self._pace = formatting.RateEstimator()
        self._errors: deque[Record] = deque(maxlen=_ERRORS)
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._is_up = False

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogMessage):
            self.say(shown(formatting.notice_text(event)))
        else:
            self._errors.extend(formatting.troubles(event)[-_ERRORS:])

    def say(self, line: str) -> None:
        """Print one line above the display: with the next frame, or at once when no frame is up."""
        self._lines.append(line)
        if not self._is_up:
            self._print_lines()

    async def run(self) -> None:
        """Draw frames until cancelled, or until the terminal is gone."""
        live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # data belongs to standard output, untouched
            vertical_overflow="crop",
        )
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "fetcher-display") as artist, contextlib.suppress(OSError):
            self._is_up = True
            try:
                live.start()
                while True:
                    snapshot = self._snapshot()
                    rates = self._pace.sample(snapshot)
                    await loop.run_in_executor(artist, self._draw, live, snapshot, rates, tuple(self._errors))
                    await asyncio.sleep(self._refresh_s)
            finally:
                self._is_up = False
                artist.shutdown()  # the last frame is finished before it is removed
                live.stop()
                self._print_lines()

    def _draw(
        self, live: Live, snapshot: Snapshot, rates: formatting.Rates, errors: Sequence[Record]
    ) -> None:
        self._print_lines()
        width, height = self._console.size
        frame = render(snapshot, rates, errors, width, height - 1, title=self._title, keys=self._keys)
        live.update(frame, refresh=True)

    def _print_lines(self) -> None:
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        if lines:
            self._console.print(Text("\n".join(lines)), soft_wrap=True)


def render(
    snapshot: Snapshot,
    rates: formatting.Rates,
    errors: Sequence[Record],
    width: int,
    height: int,
    *,
    title: str = "",
    keys: str = "",
) -> Group:
    """Draw a frame: four lines of head, then what holds the run, bodies, hosts, errors as space allows."""
    width = max(width, 10)
    narrow = min(width, _WIDEST)
    head = [
        _headline(snapshot, title, narrow),
        _bar_or_word(snapshot, narrow),
        _totals(snapshot, rates, narrow),
        _activity(snapshot, narrow, keys),
    ]
    if snapshot.bottleneck is not None and height >= _WITH_BOTTLENECK:
        head.append(_bottleneck(snapshot.bottleneck.text, narrow))
    bodies = _bodies(snapshot, rates, width)[: max(height - len(head), 0)]
    head += bodies
    room = height - len(head)
    told = _errors(list(errors)[-_ERRORS:], width)
    hosts = _hosts(snapshot.hosts[:_HOSTS], width)
    if room >= len(told) + len(hosts) + 2:
        blank = [Text("")]
        return Group(*head, *(blank + hosts if hosts else ()), *(blank + told if told else ()))
    told = told[-max(room // 3, 1) :] if room > 0 else []
    hosts = hosts[: room - len(told)] if room - len(told) > 1 else []
    return Group(*head[: max(height, 1)], *hosts, *told)


def _headline(snapshot: Snapshot, title: str, width: int) -> Text:
    elapsed = formatting.duration(int(snapshot.elapsed_s))
    space = max(width - len(elapsed) - 1, 0)
    if cell_len(title) > space:
        title = formatting.shorten(title, space)
    return _line((set_cell_size(title, space), "bold"), (" ", ""), (elapsed, "dim"))


def _bar(snapshot: Snapshot, width: int) -> Text:
    """Draw the share that has ended, in steps of half a cell; while the input goes on, a wandering block."""
    if not snapshot.input_ended:
        label, space = "reading…", max(width - 9, 1)
        block = max(space // 6, 1)
        track = max(space - block, 1)
        step = int(snapshot.elapsed_s * 24) % (2 * track)
        start = step if step < track else 2 * track - step
        return _line(
            ("─" * start, "bright_black"),
            ("━" * block, "cyan"),
            ("─" * (space - start - block), "bright_black"),
            (f" {label}", "cyan"),
        )
    share = formatting.share(snapshot)
    space = max(width - 6, 1)
    halves = int(share * space * 2)
    full, half = divmod(halves, 2)
    colour = "green" if not snapshot.failed else "yellow"
    label = f"{int(share * 100 + 1e-9):>4} %"
    return _line(
        ("━" * full + ("╸" if half else ""), colour),
        ("─" * (space - full - half), "bright_black"),
        (label, "bold"),
    )


def _bar_or_word(snapshot: Snapshot, width: int) -> Text:
    if snapshot.is_stopping:
        line = _line(("stopping", "bold yellow"), (f": {_AGAIN}", "yellow"))
    elif snapshot.is_paused:
        line = _line(("paused", "bold yellow"), (": what is in flight may end, nothing is started", "yellow"))
    else:
        return _bar(snapshot, width)
    line.truncate(width, overflow="ellipsis")
    return line


def _totals(snapshot: Snapshot, rates: formatting.Rates, width: int) -> Text:
    """Return the figures; where they do not all fit, those that tell least are left out first."""
    so_far = "" if snapshot.input_ended else " so far"
    parts = [
        (
            0,
            f"{formatting.count(snapshot.ended)} of {formatting.count(formatting.total(snapshot))}{so_far}",
            "bold",
        ),
        (2, formatting.rate(rates.urls_per_s), "cyan"),
        (3, formatting.size(snapshot.wire_bytes), ""),
        (4, f"{formatting.size(rates.bytes_per_s)}/s", ""),
    ]
    if rates.left_s is not None and not snapshot.is_stopping:
        parts.append((1, f"{formatting.duration(round(rates.left_s))} left", "green"))
    return _fitted(parts, width)


def _activity(snapshot: Snapshot, width: int, keys: str) -> Text:
    pending = snapshot.pending if snapshot.pending > snapshot.active + snapshot.waiting else 0
    parts = [
        (0, snapshot.active, "in flight", ""),
        (2, snapshot.waiting, "waiting", "yellow" if snapshot.waiting else "dim"),
        (1, snapshot.failed, "failed", "red" if snapshot.failed else "dim"),
        (3, pending, "pending", "dim"),
        (4, snapshot.refused, "refused", "magenta"),
        (5, snapshot.unchanged, "unchanged", "dim"),
        (6, snapshot.duplicates, "duplicates", "dim"),
        (7, snapshot.earlier, "earlier", "dim"),
    ]
    always = {"in flight", "waiting", "failed"}
    told = [(rank, number, name, style) for rank, number, name, style in parts if number or name in always]
    texts = [(rank, f"{formatting.count(number)} {name}", style) for rank, number, name, style in told]
    if snapshot.concurrency and keys:
        texts[0] = (0, f"{formatting.count(snapshot.active)} of {snapshot.concurrency:,} in flight", "")
    return _fitted([*texts, *([(8, keys, "dim")] if keys else [])], width)


def _bottleneck(text: str, width: int) -> Text:
    """Return what holds the run, the setting against that, and what it would save, as far as they fit."""
    text = shown(text)
    for end in (" would save ", "; "):
        if cell_len(text) > width:
            text = text.partition(end)[0]
    return _line((formatting.shorten(text, width), "dim"))


def _bodies(snapshot: Snapshot, rates: formatting.Rates, width: int) -> list[Text]:
    """Yield a line for each of the largest bodies in flight: URL, how much is there, how fast it grows."""
    lines = []
    for url, length, whole in snapshot.growing:
        told = f"  {formatting.body(length, whole)} · {formatting.size(rates.bodies.get(url, 0.0))}/s"
        full, half = divmod(int(min(length / whole, 1.0) * 2 * _BODY_BAR), 2) if whole else (0, 0)
        bar = "━" * full + "╸" * half
        has_bar = whole and width >= _WITH_BODY_BARS
        space = max(width - cell_len(told) - 2 - (_BODY_BAR + 2 if has_bar else 0), 8)
        pieces = [("↓ ", "cyan"), (formatting.shorten(shown(url), space), "")]
        if has_bar:
            pieces += [("  " + bar, "green"), ("─" * (_BODY_BAR - len(bar)), "bright_black")]
        lines.append(_line(*pieces, (told, "dim")))
        lines[-1].truncate(width, overflow="ellipsis")
    return lines


def _hosts(hosts: Sequence[tuple[str, int, int, str]], width: int) -> list[Text]:
    """Return a header and a line for each host, or nothing."""
    if not hosts:
        return []
    wide = width >= 60
    labels = ("in flight", "queued") if wide else ("now", "queue")
    columns = (9, 9) if wide else (4, 6)
    names = [formatting.shorten(shown(_bare(host)), 255) for host, _, _, _ in hosts]
    reasons = [shown(why, 100) for _, _, _, why in hosts]
    reason_width = min(max((cell_len(why) for why in reasons), default=0), 30 if wide else 13)
    space = width - sum(columns) - 2 - (reason_width + 2 if reason_width else 0)
    name_width = min(max(*(cell_len(name) for name in names), len("busiest hosts")), max(space, 4))
    header = set_cell_size("busiest hosts", name_width)
    lines = [_line((f"{header}{labels[0]:>{columns[0] + 1}}{labels[1]:>{columns[1] + 1}}", "dim"))]
    for (_, active, queued, _), name, why in zip(hosts, names, reasons, strict=True):
        cells = f"{active:>{columns[0] + 1},}{queued:>{columns[1] + 1},}"
        fitted = set_cell_size(formatting.shorten(name, name_width), name_width)
        reason = f"  {formatting.shorten(why, reason_width)}" if why else ""
        lines.append(_line((fitted, ""), (cells, ""), (reason, "yellow")))
    return lines


def _bare(host: str) -> str:
    """Return a host without the port that its scheme implies."""
    return host.removesuffix(":443").removesuffix(":80")


def _errors(records: Sequence[Record], width: int) -> list[Text]:
    """Yield for each a cross, the slug, the URL without its middle, and as much of the message as fits."""
    slugs = [record.error or record.state for record in records]
    slug_width = max((len(slug) for slug in slugs), default=0)
    space = max(width - slug_width - 4, 1)
    lines = []
    for record, slug in zip(records, slugs, strict=True):
        message = shown(record.message or "", 200) if width >= 60 else ""
        if width >= _WIDE and (place := place_of(record)):
            message += f", {place}" if message else place
        wanted = min(cell_len(message) + 2, space // 2) if message else 0
        url = formatting.shorten(shown(record.url), max(space - wanted, 1))
        line = _line(("✗ ", "bold red"), (f"{slug:<{slug_width}}", "red"), (f"  {url}", ""))
        if message:
            line.append(f"  {message}", style="dim")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def _fitted(parts: list[tuple[int, str, str]], width: int) -> Text:
    """Join parts (rank, text, style) by dots, in order; the highest rank goes first when space ends."""
    while len(parts) > 1 and sum(len(text) + 3 for _, text, _ in parts) - 3 > width:
        parts.remove(max(parts))
    pieces: list[tuple[str, str]] = []
    for _, text, style in parts:
        if pieces:
            pieces.append((" · ", "dim"))
        pieces.append((text, style))
    line = _line(*pieces)
    line.truncate(width, overflow="ellipsis")
    return line


def _line(*pieces: tuple[str, str]) -> Text:
    return Text.assemble(*pieces, no_wrap=True, overflow="ellipsis", end="\n")
