"""`fetcher get`: download a batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import SettingsCommand, given, settings_options


@click.command(
    "get",
    cls=SettingsCommand,
    epilog="Example: fetcher get -i urls.txt -o pages --per-host 16",
)
@click.argument("urls", nargs=-1)
@settings_options("get")
def command(urls: tuple[str, ...], **params: Any) -> int:
    """Download URLs: arguments, and the lines of --input files.

    The same command in the same place continues where it was interrupted.
    """
    from fetcher import config
    from fetcher.cli.download import run_download_command
    from fetcher.native import argument_text

    effective = config.load("get", flags=given(params), environ=os.environ, found=config.find(Path()))
    return run_download_command(effective, [argument_text(url) for url in urls], command="get")
