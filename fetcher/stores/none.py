"""The store that keeps nothing: fetch and record only."""

from __future__ import annotations

from collections.abc import Sequence

from fetcher.errors import StorageError
from fetcher.model import Job, Record
from fetcher.ports import Body


class NoneStore:
    """Implements `ports.Store` without files."""

    keeps_files = False

    async def put(self, batch: Sequence[tuple[Job, Record, Body]]) -> list[str | StorageError | None]:
        """None for each."""
        return [None] * len(batch)

    def occupied(self, path: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    def holds(self, path: str, length: int) -> bool:  # noqa: ARG002 - the port's signature
        return False

    async def aclose(self) -> None:
        """Nothing to close."""
