"""The benchmark of crawling: `fetcher crawl` against Scrapy on the same static site, links and all."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from crawl_site import FIRST, write_site
from harness import Contender, Goal, Overran, Usage, emptied, interleaved, median, ratios, spread, table
from scale import HERE, PYTHON, Findings, Scale, elapsed_of, fetcher, figures_of
from server import nginx

SCRAPY = "Scrapy"
MISSING_SCRAPY = f"{SCRAPY} is needed for the comparison, and not installed (pip install scrapy)"


def measure(scale: Scale, folder: Path) -> Findings:
    """Pages per second with link extraction, 64 at once on one host, robots.txt off."""
    root, out = folder / "site", folder / "out"
    pages = scale.crawl_pages
    write_site(root, pages)
    has_scrapy = importlib.util.find_spec("scrapy") is not None
    with nginx(root, folder / "nginx") as address:
        seed = f"{address}/{FIRST}"
        ours = ["crawl", seed, "-o", str(out), "--no-robots", "-c", "64", "--per-host", "64", "--depth", "20"]
        contenders = [
            _ours("fetcher crawl --store none", [*ours, "--store", "none"], out, pages),
            _ours("the same on curl", [*ours, "--store", "none", "--backend", "curl"], out, pages),
            _ours("fetcher crawl, into files", ours, out, pages),
        ]
        if has_scrapy:
            command = [PYTHON, str(HERE / "scrapy_crawl.py"), seed]
            contenders.append(Contender(SCRAPY, command, after=lambda run: _check(SCRAPY, _told(run), pages)))
        usages = interleaved(contenders, scale.rounds)
    alone = {
        name: [_told(run)["elapsed_s"] if name == SCRAPY else elapsed_of(run, pages) for run in runs]
        for name, runs in usages.items()
    }
    rows = []
    for name, runs in usages.items():
        rows.append(
            [
                name,
                f"{pages / median(alone[name]):,.0f}",
                spread(ratios(alone[SCRAPY], alone[name]), 1) if has_scrapy else "–",
                spread(run.wall_s for run in runs),
                f"{median(run.cpu_s for run in runs) / pages * 1e6:,.0f}",
                f"{max(run.peak_mb for run in runs):.0f}",
            ]
        )
    columns = ["program", "pages/s alone", "× Scrapy", "whole s", "CPU µs/page", "peak MB"]
    findings = Findings([table(f"A site of {pages:,} pages, each with 40 links", columns, rows)])
    findings.figures = figures_of(usages) | {"alone_s": alone}
    if has_scrapy:
        measured: float | None = median(ratios(alone[SCRAPY], alone[contenders[0].name]))
    else:
        measured = None
        findings.texts.append(f"{MISSING_SCRAPY}.\n")
    goal = Goal("crawl against Scrapy", 15, " ×", measured, is_least=True, why="Scrapy is not installed")
    findings.goals.append(goal)
    return findings


def _ours(name: str, arguments: list[str], out: Path, pages: int) -> Contender:
    def after(_: Usage) -> None:
        done = (out / "results.jsonl").read_bytes().count(b'"state":"done"')
        emptied(out)
        _check(name, {"pages": done}, pages)

    return Contender(name, fetcher(*arguments), after=after)


def _told(run: Usage) -> dict[str, float]:
    told: dict[str, float] = json.loads(run.stdout)
    return told


def _check(name: str, told: dict[str, float], pages: int) -> None:
    """A fast program that misses pages would win nothing."""
    if told["pages"] != pages:
        raise Overran(f"{name}: {told['pages']} pages instead of {pages}")
