"""Bodies as objects in S3, Google Cloud Storage or Azure: each is there whole or not at all.

The bodies of a batch go up at the same time, bounded by the client; nothing of the next batch does before all
of them are there, and the engine starts nothing that would not find its place. An object that the state does
not know is told by a listing, made once, as the run begins.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from fetcher.errors import StorageError
from fetcher.model import Outcome
from fetcher.ports import Body
from fetcher.stores.body_paths import free_paths, own_path
from fetcher.stores.object_client import ObjectClient
from fetcher.stores.object_listing import ObjectListing

T = TypeVar("T")

_LATE_BYTES = 32_768  # from here on a hash is worth a thread


class ObjectStore:
    """`ports.Store` with an object for each body. With `overwrite`, those that are not known are replaced."""

    keeps_files = True
    keeps_exchanges = False
    keeps_archives = False

    def __init__(self, client: ObjectClient, *, overwrite: bool) -> None:
        self._client = client
        self._overwrite = overwrite
        self._listing: ObjectListing | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="fetcher-objects")  # for hashes

    async def look(self) -> None:
        """List what is there, for `existing` and `has_file`, which know of nothing before.

        Raises `StorageError`.
        """
        self._listing = ObjectListing()
        async for page in self._client.pages():
            self._listing.fill([page])

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Put each body under its job's path, or beside a foreign object that stands there.

        Raises:
            StorageError: systemic; what was already put stays, its jobs may be put again.

        Cancelling abandons what is under way; each object is there whole, or is what it was.
        """
        puts = [asyncio.ensure_future(self._put(outcome)) for outcome in batch]
        try:
            return list(await asyncio.gather(*puts))
        finally:
            for put in puts:
                put.cancel()
            await asyncio.gather(*puts, return_exceptions=True)

    def existing(self, paths: Collection[str]) -> Collection[str]:
        listing = self._listing
        return () if listing is None else {path for path in paths if listing.length_of(path) is not None}

    def has_file(self, path: str, length: int) -> bool:
        return self._listing is not None and self._listing.length_of(path) == length

    def recover(self, lengths: Mapping[str, int]) -> None:
        """Do nothing: there are no archives."""

    def holds(self, url: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    async def aclose(self) -> None:
        """Forget what was listed, and end the threads."""
        self._threads.shutdown()
        listing, self._listing = self._listing, None
        if listing is not None:
            listing.close()

    def _in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _put(self, outcome: Outcome) -> str | StorageError | None:
        if outcome.job.path is None:
            return None
        body: Body = outcome.body
        if body.length >= _LATE_BYTES:
            await self._in_thread(body.hash)
        path, is_there = await self._chosen(outcome, body)
        if path is None:
            return StorageError(
                f"cannot write {self._client.url.at(outcome.job.path)}: objects that the state does not know"
                " stand there",
                systemic=False,
            )
        if not is_there:
            data, part = body.data(), body.part()
            if data is None and part is None:
                raise ValueError("the body was discarded before it was stored")
            kind = None if outcome.record is None else outcome.record.content_type
            source = Path(part) if part is not None else data or b""
            await self._client.put(path, source, body.length, kind)
            if self._listing is not None:
                self._listing.fill([[(path, body.length)]])
        return path

    async def _chosen(self, outcome: Outcome, body: Body) -> tuple[str | None, bool]:
        """Choose the path of the body, None if none is free; True with it if the body is there already."""
        if (own := own_path(outcome.job)) is not None:
            return own, False
        for path in free_paths(outcome.job):
            length = await self._client.length_of(path)
            if length is None or self._overwrite:
                return path, False
            if length == body.length and await self._holds(path, body):
                return path, True
        return None, False

    async def _holds(self, path: str, body: Body) -> bool:
        """Tell whether an object has the bytes of a body, as far as its digest is known."""
        sha256 = body.hash()[0]
        if not sha256:
            return False
        hasher = hashlib.sha256()
        read = await self._in_thread(lambda: self._client.hash(path, [hasher]))
        return read is not None and hasher.hexdigest() == sha256
