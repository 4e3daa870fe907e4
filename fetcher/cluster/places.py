"""The output that all workers share, as places to put small whole files: a folder, or an object store.

Invariant: a file is there whole or not at all, and `create` succeeds for one caller alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from fetcher.errors import StorageError

_BLOCK = 1024 * 1024


class Place(Protocol):
    """Whole files by their paths. Blocking, in any thread. Raises `StorageError`, systemic.

    `name` is the same wherever it is seen.
    """

    @property
    def name(self) -> str: ...

    def create(self, path: str, source: bytes | Path) -> bool:
        """Make a file of bytes, or as a copy of a local one; False if there is one already.

        The bytes are the caller's own, that nobody else would write: in an object store one that is there
        with them was made by an earlier try of his.
        """
        ...

    def write(self, path: str, source: bytes | Path | Iterable[bytes]) -> None:
        """Make a file, or replace the one that is there; of blocks too."""

    def read(self, path: str, begin: int = 0, end: int | None = None) -> bytes | None:
        """Return the bytes from `begin` to `end`; None if there is no such file."""
        ...

    def fetch(self, path: str, target: Path) -> bool:
        """Append a file to a local one; False if there is none."""
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing if it is not there."""


class FolderPlace:
    """A folder on a disk that all workers see. With `fsync`, what is made there is on the disk at once."""

    def __init__(self, root: Path, *, fsync: bool = False) -> None:
        self.root = root
        self._fsync = fsync

    @property
    def name(self) -> str:
        return str(self.root.resolve())

    def create(self, path: str, source: bytes | Path) -> bool:
        with self._told("write", path), self._made(path, source) as new:
            try:
                os.link(new, self.root / path)
            except FileExistsError:
                return False
            return True

    def write(self, path: str, source: bytes | Path | Iterable[bytes]) -> None:
        with self._told("write", path), self._made(path, source) as new:
            new.replace(self.root / path)

    def read(self, path: str, begin: int = 0, end: int | None = None) -> bytes | None:
        with self._told("read", path):
            try:
                with (self.root / path).open("rb") as file:
                    file.seek(begin)
                    return file.read(-1 if end is None else end - begin)
            except FileNotFoundError:
                return None

    def fetch(self, path: str, target: Path) -> bool:
        with self._told("read", path):
            try:
                with (self.root / path).open("rb") as file, target.open("ab") as copy:
                    shutil.copyfileobj(file, copy, _BLOCK)
            except FileNotFoundError:
                return False
            return True

    def exists(self, path: str) -> bool:
        with self._told("read", path):
            return os.path.lexists(self.root / path)

    def names(self, folder: str) -> list[str]:
        with self._told("read", folder):
            try:
                return sorted(name for name in os.listdir(self.root / folder) if not name.startswith("."))  # noqa: PTH208
            except FileNotFoundError:
                return []

    def remove(self, path: str) -> None:
        with self._told("remove", path), contextlib.suppress(FileNotFoundError):
            whole = self.root / path
            if whole.is_dir() and not whole.is_symlink():
                shutil.rmtree(whole, ignore_errors=True)
            else:
                whole.unlink()

    @contextlib.contextmanager
    def _made(self, path: str, source: bytes | Path | Iterable[bytes]) -> Iterator[Path]:
        """Give a new whole file beside `path`, which is gone afterwards unless it was moved there."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")
        try:
            with new.open("xb") as file:
                if isinstance(source, Path):
                    with source.open("rb") as original:
                        shutil.copyfileobj(original, file, _BLOCK)
                elif isinstance(source, bytes):
                    file.write(source)
                else:
                    file.writelines(source)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            yield new
            if self._fsync:
                _sync_folder(target.parent)
        finally:
            new.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"cannot {doing} {self.root / path}: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
