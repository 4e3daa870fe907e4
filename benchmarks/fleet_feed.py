"""What one parent can feed to worker processes: the rate, and the parent's own CPU time per URL.

The workers are stubs that answer every job at once, so all that is measured is the parent: reading the
list, the frontier, the frames to and from the workers, and settling.

    python benchmarks/fleet_feed.py --frontier sqlite --urls 100000
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from pathlib import Path

from engine_cost import arguments, frontier_of, timed

from fetcher import wiring
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.record_builder import RecordBuilder, encode_record
from fetcher.engine.run import Run
from fetcher.engine.run_context import RunContext
from fetcher.model import Record
from fetcher.processes import Partition, WorkerPool
from fetcher.processes import messages as msg
from fetcher.settings import make
from fetcher.stores.none import NoneStore
from fetcher.subprocesses.framed_transport import FramedTransport
from fetcher.subprocesses.kernel import begin_child

FRAME = 64
SHA = "0" * 64


async def stub(connection: socket.socket) -> None:
    """A worker that settles whatever it is given."""
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    load = msg.LoadReport(0, 0, 0, 0)
    record = Record(
        url="http://127.0.0.1/" + "x" * 30,
        final_url="http://127.0.0.1/" + "x" * 30,
        state="done",
        status=200,
        attempts=1,
        bytes=1500,
        wire_bytes=1500,
        sha256=SHA,
        path="p" * 30,
        content_type="text/html",
        completeness="length",
        backend="stub",
    )
    line = encode_record(record)
    _, channel = await asyncio.get_running_loop().create_connection(
        lambda: FramedTransport(lambda frame: frames.put_nowait(bytes(frame)), lambda: None), sock=connection
    )
    await frames.get()  # what it is to be
    while not isinstance(message := msg.decode_for_worker(await frames.get()), msg.Finish):
        if isinstance(message, msg.Assign):
            ended = [msg.Ended(id=job.id, record=record, line=line) for job in message.jobs]
            for start in range(0, len(ended), FRAME):
                channel.send(msg.encode(msg.Outcomes(ended[start : start + FRAME], load)))
    channel.send(msg.encode(msg.Goodbye()))
    await asyncio.sleep(0.1)  # written


def serve() -> None:
    """Be a stub."""
    connection = begin_child()
    connection.setblocking(False)
    wiring.run_loop(stub(connection))


async def measure(path: Path, frontier_name: str, folder: Path, workers: int) -> tuple[float, float]:
    settings = make({"concurrency": 64, "per_host": 64})
    clock = wiring.MonotonicClock()
    frontier = frontier_of(frontier_name, folder)
    policies = wiring.make_policies(settings, {})
    context = RunContext(
        frontier=frontier, store=NoneStore(), clock=clock, recorder=RecordBuilder("stub", keeps_bodies=False)
    )
    fleet = WorkerPool(
        Partition(workers, workers, policies.throttle_of),
        context,
        lambda _: ("from fleet_feed import serve; serve()", b""),
        per_host=settings.per_host,
    )
    run = Run(wiring.make_run_config(settings), context, fleet, JobFactory())
    return await timed(run, path)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        path = folder / "urls.txt"
        path.write_text("".join(f"http://127.0.0.1:8099/p/{n % 100}/{n}.html\n" for n in range(options.urls)))
        elapsed, cpu = wiring.run_loop(measure(path, options.frontier, folder, options.workers))
        print(
            f"{options.frontier} frontier, {options.urls:,} URLs to {options.workers} workers: "
            f"{options.urls / elapsed:,.0f} URL/s; "
            f"the parent {cpu / options.urls * 1e6:.1f} µs of CPU per URL"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
