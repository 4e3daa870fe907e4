"""`results.jsonl`: lines appended before the transaction that settles them.

Invariant: the state knows the length up to which the file is settled. What lies beyond was written
by a session that died before its transaction; a start cuts it off, so an outcome has one line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fetcher.errors import StorageError


class Journal:
    """An append-only file of JSON lines whose settled length is kept by someone else."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self.path = path
        self.length = 0
        self._fsync = fsync
        self._descriptor = -1

    def open(self, settled: int) -> None:
        """Cut the file back to its settled length, and open it for appending."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(self.path, flags, 0o666)
            self.length = min(settled, os.fstat(self._descriptor).st_size)
            os.ftruncate(self._descriptor, self.length)
        except OSError as error:
            raise StorageError(f"cannot open {self.path}: {error.strerror}") from error

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines in one call; `length` then includes them."""
        if not lines:
            return
        data = b"\n".join(lines) + b"\n"
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, self.length)
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}", hint="free some space, then continue"
            ) from error
        self.length += len(data)

    def cut(self, length: int) -> None:
        """Take back what was appended after `length`: its transaction failed."""
        os.ftruncate(self._descriptor, length)
        self.length = length

    def set_aside(self) -> None:
        """Move the file to `*.1`, over an older one, and begin with an empty one."""
        if self.path.exists():
            self.path.replace(self.path.with_name(self.path.name + ".1"))

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
