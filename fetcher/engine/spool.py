"""The part file of a body that is too large for memory: hashed and written by a thread, in blocks.

A block is one hop to a thread (through aiofiles): the hash and the write go together there, and the
next block fills meanwhile. At most one block is under way for each file.

Invariant: a descriptor is closed, and a file removed, by whoever is last to use it. A thread can't be
stopped, so a part that is abandoned while a thread writes to it is removed by that thread; closed
earlier, its descriptor could be another file's by then.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from aiofiles.threadpool import wrap

from fetcher.engine.budget import ByteBudget
from fetcher.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# All parts stand in one folder of ours, so most faults would meet every body. These may be one body's:
# too large for the file system, or out of descriptors or memory at this moment.
_PASSING = frozenset({errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Spool:
    """One part file and the block being written to it.

    What it is given stays charged to the budget until it is written or abandoned; the charge is the
    spool's from then on. `fault` is the first thing that went wrong: nothing is written after it.
    """

    __slots__ = ("_budget", "_charged", "_file", "_part", "_write", "fault", "path")

    def __init__(self, folder: str, numbers: Iterator[int], executor: Executor, budget: ByteBudget) -> None:
        """Create a new file in `folder`, named by this process and the next number.

        Raises:
            StorageError: it can't be created.
        """
        while True:
            path = f"{folder}/{os.getpid()}-{next(numbers)}.part"
            try:
                self._part = _PartFile(path)
            except FileExistsError:  # left by a killed process that had our number
                continue
            except OSError as error:
                raise _storage_error(error, path) from error
            break
        self.path = path
        self.fault: StorageError | None = None
        self._file = wrap(self._part, executor=executor)
        self._budget = budget
        self._charged = 0
        self._write: asyncio.Task[None] | None = None

    @property
    def is_writing(self) -> bool:
        return self._write is not None

    def write(self, chunks: list[bytes | bytearray], size: int, *, is_last: bool = False) -> None:
        """Begin to write `size` bytes, which the caller gives away; after the last the file is closed.

        No other write may be under way, and none may have failed.
        """
        self._charged = size
        self._part.closes_after_write = is_last
        self._write = write = asyncio.create_task(self._file.writelines(chunks))
        write.add_done_callback(self._written)

    async def wait(self) -> None:
        """Until no write is under way. Cancelling it leaves the write alone."""
        if self._write is not None:
            await asyncio.wait((self._write,))

    async def digest(self) -> str:
        """Wait for the last write. The SHA-256 of all, in hexadecimal.

        Raises:
            StorageError: some write failed; the part is not whole.
        """
        await self.wait()
        if self.fault is not None:
            raise self.fault
        return self._part.digest.hexdigest()

    def abandon(self) -> None:
        """Give the charge back, close and remove: at once, or as soon as the thread lets go."""
        self._release()
        self._part.abandon()

    def _written(self, write: asyncio.Task[None]) -> None:
        self._write = None
        self._release()
        if write.cancelled():  # the loop is ending; whether all was written can't be known
            self.fault = StorageError(f"writing {self.path} was interrupted", systemic=False)
            return
        error = write.exception()
        if error is not None:
            self.fault = _storage_error(error, self.path)
            self.fault.__cause__ = error

    def _release(self) -> None:
        self._budget.give(self._charged)
        self._charged = 0


class _PartFile(io.FileIO):
    """A new file that hashes what it writes. `abandon` is for any thread at any moment."""

    def __init__(self, path: str) -> None:
        self.digest = hashlib.sha256()
        self.closes_after_write = False
        self._path = path
        self._lock = threading.Lock()  # held for the two flags only, never while writing
        self._is_busy = False
        self._is_abandoned = False
        super().__init__(path, "xb")  # O_EXCL: new, and no link followed; mode 0666 less the umask

    def writelines(self, chunks: Iterable[ReadableBuffer], /) -> None:
        """All of `chunks` in one write. For one thread at a time."""
        with self._lock:
            if self._is_abandoned:
                return
            self._is_busy = True
        try:
            block = b"".join(chunks)
            self.digest.update(block)
            rest = memoryview(block)
            while rest:
                rest = rest[self.write(rest) :]
            if self.closes_after_write:
                self.close()
        finally:
            with self._lock:
                self._is_busy = False
                is_abandoned = self._is_abandoned
            if is_abandoned:
                self._remove()

    def abandon(self) -> None:
        with self._lock:
            self._is_abandoned = True
            if self._is_busy:
                return
        self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            self.close()
        with suppress(OSError):  # gone already, if the store took it
            Path(self._path).unlink()


def _storage_error(error: BaseException, path: str) -> StorageError:
    number = error.errno if isinstance(error, OSError) else None
    return StorageError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}",
        hint="free some space, or choose another --output" if number in _FULL else "",
        systemic=number not in _PASSING,
    )
