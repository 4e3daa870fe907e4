"""Archives that grow at their end, record by record: `NAME.open` until they are full, then `NAME`.

Invariant: what is settled is a prefix of a file, and its length is kept by someone else (the state). What
lies beyond was written by a session that died before its transaction; `finish_left` cuts it off, so an
archive ends with a whole record and holds no outcome twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

OPEN = ".open"


class GrowingFile:
    """A new file `folder/name`, written as `name.open`. Raises `FileExistsError` if either stands there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._final = folder / name
        self._path = folder / f"{name}{OPEN}"
        if os.path.lexists(self._final):
            raise FileExistsError(self._final)
        self.file: IO[bytes] = self._path.open("xb")

    @property
    def length(self) -> int:
        return self.file.tell()

    def cut(self, length: int) -> None:
        """Take back what was written after `length`."""
        with contextlib.suppress(OSError):  # what is in the buffer is wanted no more
            self.file.flush()
        os.ftruncate(self.file.fileno(), length)
        self.file.seek(length)

    def flush(self, *, fsync: bool) -> None:
        """Hand everything to the system, and with `fsync` to the disk."""
        self.file.flush()
        if fsync:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close it as it is; `finish_left` will finish it."""
        with contextlib.suppress(OSError):
            self.file.close()

    def remove(self) -> None:
        """Remove it: nothing of it is settled."""
        self._path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Close it and give it its name: all that is in it is settled."""
        self.file.close()
        self._path.rename(self._final)


def finish_left(folder: Path, pattern: str, lengths: Mapping[str, int]) -> None:
    """Cut every open file of the folder back to its settled length and give it its name; remove empty ones.

    `pattern` matches the names of finished files. Raises `OSError`.
    """
    for path in sorted(folder.glob(f"{pattern}{OPEN}")):
        name = path.name.removesuffix(OPEN)
        length = lengths.get(name, 0)
        if not length:
            path.unlink()
            continue
        if path.is_symlink():
            continue
        if path.stat().st_size > length:
            os.truncate(path, length)
        path.rename(folder / name)
