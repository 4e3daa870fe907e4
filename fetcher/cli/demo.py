"""`fetcher demo`: a first look, with no network: a small site on the loopback, and its download."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click


@click.command("demo", epilog="Example: fetcher demo /tmp/demo")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("fetcher-demo"))
def command(directory: Path) -> int:
    """Start a small site on the loopback and download it into DIRECTORY.

    Some of its pages are slow, some fail once, one is missing, one is a redirect: so the summary has
    something to say. The site stops with the command.
    """
    from fetcher.compose import run_loop

    return run_loop(_demo(directory))


async def _demo(directory: Path) -> int:
    from fetcher.api import Download
    from fetcher.cli.session import conduct
    from fetcher.lab.site import DemoSite
    from fetcher.settings import Settings
    from fetcher.sources.iterables import IterableSource

    async with contextlib.AsyncExitStack() as stack:
        site = await stack.enter_async_context(DemoSite())
        urls = site.urls()
        print(f"a site of {len(urls)} URLs is at {site.url} while this runs\n", file=sys.stderr)
        settings = Settings(output=str(directory), concurrency=16, per_host=16, name="{path}", restart=True)
        code = await conduct(
            Download(settings), [IterableSource(urls, batch=64)], f"fetcher demo → {directory}", None, None
        )
    expected = 1  # the missing page
    print(
        f"""
One page is missing on purpose, so a script would see exit code 1. Now try:
  fetcher status {directory}
  head -n 2 {directory}/results.jsonl
  fetcher get https://example.org/ -o pages
  fetcher get -i urls.txt -o pages          (a list; run it again to continue or --refresh)
  fetcher get --help""",
        file=sys.stderr,
    )
    return 0 if code == expected else code
