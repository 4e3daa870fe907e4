"""The lock of an output: one client at a time; what workers do is fenced by leases.

In a folder it is the operating system's, and it is free when its process is gone. In an object store it is a
lease, as of a shard: whoever dies elsewhere is waited for until that is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fetcher.cluster.bucket_place import BucketPlace
from fetcher.cluster.lease import Lease, LeaseLost, LeaseTimes, acquire, kept_up
from fetcher.cluster.manifest import MANIFEST
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.shard_log import JOURNAL, ShardLog
from fetcher.errors import ConfigError, DirectoryInUse, StorageError
from fetcher.kept_output import JOURNALS
from fetcher.run_dir import RunDirectory


class ClientLock:
    """The lock that a client holds. `lease` is that of an object store."""

    def __init__(self, lease: Lease | None) -> None:
        self._lease = lease

    @property
    def is_held(self) -> bool:
        return self._lease is None or self._lease.is_held

    def require(self) -> None:
        """Raise `LeaseLost` unless it is held."""
        if not self.is_held:
            raise LeaseLost(
                "the lease of this client is over: the object store was away for too long, or another client"
                " has taken the run over"
            )


@asynccontextmanager
async def client_lock(
    place: FolderPlace | BucketPlace,
    times: LeaseTimes,
    notice: Callable[[str, str], None],
    is_stopped: Callable[[], bool],
) -> AsyncIterator[ClientLock | None]:
    """Keep other clients out until the block ends, or this process does. None once it `is_stopped` meanwhile.

    Raises:
        ConfigError: it is the output of one machine, or a store without conditional writes.
        DirectoryInUse: another client runs there.
        StorageError: it can't be made or written.
    """
    if isinstance(place, FolderPlace):
        async with _folder_lock(place.root):
            yield ClientLock(None)
        return
    await asyncio.to_thread(_check, place)
    lease = await asyncio.to_thread(_take, place, times, notice, is_stopped)
    if lease is None:
        yield None
        return
    keeping = contextlib.ExitStack()
    keeping.enter_context(kept_up(lease, times))
    try:
        yield ClientLock(lease)
    finally:
        await asyncio.to_thread(keeping.close)
        with contextlib.suppress(StorageError):
            await asyncio.to_thread(lease.release, None)


def _check(place: BucketPlace) -> None:
    place.check()
    if place.exists(JOURNALS[0]) and not place.exists(MANIFEST):
        raise ConfigError(
            f"output: {place.name} is the output of one machine", hint="choose another --output"
        )


class _Stopped(Exception):
    """The client was stopped while it waited."""


def _take(
    place: BucketPlace, times: LeaseTimes, notice: Callable[[str, str], None], is_stopped: Callable[[], bool]
) -> Lease | None:
    log = ShardLog(place, 0, folder=f"{JOURNAL}/client")
    seen: list[bytes | None] = []

    def pause(seconds: float) -> None:
        if is_stopped():
            raise _Stopped
        now = place.read(log.path(f"E{log.newest_epoch():02d}.lease"))
        if not seen:
            notice("info", "another client was here a moment ago: waiting to see whether it still is")
            seen.append(now)
        elif seen[0] != now:
            raise DirectoryInUse(
                f"{place.name} is in use by another client of a cluster",
                hint="wait for it, or choose another --output",
            )
        time.sleep(seconds)

    try:
        return acquire(log, times, pause)
    except _Stopped:
        return None


@asynccontextmanager
async def _folder_lock(root: Path) -> AsyncIterator[None]:
    from filelock import FileLock, Timeout  # noqa: PLC0415

    RunDirectory(root).check()
    if RunDirectory(root).is_made:
        raise ConfigError(
            f"output: {root} is the run directory of one machine", hint="choose another --output"
        )
    try:
        (root / JOURNAL).mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / JOURNAL / ".lock")
        lock.acquire(blocking=False)
    except Timeout:
        raise DirectoryInUse(
            f"{root} is in use by another client of a cluster",
            hint="wait for it, or choose another --output",
        ) from None
    except OSError as error:
        raise StorageError(f"output: cannot use {root}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
