"""Folders on the disks of other machines, by the tables of mounts that systems print."""

from __future__ import annotations

from pathlib import Path

import pytest

from fetcher.network_disks import network_disk, remote_type

LINUX = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /proc rw - proc proc rw
40 22 0:40 / /mnt/nas rw,relatime shared:9 master:2 - nfs4 10.0.0.2:/vol rw,vers=4.2
41 40 8:17 / /mnt/nas/local rw - xfs /dev/sdb1 rw
42 22 0:44 / /home/a\040b rw - fuse.sshfs me@host:/ rw
43 22 0:45 / /over rw - nfs server:/x rw
44 43 0:46 / /over rw - tmpfs tmpfs rw
nonsense
"""
MACOS = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
//me@nas/Media on /Volumes/My Media (smbfs, nodev, nosuid, mounted by me)
nas:/vol on /Volumes/nfs (nfs, nodev, nosuid)
"""


@pytest.mark.parametrize(
    ("mounts", "place", "kind"),
    [
        (LINUX, "/home/me/out", None),
        (LINUX, "/mnt/nas", "nfs4"),
        (LINUX, "/mnt/nas/deep/out", "nfs4"),
        (LINUX, "/mnt/nasty/out", None),
        (LINUX, "/mnt/nas/local/out", None),
        (LINUX, "/home/a b/out", "fuse.sshfs"),
        (LINUX, "/over/out", None),  # the later mount hides the earlier
        (MACOS, "/Users/me/out", None),
        (MACOS, "/Volumes/My Media/out", "smbfs"),
        (MACOS, "/Volumes/nfs/out", "nfs"),
        ("", "/out", None),
    ],
)
def test_the_innermost_mount_says_whether_a_folder_is_on_another_machine(
    mounts: str, place: str, kind: str | None
) -> None:
    assert remote_type(mounts, place) == kind


def test_a_folder_of_this_machine_is_local(tmp_path: Path) -> None:
    assert network_disk(tmp_path) is None
