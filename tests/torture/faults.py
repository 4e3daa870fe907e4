"""The faults that strace injects: at which calls, as what, and how a run may end under them.

strace counts the calls of each thread for itself, so the n-th call of a run is the n-th of whichever thread comes
to it first. A killed process dies before the call is made.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAKES = ("openat", "mkdir", "mkdirat")
_WRITES = ("write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync")
_MOVES = ("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat")
_ROOM = ("openat", "mkdir", "mkdirat", "write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync")
_READS = ("read", "pread64", "getdents64")
CALLS = (*_MAKES, *_WRITES, *_MOVES, *_READS, "chmod", "fchmod", "flock", "socket", "epoll_create1")

KILL = "KILL"
ABORTED = 134
LIMIT = "LIMIT"


@dataclass(frozen=True)
class Fault:
    """`calls` that it is injected into. `may_stop`: the run may end with exit 5, and go on in the next.

    `injection` is strace's, with the number of the call for `{n}`; none for a limit on the length of files.
    """

    name: str
    calls: Sequence[str]
    injection: str = ""
    may_stop: bool = True


def _faults() -> Iterator[Fault]:
    yield Fault(KILL, (*_MAKES, *_WRITES, *_MOVES, "chmod", "fchmod", "flock"), "signal=KILL:when={n}")
    for name, calls in (
        ("ENOSPC", (*_ROOM, "rename", "renameat", "link", "linkat")),
        ("EIO", (*_MAKES, *_WRITES, *_MOVES, *_READS, "chmod", "fchmod")),
        ("EMFILE", ("openat", "socket", "epoll_create1")),
    ):
        yield Fault(name, calls, f"error={name}:when={{n}}")
        # That call, and all after it; but the loop's own wake-ups are written too.
        lasting = [call for call in calls if call not in {"write", "read"}]
        yield Fault(f"{name}+", lasting, f"error={name}:when={{n}}+")
    interruptible = ("openat", "write", "pwrite64", "ftruncate", "fallocate", "read", "pread64", "flock")
    yield Fault("EINTR", interruptible, "error=EINTR:when={n}", may_stop=False)
    # SQLite takes a sync that was interrupted for one that failed, and nobody knows what it has synced.
    yield Fault("EINTR-sync", ("fsync", "fdatasync"), "error=EINTR:when={n}")
    # Nothing was written, and that is what the call says: the shortest of short writes.
    yield Fault("SHORT", ("write", "pwrite64"), "retval=0:when={n}")
    # Writes are cut where a file would become longer than so many bytes, and then fail (EFBIG).
    yield Fault(LIMIT, ())


FAULTS = {fault.name: fault for fault in _faults()}
_CALL = re.compile(r"^(\d+) +(\w+)\(")
_READ = re.compile(rf"^\d+ +(?:{'|'.join(_READS)})\(")
_PLACE = re.compile(r"""^\d+ +\w+\((?:AT_FDCWD|\d+)<([^>]*)>(?:, "([^"]*)")?""")


class Strace:
    """strace around a run that waits to be let go. `calls` is where its lines go."""

    def __init__(self, pid: int, *, traced: Sequence[str], injection: str = "", calls: Path) -> None:
        program = shutil.which("strace")
        if program is None:
            raise RuntimeError("strace is not installed")
        names = ",".join(traced)
        options = ["-f", "-y", "-qq", "-o", str(calls), "-e", f"trace={names}", "-e", "signal=none"]
        if injection:
            options += ["-e", f"inject={names}:{injection}"]
        self._process = subprocess.Popen([program, *options, "-p", str(pid)], stderr=subprocess.PIPE)
        status = Path(f"/proc/{pid}/status")
        deadline = time.monotonic() + 60
        while "\nTracerPid:\t0\n" in status.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"strace could not attach: {self.close()}")
            time.sleep(0.001)

    def close(self) -> str:
        """Wait for its end, which is that of what it traces; what it said."""
        _, said = self._process.communicate(timeout=60)
        return said.decode(errors="replace")


def was_met(calls: Path, folder: Path, code: int) -> bool:
    """Whether the fault was injected, and into a call on what lies in `folder`, or one for a new socket.

    Others are those of the interpreter that starts in a worker process, and of a loop that wakes itself, which
    aborts if it can't. Where a library can't be read, whatever needs it fails, a page's parser too.
    """
    lines = calls.read_text(errors="replace").splitlines()
    hit = [line for line in lines if "(INJECTED)" in line]
    if hit:
        places = [(found := _PLACE.match(line)) is None or _is_in(folder, found) for line in hit]
        is_of_others = code == ABORTED or any(_READ.match(line) for line in hit)
        return all(places) if is_of_others else any(places)
    return any("killed by SIGKILL" in line for line in lines)


def _is_in(folder: Path, place: re.Match[str]) -> bool:
    """The second path, if it is absolute, or else the descriptor."""
    path = place[2] if (place[2] or "").startswith("/") else place[1]
    return path.startswith(str(folder))


def counted(calls: Path) -> Counter[str]:
    """How often each call was made, by the thread that made it most."""
    of_thread: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in calls.read_text(errors="replace").splitlines():
        if found := _CALL.match(line):
            of_thread[found[1]][found[2]] += 1
    most: Counter[str] = Counter()
    for counts in of_thread.values():
        most |= counts
    return most
