"""One run on the command line: displays, signals, summary and exit code around a `Download`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, cast

from fetcher.cli.exit_codes import SIGNALS, STOPPED_CLEANLY, STORAGE
from fetcher.cli.run_keys import reading_keys
from fetcher.cli.run_report import RunReport
from fetcher.cli.watchers import watched
from fetcher.download import Download
from fetcher.errors import ConfigError, StorageError, WorkerDied
from fetcher.events import Event
from fetcher.header_fields import is_secret
from fetcher.model import Summary
from fetcher.native import argument_text
from fetcher.observers.jsonl_output import JsonlOutput
from fetcher.observers.line_display import LineDisplay, QuietObserver, VerboseLines, can_animate
from fetcher.observers.log import LogObserver
from fetcher.observers.summary import summary_lines
from fetcher.open_files import raise_limit
from fetcher.policy.redaction import mask
from fetcher.ports import Observer, Source
from fetcher.settings import Settings
from fetcher.wiring import run_loop

if TYPE_CHECKING:
    from fetcher.analysis.broken_links import LinkCheck

BROKEN_PIPE = "broken pipe"
OUTPUT_FAILED = "output-failed"
WORKERS_DIED = "workers-died"
STORAGE_FAILED = "storage-failed"
PRESS_AGAIN = "press Ctrl-C again to stop at once"
SIGNAL_AGAIN = "a second signal stops at once"
WORDS = {
    "SIGINT": "interrupted (SIGINT)",
    "deadline": "the deadline was reached",
    "max-failures": "as many URLs failed as --max-failures allows",
    "disk-full": "the disk has less room than --min-free keeps",
    "dashboard": "somebody stopped it on the dashboard",
    "input-failed": "the input could not be read to its end",
    OUTPUT_FAILED: "standard output could not be written",
    STORAGE_FAILED: "the disk or the state failed",
    WORKERS_DIED: "no worker process could be kept running",
}


class Display(Protocol):
    """A live view of a run."""

    def on_event(self, event: Event) -> None: ...
    def say(self, line: str) -> None: ...
    async def run(self) -> None: ...


class Pipe:
    """`--json` on standard output; a reader that goes away stops the run."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._records = JsonlOutput(sys.stdout.buffer)
        self._stop = stop
        self._is_read = True

    def on_event(self, event: Event) -> None:
        if not self._is_read:
            return
        try:
            self._records.on_event(event)
        except BrokenPipeError:  # as for any filter: no word, and the exit code says it
            self._is_read = False
            self._stop(BROKEN_PIPE)
            self._stop(BROKEN_PIPE)
        except OSError:
            self._stop(OUTPUT_FAILED)
            raise


def run_download(
    download: Download,
    sources: Sequence[Source],
    *,
    title: str,
    command: str,
    retry_command: str,
    report: RunReport,
) -> int:
    """Run a download with all that surrounds it. Returns the exit code."""
    raise_limit()
    return run_loop(run_with_signals(download, sources, title, command, retry_command, report))


async def run_with_signals(
    download: Download,
    sources: Sequence[Source],
    title: str,
    command: str | None,
    retry_command: str | None,
    report: RunReport | None = None,
) -> int:
    """Run a download under its displays and signals, print the summary, and return the exit code."""
    settings = download.settings
    async with contextlib.AsyncExitStack() as watching:
        stack = watching.enter_context(contextlib.ExitStack())
        handle_signals(download.stop, stack, download.notice)
        quiet = QuietObserver()
        display = None if settings.quiet else _display(download, title, stack)
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
        await watching.enter_async_context(
            watched(download, None if report is None else report.figures, title)
        )
        showing = None if display is None else asyncio.create_task(display.run())
        try:
            summary = await download.run(sources)
        except (
            WorkerDied,
            StorageError,
        ) as error:  # what was settled is safe, and what is left has not failed
            left = download.snapshot()
            if isinstance(error, StorageError) and not left.listed:
                raise  # nothing was begun, and nothing can be continued before that is mended
            for text in filter(None, (error.message, error.hint)):
                download.notice("error", text)
            why = WORKERS_DIED if isinstance(error, WorkerDied) else STORAGE_FAILED
            summary = Summary(stopped=why, pending=left.pending, failed=left.failed)
        finally:
            if showing is not None:
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
        if report is not None:
            report.summary = summary
        code = exit_code(summary)
        if code == 128 + signal.SIGPIPE:
            return code
        if not settings.quiet or code != 0:
            if settings.quiet:
                _print(quiet.lines())
            _print(_summary(download, summary, command, retry_command))
            if download.link_check is not None:
                _print(_link_lines(download, download.link_check))
        return code


