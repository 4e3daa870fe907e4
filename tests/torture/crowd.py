"""A crowd of URLs on good and hostile hosts, at high concurrency, killed again and again: it ends, and nothing leaks."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from support.faultserver import FaultServer
from support.processes import children_of
from support.program import Program, parts, records, write_list

_GOOD = [f"127.0.0.{n}" for n in range(1, 9)]
_HOSTILE = [f"127.0.1.{n}" for n in range(1, 9)]
_SETTINGS = (
    *("-c", "256", "--per-host", "48", "--retries", "1", "--min-free", "0", "--max-size", "1M"),
    *("--header-timeout", "5", "--read-timeout", "5", "--quiet"),
)
_EVIL = (  # of a hostile host, by how often
    *(["/reset", "/reset?at=2000", "/cut?at=10&of=100", "/cut-chunked?at=10", "/close-at-once"] * 3),
    *(["/noise", "/cl-twice", "/bad-chunk", "/big-chunk", "/http09", "/1xx?n=200", "/cl-negative"] * 3),
    *(["/status/500", "/status/429", "/status/404", "/loop", "/redirect/20?to=/ok/x", "/location?raw="] * 3),
    *(["/gzip/3000?cut=20", "/headers?n=300&size=100", "/surplus?n=50", "/stale", "/cut-head?at=20"] * 3),
    *("/bomb?size=20000000", "/endless", "/bytes/300000"),
)
_SLOW = ("/hang", "/hang-body?at=10&of=1000", "/drip-head?pause=0.2")  # five seconds each, so only a few
_MOST_GROWTH_KB = 32 << 10  # in the second half of a run, when all is warm
_MOST_FILES = 3 * 256 + 64  # two connections (one idle) and a part for each exchange, and the run itself
_MOST_THREADS = 256 + 32  # one for each exchange, where the backend blocks
_SAID = ("Traceback", "ResourceWarning", "never awaited", "never retrieved", "was destroyed", "defect of")


def urls_of(server: FaultServer, number: int, seed: int) -> Iterator[str]:
    """Three of four on good hosts."""
    chance = random.Random(seed)
    for n in range(number):
        if n % 4:
            yield server.url(f"/ok/{n}?size={n % 3000}", host=chance.choice(_GOOD))
        else:
            path = chance.choice(_SLOW if n % 1000 == 0 else _EVIL)
            yield server.url(f"{path}{'&' if '?' in path else '?'}n={n}", host=chance.choice(_HOSTILE))


class Gauge:
    """What a process holds, looked at now and then: kilobytes, descriptors, threads, children."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.seen: list[tuple[int, int, int, int]] = []

    def look(self) -> None:
        try:
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{self._pid}/status").read_text().splitlines()
            )
            files = len(list(Path(f"/proc/{self._pid}/fd").iterdir()))
            children = len(children_of(self._pid))
        except (OSError, ValueError):
            return
        if "VmRSS" in status:
            self.seen.append((int(status["VmRSS"].split()[0]), files, int(status["Threads"]), children))

    def most(self) -> tuple[int, ...]:
        return tuple(map(max, zip(*self.seen, strict=True))) if self.seen else (0, 0, 0, 0)

    def growth_kb(self) -> int:
        """Memory at the end above that in the middle."""
        half = self.seen[len(self.seen) // 2 :]
        return half[-1][0] - half[0][0] if half else 0


class Lines:
    """Lines of a file that grows, each read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._count = 0

    def count(self) -> int:
        """Return how many there are by now; fewer if what a kill left half written was cut off."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:
                    self._read = self._count = 0
                file.seek(self._read)
                while block := file.read(1 << 20):
                    self._read += len(block)
                    self._count += block.count(b"\n")
        except FileNotFoundError:
            pass
        return self._count


def torture_crowd(folder: Path, backend: str, number: int, kills: int, seed: int) -> bool:
    """Fetch the crowd, killed so many times. True if each URL has one end, and nothing is left or leaks."""
    begun = time.monotonic()
    problems: list[str] = []
    gauges: list[Gauge] = []
    with FaultServer(hosts=[*_GOOD[1:], *_HOSTILE]) as server:
        program = Program(folder, {"PYTHONWARNINGS": "always::ResourceWarning"})
        urls = list(dict.fromkeys(urls_of(server, number, seed)))
        write_list(folder / "urls.txt", urls)
        command = ["get", "-i", "urls.txt", "-o", "out", "--backend", backend, *_SETTINGS]
        out = folder / "out"
        chance = random.Random(f"{seed} {backend}")
        limits = sorted(chance.sample(range(len(urls)), kills))
        written = Lines(out / "results.jsonl")
        for settled in [*limits, None]:
            with program.start(*command) as run:
                gauge = Gauge(run.pid)
                gauges.append(gauge)
                while run.process.poll() is None:
                    gauge.look()
                    if settled is not None and written.count() >= settled:
                        run.send(signal.SIGKILL)
                        break
                    time.sleep(0.05)
                    server.log.clear()
                ended = run.end(600)
                problems += [f"it said {word}: {ended.err[-500:]}" for word in _SAID if word in ended.err][:1]
        if ended.code != 1:
            problems.append(f"it ended with {ended.code}: {ended.err[-500:]}")
        lines = Counter(record["url"] for record in records(out))
        if lines != Counter(urls):
            problems.append(f"{len(lines)} URLs have {lines.total()} records, of {len(urls)}")
        with closing(sqlite3.connect(out / ".fetcher" / "state.db")) as state:
            states = dict(state.execute("SELECT state, count(*) FROM url GROUP BY state"))
        if states.keys() - {1, 3} or sum(states.values()) != len(urls):
            problems.append(f"states: {states}")
        if parts(out):
            problems.append(f"{len(parts(out))} parts are left")
        if (verified := program.run("verify", "out", limit_s=600)).code:
            problems.append(f"verify: {verified.out[-500:]}")
    memory, files, threads, children = (
        max(column) for column in zip(*(g.most() for g in gauges), strict=True)
    )
    grown = gauges[-1].growth_kb()
    if grown > _MOST_GROWTH_KB or files > _MOST_FILES or threads > _MOST_THREADS:
        problems.append(f"{grown:,} KiB grown, {files} descriptors, {threads} threads: more than it may hold")
    for problem in problems:
        print(f"OFF  crowd {backend}: {problem}")
    print(
        f"crowd {backend}: {len(urls):,} URLs, killed {kills} times, {states.get(1, 0):,} done and "
        f"{states.get(3, 0):,} failed in {time.monotonic() - begun:.0f} s; at most {memory / 1024:.0f} MiB, {files} "
        f"descriptors, {threads} threads, {children} children; memory grew by {grown / 1024:.1f} MiB "
        "in the second half of the last run",
        flush=True,
    )
    shutil.rmtree(out)
    return not problems
