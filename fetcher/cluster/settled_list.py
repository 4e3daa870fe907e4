"""The list of a run and its manifest, settled before anything is fetched, for good by the first run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from fetcher.cluster.divided_list import DividedList, SpooledList, read_divided
from fetcher.cluster.manifest import Manifest, keep_manifest, known_manifest
from fetcher.cluster.places import Place
from fetcher.settings import Settings
from fetcher.version import __version__


class ListedRun(NamedTuple):
    """A run whose list is divided."""

    manifest: Manifest
    list: DividedList


def settle_list(
    place: Place,
    spooled: SpooledList,
    settings: Settings,
    command: str,
    shards: int,
    *,
    most_exchanges: Callable[[str], int],
    notice: Callable[[str, str], None],
) -> ListedRun:
    """Write the list by shards, unless that was done. A new run has `shards` of them.

    Raises:
        ConfigError: the run that is there is another command's, or has another number of shards.
        StorageError: the output failed.
    """
    follows = command == "crawl"
    manifest = known_manifest(place, command, settings.shards)
    if manifest is None:
        divided: Mapping[str, int] = {}
        if not (follows or settings.no_split_hosts):
            divided = spooled.divided_hosts(most_exchanges)
        for host, number in divided.items():
            notice("info", f"{host} is too large for one shard: {number} share its URLs and its limits")
        manifest = Manifest(command=command, shards=shards, divided=divided, version=__version__)
    elif manifest.digest == spooled.digest:
        made = read_divided(place, manifest.list_number)
        if made is not None:
            return ListedRun(manifest, made)
    before, number = manifest.list_number, manifest.list_number + 1
    made = spooled.divide(place, number, manifest.shards, manifest.divided, is_whole=follows)
    manifest = msgspec.structs.replace(manifest, list_number=number, digest=spooled.digest)
    keep_manifest(place, manifest)
    if before:
        place.remove(f"lists/{before:04d}")
    return ListedRun(manifest, made)
