"""`fetcher run`: the job that a TOML file describes, for cron and systemd."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import SettingsCommand, given, settings_options


@click.command("run", cls=SettingsCommand, epilog="Example: fetcher run nightly.toml --quiet")
@click.argument("job", type=click.Path(path_type=Path))
@settings_options(without=("config",))
def command(job: Path, **params: Any) -> int:
    """Run the job of a TOML file; options override its keys.

    Paths in the file are relative to it. No fetcher.toml is read.
    """
    from fetcher import config
    from fetcher.cli.download import run_download_command

    loaded = config.load_job(job, flags=given(params), environ=os.environ)
    return run_download_command(loaded.effective, loaded.urls, command=loaded.command, is_typed=False)
