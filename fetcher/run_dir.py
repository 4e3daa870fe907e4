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
import stat
import time
from importlib.util import find_spec
from pathlib import Path

from fetcher.errors import ConfigError, DirectoryInUse, StorageError
from fetcher.policy.object_urls import ObjectUrl, is_object_url, object_url
from fetcher.settings import Settings

OWN = ".fetcher"
_OWNER_KNOWN_S = 2.0
_WORKERS_GONE_S = 15.0


class RunDirectory:
    """The paths of one run directory. `acquire` makes it and takes the lock.

    `url` is where its bodies go, if that is an object store: then it holds state and records alone.
    """

    def __init__(self, root: Path, url: ObjectUrl | None = None) -> None:
        self.root = root
        self.url = url
        self._option = "output" if url is None else "state"
        self.own = root / OWN
        self.state = self.own / "state.db"
        self.parts = self.own / "parts"
        self.claims = self.own / "room"
        self.share = self.own / "share.json"
        self.kept_output = self.own / "output.json"
        self.outbox = self.own / "outbox"
        self.results = root / "results.jsonl"
        self.broken_links = root / "broken-links.jsonl"  # of a link check
        self._lock_path = self.own / "lock"
        self._pid_path = self.own / "pid"
        self._lock: object | None = None
        self.held = -1  # a descriptor that worker processes inherit: the directory is in use while any has it

    @property
    def is_made(self) -> bool:
        """True if a run was here once; False for whatever else the path is, or is not."""
        return os.path.isdir(self.own)  # noqa: PTH112  (no error, whatever the path is)

    def require(self) -> None:
        """Raise `ConfigError` unless a run was here once."""
        if not self.is_made:
            raise ConfigError(
                f"{self.root} is not a run directory: it has no {OWN} folder",
                hint="name the folder that was given to --output, or to --state",
            )

    def check(self) -> None:
        """Raise `StorageError` unless the root is a folder, or can become one as far as its path goes."""
        try:
            if not stat.S_ISDIR(self.root.stat().st_mode):
                raise StorageError(
                    f"{self._option}: {self.root} is a file, not a folder",
                    hint=f"choose another --{self._option}",
                )
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unusable(error) from error

    def acquire(self) -> None:
        """Make the directory and hold its lock, or say who holds it.

        Raises:
            DirectoryInUse: another process runs here.
            StorageError: the directory can't be made or written.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415  (only a run needs it)

        self.check()
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
        except OSError as error:
            self.release()
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StorageError:
        where = f"{error.filename}: " if error.filename not in {None, str(self.root), self.root} else ""
        return StorageError(
            f"{self._option}: cannot use {self.root}: {where}{error.strerror}",
            hint=f"choose another --{self._option}",
        )

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
        """Return the error that names the process which holds the lock.

        That process writes its number just after it took the lock, so this waits for it for a moment.
        """
        patience = time.monotonic() + _OWNER_KNOWN_S
        while (owner := self.owner()) is None and time.monotonic() < patience:
            time.sleep(0.01)
        process = f"process {owner}" if owner else "another process"
        return DirectoryInUse(
            f"{self.root} is in use by {process}", hint=f"wait for it, or choose another --{self._option}"
        )

    def owner(self) -> int | None:
        """Return the process that took the lock last, if it said so and is there."""
        with contextlib.suppress(OSError, ValueError):
            owner = int(self._pid_path.read_text())
            with contextlib.suppress(PermissionError):  # somebody else's
                os.kill(owner, 0)
            return owner
        return None

    def is_locked(self) -> bool:
        """Return True if a run is under way here."""
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
        """Release the lock."""
        held, self.held = self.held, -1
        if held >= 0:
            os.close(held)
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()  # type: ignore[attr-defined]


def directory_of(settings: Settings) -> RunDirectory:
    """Return the run directory that the settings name: the output, or with an object store the state.

    On a cluster the state is with the workers, and only copies of it may be here.

    Raises `ConfigError` for an address that can't be one, and for what does not go with it.
    """
    output, state = settings.output, settings.state
    if not is_object_url(output):
        if state is not None:
            raise ConfigError(
                "state: only an output in an object store has its state elsewhere",
                hint="leave it out: state and records are in the output",
            )
        return RunDirectory(Path(output))
    try:
        url = object_url(output)
    except ValueError as error:
        raise ConfigError(f"output: {error}") from None
    if (state is None and settings.cluster is None) or (state is not None and is_object_url(state)):
        raise ConfigError(
            f"output: with bodies in {url}, state and records need a folder on this machine",
            hint="name it: --state DIR",
        )
    if settings.store not in {"files", "none"}:
        raise ConfigError(
            f"store: {settings.store} grows files at their ends, which no object store can",
            hint="give a folder as --output, and copy it when the run is over",
        )
    for key, why in (
        ("mtime", "an object's time is that of its writing"),
        ("reparse", "stored pages are read from a folder, and these are objects"),
        ("convert_links", "an object is never changed in its place"),
    ):
        if getattr(settings, key):
            raise ConfigError(f"{key}: {why}", hint="leave it out, or give a folder as --output")
    if find_spec("obstore") is None or find_spec("boto3") is None:
        raise ConfigError(f"output: {url.scheme}:// needs libraries", hint="pip install 'fetcher[objects]'")
    return RunDirectory(Path(output if state is None else state), url)


def _make_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, and those are not followed", str(path))
