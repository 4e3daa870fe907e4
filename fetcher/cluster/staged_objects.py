"""Bodies in an object store: staged under their epoch, and copied to their names once a segment counts.

Invariant: as of `staged_bodies`, where a rename moves a body once. Here a copy within the store does, and
the staged object is removed. An owner publishes nothing of its own before all that earlier epochs have staged
is gone: so one of those that wakes late finds nothing to copy over what has come since.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fetcher.cluster.bucket_place import BucketPlace
from fetcher.cluster.lease import Lease
from fetcher.errors import StorageError
from fetcher.model import Outcome
from fetcher.policy.object_urls import ObjectUrl
from fetcher.run_dir import RunDirectory
from fetcher.settings import Settings
from fetcher.stores.body_paths import own_path
from fetcher.stores.object_client import OWN_FOLDER, ObjectClient
from fetcher.stores.object_listing import ObjectListing
from fetcher.stores.objects import ObjectStore

_STAGED = f"{OWN_FOLDER}/staged"
_EPOCH = re.compile(rf"{re.escape(_STAGED)}/E([0-9]{{2,9}})/")
_LEASE_LOOK_S = 1.0
_LONGEST_EPOCH = f"{_STAGED}/E000000000"


class _Stored(msgspec.Struct):
    path: str | None = None
    bytes: int | None = None


_decode = msgspec.json.Decoder(_Stored).decode


class StagedObjects:
    """The bodies of one shard, as the owner of `lease` sees them.

    Parts of large bodies are in its run directory. What was not handed on may have left uploads behind.
    """

    def __init__(self, place: BucketPlace, lease: Lease, directory: RunDirectory) -> None:
        self._place = place
        self._lease = lease
        self._epoch = lease.epoch
        self._url = place.url.below(f"{lease.log.index:04d}")
        self._own = directory.own
        self._client = self._connected(self._url)
        self._has_left_uploads = lease.epoch > 1 and not lease.is_handed_on
        self._listing: ObjectListing | None = None
        self.parts = directory.parts
        self.path_bytes = self._url.below(_LONGEST_EPOCH).path_bytes

    def _connected(self, url: ObjectUrl) -> ObjectClient:
        client = ObjectClient(url, self._own)
        client.connect()
        return client

    def open(self, settings: Settings) -> StagedObjectStore:  # noqa: ARG002 - that of `StagedBodies`
        """Return the store that stages bodies of this epoch."""
        client = self._connected(self._url.below(_folder(self._epoch)))
        return StagedObjectStore(client, self._listed(), self._lease)

    def has(self, path: str, length: int | None) -> bool:
        """Tell whether a published body of that length was at a path as this began; None is any."""
        found = self._listed().length_of(path)
        return found is not None and length in {None, found}

    def _listed(self) -> ObjectListing:
        if self._listing is None:
            self._listing = ObjectListing()
            for page in self._client.listing():
                self._listing.fill([[item for item in page if not item[0].startswith(f"{OWN_FOLDER}/")]])
        return self._listing

    def publish(self, epoch: int, lines: Iterable[bytes]) -> None:
        """Copy the bodies that records of an epoch tell of to their final names. Raises `StorageError`."""
        folder = _folder(epoch)
        there = None if epoch == self._epoch else {*self._below(folder)}
        copies = []
        for line in lines:
            stored = _decode(line)
            if stored.path is not None and (there is None or f"{folder}/{stored.path}" in there):
                copies.append((f"{folder}/{stored.path}", stored.path, stored.bytes or 0))
        self._client.copy_all(copies)
        self._client.remove_all([staged for staged, _, _ in copies])

    def inherit_parts(self, epoch: int) -> None:
        """Do nothing: parts of large bodies were on the disk of the worker before."""

    def drop_earlier(self) -> None:
        """Remove what earlier epochs have staged: nothing of it counts, or it has been copied.

        Raises `StorageError`: with it there, an owner of before could still copy it.
        """
        self._client.remove_all(self._before(self._epoch))
        if self._has_left_uploads:
            with contextlib.suppress(StorageError):  # they only cost, and a rule of the bucket may end them
                self._client.abort_below(_STAGED)
                self._place.end_uploads(self._lease.log.folder)

    def drop(self) -> None:
        """Remove all that is staged up to this epoch, at the end of a shard: a later one may have begun."""
        with contextlib.suppress(StorageError):
            self._client.remove_all(self._before(self._epoch + 1))

    def _before(self, end: int) -> list[str]:
        found = ((_EPOCH.match(path), path) for path in self._below(_STAGED))
        return [path for epoch, path in found if epoch is None or int(epoch[1]) < end]

    def _below(self, folder: str) -> Iterator[str]:
        for page in self._client.listing(folder):
            yield from (path for path, _ in page)


class StagedObjectStore(ObjectStore):
    """`ports.Store` that stages bodies by `client`; those that are known are looked for in a listing."""

    def __init__(self, client: ObjectClient, listing: ObjectListing, lease: Lease) -> None:
        super().__init__(client, overwrite=True)
        self._listing = listing
        self._lease = lease

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Put each body under its job's path, as long as the lease is held: a store may be away for minutes.

        Raises:
            LeaseLost: nothing of it will count.
            StorageError: systemic.

        Cancelling abandons what is under way.
        """
        putting = asyncio.ensure_future(super().put(batch))
        try:
            while not (await asyncio.wait({putting}, timeout=_LEASE_LOOK_S))[0]:
                self._lease.require()
            return putting.result()
        finally:
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)

    async def _chosen(self, outcome: Outcome, body: object) -> tuple[str | None, bool]:  # noqa: ARG002
        return own_path(outcome.job) or outcome.job.path, False


def _folder(epoch: int) -> str:
    return f"{_STAGED}/E{epoch:02d}"
