"""The connection to a cluster: one that is there, or processes of this machine that end with the run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from distributed.utils import silence_logging_cmgr

from fetcher.cluster.cluster_plugin import WorkerFacts, worker_facts
from fetcher.errors import ConfigError
from fetcher.version import __version__

LOCAL = re.compile(r"local:([0-9]{1,4})")
THREADS = 2  # of a local worker: while one shard waits for its last hosts, another has the core
_CONNECT_S = 20.0
_FACTS_S = 60.0
_JOIN_S = 60.0


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    """Connect to the scheduler at `address`, or start what `local:N` asks for, until the block ends.

    Meanwhile distributed logs nothing to the standard streams.

    Raises:
        ConfigError: it can't be reached.
    """
    with silence_logging_cmgr(logging.CRITICAL + 1):
        async with (
            _local(int(local[1])) if (local := LOCAL.fullmatch(address)) else _joined(address) as client
        ):
            yield client


@asynccontextmanager
async def _local(processes: int) -> AsyncIterator[Client]:
    with tempfile.TemporaryDirectory(prefix="fetcher-cluster-", ignore_cleanup_errors=True) as folder:
        async with (
            LocalCluster(
                n_workers=processes,
                threads_per_worker=THREADS,
                processes=True,
                dashboard_address="127.0.0.1:0",
                memory_limit=0,  # the limits are the engine's
                preload=["fetcher.cluster.local_worker"],
                local_directory=folder,
                silence_logs=logging.CRITICAL,
                asynchronous=True,
            ) as cluster,
            Client(cluster, asynchronous=True, set_as_default=False) as client,
        ):
            yield client


@asynccontextmanager
async def _joined(address: str) -> AsyncIterator[Client]:
    is_address = "://" in address
    if not is_address and not await asyncio.to_thread(_is_file, address):
        raise ConfigError(
            f"cluster: there is no scheduler file {address}",
            hint="give tcp://HOST:PORT, the file that the scheduler wrote, or local:N",
        )
    where = {"address": address} if is_address else {"scheduler_file": address}
    client = Client(**where, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
    try:
        await client
    except (OSError, ValueError) as error:
        await client.close(timeout=1)
        raise ConfigError(
            f"cluster: cannot reach the scheduler at {address}: {error}",
            hint="see that it runs, and that its certificates are known here if it is tls://",
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # the run is over, whatever the cluster has come to
            await client.close(timeout=5)


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # no path that there could be
        return False


def scheduler_of(client: Client) -> Any:
    """Return the calls of the scheduler. Raises `OSError` while there is no connection."""
    if client.scheduler is None:
        raise ConnectionError("the client has no scheduler")
    return client.scheduler


async def workers_of(client: Client) -> Mapping[str, Any]:
    """Return what the scheduler says of each worker, by its address. Raises `OSError`."""
    found: Mapping[str, Any] = (await scheduler_of(client).identity(n_workers=-1))["workers"]
    return found


async def check_workers(client: Client) -> int:
    """See that every worker has this version of the program. Returns how many threads they have.

    Raises:
        ConfigError: there is no worker, one has another version, or its folder is on a network disk.
    """
    with contextlib.suppress(TimeoutError):
        joined: Any = client.wait_for_workers(1, timeout=_JOIN_S)  # type: ignore[func-returns-value]
        await joined
    workers = await workers_of(client)
    if not workers:
        raise ConfigError(f"cluster: no worker has joined within {_JOIN_S:.0f} s", hint="start some")
    asking = client.run(worker_facts, workers=list(workers), on_error="return")
    try:
        facts: Mapping[str, Any] = await asyncio.wait_for(asking, _FACTS_S)
    except TimeoutError:
        raise ConfigError(
            f"cluster: not every worker has answered within {_FACTS_S:.0f} s",
            hint="look at the workers: one may hang",
        ) from None
    for address, told in facts.items():
        name = workers[address].get("name", address)
        if isinstance(told, OSError):  # it has just gone, and if not, its tasks will tell
            continue
        if not isinstance(told, WorkerFacts):
            raise ConfigError(
                f"cluster: worker {name} ({address}) cannot run fetcher: {told}",
                hint=f"install fetcher[cluster] {__version__} there",
            )
        if told.version != __version__:
            raise ConfigError(
                f"cluster: worker {name} ({address}) has fetcher {told.version}, and this is {__version__}",
                hint="install the same version everywhere",
            )
        if told.network_disk is not None:
            raise ConfigError(
                f"cluster: worker {name} keeps its state on a network disk ({told.network_disk})",
                hint="start it with --local-directory on a disk of its own machine",
            )
    return sum(int(worker["nthreads"]) for worker in workers.values())
