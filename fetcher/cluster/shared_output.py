"""The output of a run on a cluster: a folder that all machines see, or an object store."""

from __future__ import annotations

from pathlib import Path

from fetcher.cluster.bucket_place import BucketPlace
from fetcher.cluster.lease import Lease
from fetcher.cluster.places import FolderPlace, Place
from fetcher.cluster.shard_log import ShardLog
from fetcher.cluster.staged_archives import StagedArchives
from fetcher.cluster.staged_bodies import StagedBodies
from fetcher.cluster.staged_objects import StagedObjects
from fetcher.kept_output import JOURNALS
from fetcher.policy.object_urls import is_object_url, object_url
from fetcher.run_dir import OWN, RunDirectory


def place_of(output: str, *, fsync: bool = False) -> FolderPlace | BucketPlace:
    """Return the place that a setting or `Place.name` names."""
    if is_object_url(output):
        return BucketPlace(object_url(output))
    return FolderPlace(Path(output), fsync=fsync)


def bodies_of(place: Place, lease: Lease, directory: RunDirectory) -> StagedBodies | StagedObjects:
    """Return the bodies of the shard whose run directory and lease are given. Raises `StorageError`."""
    if isinstance(place, BucketPlace):
        return StagedObjects(place, lease, directory)
    assert isinstance(place, FolderPlace)
    return StagedBodies(place.root / f"{lease.log.index:04d}", lease.epoch)


def archives_of(log: ShardLog, bodies: StagedBodies | StagedObjects) -> StagedArchives | None:
    """Return the archives of a shard; None in an object store, where no file grows."""
    return StagedArchives(log, bodies) if isinstance(bodies, StagedBodies) else None


def lay_out(place: Place, index: int, directory: RunDirectory) -> None:
    """Let a shard be a run directory in a folder, or have its records beside its bodies in an object store.

    Raises `StorageError`.
    """
    folder = f"{index:04d}"
    for name in JOURNALS:
        path = directory.root / name
        if path.exists():
            place.write(f"{folder}/{name}", path)
    if isinstance(place, FolderPlace):
        place.write(f"{folder}/{OWN}/share.json", directory.share)
        place.write(f"{folder}/{OWN}/state.db", directory.own / "checkpoint.db")
        (place.root / folder / OWN / "parts").mkdir(exist_ok=True)
