"""The shards that a worker process runs, as a plugin of distributed: what the client talks to.

The functions at the end are what the client sends to workers; they are found there by their name.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from distributed import WorkerPlugin, get_worker

from fetcher.cluster.shard_messages import HANDED_ON, ShardOrder, ShardResult, ShardStatus, ShardTask
from fetcher.cluster.shard_run import ShardRun
from fetcher.errors import ConfigError
from fetcher.network_disks import network_disk
from fetcher.settings import check_library
from fetcher.version import __version__

_HANDING_ON_S = 45.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[int, ShardOrder]).decode


class ClusterPlugin(WorkerPlugin):
    """The shards of run `run` in one worker process. A client that takes the run over makes them end."""

    def __init__(self, run: str) -> None:
        self.name = run
        self._scratch = Path()
        self._running: set[ShardRun]
        self._lock: threading.Lock
        self._is_closing = False

    def setup(self, worker: Any) -> None:
        """Begin, in a worker that has joined."""
        self._scratch = Path(worker.local_directory)
        self._running = set()
        self._lock = threading.Lock()
        worker.handlers[self.name] = self.exchange  # `Client.run` would do, but logs a line each time

    async def teardown(self, worker: Any) -> None:
        """Hand on what is running, for the worker is ending, or another client has taken over."""
        if worker.handlers.get(self.name) == self.exchange:
            del worker.handlers[self.name]
        with self._lock:
            self._is_closing = True
            running = [*self._running]
        for run in running:
            run.stop(HANDED_ON)
        loop = asyncio.get_running_loop()
        waits = [loop.run_in_executor(None, run.ended.wait, _HANDING_ON_S) for run in running]
        await asyncio.gather(*waits)

    def fetch(self, task: ShardTask) -> ShardResult:
        """Run a shard, in a thread of the worker's."""
        run = ShardRun(task, self._scratch / f"{self.name}-{task.share.index:04d}-{uuid.uuid4().hex[:8]}")
        with self._lock:
            if self._is_closing:
                run.stop(HANDED_ON)
            self._running.add(run)
        try:
            return run.run()
        finally:
            with self._lock:
                self._running.discard(run)

    def exchange(self, orders: bytes) -> bytes:
        """Obey the orders for shards that are running here, by shard, and tell how all of them stand.

        As JSON, a dictionary of `ShardOrder` and a list of `ShardStatus`.
        """
        return _encode(self._exchange(_decode(orders)))

    def _exchange(self, orders: Mapping[int, ShardOrder]) -> list[ShardStatus]:
        with self._lock:
            running = [*self._running]
        found = []
        for run in running:
            order = orders.get(run.index)
            if order is not None:
                run.obey(order)
            else:
                run.hear()
            found.append(run.status())
        return found


class WorkerFacts(msgspec.Struct, frozen=True):
    """Version of this program on a worker, and the kind of the disk of its state, if that is networked."""

    version: str
    network_disk: str | None


def worker_facts(dask_worker: Any) -> WorkerFacts:
    """Tell what there is on a worker."""
    return WorkerFacts(__version__, network_disk(Path(dask_worker.local_directory)))


def fetch_shard(task: ShardTask) -> ShardResult:
    """Run a shard on this worker: the task of the cluster, which may be repeated."""
    worker = get_worker()
    if task.version != __version__:
        raise ConfigError(
            f"cluster: worker {worker.address} has fetcher {__version__}, and this is {task.version}",
            hint="install the same version everywhere",
        )
    check_library(task.settings)
    plugin = worker.plugins[task.run]
    assert isinstance(plugin, ClusterPlugin)
    return plugin.fetch(task)
