"""Files that a session of a shard takes from the output to its disk, and leaves in the output at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fetcher.cluster.lease import Lease
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.shard_log import ShardLog
from fetcher.errors import StorageError
from fetcher.run_dir import OWN, RunDirectory


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


def lay_out(log: ShardLog, directory: RunDirectory, place: FolderPlace, lease: Lease) -> None:
    """Let the shard be a run directory in the output, for the commands that read those."""
    folder = f"{log.index:04d}"
    lease.require()
    for path in (directory.results, directory.results.with_name("data.jsonl")):
        if path.exists():
            place.write(f"{folder}/{path.name}", path)
    place.write(f"{folder}/{OWN}/share.json", directory.share)
    place.write(f"{folder}/{OWN}/state.db", directory.own / "checkpoint.db")
    (place.root / folder / OWN / "parts").mkdir(exist_ok=True)
