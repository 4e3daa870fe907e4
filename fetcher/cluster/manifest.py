"""The manifest of a run: what is settled when it begins, and the list that its shards have."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fetcher.cluster.places import Place
from fetcher.cluster.shard_log import JOURNAL
from fetcher.errors import ConfigError, StorageError

MANIFEST = f"{JOURNAL}/run.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A run of `shards` shards. `divided` has the number of shards of each host that is divided.

    `digest` is of list `list_number`, the latest.
    """

    command: str
    shards: int
    divided: Mapping[str, int]
    version: str
    list_number: int = 0
    digest: str = ""


def known_manifest(place: Place, command: str, shards: int | None) -> Manifest | None:
    """Return the manifest of the run that is there, if there is one.

    Raises:
        ConfigError: it is another command's, or has not as many `shards` as are wanted.
        StorageError: it can't be read.
    """
    raw = place.read(MANIFEST)
    if raw is None:
        return None
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise StorageError(f"cannot read {MANIFEST} in the output: it is damaged") from error
    if manifest.command != command:
        raise ConfigError(
            f"output: it belongs to fetcher {manifest.command}, not {command}", hint="choose another --output"
        )
    if shards not in {None, manifest.shards}:
        raise ConfigError(
            f"shards: this run has {manifest.shards}, for good",
            hint="leave --shards out, or choose another --output",
        )
    return manifest


def keep_manifest(place: Place, manifest: Manifest) -> None:
    """Keep a manifest, in the place of one that is there. Raises `StorageError`."""
    place.write(MANIFEST, msgspec.json.encode(manifest))
