"""`fetcher crawl`: follow links from a few seeds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import SettingsCommand, given, settings_options


@click.command(
    "crawl",
    cls=SettingsCommand,
    epilog="Example: fetcher crawl https://example.org/ -o site --depth 3",
)
@click.argument("seeds", nargs=-1)
@settings_options("crawl", hidden=("output_file",))
def command(seeds: tuple[str, ...], **params: Any) -> int:
    """Download SEEDS, the lines of --input files, and the pages that they link to, step by step.

    The same command in the same place continues where it was interrupted.
    """
    from fetcher import config
    from fetcher.cli.download import run_download_command
    from fetcher.native import argument_text

    effective = config.load("crawl", flags=given(params), environ=os.environ, found=config.find(Path()))
    return run_download_command(effective, [argument_text(url) for url in seeds], command="crawl")
