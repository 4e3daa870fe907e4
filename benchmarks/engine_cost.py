"""The engine's own cost per URL: a backend that answers at once, no network, store `none`.

Everything else is real: source, gate, frontier, scheduler, workers, body, hash, record, settling. One
run is a process of its own. `python benchmarks/engine_cost.py --frontier sqlite --urls 100000`.

The peak of memory is that of the run alone: the input is written by another process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fetcher import wiring
from fetcher.engine.run import Run
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.model import Headers, Request, Response
from fetcher.ports import BodyWriter, Traits
from fetcher.serial_executor import SerialExecutor
from fetcher.settings import make
from fetcher.sources.file_source import FileSource
from fetcher.stores.none import NoneStore

PAGE = random.Random(0).randbytes(1500)
HEADERS = (
    (b"Server", b"instant"),
    (b"Date", b"Sat, 21 Nov 2026 00:00:00 GMT"),
    (b"Content-Type", b"text/html"),
    (b"Content-Length", b"1500"),
    (b"Last-Modified", b"Sat, 21 Nov 2026 00:00:00 GMT"),
    (b"ETag", b'"5dc-1"'),
    (b"Accept-Ranges", b"bytes"),
)

FIRST = {name.lower(): value for name, value in HEADERS}  # as a backend that parses heads has it


class InstantBackend:
    """Answers every request at once with the same page."""

    traits = Traits(name="instant")

    async def exchange(self, request: Request, body: BodyWriter) -> Response:  # noqa: ARG002
        body.set_phase("header")
        response = Response(200, Headers(HEADERS, FIRST), "1.1", "length", 1500)
        if body.begin(response) and body.feed(PAGE):
            await body.drain()
        return response

    def limit_connections(self, most: int) -> None:
        pass

    async def aclose(self) -> None:
        pass


def urls(count: int, hosts: int, *, shuffled: bool) -> Iterator[str]:
    numbers = list(range(count))
    if shuffled:
        random.Random(1).shuffle(numbers)
    for number in numbers:
        yield f"http://host{number % hosts}.example.org/section{number % 97}/page-{number}.html"


def write_input(path: Path, lines: Iterator[str]) -> None:
    """Write the lines in a child, whose memory is not counted as ours."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError), path.open("w") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os._exit(0)
        os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit(f"cannot write {path}")


def frontier_of(name: str, folder: Path) -> MemoryFrontier | SqliteFrontier:
    """A frontier in memory, or one in files of a folder."""
    if name == "memory":
        return MemoryFrontier()
    return SqliteFrontier(
        folder / "state.db", folder / "results.jsonl", mode=Mode(), lane=SerialExecutor("state")
    )


async def measure(path: Path, frontier_name: str, folder: Path) -> tuple[float, float]:
    settings = make({"concurrency": 64, "per_host": 64})
    run = wiring.make_local_run(settings, InstantBackend(), frontier_of(frontier_name, folder), NoneStore())
    return await timed(run, path)


async def timed(run: Run, path: Path) -> tuple[float, float]:
    """Seconds of wall and CPU time for the run of a list."""
    started, cpu_started = time.perf_counter(), time.process_time()
    summary = await run.run([FileSource(str(path))])
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    if not summary.ok:
        raise SystemExit(f"not all were done: {summary}")
    return elapsed, cpu


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark of the engine alone."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--frontier", choices=("memory", "sqlite"), default="memory")
    parser.add_argument("--urls", type=int, default=100_000)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    return parser


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        path = folder / "urls.txt"
        write_input(path, urls(options.urls, options.hosts, shuffled=options.shuffled))
        factory = None
        with contextlib.suppress(ImportError):
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            if options.profile:
                import cProfile
                import pstats

                profile = cProfile.Profile()
                profile.enable()
            elapsed, cpu = runner.run(measure(path, options.frontier, folder))
            if options.profile:
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            1024 if sys.platform == "linux" else 2**20
        )
        scale = 1e6 / options.urls
        figures = {"us_per_url": round(elapsed * scale, 2), "cpu_us_per_url": round(cpu * scale, 2)}
        print(json.dumps({**figures, "peak_mb": round(peak)}))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
