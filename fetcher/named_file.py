"""Files that a setting names: read whole, within a bound."""

from __future__ import annotations

import errno
from pathlib import Path

_READ_BYTES = 1024**2


def read_whole(path: str | Path, *, most: int) -> bytes:
    """Return a file that a setting names, or what comes through a pipe; no device that never ends.

    Raises `OSError`, and `ValueError` for a path that can't be one; both say why.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (a path as given)
        blocks, size = [], 0
        while block := file.read(_READ_BYTES):
            blocks.append(block)
            size += len(block)
            if size > most:
                raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes")
    return b"".join(blocks)


def printable(path: str) -> str:
    """Return a path as a message has it, in one line."""
    return path if path.isprintable() else ascii(path)


def reason_of(error: Exception) -> str:
    """Return why a file could not be read, as the system says it."""
    return getattr(error, "strerror", None) or str(error)
