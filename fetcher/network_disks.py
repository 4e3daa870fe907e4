"""Folders on disks of other machines, where SQLite's locks and its log can't be relied on."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_REMOTE = frozenset(
    {
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "afpfs",
            "webdav",
            "davfs",
            "9p",
            "ceph",
            "glusterfs",
            "lustre",
        ),
        *("beegfs", "gpfs", "afs", "ncpfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.gcsfuse"),
        *("fuse.rclone", "fuse.davfs", "fuse.ceph", "macfuse", "fuse.mfs"),
    }
)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_LINUX = re.compile(r"\S+ \S+ \S+ \S+ (?P<at>\S+) .*? - (?P<kind>\S+)")
_BSD = re.compile(r".+? on (?P<at>/.*) \((?P<kind>[^,)]+)")


def network_disk(folder: Path) -> str | None:
    """Return the type of the network file system that `folder` is on, or None."""
    place = str(folder.resolve())
    with suppress(OSError):
        return remote_type(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"), place)
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5, check=True)
            return remote_type(told.stdout, place)
    return None


def remote_type(mounts: str, place: str) -> str | None:
    """Return the network file system that holds the absolute path `place`, or None if a local one does.

    `mounts` is the text of Linux's mountinfo (proc(5)), or what `mount` prints on macOS and the BSDs.
    """
    best, found = "", None
    for line in mounts.splitlines():
        mount = _LINUX.match(line) or _BSD.match(line)
        if mount is None:
            continue
        at = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), mount["at"])
        if len(at) >= len(best) and (place == at or place.startswith(at.rstrip("/") + "/")):
            best, found = at, mount["kind"]
    return found if found in _REMOTE else None
