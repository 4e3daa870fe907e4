"""Notes of uploads in parts, so that those which a kill has left are found: nobody sees them, and they cost.

Invariant: a note is there before its upload begins and until it is over; so what a start finds was left.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from fetcher.errors import StorageError

_NUMBERS = itertools.count()


class LeftUploads:
    """Notes in `folder`, one file for each upload, which several processes may have under way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, path: str) -> Path:
        """Note that an upload to `path` begins. Returns the file to be removed when it is over."""
        note = self._folder / f"{os.getpid()}-{next(_NUMBERS)}"
        try:
            self._folder.mkdir(exist_ok=True)
            note.write_text(path, "utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {note}: {error.strerror}") from error
        return note

    def paths(self) -> set[str]:
        """Return the paths that uploads went to. Raises `StorageError`."""
        try:
            return {note.read_text("utf-8") for note in self._notes()} - {""}
        except OSError as error:
            raise StorageError(f"cannot read {self._folder}: {error.strerror}") from error

    def forget(self) -> None:
        """Remove every note: what they told of has ended."""
        for note in self._notes():
            note.unlink(missing_ok=True)

    def _notes(self) -> list[Path]:
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []
