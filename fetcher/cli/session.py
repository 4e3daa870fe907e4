"""One run on the command line: displays, signals, summary and exit code around a `Download`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, cast

from fetcher.api import Download
from fetcher.compose import run_loop
from fetcher.errors import ConfigError
from fetcher.events import Event
from fetcher.model import Summary
from fetcher.observers.lines import LineDisplay, QuietObserver, VerboseLines, can_animate
from fetcher.observers.log import LogObserver
from fetcher.observers.records import JsonRecords
from fetcher.observers.summary import summary_lines
from fetcher.policy.credentials import HARMLESS
from fetcher.policy.text import mask
from fetcher.ports import Observer, Source
from fetcher.settings import Settings

BROKEN_PIPE = "broken pipe"
OUTPUT_FAILED = "output-failed"
SIGNALS = {name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")}
STOPPED_CLEANLY, STORAGE = 4, 5
WORDS = {
    "deadline": "the deadline was reached",
    "max-failures": "as many URLs failed as --max-failures allows",
    "disk-full": "the disk has less room than --min-free keeps",
    "input-failed": "the input could not be read to its end",
    OUTPUT_FAILED: "standard output could not be written",
}
_FILES_BESIDE = 64  # descriptors for the state, part files and what Python needs


class Display(Protocol):
    """What shows a run while it goes on."""

    def on_event(self, event: Event) -> None: ...
    def say(self, line: str) -> None: ...
    async def run(self) -> None: ...


class Pipe:
    """`--json` on standard output; a reader that goes away stops the run."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._records = JsonRecords(sys.stdout.buffer)
        self._stop = stop

    def on_event(self, event: Event) -> None:
        try:
            self._records.on_event(event)
        except BrokenPipeError:
            self._stop(BROKEN_PIPE)
            self._stop(BROKEN_PIPE)
            raise
        except OSError:
            self._stop(OUTPUT_FAILED)
            raise


def run_download(
    download: Download, sources: Sequence[Source], *, title: str, command: str, retry_command: str
) -> int:
    """Run a download with all that surrounds it. Returns the exit code."""
    allow_descriptors(download.settings.concurrency)
    return run_loop(conduct(download, sources, title, command, retry_command))


def allow_descriptors(concurrency: int) -> None:
    """Raise the soft limit on open files as far as a run may need and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * concurrency + _FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def conduct(
    download: Download, sources: Sequence[Source], title: str, command: str | None, retry_command: str | None
) -> int:
    """Run a download under its displays and signals, print the summary, and return the exit code."""
    settings = download.settings
    with contextlib.ExitStack() as stack:
        handle_signals(download.stop, stack)
        quiet = QuietObserver()
        display = None if settings.quiet else _display(download, title)
        observers: list[Observer] = [quiet if display is None else display]
        if display is not None and settings.verbose:
            observers.append(VerboseLines(display.say))
        if settings.log_file is not None:
            observers.append(_log(settings, stack))
        if settings.json:
            observers.append(Pipe(download.stop))
        if settings.parser is not None:  # whatever it prints is not data
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        download.observers += observers
        showing = None if display is None else asyncio.create_task(display.run())
        try:
            summary = await download.run(sources)
        finally:
            if showing is not None:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
        code = exit_code(summary)
        if code == 128 + signal.SIGPIPE:
            return code
        if not settings.quiet or code != 0:
            if settings.quiet:
                _print(quiet.lines())
            _print(_summary(download, summary, command, retry_command))
        return code


def handle_signals(stop: Callable[[str], None], stack: contextlib.ExitStack) -> None:
    """The first signal stops cleanly, the second at once; what is ignored (nohup) stays so."""
    loop = asyncio.get_running_loop()
    for name, number in SIGNALS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        loop.add_signal_handler(number, stop, name)
        stack.callback(loop.remove_signal_handler, number)


def exit_code(summary: Summary) -> int:
    """What the shell is told of a run that ended."""
    stopped = summary.stopped
    if stopped in SIGNALS:
        return 128 + int(SIGNALS[stopped])
    if stopped == BROKEN_PIPE:
        return 128 + signal.SIGPIPE
    if stopped in {"disk-full", OUTPUT_FAILED}:
        return STORAGE
    if stopped in {"deadline", "max-failures"}:
        return STOPPED_CLEANLY
    return 0 if summary.ok and stopped is None else 1


def _display(download: Download, title: str) -> Display:
    if can_animate(sys.stderr, os.environ) and not (download.settings.json and sys.stdout.isatty()):
        from fetcher.observers.live import LiveDisplay  # rich costs 0.1 s: only on a terminal

        return LiveDisplay(download.snapshot, sys.stderr, title=title)
    return LineDisplay(download.snapshot, sys.stderr, failures=0 if download.settings.verbose else 10)


def _log(settings: Settings, stack: contextlib.ExitStack) -> LogObserver:
    assert settings.log_file is not None
    log_format = cast("Literal['text', 'json']", settings.log_format)
    log = LogObserver(settings.log_file, format=log_format, verbose=settings.verbose)
    try:
        log.open()
    except OSError as error:
        raise ConfigError(f"log_file: cannot write {settings.log_file}: {error.strerror}") from error
    stack.callback(log.close)
    return log


def _summary(
    download: Download, summary: Summary, command: str | None, retry_command: str | None
) -> list[str]:
    stopped = summary.stopped
    is_crawl = summary.findings is not None  # what --max-pages leaves, the same command leaves again
    return summary_lines(
        download.snapshot(),
        stopped=None if stopped is None else WORDS.get(stopped, stopped),
        continue_command=command if stopped is not None or (summary.pending and not is_crawl) else None,
        retry_command=retry_command if summary.failed and not stopped else None,
        directory=str(download.directory.root),
    )


def _print(lines: Sequence[str]) -> None:
    with contextlib.suppress(OSError):
        for line in lines:
            print(line, file=sys.stderr)


def shown_command(arguments: Sequence[str], *, without: Sequence[str] = (), extra: Sequence[str] = ()) -> str:
    """The command that was given, to be shown and typed again; secrets are left out as `…`."""
    kept: list[str] = []
    kind = ""  # of the option whose value is the next argument
    for argument in arguments:
        if kind:
            kept.append(_without_secret(kind, argument))
            kind = ""
        elif found := _SECRET_OPTION.fullmatch(argument):
            kind = found["short"] or found["long"]
            if found["value"]:
                kept.append(found["option"] + _without_secret(kind, found["value"]))
                kind = ""
            else:
                kept.append(argument)
        elif argument not in without:
            kept.append(mask(argument))
    return shlex.join([*kept, *(word for word in extra if word not in kept)]).replace("'…'", "…")


# Behind other short options too, and with the value attached.
_SECRET_OPTION = re.compile(
    r"(?P<option>-[qv46]*(?P<short>[uH])|--(?P<long>user|header|data)(?:=|$))(?P<value>.*)", re.DOTALL
)


def _without_secret(kind: str, value: str) -> str:
    """The value of an option that may hold a secret, as far as it may be shown."""
    if kind == "data" and value.startswith("@"):
        return value
    name, colon, _ = value.partition(":")
    if kind not in {"H", "header"} or not colon:
        return "…"
    return value if name.strip().lower() in HARMLESS else f"{name}: …"
