"""What it costs to be seen: viewers of the dashboard, and the page and the report of a long run.

`watched.py run DIR --list LIST --viewers 1` runs `fetcher get` with so many viewers, who take each sample as
it comes, and prints the CPU seconds of its process alone. `watched.py long DIR` makes the directory of a long
run (all is real, but the backend answers at once) with one viewer and metrics, and looks for one URL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from engine_cost import InstantBackend, urls, write_input
from harness import Contender, Goal, emptied, interleaved, median, ratios, spread, table
from scale import HERE, PYTHON, Findings, Scale, fetcher, figures_of, write_site
from server import nginx

from fetcher.cli.watchers import watched
from fetcher.cli.why import story_text
from fetcher.download import Download
from fetcher.events import Event, LogMessage
from fetcher.observers.run_figures import RunFigures
from fetcher.settings import build
from fetcher.sources.file_source import FileSource

PAGES, URLS, HOSTS = 8000, 200_000, 300
_SELF = [PYTHON, str(HERE / "watched.py")]
_TOLD = re.compile(rb"dashboard: (http\S+)")


def measure(scale: Scale, folder: Path) -> Findings:
    """CPU time of a run with and without viewers; time and memory of what shows a long one."""
    findings = Findings()
    _viewers(scale, folder, findings)
    _long_run(scale, folder, findings)
    return findings


def _viewers(scale: Scale, folder: Path, findings: Findings) -> None:
    root, out, listed = folder / "site", folder / "out", folder / "urls.txt"
    paths = write_site(root, min(scale.pages, PAGES))
    with nginx(root, folder / "nginx") as address:
        listed.write_text("".join(f"{address}/{path}\n" for path in paths))
        contenders = [
            Contender(
                name,
                [*_SELF, "run", str(out), "--list", str(listed), "--viewers", str(viewers)],
                after=lambda _: emptied(out),
            )
            for name, viewers in (("no dashboard", -1), ("nobody looks", 0), ("one viewer", 1), ("ten", 10))
        ]
        usages = interleaved(contenders, scale.rounds)
    cpu = {name: [float(run.stdout) for run in runs] for name, runs in usages.items()}
    alone = cpu["no dashboard"]
    rows = [[name, spread(values), spread(ratios(values, alone), 3)] for name, values in cpu.items()]
    title = f"The dashboard beside {len(paths):,} pages of 1.5 KB"
    findings.texts.append(table(title, ["viewers", "CPU s", "× no dashboard"], rows))
    share = median(cpu["one viewer"]) / median(cpu["nobody looks"])
    findings.goals.append(Goal("dashboard, one viewer: CPU of the run", 1.02, " ×", share))
    findings.figures |= {"cpu_s": cpu}


def _long_run(scale: Scale, folder: Path, findings: Findings) -> None:
    number = URLS if scale.million else scale.many_lines
    directory = folder / "long"
    command = [*_SELF, "long", str(directory), "--urls", str(number)]
    [made] = interleaved([Contender("run with a viewer", command)], 1)["run with a viewer"]
    told = json.loads(made.stdout)
    page = fetcher("report", str(directory), "-o", str(folder / "page.html"), "-q")
    usages = interleaved([Contender("report", page)], scale.rounds)
    walls = [run.wall_s for run in usages["report"]]
    peak = max(run.peak_mb for run in usages["report"])
    rows = [
        ["report", spread(walls), spread(run.cpu_s for run in usages["report"]), f"{peak:.0f}"],
        ["story of a URL", f"{told['story_s']:.2f}", f"{told['story_cpu_s']:.2f}", f"{told['peak_mb']:.0f}"],
    ]
    title = f"What shows {number:,} URLs over {HOSTS} hosts"
    findings.texts.append(table(title, ["", "seconds", "CPU s", "peak MB"], rows))
    findings.texts.append(f"Metrics: {told['series']} series, {told['metrics_bytes']:,} bytes.\n")
    findings.goals += [
        Goal("report of a long run", 10, " s", median(walls)),
        Goal("report of a long run: peak memory", 200, " MB", peak),
        Goal("a long run with dashboard and metrics: peak memory", 200, " MB", told["peak_mb"]),
        Goal("dashboard: a URL of a long run is found", 10, " s", told["story_s"]),
    ]
    findings.figures |= figures_of(usages) | {"long": told}


def _run(options: argparse.Namespace) -> None:
    """Run the program with viewers, and print the CPU seconds of its process."""
    command = fetcher("get", "-i", options.list, "-o", options.directory, "--per-host", "64")
    if options.viewers >= 0:
        command += ["--dashboard", "0"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = b""
    for line in child.stderr:
        said += line
        if found := _TOLD.match(line):
            for _ in range(options.viewers):
                threading.Thread(target=_look, args=(found[1].decode() + "events",), daemon=True).start()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(said.decode())
    print(usage.ru_utime + usage.ru_stime)


def _look(url: str) -> None:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=60) as answer:
        while answer.read1(65536):
            pass


class _FirstLook:
    """Observer that has somebody look at the dashboard as soon as its address is told."""

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogMessage) and (found := _TOLD.match(event.text.encode())):
            threading.Thread(target=_look, args=(found[1].decode() + "events",), daemon=True).start()


async def _long(options: argparse.Namespace) -> None:
    """Make the directory of a long run, with a viewer, and print what was measured."""
    settings = build(
        {
            "output": options.directory,
            "store": "none",
            "concurrency": 64,
            "per_host": 64,
            "dashboard": ("127.0.0.1", 0),
        }
    )
    download = Download(settings, backend=InstantBackend(), observers=[_FirstLook()])
    figures = RunFigures(download.snapshot)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "urls.txt"
        write_input(listed, urls(options.urls, options.hosts, shuffled=True))
        async with watched(download, figures, "a long run"):
            summary = await download.run([FileSource(str(listed))])
            text = figures.text()
    started, cpu_started = time.perf_counter(), time.process_time()
    story = story_text(download.directory, next(urls(1, 1, shuffled=False)), running=os.getpid())
    story_s, story_cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    if not summary.ok or "ended" not in story:
        raise SystemExit(f"not all were done: {summary}\n{story}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    found = {
        "peak_mb": round(peak),
        "elapsed_s": summary.elapsed,
        "story_s": story_s,
        "story_cpu_s": story_cpu_s,
    }
    print(json.dumps({**found, "series": series, "metrics_bytes": len(text)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "long"))
    parser.add_argument("directory")
    parser.add_argument("--list")
    parser.add_argument("--viewers", type=int, default=1, help="-1: no dashboard")
    parser.add_argument("--urls", type=int, default=URLS)
    parser.add_argument("--hosts", type=int, default=HOSTS)
    options = parser.parse_args()
    if options.what == "run":
        _run(options)
    else:
        asyncio.run(_long(options))


if __name__ == "__main__":
    main()
