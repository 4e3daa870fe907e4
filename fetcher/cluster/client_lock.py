"""The lock of an output: one client at a time, on one machine; what workers do is fenced by leases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fetcher.cluster.shard_log import JOURNAL
from fetcher.errors import ConfigError, DirectoryInUse, StorageError
from fetcher.run_dir import RunDirectory


@asynccontextmanager
async def client_lock(root: Path) -> AsyncIterator[None]:
    """Make the output and keep other clients out until the block ends, or this process does.

    Raises:
        ConfigError: it is the run directory of one machine.
        DirectoryInUse: another client runs there.
        StorageError: it can't be made or written.
    """
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
