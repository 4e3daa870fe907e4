"""A file that is never there by halves, at a place that the user named."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def write_whole(path: str, data: bytes) -> None:
    """Put `data` in the place of a file; through a link, the file that it leads to.

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
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)  # of a process of this number that was killed
        with part.open("xb") as stream:  # never through a link
            stream.write(data)
        part.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
