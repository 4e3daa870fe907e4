"""The run directory: where its parts lie, and the lock that keeps a second run out.

Invariant: whoever holds the lock is the only one to write below `.fetcher`. The lock is the operating
system's, so it is free as soon as its process is gone, however it went. No link stands for `.fetcher` or
what is emptied in it, so nobody else's files are touched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from fetcher.errors import DirectoryInUse, StorageError

OWN = ".fetcher"
_OWNER_KNOWN_S = 2.0
_WORKERS_GONE_S = 15.0


class RunDirectory:
    """The paths of one run directory. `acquire` makes it and takes the lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.own = root / OWN
        self.state = self.own / "state.db"
        self.parts = self.own / "parts"
        self.results = root / "results.jsonl"
        self._lock_path = self.own / "lock"
        self._pid_path = self.own / "pid"
        self._lock: object | None = None
        self.held = -1  # a descriptor that worker processes inherit: the directory is in use while any has it

    def acquire(self) -> None:
        """Make the directory and hold its lock, or say who holds it.

        Raises:
            DirectoryInUse: another process runs here.
            StorageError: the directory can't be made or written.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415  (only a run needs it)

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            _make_folder(self.own)
            _make_folder(self.parts)
            self.own.chmod(0o700)
            lock = FileLock(self._lock_path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                raise self.in_use() from None
            self._lock = lock
            self._outlast_workers()
            self._pid_path.unlink(missing_ok=True)
            with self._pid_path.open("x") as file:  # never through a link
                file.write(f"{os.getpid()}\n")
            self.clear_parts()
        except OSError as error:
            self.release()
            where = error.filename or self.root
            raise StorageError(
                f"cannot use {self.root}: {where}: {error.strerror}", hint="choose another --output"
            ) from error

    def _outlast_workers(self) -> None:
        """Wait for the worker processes of a killed run: they hold what they inherited until they end."""
        descriptor = os.open(
            self.own / "workers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        patience = time.monotonic() + _WORKERS_GONE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > patience:
                    os.close(descriptor)
                    self.release()
                    raise DirectoryInUse(
                        f"{self.root} is in use by the worker processes of a run that was killed",
                        hint="wait until they have ended",
                    ) from None
                time.sleep(0.02)
            else:
                self.held = descriptor
                return

    def in_use(self) -> DirectoryInUse:
        """The error that names the process which holds the lock.

        That process writes its number just after it took the lock, so this waits for it for a moment.
        """
        patience = time.monotonic() + _OWNER_KNOWN_S
        while (owner := self.owner()) is None and time.monotonic() < patience:
            time.sleep(0.01)
        process = f"process {owner}" if owner else "another process"
        return DirectoryInUse(
            f"{self.root} is in use by {process}", hint="wait for it, or choose another --output"
        )

    def owner(self) -> int | None:
        """The process that took the lock last, if it said so and is there."""
        with contextlib.suppress(OSError, ValueError):
            owner = int(self._pid_path.read_text())
            with contextlib.suppress(PermissionError):  # somebody else's
                os.kill(owner, 0)
            return owner
        return None

    def is_locked(self) -> bool:
        """Whether a run is under way here."""
        from filelock import FileLock, Timeout  # noqa: PLC0415

        if not self._lock_path.exists():
            return False
        lock = FileLock(self._lock_path)
        try:
            lock.acquire(blocking=False)
        except (Timeout, OSError):
            return True
        lock.release()
        return False

    def release(self) -> None:
        """Let the lock go."""
        held, self.held = self.held, -1
        if held >= 0:
            os.close(held)
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()  # type: ignore[attr-defined]

    def clear_parts(self) -> None:
        """Remove what a killed process was writing: under the lock, with no worker, a part is nobody's."""
        for part in os.scandir(self.parts):
            if part.is_file(follow_symlinks=False):
                Path(part.path).unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, and those are not followed", str(path))
