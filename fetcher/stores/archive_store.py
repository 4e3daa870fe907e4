"""The frame of stores that archive: bodies go to the ends of files that grow, and no URL has a path.

Invariant: what is settled is a prefix of a growing file (see `growing_file`), and all that touches one is
done in the store's executor. The directory's owner alone is told settled lengths, and finishes what is left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from fetcher.errors import StorageError
from fetcher.model import Outcome
from fetcher.serial_executor import SerialExecutor
from fetcher.stores.os_errors import storage_fault_of


class ArchiveStore(ABC):
    """`ports.Store` with archives in `folder`, and in `own`, beside the state, what is in none yet.

    From `size` bytes on another archive is begun. `fsync` syncs before `put` returns. `label` is in the names
    of archives. With `published`, whole archives are there, and only someone else finishes what grows here.
    """

    keeps_files = False
    keeps_exchanges = False
    keeps_archives = True

    def __init__(
        self,
        folder: Path,
        own: Path,
        *,
        fsync: bool,
        size: int,
        label: str = "",
        published: Path | None = None,
    ) -> None:
        self._folder = folder
        self._own = own
        self._fsync = fsync
        self._size = size
        self._label = label
        self._is_staged = published is not None
        self._lane = SerialExecutor(f"fetcher-{own.name}")
        self._lengths: Mapping[str, int] | None = None  # the owner of the directory has them

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Archive each outcome; none has a path of its own.

        Raises:
            StorageError: what was written of the batch is taken back; it may be put again.

        Cancelling waits until the batch is written, then raises.
        """
        try:
            return await self._lane.run(lambda: self._put(batch))
        except OSError as error:
            raise self._fault(error) from error

    def existing(self, paths: Collection[str]) -> Collection[str]:  # noqa: ARG002 - the port's signature
        return ()

    def has_file(self, path: str, length: int) -> bool:  # noqa: ARG002 - the port's signature
        return False

    def holds(self, url: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    def recover(self, lengths: Mapping[str, int]) -> None:
        """See `ports.Store.recover`."""
        try:
            self._folder.mkdir(exist_ok=True)
            self._own.mkdir(exist_ok=True)
            if not self._is_staged:
                self._lengths = lengths
                self._finish_all(lengths)
        except OSError as error:
            raise self._fault(error) from error

    async def aclose(self) -> None:
        """Close the archives; the directory's owner finishes them all."""
        try:
            await self._lane.run(self._end)
        except OSError as error:
            raise self._fault(error) from error
        finally:
            await self._lane.aclose()

    def _fault(self, error: OSError) -> StorageError:
        fault = storage_fault_of(error, f"cannot write {error.filename or self._folder}")
        fault.systemic = True
        return fault

    # ---- in the executor ----

    def _end(self) -> None:
        self._close()
        if self._lengths is not None:
            self._finish_all(self._lengths)

    @abstractmethod
    def _put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Write a batch, set `archived` of each outcome, or take all of it back and raise."""

    @abstractmethod
    def _close(self) -> None:
        """Close what grows, as it is."""

    @abstractmethod
    def _finish_all(self, archives: Mapping[str, int]) -> None:
        """Cut all that is left to its settled length, by the archive's path, and finish it."""
