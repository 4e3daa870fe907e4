"""Files beside the journal of a shard: links that others posted for it, and copies of its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fetcher.cluster.lease import Lease
from fetcher.cluster.shard_log import ShardLog
from fetcher.errors import StorageError
from fetcher.run_dir import RunDirectory


def fill_inbox(log: ShardLog, directory: RunDirectory, inbox: Mapping[int, Sequence[str]]) -> dict[int, Path]:
    """Copy the links of other shards to this disk. Returns the folder of each sender.

    Raises:
        StorageError: a file of them is lost, or a disk failed.
    """
    found = {}
    for sender, names in inbox.items():
        folder = found[sender] = directory.own / "inbox" / str(sender)
        folder.mkdir(parents=True)
        other = ShardLog(log.place, sender)
        for name in names:
            if not log.place.fetch(other.path(name), folder / name):
                raise StorageError(f"{other.path(name)} is lost")
    return found


def drop_copies(log: ShardLog, lease: Lease) -> None:
    """Remove the copies of the state that came with earlier segments: the last has one."""
    copies = [name for name in log.place.names(log.folder) if name.endswith(".db")]
    own = sorted(name for name in copies if name.startswith(f"E{lease.epoch:02d}-"))
    for name in copies:
        if own and name != own[-1]:
            log.place.remove(log.path(name))
