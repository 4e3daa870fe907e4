"""What one parent can feed to worker processes: the rate, and the parent's own CPU time per URL.

The workers are stubs that answer every job at once, so all that is measured is the parent: reading the
list, the frontier, the frames to and from the workers, and settling.

    python benchmarks/fleet_feed.py --frontier sqlite --urls 100000
"""

from __future__ import annotations

import argparse
import asyncio
import pickle
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from engine_cost import frontier_of

from fetcher import compose
from fetcher.engine.ledger import Ledger
from fetcher.engine.records import Recorder, encode_record
from fetcher.engine.run import Run
from fetcher.model import Record
from fetcher.processes import Fleet, Shares
from fetcher.processes import messages as msg
from fetcher.processes.channel import Channel
from fetcher.settings import make
from fetcher.sources.files import FileSource
from fetcher.stores.none import NoneStore

FRAME = 64
SHA = "0" * 64


async def stub(connection: socket.socket) -> None:
    """A worker that settles whatever it is given."""
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    load = msg.Load(0, 0, 0, 0)
    line = encode_record(Record(url="http://127.0.0.1/" + "x" * 30, state="done", sha256=SHA, path="p" * 30))
    _, channel = await asyncio.get_running_loop().create_connection(
        lambda: Channel(lambda frame: frames.put_nowait(bytes(frame)), lambda: None), sock=connection
    )
    await frames.get()  # what it is to be
    while not isinstance(message := msg.decode_for_worker(await frames.get()), msg.Finish):
        if isinstance(message, msg.Take):
            ended = [
                msg.Ended(id=job.id, line=line, state="done", status=200, attempts=1, stored=1500, sha256=SHA)
                for job in message.jobs
            ]
            for start in range(0, len(ended), FRAME):
                channel.send(msg.encode(msg.Outcomes(ended[start : start + FRAME], load)))
    channel.send(msg.encode(msg.Bye()))
    await asyncio.sleep(0.1)  # written


async def measure(path: Path, frontier_name: str, folder: Path, workers: int) -> tuple[float, float]:
    settings = make({"concurrency": 64, "per_host": 64})
    clock = compose.MonotonicClock()
    frontier = frontier_of(frontier_name, folder)
    policies = compose.make_policies(settings, {})
    ledger = Ledger(
        frontier=frontier, store=NoneStore(), clock=clock, recorder=Recorder("stub", keeps_bodies=False)
    )
    fleet = Fleet(
        Shares(workers, workers, policies.pace_of),
        ledger,
        lambda _: ([__file__, "--stub"], pickle.dumps(None)),
        per_host=settings.per_host,
    )
    run = Run(compose.make_plan(settings), fleet, ledger, compose.make_intake(settings))
    started, cpu_started = time.perf_counter(), time.process_time()
    summary = await run.run([FileSource(str(path))])
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    if not summary.ok:
        raise SystemExit(f"not all were done: {summary}")
    return elapsed, cpu


def main() -> None:
    if "--stub" in sys.argv:
        connection = socket.socket(fileno=int(sys.argv[-2]))
        connection.setblocking(False)
        compose.run_loop(stub(connection))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontier", choices=("memory", "sqlite"), default="memory")
    parser.add_argument("--urls", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        path = folder / "urls.txt"
        path.write_text("".join(f"http://127.0.0.1:8099/p/{n % 100}/{n}.html\n" for n in range(options.urls)))
        elapsed, cpu = compose.run_loop(measure(path, options.frontier, folder, options.workers))
        print(
            f"{options.frontier} frontier, {options.urls:,} URLs to {options.workers} workers: "
            f"{options.urls / elapsed:,.0f} URL/s; "
            f"the parent {cpu / options.urls * 1e6:.1f} µs of CPU per URL"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
