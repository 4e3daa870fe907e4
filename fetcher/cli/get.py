"""`fetcher get`: download a batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import click

from fetcher.cli.options import SettingsCommand, given, settings_options
from fetcher.errors import ConfigError
from fetcher.settings import Settings


@click.command(
    "get",
    cls=SettingsCommand,
    epilog="Example: fetcher get -i urls.txt -o pages --per-host 16",
)
@click.argument("urls", nargs=-1)
@settings_options()
def command(urls: tuple[str, ...], **params: Any) -> int:
    """Download URLs: arguments, and the lines of --input files.

    The same command in the same place continues where it was interrupted.
    """
    from fetcher import config

    effective = config.load("get", flags=given(params), environ=os.environ, found=config.find(Path()))
    return run_get(effective.settings, urls)


def run_get(settings: Settings, urls: Sequence[str], words: Sequence[str] | None = None) -> int:
    """Download `urls` and the inputs of the settings. `words` is the command to be typed again."""
    sources = open_sources(settings, urls)
    if settings.output_file is not None:
        from fetcher.cli.single import run_single

        return run_single(settings, urls)
    if settings.dry_run:
        from fetcher.cli.rehearse import run_rehearsal

        return run_rehearsal(settings, sources)
    from fetcher.api import Download
    from fetcher.cli.session import run_download, shown_command

    words = words if words is not None else ["fetcher", *sys.argv[1:]]
    begin_anew = ("--restart", "--refresh")
    return run_download(
        Download(settings, environ=os.environ),
        sources,
        title=f"fetcher get → {settings.output}",
        command=shown_command(words, without=("--restart",)),
        retry_command=shown_command(words, without=begin_anew, extra=("--retry-failed",)),
    )


def open_sources(settings: Settings, urls: Sequence[str]) -> list[Any]:
    """The sources of a run, each checked. Raises `ConfigError` if there are none."""
    from fetcher.sources.arguments import Arguments
    from fetcher.sources.files import FileSource

    if not urls and not settings.input:
        raise ConfigError("nothing to fetch", hint="give URLs, or --input FILE (- is standard input)")
    sources: list[Any] = [Arguments(urls)] if urls else []
    input_format = cast("Literal['auto', 'text', 'jsonl', 'csv']", settings.input_format)
    for path in settings.input:
        source = FileSource(path, input_format)
        source.check()
        sources.append(source)
    return sources
