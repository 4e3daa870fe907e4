"""Far servers, and many: 1,000 pages at once that each take 100 ms, and 10,000 URLs over 1,000 hosts."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from distant_server import PAGE_BYTES, address_of, distant_server
from harness import Contender, Goal, Overran, Usage, emptied, interleaved, median, ratios, spread, table
from scale import HERE, PYTHON, Findings, Scale, fetcher, figures_of

LATENCY_MS = 100
AT_ONCE = 1000
HOSTS = 1000 if sys.platform == "linux" else 1
BARE = "bare libcurl loop"


def latency(scale: Scale, folder: Path) -> Findings:
    """Pages that are 100 ms away, 1,000 at once, into files."""
    with distant_server(LATENCY_MS, 1) as port:
        urls = [f"http://{address_of(0)}:{port}/page-{number}" for number in range(scale.pages)]
        return _compared(
            f"{scale.pages:,} pages of 1.5 KB, {LATENCY_MS} ms away, {AT_ONCE:,} at once", urls, scale, folder
        )


def hosts(scale: Scale, folder: Path) -> Findings:
    """Ten pages of each of 1,000 hosts, into files."""
    count = scale.pages // 2
    with distant_server(0, HOSTS) as port:
        urls = [f"http://{address_of(number % HOSTS)}:{port}/page-{number}" for number in range(count)]
        return _compared(f"{count:,} URLs over {HOSTS:,} hosts, {AT_ONCE:,} at once", urls, scale, folder)


def _compared(title: str, urls: Sequence[str], scale: Scale, folder: Path) -> Findings:
    out, listed = folder / "out", folder / "urls.txt"
    listed.write_text("".join(f"{url}\n" for url in urls))

    def after(_: Usage) -> None:
        whole = sum(1 for path in out.rglob("page-*") if path.stat().st_size == PAGE_BYTES)
        if whole != len(urls):
            raise Overran(f"{whole} whole files instead of {len(urls)}")
        emptied(out)

    at_once = str(AT_ONCE)
    has_curl = importlib.util.find_spec("pycurl") is not None
    ours = fetcher("get", "-i", str(listed), "-o", str(out), "-c", at_once, "--per-host", at_once, "-q")
    contenders = [
        Contender(f"fetcher, {backend}", [*ours, "--backend", backend], after=after)
        for backend in (("asyncio", "curl") if has_curl else ("asyncio",))
    ]
    if has_curl:
        command = [PYTHON, str(HERE / "bare_curl.py"), str(listed), str(out), at_once]
        contenders.append(Contender(BARE, command, after=after))
    usages = interleaved(contenders, scale.rounds)
    walls = {name: [run.wall_s for run in runs] for name, runs in usages.items()}
    rows = [
        [
            name,
            f"{len(urls) / median(walls[name]):,.0f}",
            spread(walls[name]),
            f"{median(run.cpu_s for run in runs) * 1e6 / len(urls):.0f}",
            f"{max(run.peak_mb for run in runs):.0f}",
        ]
        for name, runs in usages.items()
    ]
    columns = ["program", "pages/s", "whole s", "CPU µs/page", "peak MB"]
    findings = Findings([table(title, columns, rows)], figures=figures_of(usages))
    what = title.partition(", ")[2] if "away" in title else f"URLs over {HOSTS:,} hosts"
    goal = f"{what}: the curl backend against the bare libcurl loop"
    measured = median(ratios(walls[BARE], walls["fetcher, curl"])) if has_curl else None
    findings.goals.append(Goal(goal, 0.9, " ×", measured, is_least=True, why="it needs the extra `curl`"))
    return findings
