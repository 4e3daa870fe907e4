"""Bodies as files: written to a part beside the state, then renamed to their final name.

Invariant: under a final name stands a complete body or what stood there before, never a piece; nothing is
written outside the root, no link is followed, and nothing is removed but parts that this store made. Names
are UTF-8, whatever the locale says.

A batch is one function, so that many small files cost one hop to a thread at most. Putting is idempotent
by path: after a crash between renaming and settling the same body, or a newer one, is renamed over it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import io
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from fetcher.errors import StorageError
from fetcher.model import Job, Outcome, Record
from fetcher.open_files import EXHAUSTED
from fetcher.policy import filenames
from fetcher.ports import Body
from fetcher.serial_executor import SerialExecutor
from fetcher.stores.body_paths import free_paths, own_path
from fetcher.stores.dir_cache import DirCache, FolderBlocked
from fetcher.stores.os_errors import storage_fault_of

_PART = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COMPARED = 1024 * 1024  # bytes read at once
_WORTH_AGAIN = EXHAUSTED | {errno.ENOENT}


class FilesStore:
    """`ports.Store` with files below `root`; parts are made in `parts`, on the same file system.

    With `overwrite`, regular files that the state does not know are replaced. `mtime` sets a file's time
    from `Last-Modified`; `fsync` syncs files and folders before `put` returns.
    """

    keeps_files = True
    keeps_exchanges = False
    keeps_archives = False

    def __init__(self, root: Path, *, parts: Path, overwrite: bool, mtime: bool, fsync: bool) -> None:
        self._root = root
        self._overwrite = overwrite
        self._mtime = mtime
        self._fsync = fsync
        self._made = 0
        self._lane = SerialExecutor("fetcher-files")
        # In the executor only:
        self._folders = DirCache(root, tracks_changes=fsync)
        self._parts = DirCache(parts)
        self._parts_root = parts
        # On the loop only, for `exists` and `has_file`:
        self._look_fd = -1
        self._access_sees_links = True

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Put each body under its job's path, or beside a foreign file that stands there.

        Raises:
            StorageError: systemic; what was already put stays, its jobs may be put again.

        Cancelling waits until the batch is written, then raises.
        """
        is_slow = self._fsync or any(outcome.job.is_foreign for outcome in batch)
        return await self._lane.run(partial(self._put_batch, batch), is_slow=is_slow)

    def recover(self, lengths: Mapping[str, int]) -> None:
        """Do nothing: there are no archives."""

    def holds(self, url: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    async def aclose(self) -> None:
        """Wait for what is being written and close every descriptor."""
        await self._lane.aclose()
        self._folders.forget()
        self._parts.forget()
        if self._look_fd >= 0:
            look_fd, self._look_fd = self._look_fd, -1
            os.close(look_fd)

    # ---- looking, on the loop ----

    def existing(self, paths: Collection[str]) -> set[str]:
        """Return those of `paths` at which anything stands, a dangling link included."""
        look_fd = self._look()
        if look_fd < 0:
            return set()
        if self._access_sees_links:
            access, mode = os.access, os.F_OK
            return {
                path for path in paths if access(path.encode(), mode, dir_fd=look_fd, follow_symlinks=False)
            }
        root = os.fsencode(self._root)
        return {path for path in paths if os.path.lexists(os.path.join(root, path.encode()))}  # noqa: PTH118

    def has_file(self, path: str, length: int) -> bool:
        """Return True if a regular file of `length` bytes stands at `path`, with no link on the way to it."""
        look_fd = self._look()
        if look_fd < 0:
            return False
        try:
            for folder in filenames.parents(path):
                status = _status(folder, look_fd)
                if status is None or not stat.S_ISDIR(status.st_mode):
                    return False
            status = _status(path, look_fd)
        except (OSError, ValueError):
            return False
        return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == length

    def _look(self) -> int:
        """Return the root's descriptor for looking, or -1 if there is no root yet."""
        if self._look_fd < 0:
            try:
                self._look_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                return -1
            except OSError as error:
                raise self._stopped(error) from error
            # Some C libraries answer EINVAL to `follow_symlinks=False`: then nothing ever seems to exist.
            self._access_sees_links = os.access(".", os.F_OK, dir_fd=self._look_fd, follow_symlinks=False)
        return self._look_fd

    # ---- putting, in the executor ----

    def _put_batch(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        try:
            self._folders.root()
            self._parts.root()
        except OSError as error:
            raise self._stopped(error) from error
        if self._fsync:
            return self._put_synced(batch)
        results: list[str | StorageError | None] = []
        for outcome in batch:
            if outcome.job.path is None:
                results.append(None)
                continue
            try:
                results.append(self._put_one(outcome))
            except (OSError, ValueError) as error:
                results.append(self._put_again(error, outcome))
        return results

    def _put_one(self, outcome: Outcome) -> str:
        outcome.body.hash()  # here, and not in the loop's thread
        path, is_there = self._chosen(outcome.job, outcome.body)
        if not is_there:
            source, is_own = self._staged(outcome)
            if self._fsync:
                self._synced(source, is_own=is_own)
            self._placed(source, path, is_own=is_own)
        return path

    def _put_again(self, error: Exception, outcome: Outcome) -> str | StorageError:
        """Try again with fresh descriptors, if a folder was removed from under us or too many are open."""
        if isinstance(error, OSError) and error.errno in _WORTH_AGAIN:
            self._folders.forget()
            self._parts.forget()
            try:
                return self._put_one(outcome)
            except (OSError, ValueError) as second:
                error = second
        return self._fault(error, outcome.job.path or "")

    def _put_synced(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Return the same in steps, so that the disk syncs all parts together and each folder once."""
        results: list[str | StorageError | None] = [None] * len(batch)
        staged: list[tuple[int, str, str, bool]] = []  # index, final path, source, whether it is ours
        try:
            for index, outcome in enumerate(batch):
                if outcome.job.path is None:
                    continue
                try:
                    outcome.body.hash()
                    path, is_there = self._chosen(outcome.job, outcome.body)
                    results[index] = path
                    if not is_there:
                        staged.append((index, path, *self._staged(outcome)))
                except (OSError, ValueError) as error:
                    results[index] = self._put_again(error, outcome)
            for _, path, source, is_own in staged:
                try:
                    self._synced(source, is_own=is_own)
                except OSError as error:
                    self._fault(error, path)  # raises, unless a spooled part is gone: renaming will tell
            staged.reverse()
            while staged:
                index, path, source, is_own = staged.pop()
                try:
                    self._placed(source, path, is_own=is_own)
                except (OSError, ValueError) as error:
                    results[index] = self._put_again(error, batch[index])
            try:
                self._folders.sync()
            except OSError as error:
                raise self._stopped(error) from error
        finally:
            for _, _, source, is_own in staged:
                if is_own:
                    self._drop(source)
        return results

    def _chosen(self, job: Job, body: Body) -> tuple[str, bool]:
        """Choose the path of the body; True with it if the body is there already."""
        if (own := own_path(job)) is not None:
            return own, False
        for path in free_paths(job):
            standing = _status(path, self._folders.root())
            if standing is None:
                return path, False
            if stat.S_ISREG(standing.st_mode):
                if self._overwrite:
                    return path, False
                if standing.st_size == body.length and self._has_digest(path, body):
                    return path, True
        raise FileExistsError(errno.EEXIST, "files that the state does not know stand there", path)

    def _has_digest(self, path: str, body: Body) -> bool:
        folder, _, name = path.rpartition("/")
        try:
            # O_NONBLOCK: what was a file a moment ago may be a FIFO now, and opening that waits for ever.
            fd = os.open(name.encode(), _READ, dir_fd=self._folders.folder(folder))
        except FolderBlocked:
            raise
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            return False
        with os.fdopen(fd, "rb", buffering=0) as file:
            status = os.fstat(fd)
            return (
                stat.S_ISREG(status.st_mode)
                and status.st_size == body.length
                and (
                    hashlib.file_digest(file, "sha256").hexdigest() == body.sha256
                    if body.sha256
                    else _holds(file, body)
                )
            )

    def _staged(self, outcome: Outcome) -> tuple[str, bool]:
        """Return the path to be renamed: our own new part, or that of the spooled one."""
        body: Body = outcome.body
        record = outcome.record
        assert record is not None
        data = body.data()
        if data is not None:
            return self._written(outcome.job, record, data), True
        spooled = body.part()
        if spooled is None:
            raise ValueError("the body was discarded before it was stored")
        if self._mtime:
            _set_time(spooled, record.last_modified)
        return spooled, False

    def _written(self, job: Job, record: Record, data: bytes) -> str:
        """Return a new part that holds `data`; it is gone again if that fails."""
        parts_fd = self._parts.root()
        while True:
            self._made += 1
            part = f"{job.id}-{self._made}.put"
            try:
                fd = os.open(part, _PART, 0o666, dir_fd=parts_fd)
            except FileExistsError:
                continue  # left by a run that was killed; not ours to remove
            break
        try:
            try:
                written = os.write(fd, data)
                if written != len(data):
                    _write_rest(fd, memoryview(data)[written:])
                if self._mtime:
                    _set_time(fd, record.last_modified)
            finally:
                os.close(fd)
        except BaseException:
            self._drop(part)
            raise
        return part

    def _placed(self, source: str, path: str, *, is_own: bool) -> None:
        folder, _, name = path.rpartition("/")
        try:
            folder_fd = self._folders.folder(folder)
            if is_own:
                os.rename(source, name.encode(), src_dir_fd=self._parts.root(), dst_dir_fd=folder_fd)
            else:
                os.rename(source, name.encode(), dst_dir_fd=folder_fd)
        except BaseException:
            if is_own:
                self._drop(source)
            raise
        if self._fsync:
            self._folders.changed(folder)

    def _synced(self, source: str, *, is_own: bool) -> None:
        fd = os.open(source, _READ, dir_fd=self._parts.root() if is_own else None)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _drop(self, part: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=self._parts.root())

    # ---- saying what went wrong ----

    def _fault(self, error: Exception, path: str) -> StorageError:
        """Return the error of one URL. Raises it instead where it would meet every other URL too."""
        doing = f"cannot write {self._root / path}"
        if isinstance(error, FolderBlocked):
            doing += f": {self._root / error.filename}"
        folder = _standing(self._root, path)
        fault = storage_fault_of(error, doing, needs=(self._root, self._parts_root, folder))
        if fault.systemic:
            raise fault from error
        return fault

    def _stopped(self, error: OSError) -> StorageError:
        fault = storage_fault_of(error, f"cannot use {error.filename or self._root}")
        fault.systemic = True
        return fault


def _standing(root: Path, path: str) -> Path:
    """The innermost folder of `path` that is there."""
    folder = (root / path).parent
    while folder != root and not folder.is_dir():
        folder = folder.parent
    return folder


def _status(path: str, dir_fd: int) -> os.stat_result | None:
    """Return the status of `path` itself, not of a link's target; None if nothing stands there or can."""
    try:
        return os.stat(path.encode(), dir_fd=dir_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _holds(file: IO[bytes], body: Body) -> bool:
    """Return True if a file as long as `body` holds the same bytes."""
    data, spooled = body.data(), body.part()
    with io.BytesIO(data or b"") if spooled is None else Path(spooled).open("rb", buffering=0) as other:
        while block := file.read(_COMPARED):
            if other.read(len(block)) != block:
                return False
    return True


def _write_rest(fd: int, rest: memoryview) -> None:
    while rest:
        rest = rest[os.write(fd, rest) :]


def _set_time(file: int | str, last_modified: str | None) -> None:
    """Take the time of `Last-Modified`; a date that can't be read or stored is ignored."""
    if last_modified is None:
        return
    import email.utils  # noqa: PLC0415  (20 modules, only for --mtime)

    with contextlib.suppress(ValueError, TypeError, OverflowError, OSError):
        moment = email.utils.parsedate_to_datetime(last_modified)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        os.utime(file, (moment.timestamp(), moment.timestamp()))
