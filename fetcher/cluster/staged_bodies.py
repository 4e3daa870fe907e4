"""Bodies in a shared folder: staged under their epoch, and published once a segment that names them counts.

Invariant: under a final name stands what a counting record tells of, or nothing. A worker that lost its
shard can still write what it stages, which nobody looks at, and can publish only what counts anyway: a
rename moves a staged body once, whoever comes first.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from fetcher.errors import StorageError
from fetcher.model import Outcome
from fetcher.policy.filenames import PATH_BYTES
from fetcher.run_dir import OWN
from fetcher.settings import Settings
from fetcher.stores.dir_cache import DirCache
from fetcher.stores.files import FilesStore


class _Stored(msgspec.Struct):
    state: str
    path: str | None = None


_decode = msgspec.json.Decoder(_Stored).decode
_EPOCH = re.compile(r"E([0-9]{2,9})")


class StagedBodies:
    """The bodies of one shard below `root`, as the owner of `epoch` sees them."""

    def __init__(self, root: Path, epoch: int) -> None:
        self.root = root
        self._staged = root / OWN / "staged"
        self.epoch = epoch
        self.path_bytes = PATH_BYTES
        self.parts = self.of(epoch) / "parts"

    def of(self, epoch: int) -> Path:
        """Return the folder of what an epoch has staged."""
        return self._staged / f"E{epoch:02d}"

    def open(self, settings: Settings) -> StagedStore:
        """Make the folders of this epoch, and return the store that fills them."""
        self.make_parts()
        return StagedStore(self.root, self.of(self.epoch) / "files", self.parts, settings)

    def make_parts(self) -> None:
        """Make the folder of parts. Raises `StorageError`."""
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {self.parts}: {error.strerror}") from error

    def has(self, path: str, length: int | None) -> bool:
        """Tell whether a published body of that length is at a path; None is any."""
        try:
            status = (self.root / path).lstat()
        except OSError:
            return False
        return os.path.isfile(self.root / path) and length in {None, status.st_size}  # noqa: PTH113

    def publish(self, epoch: int, lines: Iterable[bytes]) -> None:
        """Move the bodies that records of an epoch tell of to their final names. Raises `StorageError`."""
        folders, source = DirCache(self.root), self.of(epoch) / "files"
        try:
            for line in lines:
                path = _decode(line).path
                if path is None:
                    continue
                folder, _, name = path.rpartition("/")
                with contextlib.suppress(FileNotFoundError):  # it has moved already
                    os.rename(
                        os.fsencode(source) + b"/" + path.encode(),
                        name.encode(),
                        dst_dir_fd=folders.folder(folder),
                    )
        except OSError as error:
            raise StorageError(f"cannot write below {self.root}: {error.strerror}") from error
        finally:
            folders.forget()

    def inherit_parts(self, epoch: int) -> None:
        """Take over the parts of large bodies from an epoch whose owner has given the shard back."""
        with contextlib.suppress(OSError):
            self.parts.parent.mkdir(parents=True, exist_ok=True)
            (self.of(epoch) / "parts").rename(self.parts)

    def drop_earlier(self) -> None:
        """Remove what earlier epochs have staged: nothing of it counts any more, and no late owner finds it.

        Raises `StorageError`.
        """
        self._drop_before(self.epoch)

    def drop(self) -> None:
        """Remove all that is staged up to this epoch, at the end of a shard. Raises `StorageError`."""
        self._drop_before(self.epoch + 1)
        with contextlib.suppress(OSError):
            self._staged.rmdir()

    def _drop_before(self, end: int) -> None:
        try:
            for folder in self._staged.iterdir() if self._staged.exists() else ():
                gone = folder
                if epoch := _EPOCH.fullmatch(folder.name):
                    if int(epoch[1]) >= end:
                        continue
                    gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}")
                    with contextlib.suppress(FileNotFoundError):
                        folder.rename(gone)  # all of it, at one moment
                shutil.rmtree(gone, ignore_errors=True)
        except OSError as error:
            raise StorageError(f"cannot write below {self.root}: {error.strerror}") from error


class StagedStore:
    """`ports.Store` that stages bodies in `files`; those that are known are looked for below `root`."""

    keeps_files = True
    keeps_exchanges = False
    keeps_archives = False

    def __init__(self, root: Path, files: Path, parts: Path, settings: Settings) -> None:
        self._staging = FilesStore(
            files, parts=parts, overwrite=True, mtime=settings.mtime, fsync=settings.fsync
        )
        self._published = FilesStore(
            root, parts=parts, overwrite=settings.overwrite, mtime=False, fsync=settings.fsync
        )

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        return await self._staging.put(batch)

    def recover(self, lengths: Mapping[str, int]) -> None:
        """Nothing to recover: there are no archives."""

    def holds(self, url: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    def existing(self, paths: Collection[str]) -> set[str]:
        return self._published.existing(paths)

    def has_file(self, path: str, length: int) -> bool:
        return self._published.has_file(path, length)

    async def aclose(self) -> None:
        """Wait for what is being written and close every descriptor."""
        await self._staging.aclose()
        await self._published.aclose()
