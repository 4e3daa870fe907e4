"""Stored objects against what the state recorded of them: lengths by a listing, hashes by reading them.

Invariant: the listing is made once, before anything is judged; what is hashed is read as it is then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from fetcher.kept_output import JOURNALS, read_output
from fetcher.policy.object_urls import object_url
from fetcher.run_dir import RunDirectory
from fetcher.stores.object_client import OWN_FOLDER, ObjectClient
from fetcher.stores.object_listing import ObjectListing
from fetcher.verification.file_checks import Stored, algorithms_for, is_within, new_hash, unmet
from fetcher.verification.findings import Finding

_THREADS = 16  # each waits for the network most of the time
_AHEAD = 8 * _THREADS


class StoredObjects:
    """The objects of a run directory, as they were listed. `close` forgets them."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client
        self._listing = ObjectListing()
        self._listing.fill(client.listing())

    def close(self) -> None:
        """Forget the listing."""
        self._listing.close()

    def length_of(self, path: str) -> int | None:
        """Return the length of an object; None if there is none."""
        return self._listing.length_of(path)

    def bodies(self) -> Iterator[str]:
        """Yield the paths of all that are not the program's own."""
        for path in self._listing.paths():
            if path not in JOURNALS and not path.startswith(f"{OWN_FOLDER}/"):
                yield path

    def put_aside(self, path: str) -> None:
        """Move an object to where a repair keeps what was off. Raises `StorageError`."""
        self._client.put_aside(path)

    def findings(
        self, batches: Iterable[Sequence[Stored]], *, fast: bool, on_read: Callable[[int, int], None]
    ) -> Iterator[Finding]:
        """Yield what is off, in the order of the objects; `fast` looks at lengths only.

        `on_read` is told the number of objects and bytes that were looked at.
        """
        under_way: deque[tuple[Stored, Future[tuple[str, str | None, int]]]] = deque()

        def taken() -> Iterator[Finding]:
            body, future = under_way.popleft()
            kind, message, read = future.result()
            on_read(1, read)
            if kind:
                yield Finding(kind, body.path, body.url, message=message, id=body.id)

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="fetcher-verify") as threads:
            try:
                for batch in batches:
                    for body in batch:
                        length = self.length_of(body.path)
                        under_way.append((body, threads.submit(self._judge, body, length, fast=fast)))
                        if len(under_way) >= _AHEAD:
                            yield from taken()
                while under_way:
                    yield from taken()
            finally:
                for _, future in under_way:
                    future.cancel()

    def _judge(self, body: Stored, length: int | None, *, fast: bool) -> tuple[str, str | None, int]:
        """Return the kind of what is off (or nothing), more words on it, and the bytes that were read."""
        if not is_within(body.path):
            return "not-a-file", "the name leads out of the prefix", 0
        if length is None:
            return "missing", None, 0
        if body.bytes is not None and length != body.bytes:
            kind = "short" if length < body.bytes else "long"
            return kind, f"{length:,} of {body.bytes:,} bytes", 0
        algorithms = algorithms_for(body)
        if fast or not algorithms:
            return "", None, 0
        hashers = {name: new_hash(name) for name in algorithms}
        read = self._client.hash(body.path, hashers.values())
        if read is None:
            return "missing", None, 0
        found = {name: hasher.hexdigest() for name, hasher in hashers.items()}
        return *unmet(body, found), read


def stored_objects(directory: RunDirectory) -> StoredObjects | None:
    """List the objects of a run directory; None where its bodies are files.

    Raises `StorageError`.
    """
    kept = read_output(directory)
    if kept is None:
        return None
    client = ObjectClient(object_url(kept.url), directory.own)
    client.connect()
    return StoredObjects(client)
