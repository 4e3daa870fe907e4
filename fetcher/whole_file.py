"""Files that are never there by halves: made beside their place, and renamed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fetcher.errors import StorageError


def write_whole(path: str, data: bytes) -> None:
    """Put `data` in the place of a file that the user named; through a link, of the one that it leads to.

    Only a regular file is replaced. A device or a pipe is written to, without waiting for a reader.

    Raises `OSError`; what was there is there still.
    """
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  (any text is a path here)
    except FileNotFoundError:
        regular = True
    if not regular:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb", buffering=0) as stream:
            view = memoryview(data)
            while view:
                written = stream.write(view)
                if written is None:
                    raise BlockingIOError(None, "nobody reads it")
                view = view[written:]
        return
    target = Path(os.path.realpath(path))
    with replacing(target, target.with_name(f"{target.name}.{os.getpid()}.part")) as file:
        file.write(data)


@contextlib.contextmanager
def own_file(path: Path, part: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file of the program's own anew, as `replacing` does; only one process may write there.

    Raises:
        StorageError: it can't be written; what was there is there still.
    """
    try:
        with replacing(path, part or path.with_name(f"{path.name}.new")) as file:
            yield file
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: Path, part: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` after the block, unless that raises. No link is followed.

    Until then it is `part`, in the same file system and for nobody else; what a kill left there is removed.
    Raises `OSError`; what was there is there still.
    """
    try:
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            yield file
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
