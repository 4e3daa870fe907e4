"""The part file of a body that is too large for memory: hashed and written by a thread, in blocks.

A part may outlive its attempt: it is left behind, and a later spool goes on where it ends. Then the hash is
computed over the file when it is whole, in the same thread.

A block is one hop to a thread (through aiofiles): the hash and the write go together there, and the
next block fills meanwhile. At most one block is under way for each file.

Invariant: a descriptor is closed, and a file removed, by whoever is last to use it. A thread can't be
stopped, so a part that is abandoned while a thread writes to it is removed by that thread; closed
earlier, its descriptor could be another file's by then.
"""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fetcher.engine.budget import ByteBudget
from fetcher.engine.descriptors import DescriptorLimit, out_of_descriptors
from fetcher.engine.digest import NO_DIGESTS, Algorithms, Digests
from fetcher.engine.room import DiskRoom
from fetcher.errors import StorageError
from fetcher.open_files import EXHAUSTED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Chunk: TypeAlias = bytes | bytearray | memoryview

# All parts stand in one folder of ours, so most faults would meet every body. These may be one body's:
# too large for the file system, or out of memory at this moment.
_PASSING = frozenset({errno.EFBIG, errno.ENOMEM})
HASH_BYTES = 1024 * 1024
LARGE_CHUNK = 196_608  # below it, a copy is cheaper than a hash and a write of its own
HASHED_APART = 524_288  # from here on it is worth a hop to hash a block in another thread while it is written
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def part_names() -> Iterator[str]:
    """Yield names for part files that no run has given before, nor another process of this one.

    A process number does not tell runs apart: in a container each has the same one. Under a name that is used
    again, whoever removes the old part removes the new one.
    """
    run = secrets.token_hex(6)
    for number in itertools.count():
        yield f"{run}-{number}.part"


class Spool:
    """One part file and the block being written to it.

    What it is given stays charged to the budget until it is written or abandoned; the charge is the
    spool's from then on. `fault` is the first thing that went wrong: nothing is written after it.
    """

    __slots__ = (
        "_budget",
        "_charged",
        "_descriptors",
        "_file",
        "_part",
        "_room",
        "_roomed",
        "_write",
        "fault",
        "name",
        "path",
    )

    def __init__(
        self,
        folder: str,
        name: str,
        executor: Executor,
        budget: ByteBudget,
        *,
        offset: int | None,
        syncs: bool,
        algorithms: Algorithms,
        room: DiskRoom | None = None,
        descriptors: DescriptorLimit | None = None,
        is_shared: bool = False,
    ) -> None:
        """Open the file `name` of `folder`: a new one, or with an `offset` one that goes on from there.

        With `is_shared` it has other bytes behind, or will have them: it is not cut there.

        Raises:
            FileExistsError: there is such a file, and a new one was wanted.
            StorageError: it can't be opened, or has fewer bytes than `offset`.
        """
        self.name = name
        self.path = f"{folder}/{name}"
        self._descriptors = None
        if descriptors is not None:
            descriptors.take_part()
            self._descriptors = descriptors
        try:
            self._part = _PartFile(self.path, offset, algorithms, executor, syncs=syncs, is_shared=is_shared)
        except OSError as error:
            self._give_descriptor()
            if isinstance(error, FileExistsError):
                raise
            raise storage_error(error, self.path) from error
        self.fault: StorageError | None = None
        from aiofiles.threadpool import wrap  # noqa: PLC0415  (only large bodies come to a file)

        self._file = wrap(self._part, executor=executor)
        self._budget = budget
        self._charged = 0
        self._room = room
        self._roomed = 0  # charged to it
        self._write: asyncio.Task[None] | None = None

    @property
    def is_writing(self) -> bool:
        return self._write is not None

    @property
    def written(self) -> int:
        """The bytes that the file has, from its first on."""
        return self._part.written

    def write(self, chunks: list[Chunk], size: int, *, is_last: bool = False) -> None:
        """Begin to write what the caller gives away, with a charge of `size`; the last closes the file.

        No other write may be under way, and none may have failed.
        """
        self._charged = size
        if self._room is not None:
            octets = sum(map(len, chunks))  # more than the charge, where blocks are charged once for all
            try:
                self._room.take(octets)
            except StorageError as error:
                self.fault = error
                self._release()
                return
            self._roomed = octets
        self._part.closes_after_write = is_last
        self._write = write = asyncio.create_task(self._file.writelines(chunks))
        write.add_done_callback(self._written)

    async def wait(self) -> None:
        """Wait until no write is under way. Cancelling it leaves the write alone."""
        if self._write is not None:
            await asyncio.wait((self._write,))

    async def digests(self) -> Digests:
        """Wait for the last write. The digests of all that the file holds.

        Raises:
            StorageError: some write failed; the part is not whole.
        """
        await self.wait()
        if self.fault is not None:
            raise self.fault
        return self._part.digests

    def leave(self) -> None:
        """Give the charge back and close the file, which stays: at once, or when the thread lets go."""
        self._release()
        self._give_descriptor()
        self._part.abandon(keeps=True)

    def abandon(self) -> None:
        """Give the charge back, close and remove: at once, or as soon as the thread lets go."""
        self._release()
        self._give_descriptor()
        self._part.abandon()

    def _written(self, write: asyncio.Task[None]) -> None:
        self._write = None
        if self._room is not None:
            self._room.written(self._roomed)
        self._release()
        if self._part.closed:
            self._give_descriptor()
        if write.cancelled():  # the loop is ending; whether all was written can't be known
            self.fault = StorageError(f"writing {self.path} was interrupted", systemic=False)
            return
        error = write.exception()
        if error is not None:
            self.fault = storage_error(error, self.path)
            self.fault.__cause__ = error

    def _give_descriptor(self) -> None:
        if self._descriptors is not None:
            self._descriptors.give_part()
            self._descriptors = None

    def _release(self) -> None:
        self._budget.release(self._charged)
        self._charged = 0


