"""`fetcher get -O FILE URL`: one URL straight to a file or to standard output, with no run directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from fetcher import wiring
from fetcher.cli.runner import exit_code, handle_signals
from fetcher.cli.trace_export import exported_traces
from fetcher.engine.run import Run
from fetcher.errors import ConfigError, StorageError
from fetcher.events import Event, LogMessage, OutcomesSettled, Retrying
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Summary
from fetcher.observers.line_display import can_animate, trouble_line
from fetcher.open_files import raise_limit
from fetcher.policy.redaction import shown
from fetcher.settings import Settings
from fetcher.sources.arguments import Arguments
from fetcher.stores.single_file import SingleStore
from fetcher.wiring import run_loop

_SHOWN_AFTER_S = 0.5  # what is over sooner needs no display


class ErrorPrinter:
    """Observer that prints errors; nothing else is said of one URL, unless `is_verbose`."""

    def __init__(self, *, is_verbose: bool) -> None:
        self._is_verbose = is_verbose

    def on_event(self, event: Event) -> None:
        if isinstance(event, OutcomesSettled):
            for record in event.records:
                if record.state in {"failed", "refused"}:
                    print(f"fetcher: {trouble_line(record)}", file=sys.stderr)
        elif isinstance(event, LogMessage) and event.level != "info":
            print(f"fetcher: {shown(event.text)}", file=sys.stderr)
        elif isinstance(event, Retrying) and self._is_verbose:
            print(f"fetcher: again in {event.delay_s:.1f} s: {shown(event.message)}", file=sys.stderr)


def run_single(settings: Settings, urls: Sequence[str], noticed: Sequence[tuple[str, str]] = ()) -> int:
    """Fetch the one URL. Returns the exit code. `noticed` is said first, by level and text."""
    if len(urls) != 1 or settings.input:
        raise ConfigError("--output-file takes exactly one URL, as an argument", hint="use --output for more")
    for key in ("refresh", "retry_failed", "restart", "shard", "dry_run", "on_done"):
        if getattr(settings, key):
            flag = "--" + key.replace("_", "-")
            raise ConfigError(
                f"{flag} needs a run directory, and --output-file has none", hint="use --output"
            )

    def say(level: str, text: str) -> None:
        if not settings.quiet:
            print(f"fetcher: {shown(text if level == 'info' else f'{level}: {text}')}", file=sys.stderr)

    for level, text in noticed:
        say(level, text)
    raise_limit()
    return run_loop(_fetch_one(settings, urls[0], say))


async def _fetch_one(settings: Settings, url: str, say: Callable[[str, str], None]) -> int:
    assert settings.output_file is not None
    is_stream = settings.output_file == "-"
    target = sys.stdout.buffer if is_stream else Path(settings.output_file)
    folder = _folder_of(target) if isinstance(target, Path) else None
    async with contextlib.AsyncExitStack() as stack:
        try:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix=".fetcher-", dir=folder))
        except OSError as error:
            raise StorageError(
                f"output_file: cannot write in {folder or 'the temporary folder'}: {error.strerror}"
            ) from error
        parts = Path(temporary)
        executor = stack.enter_context(wiring.writer_threads())
        backend = wiring.make_backend(settings)
        stack.push_async_callback(backend.aclose)
        traces = await stack.enter_async_context(exported_traces(os.environ, say))
        run = wiring.make_local_run(
            settings,
            backend,
            MemoryFrontier(),
            SingleStore(target, parts),
            observers=[*traces, *([] if settings.quiet else [ErrorPrinter(is_verbose=settings.verbose)])],
            environ=os.environ,
            parts=parts,
            executor=executor,
            disk=parts,
        )
        if settings.insecure:
            run.notice("warning", "--insecure: certificates are not checked")
        signals = stack.enter_context(contextlib.ExitStack())
        handle_signals(run.stop, signals, lambda level, text: say(level, f"stopping: {text}"))
        task = asyncio.create_task(run.run([Arguments([url])]))
        await _shown(run, task, settings, url)
        return exit_code(await task)


async def _shown(run: Run, task: asyncio.Task[Summary], settings: Settings, url: str) -> None:
    """Show how the body grows until the task has ended, on a terminal that shows nothing else."""
    is_taken = settings.output_file == "-" and sys.stdout.isatty()
    if settings.quiet or is_taken or not can_animate(sys.stderr, os.environ):
        return
    done, _ = await asyncio.wait({task}, timeout=_SHOWN_AFTER_S)
    if done:
        return
    from fetcher.observers.live_display import LiveDisplay  # rich costs 0.1 s

    display = LiveDisplay(run.snapshot, sys.stderr, title=url)
    showing = asyncio.create_task(display.run())
    try:
        await asyncio.wait({task})
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


def _folder_of(path: Path) -> str | None:
    """Return the folder for the part, beside the file; None if that is a device or a pipe."""
    try:
        if path.is_dir():
            raise StorageError(f"output_file: {path} is a folder", hint="name a file in it")
        if path.exists() and not path.is_file():
            return None
        return str(path.resolve().parent)
    except (OSError, RuntimeError) as error:  # a name that is too long; links in a circle
        reason = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise StorageError(f"output_file: cannot write {path}: {reason}") from error
