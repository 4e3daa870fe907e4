"""Scope of an `OSError` of the file system: one URL, or the whole run.

Only errors known to belong to one name cost one URL; whatever else the system says would meet every
other URL too, and is systemic.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fetcher.errors import StorageError
from fetcher.open_files import EXHAUSTED

_DENIED = frozenset({errno.EACCES, errno.EPERM})
_ONE_NAME = _DENIED | {
    errno.EBUSY,
    errno.EEXIST,
    errno.EFBIG,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.ETXTBSY,
    errno.EXDEV,
}
_HINTS = {
    errno.ENOSPC: "free some space, then run the same command again: it continues",
    errno.EDQUOT: "the quota is used up: free some space, then run the same command again",
    errno.EROFS: "the file system is read-only: choose another --output, or remount it",
    errno.EIO: "the disk or its file system is failing: look at the system's log before trying again",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or lower --concurrency",
    errno.ENFILE: "the whole system is out of open files: close other programs, or lower --concurrency",
    errno.EACCES: "check who owns the folder and what its permissions are",
    errno.EPERM: "check who owns the folder and what its permissions are",
    errno.EXDEV: "another file system is mounted inside the output folder: files can't be moved into it",
    errno.EFBIG: "the file system, or a limit (ulimit -f), allows no file of that size",
    errno.ELOOP: "put a folder in the place of the link, or choose another --output",
    errno.ENOTDIR: "move away what stands where a folder is needed",
    errno.EISDIR: "move away the folder that stands where the file belongs",
}


def storage_fault_of(error: Exception, doing: str, *, needs: tuple[Path, ...] = ()) -> StorageError:
    """`error` as the error of a record or of the run; `doing` is like `cannot write DIR/name`.

    A denial is systemic if one of the folders `needs` can't be written.
    """
    code = error.errno if isinstance(error, OSError) else None
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    is_systemic = code is not None and code not in _ONE_NAME
    if code in _DENIED and not all(_may_write(folder) for folder in needs):
        is_systemic = True
    fault = StorageError(f"{doing}: {reason}", hint=_HINTS.get(code or 0, ""), systemic=is_systemic)
    fault.exhausted = code in EXHAUSTED
    return fault


def _may_write(folder: Path) -> bool:
    mode = os.W_OK | os.X_OK
    return os.access(folder, mode, effective_ids=os.access in os.supports_effective_ids)
