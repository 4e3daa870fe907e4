"""The room that a run may still write into before the disk has less than `--min-free` keeps.

Invariant: what is about to be written is charged before it is written, against the free space as it was last
looked at. The disk is looked at again whenever a charge could reach the floor, so nothing is written past it
by us; what others write is seen at each look, and once a second by the run. Processes that write at the same
time see what each other may still write, so that they all keep to one floor.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from fetcher.errors import StorageError

BLOCK = 4096  # what a file takes at least
_MOST_AT_ONCE = 64 * 1024**2  # that one process may set aside of what all of them have
_CLAIM = struct.Struct("q")


class NoRoom(StorageError):
    """Writing would leave less on the disk than `--min-free` keeps: the run stops, as at its floor."""


class SharedClaims:
    """The bytes that each of some processes may still write, in a file that all of them see.

    `index` is this process's place in it; whatever stood there, of a process that died, is given up.
    """

    def __init__(self, path: Path, index: int) -> None:
        self._file = path.open("r+b")
        self._claims = mmap.mmap(self._file.fileno(), 0)
        self._at = index * _CLAIM.size
        self.publish(0)

    @staticmethod
    def create(path: Path, processes: int) -> None:
        """Make the file anew.

        Raises:
            StorageError: it can't be written.
        """
        try:
            path.unlink(missing_ok=True)
            with path.open("xb") as file:  # never through a link
                file.write(bytes(_CLAIM.size * processes))
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from looking at the disk meanwhile."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def publish(self, size: int) -> None:
        """Say how much this process may still write."""
        _CLAIM.pack_into(self._claims, self._at, size)

    def of_others(self) -> int:
        """Return what the other processes may still write."""
        claims: list[int] = [claim for (claim,) in _CLAIM.iter_unpack(self._claims)]
        return sum(claims) - claims[self._at // _CLAIM.size]

    def close(self) -> None:
        """Give up this process's part."""
        self.publish(0)
        self._claims.close()
        self._file.close()


class DiskRoom:
    """Charges what is about to be written. `free` tells the bytes that the disk has left.

    With `claims`, other processes write at the same time.
    """

    __slots__ = ("_claims", "_free", "_least", "_left", "_under_way")

    def __init__(self, free: Callable[[], int], least: int, *, claims: SharedClaims | None = None) -> None:
        self._free = free
        self._least = least
        self._claims = claims
        self._left = 0
        self._under_way = 0

    def take(self, size: int) -> None:
        """Charge `size` bytes, which are about to be written; `written` must follow.

        Raises:
            NoRoom: they would reach the floor. Nothing is charged.
        """
        if size > self._left:
            self._look(size)
            if size > self._left:
                raise NoRoom(
                    f"less than {self._least:,} bytes would be left free on the disk",
                    hint="free some space, or lower --min-free; then run the same command again",
                )
        self._left -= size
        self._under_way += size

    def written(self, size: int) -> None:
        """Note that these are on the disk, or never will be: the next look sees them, or their room."""
        self._under_way -= size
        if self._claims is not None:
            self._claims.publish(self._left + self._under_way)

    def _look(self, size: int) -> None:
        """Set aside what may be written without another look: with other processes, only some of it."""
        if self._claims is None:
            self._left = self._free() - self._least - self._under_way
            return
        with self._claims.locked():
            all_left = max(0, self._free() - self._least - self._under_way - self._claims.of_others())
            self._left = min(all_left, max(size, min(all_left // 2, _MOST_AT_ONCE)))
            self._claims.publish(self._left + self._under_way)


def blocks(size: int) -> int:
    """Return what a file of `size` bytes takes on the disk."""
    return (size // BLOCK + 1) * BLOCK
