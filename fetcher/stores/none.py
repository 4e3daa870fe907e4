"""The store that keeps nothing: fetch and record only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fetcher.errors import StorageError
from fetcher.model import Outcome


class NoneStore:
    """Implementation of `ports.Store` without files."""

    keeps_files = False
    keeps_exchanges = False
    keeps_archives = False

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Keep nothing, and give no path."""
        return [None] * len(batch)

    def existing(self, paths: Collection[str]) -> Collection[str]:  # noqa: ARG002 - the port's signature
        return ()

    def has_file(self, path: str, length: int) -> bool:  # noqa: ARG002 - the port's signature
        return False

    def recover(self, lengths: Mapping[str, int]) -> None:
        """Do nothing: there are no archives."""

    def holds(self, url: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""
