"""A place in an object store, for what a cluster shares: `places.Place` with an object for each file.

Invariant: as of every place. An object appears whole, and `create` is a request that the store itself refuses
where there is one already (`If-None-Match: *`); a store that does not know such requests is refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from fetcher.errors import ConfigError, StorageError
from fetcher.policy.object_urls import ObjectUrl
from fetcher.stores.object_client import PART_BYTES, ObjectClient

_QUICK_BYTES = 64 * 1024  # a lease is no longer, and has no minute to spare
_STREAM_PART_BYTES = 64 * 1024**2  # of what has a length that nobody knows: S3 takes 10,000 parts
_STREAM_PARTS_AT_ONCE = 2
_READ_BYTES = 1024**2
_PATIENCE_S, _PAUSE_S = 5.0, 0.5
_PROBE = "journal/conditional-create"


class BucketPlace:
    """The objects below an address. It is connected when it is used first."""

    def __init__(self, url: ObjectUrl) -> None:
        self.url = url
        self.name = str(url)

    @cached_property
    def _client(self) -> ObjectClient:
        client = ObjectClient(self.url, Path())  # notes no uploads: see `end_uploads`
        client.connect()
        return client

    def check(self) -> None:
        """See that the store can be read and written, and that it makes no object twice.

        Raises:
            ConfigError: it does not know conditional requests.
            StorageError: it refuses, or can't be reached.
        """
        self.names("journal")  # soon an error where nothing may be seen
        self.create(_PROBE, b"1")
        if self.create(_PROBE, b"2"):
            raise ConfigError(
                f"output: {self.url}: the store does not know conditional writes (If-None-Match), so two"
                " workers could have one shard",
                hint="use a newer version of it, or give a folder that all workers see",
            )

    def create(self, path: str, source: bytes | Path) -> bool:
        data = source.read_bytes() if isinstance(source, Path) else source
        begun = time.monotonic()
        while True:
            try:
                return self._create(path, data)
            except StorageError:  # it may have been made all the same: the next try tells
                if time.monotonic() - begun > _PATIENCE_S:
                    raise
                time.sleep(_PAUSE_S)

    def _create(self, path: str, data: bytes) -> bool:
        """Make an object once. True too if it is there with these bytes: by a try whose answer was lost."""
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415  (an extra)

        store = self._client.quick if len(data) <= _QUICK_BYTES else self._client.store
        with self._client.told(f"cannot write {self.url.at(path)}"):
            try:
                store.put(path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                found = self.read(path)
                if found is None:  # others are at it, or have just removed it
                    raise StorageError(f"cannot write {self.url.at(path)}: it comes and goes") from None
                return found == data
        return True

    def write(self, path: str, source: bytes | Path | Iterable[bytes]) -> None:
        client = self._client
        with client.told(f"cannot write {self.url.at(path)}"):
            if isinstance(source, bytes) and len(source) <= PART_BYTES:
                store = client.quick if len(source) <= _QUICK_BYTES else client.store
                store.put(path, source, use_multipart=False)
            elif isinstance(source, bytes | Path):
                client.store.put(path, source, chunk_size=PART_BYTES, max_concurrency=4)
            else:
                client.store.put(
                    path,
                    source,
                    use_multipart=True,
                    chunk_size=_STREAM_PART_BYTES,
                    max_concurrency=_STREAM_PARTS_AT_ONCE,
                )

    def read(self, path: str, begin: int = 0, end: int | None = None) -> bytes | None:
        if end is not None and begin >= end:
            return b""
        with self._client.told(f"cannot read {self.url.at(path)}"), contextlib.suppress(FileNotFoundError):
            if end is not None:
                store = self._client.quick if end - begin <= _QUICK_BYTES else self._client.store
                return bytes(store.get_range(path, start=begin, end=end))
            return bytes(self._client.store.get(path).bytes())[begin:]
        return None

    def fetch(self, path: str, target: Path) -> bool:
        with self._client.told(f"cannot read {self.url.at(path)}"):
            try:
                blocks = self._client.store.get(path).stream(min_chunk_size=_READ_BYTES)
            except FileNotFoundError:
                return False
            with target.open("ab") as file:
                for block in blocks:
                    file.write(block)
        return True

    def exists(self, path: str) -> bool:
        with self._client.told(f"cannot read {self.url.at(path)}"), contextlib.suppress(FileNotFoundError):
            self._client.quick.head(path)
            return True
        return False

    def names(self, folder: str) -> list[str]:
        with self._client.told(f"cannot list {self.url.at(folder)}"):
            found = self._client.quick.list_with_delimiter(folder)
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return sorted(path.rpartition("/")[2] for path in paths)

    def remove(self, path: str) -> None:
        with self._client.told(f"cannot list {self.url.at(path)}"):
            below = [meta["path"] for page in self._client.quick.list(path) for meta in page]
        self._client.remove_all([path, *below])

    def end_uploads(self, folder: str) -> None:
        """End the uploads in parts to a folder that others have left. Raises `StorageError`."""
        self._client.abort_below(folder)
