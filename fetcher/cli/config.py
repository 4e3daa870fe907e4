"""`fetcher config`: the effective settings, as TOML, with where each came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import SettingsCommand, given, settings_options


@click.command("config", cls=SettingsCommand, epilog="Example: fetcher config --concurrency 16")
@settings_options()
def command(**params: Any) -> int:
    """Show what a run would use here: defaults, fetcher.toml, environment, options.

    The output is TOML, each value with its origin; passwords are masked.
    """
    from fetcher import config

    effective = config.load("get", flags=given(params), environ=os.environ, found=config.find(Path()))
    click.echo(config.as_toml(effective), nl=False)
    return 0
