"""How much a benchmark measures and what it finds, with the program and the site that several of them use."""

from __future__ import annotations

import random
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Goal, Overran, Usage

HERE = Path(__file__).parent
PYTHON = sys.executable
PAGE_BYTES = 1500


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    engine_urls: int
    million: int  # 0: left out
    million_rounds: int
    pages: int
    few_lines: int
    many_lines: int
    large_mb: int
    starts: int
    crawl_pages: int
    batch_pages: int
    parsed_pages: int
    listed_urls: int


def full(rounds: int) -> Scale:
    return Scale(
        rounds=rounds,
        engine_urls=100_000,
        million=1_000_000,
        million_rounds=min(rounds, 2),
        pages=20_000,
        few_lines=20_000,
        many_lines=200_000,
        large_mb=1024,
        starts=20,
        crawl_pages=2_000,
        batch_pages=100_000,
        parsed_pages=400,
        listed_urls=10_000_000,
    )


def quick(rounds: int) -> Scale:
    """Enough to see that everything runs."""
    return Scale(
        rounds=rounds,
        engine_urls=20_000,
        million=0,
        million_rounds=0,
        pages=4_000,
        few_lines=4_000,
        many_lines=40_000,
        large_mb=256,
        starts=7,
        crawl_pages=500,
        batch_pages=10_000,
        parsed_pages=150,
        listed_urls=200_000,
    )


@dataclass(slots=True)
class Findings:
    """What a benchmark found: text to show, goals, and the figures for `--json`."""

    texts: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def fetcher(*arguments: str) -> list[str]:
    """The real program of this environment."""
    script = Path(PYTHON).parent / "fetcher"
    return [str(script), *arguments] if script.exists() else [PYTHON, "-m", "fetcher", *arguments]


def write_site(root: Path, pages: int) -> list[str]:
    """So many pages below `root`; their paths."""
    paths = []
    body = random.Random(0).randbytes(PAGE_BYTES)
    for number in range(pages):
        path = f"section{number % 97}/page-{number}.html"
        file = root / path
        if number < 97:
            file.parent.mkdir(parents=True)
        file.write_bytes(body)
        paths.append(path)
    return paths


def elapsed_of(run: Usage, urls: int) -> float:
    """The seconds of the run as the summary tells them; its rate has more digits than its time."""
    found = re.search(r"\(([\d,]+)/s\)", run.stderr)
    if found is None:
        raise Overran(f"no rate in the summary:\n{run.stderr[-1000:]}")
    return urls / float(found[1].replace(",", ""))


def figures_of(usages: dict[str, list[Usage]]) -> dict[str, Any]:
    return {
        name: [{"wall_s": run.wall_s, "cpu_s": run.cpu_s, "peak_mb": run.peak_mb} for run in runs]
        for name, runs in usages.items()
    }
