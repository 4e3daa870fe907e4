"""`fetcher config`: the effective settings, as TOML, with where each came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fetcher.cli.options import SettingsCommand, given, settings_options
from fetcher.settings import OPTIONS


@click.command("config", cls=SettingsCommand, epilog="Example: fetcher config --concurrency 16")
@settings_options(without=("json",))
@click.option("--json", "as_json", is_flag=True, help="the same as one JSON object on stdout")
def command(as_json: bool, **params: Any) -> int:
    """Show what a run would use here: defaults, fetcher.toml, environment, options.

    The output is TOML, each value with its origin; passwords are masked. What is different for a crawl
    stands in its own section.
    """
    from fetcher import config, config_output

    flags = given(params)
    of_get = {key: value for key, value in flags.items() if OPTIONS[key].is_for("get")}
    found = config.find(Path())
    get = config.load("get", flags=of_get, environ=os.environ, found=found)
    crawl = config.load("crawl", flags=flags, environ=os.environ, found=found)
    if as_json:
        click.echo(config_output.as_json(get, crawl))
        return 0
    click.echo(config_output.as_toml(get, crawl), nl=False)
    return 0
