"""`fetcher demo`: a first look, with no network: a small site on the loopback, downloaded, then crawled."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

import click


@click.command("demo", epilog="Example: fetcher demo /tmp/demo")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("fetcher-demo"))
def command(directory: Path) -> int:
    """Start a small site on the loopback, download it into DIRECTORY, crawl it into DIRECTORY/crawl.

    Some of its pages are slow, some fail once, one is missing, one is a redirect: so the summaries have
    something to say. The site stops with the command.
    """
    from fetcher.wiring import run_loop

    return run_loop(_demo(directory))


async def _demo(directory: Path) -> int:
    from fetcher.cli.runner import run_with_signals
    from fetcher.demo_site.site import DemoSite
    from fetcher.download import Download
    from fetcher.settings import build
    from fetcher.sources.iterables import IterableSource

    common = {"concurrency": 16, "per_host": 16, "name": "{path}", "restart": True}
    crawled = directory / "crawl"
    async with contextlib.AsyncExitStack() as stack:
        site = await stack.enter_async_context(DemoSite())
        urls = site.urls()
        _say(f"a site of {len(urls)} URLs is at {site.url} while this runs; first, all of them as a list\n")
        listing = Download(build({**common, "output": str(directory)}))
        code = await run_with_signals(
            listing, [IterableSource(urls, batch=64)], f"fetcher demo → {directory}", None, None
        )
        if code != 1:  # the missing page
            return code
        _say("\nand now from its home page alone, by following links\n")
        crawl = Download(build({**common, "output": str(crawled)}, "crawl"), command="crawl")
        code = await run_with_signals(
            crawl, [IterableSource([site.url], batch=1)], f"fetcher demo → {crawled}", None, None
        )
    is_elsewhere = Path(sys.argv[0]).name == "fetcher" and not shutil.which("fetcher")  # in .venv/bin
    program = sys.argv[0] if is_elsewhere else "fetcher"
    _say(
        f"""
One page is missing on purpose: for the list that is exit code 1, for the crawl a finding. Now try:
  {program} status {directory}
  {program} status {crawled}
  head -n 2 {directory}/results.jsonl
  {program} get https://example.org/ -o pages
  {program} get -i urls.txt -o pages    (a list; run it again to continue or --refresh)
  {program} crawl https://example.org/ -o site
  {program} get --help"""
    )
    return code


def _say(text: str) -> None:
    print(text, file=sys.stderr)
