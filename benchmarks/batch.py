"""A large batch of small pages into files: this program's backends and processes against the C tools.

Whole processes, start-up included, into a folder in memory. Every contender has 64 exchanges in flight and
keeps its connections; a tool that is not installed is left out, and that is said.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from harness import Contender, Goal, Overran, Usage, emptied, interleaved, median, ratios, spread, table
from scale import HERE, PAGE_BYTES, PYTHON, Findings, Scale, fetcher, figures_of, write_site
from server import nginx

AT_ONCE = "64"
MOST_ROUNDS = 3


def measure(scale: Scale, folder: Path) -> Findings:
    """Rates of all contenders, and the goals of the curl backend and of worker processes."""
    root, out = folder / "site", folder / "out"
    paths = write_site(root, scale.batch_pages)
    findings = Findings()
    with nginx(root, folder / "nginx") as address:
        urls = [f"{address}/{path}" for path in paths]
        listed, settings = folder / "urls.txt", folder / "curl.txt"
        listed.write_text("".join(f"{url}\n" for url in urls))
        settings.write_text(
            "".join(f'url = "{url}"\noutput = "{out}/{url.rpartition("/")[2]}"\n' for url in urls)
        )
        contenders = _contenders(listed, settings, out, findings)
        usages = interleaved(contenders, min(scale.rounds, MOST_ROUNDS))
    walls = {name: [run.wall_s for run in runs] for name, runs in usages.items()}
    fastest = min(walls, key=lambda name: median(walls[name]))
    per_page = 1e6 / scale.batch_pages
    rows = [
        [
            name,
            f"{scale.batch_pages / median(walls[name]):,.0f}",
            spread(walls[name]),
            spread(ratios(walls[fastest], walls[name])),
            f"{median(run.cpu_s for run in runs) * per_page:.0f}",
            f"{max(run.peak_mb for run in runs):.0f}",
        ]
        for name, runs in usages.items()
    ]
    columns = ["program", "pages/s", "whole s", "× fastest", "CPU µs/page", "peak MB"]
    findings.texts.insert(0, table(f"{scale.batch_pages:,} pages of 1.5 KB into files", columns, rows))
    cpu_us = {name: median(run.cpu_s for run in runs) * per_page for name, runs in usages.items()}
    if "bare libcurl loop" in cpu_us:
        between = cpu_us["fetcher, curl"] - cpu_us["bare libcurl loop"]
        faster = median(ratios(walls["bare aiohttp loop"], walls["fetcher, curl"]))
        findings.texts.append(
            f"The curl backend has {faster:.1f} × the rate of the bare aiohttp loop. Between it and the bare "
            f"libcurl loop lie {between:.0f} µs of CPU a page: the durable state, names, records, the hash, "
            "limits, and the engine.\n"
        )
    findings.goals = _goals(walls)
    findings.figures = figures_of(usages)
    return findings


def _contenders(listed: Path, settings: Path, out: Path, findings: Findings) -> list[Contender]:
    def after(_: Usage) -> None:
        whole = sum(1 for path in out.rglob("page-*.html") if path.stat().st_size == PAGE_BYTES)
        wanted = sum(1 for _ in listed.open())
        if whole != wanted:
            raise Overran(f"{whole} whole files instead of {wanted}")
        emptied(out)

    def ours(*more: str) -> list[str]:
        return fetcher("get", "-i", str(listed), "-o", str(out), "--per-host", AT_ONCE, "-q", *more)

    has_curl = importlib.util.find_spec("pycurl") is not None
    backends = ["asyncio", "curl"] if has_curl else ["asyncio"]
    if not has_curl:
        findings.texts.append("The curl backend is left out: it needs the extra `curl`.\n")
    contenders = [
        Contender(name, ours("--backend", backend, "--processes", str(count)), after=after)
        for count in (1, 2)
        for backend in backends
        for name in [f"fetcher, {backend}" + (f", {count} processes" if count > 1 else "")]
    ]
    scripts = {
        "bare libcurl loop": ["bare_curl.py"],
        "bare aiohttp loop": ["bare_aiohttp.py", "--loop", "uvloop"],
    }
    for name, (file, *more) in scripts.items():
        if has_curl or file != "bare_curl.py":
            command = [PYTHON, str(HERE / file), str(listed), str(out), *more]
            contenders.append(Contender(name, command, after=after))
    others = {
        "curl -Z": ["curl", "-sS", "-Z", "--parallel-max", AT_ONCE, "-K", str(settings)],
        "wget2": ["wget2", "-q", "--max-threads", AT_ONCE, "-P", str(out), "-i", str(listed)],
        "aria2": [
            *("aria2c", "-q", "-j", AT_ONCE, "-x", "1", "--file-allocation=none", "-d", str(out)),
            *("-i", str(listed), "--console-log-level=error"),
        ],
    }
    for name, command in others.items():
        if shutil.which(command[0]) is None:
            findings.texts.append(f"{name} is left out: {command[0]} is not installed.\n")
        else:
            contenders.append(Contender(name, command, before=out.mkdir, after=after))
    return contenders


def _goals(walls: dict[str, list[float]]) -> list[Goal]:
    ours = {name: runs for name, runs in walls.items() if name.startswith("fetcher")}
    best = min(ours, key=lambda name: median(ours[name]))
    tools = [name for name in ("curl -Z", "wget2") if name in walls]
    goals = []
    if "fetcher, curl" in walls:
        ratio = median(ratios(walls["fetcher, asyncio"], walls["fetcher, curl"]))
        goals.append(Goal("the curl backend against asyncio", 2.0, " ×", ratio, is_least=True))
        if "curl -Z" in walls:
            ratio = median(ratios(walls["curl -Z"], walls["fetcher, curl"]))
            goals.append(Goal("the curl backend against curl -Z", 0.75, " ×", ratio, is_least=True))
    if tools:
        fastest = min(tools, key=lambda name: median(walls[name]))
        ratio = median(ratios(walls[fastest], walls[best]))
        goals.append(Goal(f"{best} against {fastest}", 0.9, " ×", ratio, is_least=True))
    return goals
