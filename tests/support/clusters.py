"""Clusters of real processes on this machine, to be stopped and killed: a scheduler, workers, a client.

    with Cluster(folder) as cluster:
        worker = cluster.add_worker()
        with cluster.client("get", listed, out) as client:
            worker.send_signal(signal.SIGKILL)
            assert client.wait(60) == 0

The client has leases of seconds, where users have half a minute. Every process is gone when the block is left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from support.program import eventually

TESTS = Path(__file__).parent.parent
TIMES = {"lease_s": 3.0, "takeover_s": 4.0, "renew_s": 0.5, "look_s": 0.2}


class Cluster:
    """A scheduler, and the workers that were added, with their files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes]
        self._clients = 0
        self._made = 0

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        self.start_scheduler()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                process.kill()
            process.wait()

    def start_scheduler(self) -> None:
        """Start a scheduler, in the place of one that is gone."""
        if self.file.exists():
            self.scheduler.wait()
        self.file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        )
        assert eventually(lambda: self.file.exists() and self.file.stat().st_size > 0)

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker with two threads; it joins when it is ready."""
        self._made += 1
        worker = self._start(
            "distributed.cli.dask_worker",
            *("--nthreads", "2", "--no-nanny", "--no-dashboard", "--memory-limit", "0"),
            *("--host", "127.0.0.1", "--name", f"w{self._made}", "--death-timeout", "60"),
            *("--local-directory", str(self.folder / f"worker-{self._made}")),
        )
        self.workers.append(worker)
        return worker

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--scheduler-file", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(TESTS)},
            )

    @contextmanager
    def client(self, command: str, listed: Path, out: Path | str, **settings: Any) -> Iterator[Client]:
        """A client under way; it is gone when the block is left. Its output may be an address."""
        self._clients += 1
        said = self.folder / f"client-{self._clients}.json"
        job = {
            "command": command,
            "list": str(listed),
            "out": str(out),
            "cluster": str(self.file),
            "settings": settings,
            "times": TIMES,
            "said": str(said),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "support.cluster_client", json.dumps(job)],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        try:
            yield Client(process, said)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


class Client:
    """A client process. `summary` is what it wrote at its end."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._said.read_text())
        return found

    def wait(self, limit_s: float = 100.0) -> int:
        """Wait for the end. Returns the exit code."""
        return self.process.wait(limit_s)


def segments(out: Path) -> list[Path]:
    """The segments in an output."""
    return sorted(path for path in out.glob("journal/*/E*-*.jsonl") if path.name.count(".") == 1)


def starts(out: Path) -> int:
    """How often a shard was begun."""
    return sum(1 for path in out.glob("journal/*/E*") if path.name[1:].isdigit())


def wait_for_segments(out: Path, number: int) -> bool:
    """Wait until there are so many segments."""
    return eventually(lambda: len(segments(out)) >= number)


def wait_for_starts(out: Path, number: int) -> bool:
    """Wait until shards were begun so often."""
    return eventually(lambda: starts(out) >= number)