class _PartFile(io.FileIO):
    """A file that hashes what it writes. `abandon` is for any thread at any moment.

    `written` is where its own writes end; `digests` are there when it was closed after its last write.
    """

    def __init__(
        self,
        path: str,
        offset: int | None,
        algorithms: Algorithms,
        executor: Executor,
        *,
        syncs: bool,
        is_shared: bool,
    ) -> None:
        self.closes_after_write = False
        self.written = offset or 0
        self.digests = NO_DIGESTS
        self._algorithms = algorithms
        self._executor = executor
        self._hashers = None if offset else algorithms.begin()
        self._path = path
        self._syncs = syncs
        self._lock = threading.Lock()  # held for the flags only, never while writing
        self._is_busy = False
        self._is_abandoned = False
        self._is_kept = False
        if offset is None:
            super().__init__(path, "xb")  # O_EXCL: new, and no link followed; mode 0666 less the umask
            return
        super().__init__(path, "r+b", opener=_no_link)
        try:
            size = os.fstat(self.fileno()).st_size
            if not is_shared:
                os.ftruncate(self.fileno(), offset)  # which goes on where a signal interrupts it
            self.seek(offset)
        except BaseException:
            self.close()
            raise
        if size < offset and not is_shared:
            self.close()
            raise OSError(errno.EIO, "it is shorter than the state says")

    def writelines(self, chunks: Iterable[ReadableBuffer], /) -> None:
        """Write all of `chunks`, not joined if they are large. For one thread at a time."""
        with self._lock:
            if self._is_abandoned:
                return
            self._is_busy = True
        try:
            size = 0
            for block in _blocks(chunks):
                rest = memoryview(block)
                size += len(rest)
                with self._hashed(rest):
                    while rest:
                        rest = rest[self.write(rest) :]
            if self._syncs:
                os.fsync(self.fileno())
            self.written += size
            if self.closes_after_write:
                self.digests = self._hash_file() if self._hashers is None else self._hashers.digests()
                self.close()
        finally:
            with self._lock:
                self._is_busy = False
                is_abandoned = self._is_abandoned
            if is_abandoned:
                self._let_go()

    @contextmanager
    def _hashed(self, block: memoryview) -> Iterator[None]:
        """Hash a block: meanwhile, if it is large and a thread is free, or else before it is written."""
        hashers = self._hashers
        if hashers is None or hashers.is_empty:
            yield
            return
        apart: Future[None] | None = None
        if len(block) >= HASHED_APART:
            with suppress(RuntimeError):  # the executor was shut down
                apart = self._executor.submit(hashers.update, block)
        if apart is None:
            hashers.update(block)
            yield
            return
        try:
            yield
        finally:  # the block is filled again when this is over
            if apart.cancel():
                hashers.update(block)
            else:
                apart.result()

    def _hash_file(self) -> Digests:
        """Hash a file that did not come in one piece; given up when the part is abandoned."""
        hashers = self._algorithms.begin()
        if not hashers.is_empty:
            self.seek(0)
            while (block := self.read(HASH_BYTES)) and not self._is_abandoned:
                hashers.update(block)
        return hashers.digests()

    def abandon(self, *, keeps: bool = False) -> None:
        with self._lock:
            self._is_kept = keeps and not self._is_abandoned
            self._is_abandoned = True
            if self._is_busy:
                return
        self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError):
            self.close()
        if not self._is_kept:
            with suppress(OSError):  # gone already, if the store took it
                Path(self._path).unlink()


def _blocks(chunks: Iterable[ReadableBuffer]) -> Iterator[ReadableBuffer]:
    """The same bytes, small neighbours joined: each block costs two waits for the interpreter."""
    small: list[ReadableBuffer] = []
    for chunk in chunks:
        if memoryview(chunk).nbytes < LARGE_CHUNK:
            small.append(chunk)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield chunk
    if small:
        yield b"".join(small)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def storage_error(error: BaseException, path: str) -> StorageError:
    """Return the error of a part file that a fault of the disk comes to."""
    number = error.errno if isinstance(error, OSError) else None
    if number in EXHAUSTED:
        return out_of_descriptors()
    return StorageError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}",
        hint="free some space, or choose another --output" if number in _FULL else "",
        systemic=number not in _PASSING,
    )
