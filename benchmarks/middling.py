"""Bodies of 100 KB into files: the default digest and none, on both backends, against curl -Z and wget2."""

from __future__ import annotations

import importlib.util
import random
import shutil
from pathlib import Path

from harness import Contender, Goal, Overran, Usage, emptied, interleaved, median, ratios, spread, table
from scale import Findings, Scale, fetcher, figures_of
from server import nginx

AT_ONCE = "64"
BODY_BYTES = 100_000
MOST_FILES = 50  # served again and again, under names of their own


def measure(scale: Scale, folder: Path) -> Findings:
    """Rates of whole processes, and the goals against curl -Z."""
    root, out = folder / "site", folder / "out"
    root.mkdir()
    source = random.Random(0)
    for number in range(MOST_FILES):
        (root / f"body-{number}").write_bytes(source.randbytes(BODY_BYTES))
    count = max(MOST_FILES, scale.pages // 5)
    findings = Findings()
    with nginx(root, folder / "nginx") as address:
        urls = [f"{address}/body-{number % MOST_FILES}?{number}" for number in range(count)]
        listed, settings = folder / "urls.txt", folder / "curl.txt"
        listed.write_text("".join(f"{url}\n" for url in urls))
        settings.write_text(
            "".join(f'url = "{url}"\noutput = "{out}/body-{n}"\n' for n, url in enumerate(urls))
        )

        def after(_: Usage) -> None:
            whole = sum(1 for path in out.rglob("body-*") if path.stat().st_size == BODY_BYTES)
            if whole != count:
                raise Overran(f"{whole} whole files instead of {count}")
            emptied(out)

        contenders = []
        for backend in ("asyncio", "curl") if importlib.util.find_spec("pycurl") else ("asyncio",):
            for digest in ("sha256", "none"):
                command = fetcher("get", "-i", str(listed), "-o", str(out), "--per-host", AT_ONCE, "-q")
                command += ["--backend", backend, "--digest", digest]
                contenders.append(Contender(f"{backend}, {digest}", command, after=after))
        for name, command in {
            "curl -Z": ["curl", "-sS", "-Z", "--parallel-max", AT_ONCE, "-K", str(settings)],
            "wget2": ["wget2", "-q", "--max-threads", AT_ONCE, "-P", str(out), "-i", str(listed)],
        }.items():
            if shutil.which(command[0]) is None:
                findings.texts.append(f"{name} is left out: {command[0]} is not installed.\n")
            else:
                contenders.append(Contender(name, command, before=out.mkdir, after=after))
        usages = interleaved(contenders, scale.rounds)
    walls = {name: [run.wall_s for run in runs] for name, runs in usages.items()}
    rows = [
        [
            name,
            f"{count / median(walls[name]):,.0f}",
            spread(walls[name]),
            f"{median(run.cpu_s for run in runs) * 1e6 / count:.0f}",
            f"{max(run.peak_mb for run in runs):.0f}",
        ]
        for name, runs in usages.items()
    ]
    columns = ["program", "bodies/s", "whole s", "CPU µs/body", "peak MB"]
    findings.texts.insert(0, table(f"{count:,} bodies of 100 KB into files", columns, rows))
    if "curl -Z" in walls:
        for digest, least in (("sha256", 0.6), ("none", 0.8)):
            name = min(
                (name for name in walls if name.endswith(digest)), key=lambda name: median(walls[name])
            )
            ratio = median(ratios(walls["curl -Z"], walls[name]))
            findings.goals.append(Goal(f"100 KB against curl -Z, {name}", least, " ×", ratio, is_least=True))
    findings.figures = figures_of(usages)
    return findings