def handle_signals(
    stop: Callable[[str], None], stack: contextlib.ExitStack, notice: Callable[[str, str], None]
) -> None:
    """The first signal stops cleanly, and `notice` is told so, the second at once.

    What is ignored (nohup) stays so.
    """
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        notice("info", PRESS_AGAIN if name == "SIGINT" else SIGNAL_AGAIN)
        stop(name)

    for name, number in SIGNALS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        loop.add_signal_handler(number, on_signal, name)
        stack.callback(loop.remove_signal_handler, number)


def exit_code(summary: Summary) -> int:
    """Return the exit code of a run that ended."""
    stopped = summary.stopped
    if stopped in SIGNALS:
        return 128 + int(SIGNALS[stopped])
    if stopped == BROKEN_PIPE:
        return 128 + signal.SIGPIPE
    if stopped in {"disk-full", OUTPUT_FAILED, WORKERS_DIED, STORAGE_FAILED}:
        return STORAGE
    if stopped in {"deadline", "max-failures", "dashboard"}:
        return STOPPED_CLEANLY
    return 0 if summary.ok and stopped is None else 1


def _display(download: Download, title: str, stack: contextlib.ExitStack) -> Display:
    if can_animate(sys.stderr, os.environ) and not (download.settings.json and sys.stdout.isatty()):
        from fetcher.observers.live_display import LiveDisplay  # rich costs 0.1 s: only on a terminal

        keys = stack.enter_context(reading_keys(download))
        return LiveDisplay(download.snapshot, sys.stderr, title=title, keys=keys)
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
    snapshot = download.snapshot()
    is_over = snapshot.input_ended and not summary.pending and not is_crawl and stopped != "input-failed"
    is_cut_short = stopped is not None and not is_over
    return summary_lines(
        snapshot,
        stopped=None if stopped is None else WORDS.get(stopped, stopped),
        continue_command=command if is_cut_short or (summary.pending and not is_crawl) else None,
        retry_command=retry_command if summary.failed and not is_cut_short else None,
        directory=""
        if download.settings.link_check
        else argument_text(str(download.directory.url or download.directory.root)),
    )


def _link_lines(download: Download, found: LinkCheck) -> list[str]:
    from fetcher.cli.link_lines import link_lines  # only a link check needs them

    return ["", *link_lines(found, argument_text(str(download.directory.broken_links)))]


def _print(lines: Sequence[str]) -> None:
    with contextlib.suppress(OSError):
        for line in lines:
            print(line, file=sys.stderr)


def shown_command(arguments: Sequence[str], *, without: Sequence[str] = (), extra: Sequence[str] = ()) -> str:
    """Return the command that was given, to be shown and typed again; secrets are left out as `…`."""
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
    r"(?P<option>-[qv46]*(?P<short>[uH])|--(?P<long>user|header|data|notify)(?:=|$))(?P<value>.*)", re.DOTALL
)


def _without_secret(kind: str, value: str) -> str:
    """Return the value of an option that may hold a secret, as far as it may be shown."""
    if kind == "data" and value.startswith("@"):
        return value
    name, colon, _ = value.partition(":")
    if kind not in {"H", "header"} or not colon:
        return "…"
    return f"{name}: …" if is_secret(name) else value
