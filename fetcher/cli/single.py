"""`fetcher get -O FILE URL`: one URL straight to a file or to standard output, with no run directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fetcher import compose
from fetcher.cli.session import allow_descriptors, exit_code, handle_signals
from fetcher.compose import run_loop
from fetcher.engine.context import Ports
from fetcher.engine.run import Run
from fetcher.errors import ConfigError, StorageError
from fetcher.events import Event, Notice, Retrying, Settled
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.observers.lines import shown, trouble_line
from fetcher.settings import Settings
from fetcher.sources.arguments import Arguments
from fetcher.stores.single import SingleStore


class Complaints:
    """Says what went wrong; nothing else is said of one URL, unless `is_verbose`."""

    def __init__(self, *, is_verbose: bool) -> None:
        self._is_verbose = is_verbose

    def on_event(self, event: Event) -> None:
        if isinstance(event, Settled):
            for record in event.records:
                if record.state in {"failed", "refused"}:
                    print(f"fetcher: {trouble_line(record)}", file=sys.stderr)
        elif isinstance(event, Notice) and event.level != "info":
            print(f"fetcher: {shown(event.text)}", file=sys.stderr)
        elif isinstance(event, Retrying) and self._is_verbose:
            print(f"fetcher: again in {event.delay_s:.1f} s: {shown(event.message)}", file=sys.stderr)


def run_single(settings: Settings, urls: Sequence[str]) -> int:
    """Fetch the one URL. Returns the exit code."""
    if len(urls) != 1 or settings.input:
        raise ConfigError("--output-file takes exactly one URL, as an argument", hint="use --output for more")
    for key in ("refresh", "retry_failed", "restart", "dry_run"):
        if getattr(settings, key):
            flag = "--" + key.replace("_", "-")
            raise ConfigError(
                f"{flag} needs a run directory, and --output-file has none", hint="use --output"
            )
    allow_descriptors(1)
    return run_loop(_fetch_one(settings, urls[0]))


async def _fetch_one(settings: Settings, url: str) -> int:
    assert settings.output_file is not None
    is_stream = settings.output_file == "-"
    target = sys.stdout.buffer if is_stream else Path(settings.output_file)
    folder = None if isinstance(target, Path) is False else _folder_of(Path(settings.output_file))
    clock = compose.MonotonicClock()
    async with contextlib.AsyncExitStack() as stack:
        try:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix=".fetcher-", dir=folder))
        except OSError as error:
            raise StorageError(
                f"cannot write in {folder or 'the temporary folder'}: {error.strerror}"
            ) from error
        parts = Path(temporary)
        executor = stack.enter_context(compose.writer_threads())
        backend = compose.make_backend(settings)
        stack.push_async_callback(backend.aclose)
        run = Run.local(
            compose.make_plan(settings),
            Ports(
                backend=backend,
                frontier=MemoryFrontier(),
                store=SingleStore(target, parts),
                clock=clock,
                observers=[] if settings.quiet else [Complaints(is_verbose=settings.verbose)],
            ),
            compose.make_policies(settings, os.environ),
            compose.make_rules(settings, clock, parts=parts, executor=executor),
            compose.make_intake(settings),
            free_bytes=compose.free_bytes(parts),
        )
        if settings.insecure:
            run.notice("warning", "--insecure: certificates are not checked")
        signals = stack.enter_context(contextlib.ExitStack())
        handle_signals(run.stop, signals)
        task = asyncio.create_task(run.run([Arguments([url])]))
        return exit_code(await task)


def _folder_of(path: Path) -> str | None:
    """Where a part can be renamed from: beside the file, unless that is a device or a pipe."""
    if path.exists() and not path.is_file():
        return None
    return str(path.resolve().parent)
