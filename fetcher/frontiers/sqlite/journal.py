"""`results.jsonl`: lines appended before the transaction that settles them.

Invariant: the state knows the length up to which the file is settled. What lies beyond was written
by a session that died before its transaction; a start cuts it off, so an outcome has one line. Where the file
ends before that length, or no line ends there, it is not as it was left: all of it stays, and a record is
never joined to a torn line.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fetcher.errors import StorageError, removed


class Journal:
    """An append-only file of JSON lines whose settled length is kept by someone else."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self.path = path
        self.length = 0
        self.is_damaged = False  # it was not as its last session had left it
        self._fsync = fsync
        self._descriptor = -1

    def open(self, settled: int | None) -> None:
        """Cut the file back to its settled length, or keep all of it for None, and open it for appending.

        Raises:
            StorageError: it can't be opened, or is no file.
        """
        # O_NONBLOCK: opening a FIFO would wait for its reader.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StorageError(f"cannot open {self.path}: it is not a file")
            self.length = size = status.st_size
            self.is_damaged = settled is not None and not self._ends_line(settled)
            if settled is None or self.is_damaged:
                self._end_last_line()
            elif settled < size:
                self.cut(settled)
        except OSError as error:
            raise StorageError(f"cannot open {self.path}: {error.strerror}") from error

    def _ends_line(self, length: int) -> bool:
        return not length or os.pread(self._descriptor, 1, length - 1) == b"\n"

    def _end_last_line(self) -> None:
        if not self._ends_line(self.length):
            self.length += os.write(self._descriptor, b"\n")

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines in one call; `length` then includes them."""
        if not lines:
            return
        if not os.fstat(self._descriptor).st_nlink and not self.path.exists():
            raise removed(self.path)
        data = b"\n".join(lines) + b"\n"
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError as error:
            self.cut(self.length)
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}", hint="free some space, then continue"
            ) from error
        self.length += len(data)

    def cut(self, length: int) -> None:
        """Take back what was appended after `length`: its transaction failed."""
        try:
            os.ftruncate(self._descriptor, length)
        except OSError as error:  # no harm: the next start cuts it
            raise StorageError(f"cannot cut {self.path}: {error.strerror}") from error
        self.length = length

    def set_aside(self) -> None:
        """Move the file to `*.1`, over an older one, and begin with an empty one."""
        older = self.path.with_name(self.path.name + ".1")
        try:
            if self.path.exists():
                self.path.replace(older)
        except OSError as error:
            raise StorageError(f"cannot move {self.path} to {older.name}: {error.strerror}") from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
