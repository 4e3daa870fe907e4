"""Open folders below one root, reached without following a link.

Invariant: a descriptor handed out is that of a real folder below the root: each segment was opened with
`O_NOFOLLOW` relative to its parent, and `.`, `..` and empty segments are refused. Only the root itself,
which the user named, may be a link. Names are UTF-8, whatever the locale says.

Descriptors are kept, least recently used closed first. One that was removed from under us shows as
ENOENT when it is used: then `forget` and ask again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from pathlib import Path

from fetcher import open_files

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderBlocked(OSError):
    """A folder can't be entered or made; `filename` is its path below the root."""


class DirCache:
    """A cache of descriptors of folders below `root`. Not for two threads at once."""

    __slots__ = ("_dirty", "_most", "_opened", "_root", "_root_fd", "_tracks")

    def __init__(self, root: Path, *, tracks_changes: bool = False) -> None:
        self._root = root
        self._root_fd = -1
        self._opened: OrderedDict[str, int] = OrderedDict()
        self._most = open_files.folders()
        self._tracks = tracks_changes
        self._dirty: set[str] = set()

    def root(self) -> int:
        """Return the root's descriptor; it is made if it is missing. Raises `OSError`."""
        if self._root_fd < 0:
            self._root.mkdir(parents=True, exist_ok=True)
            self._root_fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._root_fd

    def folder(self, path: str) -> int:
        """Return the descriptor of the folder `path` below the root ("" is the root), made where missing.

        It is good until the next call. Raises `FolderBlocked`: ELOOP for a link, ENOTDIR for any other thing
        that is no folder, and whatever else the system said.
        """
        opened = self._opened.get(path)
        if opened is not None:
            self._opened.move_to_end(path)
            return opened
        if not path:
            return self.root()
        return self._walked(path)

    def _walked(self, path: str) -> int:
        names = path.split("/")
        if "" in names or "." in names or ".." in names:
            raise FolderBlocked(errno.EINVAL, "is no path below the output folder", path)
        known = len(names) - 1  # the longest part that is open already
        while known and "/".join(names[:known]) not in self._opened:
            known -= 1
        parent = self.folder("/".join(names[:known]))
        for depth in range(known, len(names)):
            here = "/".join(names[: depth + 1])
            try:
                child = self._entered(names[depth], parent, here)
            except FolderBlocked:
                raise
            except OSError as error:
                raise FolderBlocked(error.errno, error.strerror, here) from error
            self._opened[here] = parent = child
            if len(self._opened) > self._most:
                os.close(self._opened.popitem(last=False)[1])
        return parent

    def _entered(self, name: str, parent: int, here: str) -> int:
        try:
            return os.open(name.encode(), _OPEN, dir_fd=parent)
        except FileNotFoundError:
            try:
                os.mkdir(name.encode(), dir_fd=parent)
            except FileExistsError:
                pass  # a worker process of this run was quicker
            else:
                self.changed(here.rpartition("/")[0])
            return os.open(name.encode(), _OPEN, dir_fd=parent)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            if stat.S_ISLNK(os.stat(name.encode(), dir_fd=parent, follow_symlinks=False).st_mode):
                raise FolderBlocked(errno.ELOOP, "is a link, and links are not followed", here) from error
            raise FolderBlocked(errno.ENOTDIR, "is not a folder", here) from error

    def changed(self, path: str) -> None:
        """Remember for `sync` that an entry of the folder `path` was made."""
        if self._tracks:
            self._dirty.add(path)

    def sync(self) -> None:
        """Sync every changed folder to the disk, once."""
        while self._dirty:
            path = next(iter(self._dirty))
            try:
                os.fsync(self.folder(path))
            except OSError as error:
                if error.errno != errno.EINVAL:  # a file system that does not sync folders
                    raise
            self._dirty.discard(path)

    def forget(self) -> None:
        """Close every descriptor."""
        while self._opened:
            os.close(self._opened.popitem()[1])
        if self._root_fd >= 0:
            root_fd, self._root_fd = self._root_fd, -1
            os.close(root_fd)
