"""Bodies in a shared folder: staged under their epoch, and published once a segment that names them counts.

Invariant: under a final name stands what a counting record tells of, or nothing. A worker that lost its
shard can still write what it stages, which nobody looks at, and can publish only what counts anyway: a
rename moves a staged body once, whoever comes first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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


class StagedBodies:
    """The bodies of one shard below `root`, as the owner of `epoch` sees them."""

    def __init__(self, root: Path, epoch: int) -> None:
        self.root = root
        self._staged = root / OWN / "staged"
        self._epoch = epoch
        self.path_bytes = PATH_BYTES
        self.parts = self._of(epoch) / "parts"

    def _of(self, epoch: int) -> Path:
        return self._staged / f"E{epoch:02d}"

    def open(self, settings: Settings) -> StagedStore:
        """Make the folders of this epoch, and return the store that fills them."""
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {self.parts}: {error.strerror}") from error
        return StagedStore(self.root, self._of(self._epoch) / "files", self.parts, settings)

    def has(self, path: str, length: int | None) -> bool:
        """Tell whether a published body of that length is at a path; None is any."""
        try:
            status = (self.root / path).lstat()
        except OSError:
            return False
        return os.path.isfile(self.root / path) and length in {None, status.st_size}  # noqa: PTH113

    def publish(self, epoch: int, lines: Iterable[bytes]) -> None:
        """Move the bodies that records of an epoch tell of to their final names. Raises `StorageError`."""
        folders, source = DirCache(self.root), self._of(epoch) / "files"
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
            (self._of(epoch) / "parts").rename(self.parts)

    def drop_others(self) -> None:
        """Remove what other epochs have staged: nothing of it counts."""
        with contextlib.suppress(OSError):
            for folder in self._staged.iterdir():
                if folder != self._of(self._epoch):
                    shutil.rmtree(folder, ignore_errors=True)

    def drop_all(self) -> None:
        """Remove all that is staged, at the end of a shard."""
        shutil.rmtree(self._staged, ignore_errors=True)


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
