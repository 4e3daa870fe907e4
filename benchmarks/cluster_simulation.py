"""Simulates a list of 10⁹ URLs at 10⁷ hosts on a cluster of 1,000 machines; seeded: it says the same again.

    python benchmarks/cluster_simulation.py
    python benchmarks/cluster_simulation.py --urls 1e8 --hosts 1e6 --machines 100 --exponent 0.8

The sizes of hosts follow Zipf's law. They go to shards, and those that are too large are divided, by the
rules of `fetcher/policy/shares.py`; shards go to threads of workers as they become free, the largest first.
A shard takes as long as its slowest host, or as its thread needs for all of them. What one record and one
row cost, and how fast a state is made anew, is measured here, on this machine, with the program's own code.
Nothing is compressed in its archives, and no machine is lost.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from pathlib import Path

import numpy as np

from fetcher.cluster.lease import LeaseTimes
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.restore import restore
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.cluster.shard_messages import AGES, ClusterTimes
from fetcher.engine.record_builder import encode_record
from fetcher.model import Record
from fetcher.policy.shares import Share
from fetcher.run_dir import RunDirectory
from fetcher.stores import parquet, warc

SHARDS_PER_THREAD = 4
MEASURED = 50_000  # records
FILES_OF_A_SHARD = 9  # one epoch's claim, lease, counts, archives and copy of the state; its run directory's
PIECE_BYTES = 32 * 1024**2  # of a divided list


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--urls", type=float, default=1e9)
    options.add_argument("--hosts", type=float, default=1e7)
    options.add_argument("--machines", type=int, default=1000)
    options.add_argument("--threads", type=int, default=2, help="of the worker on each machine")
    options.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    options.add_argument("--per-host", type=int, default=8)
    options.add_argument("--answer-s", type=float, default=0.3, help="time of one exchange")
    options.add_argument("--rate", type=float, default=400.0, help="URLs per second that a thread can do")
    options.add_argument("--body", type=float, default=50e3, help="bytes")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    random = np.random.default_rng(given.seed)
    threads = given.machines * given.threads
    shards = SHARDS_PER_THREAD * threads

    sizes = sizes_of_hosts(int(given.urls), int(given.hosts), given.exponent)
    urls = int(sizes.sum())
    load, slowest = shards_of(sizes, shards, given.per_host, given.answer_s, random)
    times = np.maximum(slowest, load / given.rate)
    ended = schedule(times, load, threads)
    polite = (sizes * given.answer_s / given.per_host).max()
    busy = urls / (threads * given.rate)
    print(f"{urls:,} URLs at {len(sizes):,} hosts, {given.machines:,} machines, {shards:,} shards")
    print(f"the largest host has {int(sizes.max()):,} URLs, a shard {urls // shards:,}")
    print()
    line("limit of politeness (the largest host)", duration(polite))
    line("limit of the machines (all threads busy)", duration(busy))
    line("the run ends after", f"{duration(ended.max())}, {ended.max() / max(polite, busy):.2f} of the limit")
    for part in (50, 90, 99, 99.9):
        line(f"{part} % of the URLs are there after", duration(done_after(ended, times, load, part / 100)))
    line("largest shard against the mean", f"{load.max() / load.mean():.1f}")

    measured = measure()
    checkpoint_s = ClusterTimes().checkpoint_s
    record_bytes, row_bytes, rows_per_s = measured
    segments = np.maximum(segments_of(times), load / ClusterTimes().checkpoint_records).sum() + shards
    pieces = 2 * -(-int(urls * 100) // PIECE_BYTES)
    beside = segments + FILES_OF_A_SHARD * shards + pieces
    print()
    line("segments of the journal", f"{segments:,.0f}, or one for {urls / segments:,.0f} records")
    line("bytes of the journal", size(urls * record_bytes))
    line("objects of the divided list", f"{pieces:,}")
    line("other objects of shards", f"{FILES_OF_A_SHARD * shards:,}")
    line("bodies as files", f"{urls:,} ({size(urls * given.body)}), {beside + urls:,.0f} objects in all")
    for store, most in (("warc", warc.SIZE), ("parquet", parquet.SIZE)):
        archives = np.ceil(load * given.body / most).sum()
        line(f"archives, with --store {store}", f"{archives:,.0f}, {beside + archives:,.0f} objects in all")
    line(
        "state of the mean shard, of the largest",
        f"{size(load.mean() * row_bytes)}, {size(load.max() * row_bytes)}",
    )
    print()
    tasks = 2 * shards / ended.max()
    line("asked workers at the scheduler", f"{given.machines / 2:,.0f} a second (500 at the most)")
    line("tasks begun and ended there", f"{tasks:.3f} a second")
    line("rows of a state made anew", f"{rows_per_s:,.0f} a second")
    takeover = LeaseTimes().takeover_s
    line(
        "a lost machine is made good after",
        f"{takeover + load.mean() / 2 / rows_per_s:,.0f} s ({takeover:.0f} of them for its leases)",
    )
    again = min(checkpoint_s, 10_000 / given.rate) * given.rate * given.threads
    line("and this many URLs are asked for again", f"at most {again:,.0f}")


def sizes_of_hosts(urls: int, hosts: int, exponent: float) -> np.ndarray:
    """Return how many URLs each host has, the largest first."""
    weights = np.arange(1, hosts + 1, dtype=np.float64) ** -exponent
    return np.maximum(1, np.floor(weights * (urls / weights.sum()))).astype(np.int64)


def shards_of(
    sizes: np.ndarray, shards: int, per_host: int, answer_s: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the URLs of each shard, and the seconds that its slowest host takes."""
    worth = max(1, -(-int(sizes.sum()) // shards))
    owners = random.integers(0, shards, len(sizes))
    parts = np.where(sizes > 2 * worth, np.minimum(-(-sizes // worth), min(per_host, shards)), 1)
    load = np.bincount(owners, np.where(parts == 1, sizes, 0), shards)
    slowest = np.zeros(shards)
    np.maximum.at(slowest, owners, np.where(parts == 1, sizes * answer_s / per_host, 0.0))
    for host in np.flatnonzero(parts > 1):
        for place in range(parts[host]):
            shard = (owners[host] + place) % shards
            own = sizes[host] / parts[host]
            load[shard] += own
            slots = per_host // parts[host] + (place < per_host % parts[host])
            slowest[shard] = max(slowest[shard], own * answer_s / slots)
    return load, slowest


def schedule(times: np.ndarray, load: np.ndarray, threads: int) -> np.ndarray:
    """Return when each shard ends: those with the longest lists begin first."""
    free = [0.0] * threads
    ended = np.zeros(len(times))
    for shard in np.argsort(-load, kind="stable"):
        ended[shard] = heapq.heapreplace(free, free[0] + times[shard]) + times[shard]
    return ended


def done_after(ended: np.ndarray, times: np.ndarray, load: np.ndarray, part: float) -> float:
    """Return when so many of the URLs are done, if each shard does them evenly."""
    low, high = 0.0, float(ended.max())
    for _ in range(50):
        middle = (low + high) / 2
        share = np.clip((middle - (ended - times)) / np.maximum(times, 1e-9), 0, 1)
        low, high = (middle, high) if (share * load).sum() < part * load.sum() else (low, middle)
    return high


def segments_of(times: np.ndarray) -> np.ndarray:
    """Return how many segments shards write that are at work for so long, by their times alone."""
    rules = ClusterTimes()
    age, found = 0.0, np.zeros(len(times))
    for after in (rules.checkpoint_s, rules.most_checkpoint_s):
        until = AGES * after if after == rules.checkpoint_s else np.inf
        found += np.clip(times - age, 0, until - age) / after
        if after == rules.checkpoint_s:
            age = AGES * rules.most_checkpoint_s
            found += AGES * np.log(np.clip(times, until, age) / until)
    return found


def measure() -> tuple[float, float, float]:
    """Return the bytes of a record and of a row, and the rows per second of a state that is made anew."""
    lines = [
        encode_record(
            Record(
                url=f"https://host-{n % 997}.example/some/path/of/a/page/{n}",
                final_url=f"https://host-{n % 997}.example/some/path/of/a/page/{n}",
                state="done",
                status=200,
                attempts=1,
                bytes=50_000,
                sha256=f"{n:064x}",
                path=f"host-{n % 997}.example/some/path/of/a/page/{n}",
                content_type="text/html",
                source="urls.txt",
                line=n + 1,
            )
        )
        + b"\n"
        for n in range(MEASURED)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = ShardLog(FolderPlace(folder / "out"), 0)
        log.claim(1, b"")
        log.settle_counts(1, [])
        log.place.write(log.path("E01-000001.jsonl"), b"".join(lines))
        directory = RunDirectory(folder / "state")
        begun = time.process_time()
        restore(log, [JournalSegment(1, 1)], directory, Share(0, 1), lambda _path, _length: True)
        took = time.process_time() - begun
        return sum(map(len, lines)) / MEASURED, directory.state.stat().st_size / MEASURED, MEASURED / took


def line(what: str, value: str) -> None:
    print(f"{what:44} {value}")


def duration(seconds: float) -> str:
    return f"{seconds / 86400:.1f} days" if seconds > 200_000 else f"{seconds / 3600:.1f} hours"


def size(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            return f"{number:.0f} {unit}"
        number /= 1000
    return ""


if __name__ == "__main__":
    main()
