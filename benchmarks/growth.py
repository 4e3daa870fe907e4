"""What a long list costs the durable state: adding, claiming and settling as it grows, memory, and bytes.

`python benchmarks/growth.py --urls 2000000`. The list is added in ten parts, as a run adds it. After each
part some URLs are claimed, named and settled as done, in batches as a run makes them. All times are CPU times
of this process: a slow disk shows elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from fetcher.engine.input_pump import ADDED_AT_ONCE
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.outcome_queue import BATCH
from fetcher.engine.record_builder import encode_record
from fetcher.frontiers.sqlite.filename_allocator import FilenameAllocator
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.model import Entry, Job, Outcome, Record
from fetcher.policy.filenames import name_template
from fetcher.serial_executor import SerialExecutor

PARTS = 10
CLAIMED = 512
SETTLED = 5120  # of each part, where there are so many


def entry(number: int, hosts: int) -> Entry:
    url = f"http://host{number * 7919 % hosts}.example.org/section{number % 97}/page-{number}.html"
    return Entry(url, "urls.txt", number + 1)


def outcome_of(job: Job) -> Outcome:
    record = Record(
        url=job.url,
        final_url=job.url,
        state="done",
        status=200,
        attempts=1,
        bytes=1500,
        wire_bytes=1500,
        sha256="0" * 64,
        path=job.path,
        content_type="text/html",
        completeness="length",
        backend="none",
    )
    return Outcome(job=job, record=record, line=encode_record(record))


def state_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("state.db*"))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


async def grow(folder: Path, urls: int, hosts: int) -> list[dict[str, float]]:
    """Measure each part: CPU µs per URL added, claimed and settled; bytes per URL of the list; peak MB."""
    names = FilenameAllocator(name_template("{host}/{path}", date="2026-01-01"), lambda _: set())
    frontier = SqliteFrontier(
        folder / "state.db", folder / "results.jsonl", mode=Mode(), lane=SerialExecutor("state"), names=names
    )
    await frontier.open()
    job_of, clock, rows = JobFactory().job_of, time.process_time, []
    part = urls // PARTS
    settled = min(SETTLED, part // 2)
    for begin in range(0, part * PARTS, part):
        started = clock()
        for at in range(begin, begin + part, ADDED_AT_ONCE):
            last = min(at + ADDED_AT_ONCE, begin + part)
            await frontier.add([job_of(entry(number, hosts)) for number in range(at, last)])
        added = clock() - started
        size = state_bytes(folder)
        claimed_s = settled_s = 0.0
        done = 0
        while done < settled:
            started = clock()
            jobs = await frontier.claim(min(CLAIMED, settled - done), per_host=BATCH, now=time.time())
            claimed_s += clock() - started
            started = clock()
            for at in range(0, len(jobs), BATCH):
                await frontier.settle([outcome_of(job) for job in jobs[at : at + BATCH]])
            settled_s += clock() - started
            done += len(jobs)
        rows.append(
            {
                "urls": begin + part,
                "add_us": added * 1e6 / part,
                "claim_us": claimed_s * 1e6 / done,
                "settle_us": settled_s * 1e6 / done,
                "bytes_per_url": size / (begin + part),
                "peak_mb": peak_mb(),
            }
        )
    await frontier.aclose(complete=False)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--urls", type=int, default=1_000_000)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--folder", help="where the state is made, and removed")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print(json.dumps(asyncio.run(grow(folder, options.urls, options.hosts))))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
