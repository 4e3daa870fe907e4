"""What `get`, `crawl` and `run` do with their settings: the sources, and the way that the run is to take."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Literal, cast

from fetcher.errors import ConfigError
from fetcher.settings import Command, Settings

_WITHOUT_INPUT: dict[Command, tuple[str, str]] = {
    "get": ("nothing to fetch", "give URLs, or --input FILE (- is standard input)"),
    "crawl": ("nowhere to begin", "give the URLs to start from, or --input FILE (- is standard input)"),
}


def run_batch(settings: Settings, urls: Sequence[str], *, command: Command) -> int:
    """Fetch `urls` and the inputs of the settings, or follow links from there. Returns the exit code.

    The command line of this process is the one that is shown to be typed again.
    """
    if command == "crawl" and settings.output_file is not None:
        raise ConfigError(
            "output_file: one URL goes straight to a file, and a crawl finds many", hint="use --output DIR"
        )
    sources = open_sources(settings, urls, command)
    if settings.output_file is not None:
        from fetcher.cli.single import run_single

        return run_single(settings, urls)
    if settings.dry_run:
        from fetcher.cli.rehearse import run_rehearsal

        return run_rehearsal(settings, sources, command)
    from fetcher.api import Download
    from fetcher.cli.session import run_download, shown_command

    words = ["fetcher", *sys.argv[1:]]
    begin_anew = ("--restart", "--refresh")
    return run_download(
        Download(settings, environ=os.environ, command=command),
        sources,
        title=f"fetcher {command} → {settings.output}",
        command=shown_command(words, without=("--restart",)),
        retry_command=shown_command(words, without=begin_anew, extra=("--retry-failed",)),
    )


def open_sources(settings: Settings, urls: Sequence[str], command: Command) -> list[Any]:
    """The sources of a run, each checked. Raises `ConfigError` if there are none."""
    from fetcher.sources.arguments import Arguments
    from fetcher.sources.files import FileSource

    if not urls and not settings.input:
        message, hint = _WITHOUT_INPUT[command]
        raise ConfigError(message, hint=hint)
    sources: list[Any] = [Arguments(urls)] if urls else []
    input_format = cast("Literal['auto', 'text', 'jsonl', 'csv']", settings.input_format)
    for path in settings.input:
        source = FileSource(path, input_format)
        source.check()
        sources.append(source)
    return sources
