"""Checkpoints of a shard that is under way: what its state has settled goes to the output, as a segment.

A checkpoint only reads: the state says, in one transaction, how many bytes of records are settled, and those
since the last checkpoint are the segment. Order: what belongs to the segment, the segment, a look whether it
counts, and only then the bodies and archives come under their final names. Where the output fails in between,
the next checkpoint begins with the rest of it, and makes the same segment: each step may be done again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from fetcher.cluster.lease import Lease
from fetcher.cluster.shard_log import JournalSegment
from fetcher.cluster.staged_archives import StagedArchives
from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.schema import archive_lengths
from fetcher.run_dir import RunDirectory

Publish = Callable[[int, list[bytes]], None]


class _Settled(NamedTuple):
    """Lengths that are settled: of records, of data, and of archives by their paths."""

    records: int
    data: int
    archives: Mapping[str, int]


class _Begun(NamedTuple):
    """A segment that is being written: its lines, up to which byte of both files it goes, what it posts."""

    segment: JournalSegment
    lines: bytes
    end: int
    data_end: int
    posted: list[Path]


class Checkpoints:
    """The checkpoints of one epoch. `publish` gets the epoch and lines once they count, as do `archives`.

    With `keeps_state` each has a copy of the state; without it only the last one has.
    """

    def __init__(
        self,
        directory: RunDirectory,
        lease: Lease,
        publish: Publish,
        *,
        archives: StagedArchives | None = None,
        keeps_state: bool = False,
    ) -> None:
        self._directory = directory
        self._lease = lease
        self._publish = publish
        self._archives = archives
        self._keeps_state = keeps_state
        self._number = 0
        self._begun: _Begun | None = None
        self._done = _length(directory.results)
        self._data_done = _length(directory.results.with_name("data.jsonl"))

    def write(self, *, is_last: bool = False) -> JournalSegment | None:
        """Write a segment, if there is anything new; the last one always, with the state.

        Raises:
            LeaseLost: the shard is somebody else's; what was written does not count.
            StorageError: the state or the output failed.
        """
        self._lease.require()
        written = self._finish()
        copy = self._directory.own / "checkpoint.db"
        has_state = self._keeps_state or is_last
        ends = self._copied(copy) if has_state else self._settled()
        if ends is None:
            return written
        end, data_end, archived = ends
        log = self._lease.log
        segment = JournalSegment(self._lease.epoch, self._number + 1)
        posted = self._outbox()
        if end == self._done and data_end == self._data_done and not posted and not is_last:
            return written
        begin, data_begin = self._done, self._data_done
        lines = _between(self._directory.results, begin, end)
        if data_end > data_begin:
            data = _between(self._directory.results.with_name("data.jsonl"), data_begin, data_end)
            log.place.write(log.path(f"{segment.name}.data.jsonl"), data)
        for shard, files in posted.items():
            links = b"".join(path.read_bytes() for path in files)
            log.place.write(log.path(f"{segment.name}.to-{shard}.jsonl"), links)
        if has_state:
            log.place.write(log.path(f"{segment.name}.db"), copy)
        if self._archives is not None:
            self._archives.secure(segment, archived)
        files = [path for some in posted.values() for path in some]
        self._begun = _Begun(segment, lines, end, data_end, files)
        return self._finish()

    def _finish(self) -> JournalSegment | None:
        """Make the segment that was begun, and publish what it names once it counts."""
        if self._begun is None:
            return None
        self._lease.require()
        segment, lines, end, data_end, posted = self._begun
        log = self._lease.log
        path = log.path(f"{segment.name}.jsonl")
        if not log.place.create(path, lines) and log.place.read(path) != lines:
            raise StorageError(f"{path} is there, and nobody else may write it")
        self._lease.confirm()
        self._number, self._done, self._data_done = segment.number, end, data_end
        for file in posted:
            file.unlink(missing_ok=True)
        self._publish(segment.epoch, lines.splitlines())
        if self._archives is not None:
            self._archives.publish_whole()
        if self._keeps_state and segment.number > 1:
            before = JournalSegment(segment.epoch, segment.number - 1)
            log.place.remove(log.path(f"{before.name}.db"))
        self._begun = None
        return segment

    def _outbox(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = {}
        for path in sorted(self._directory.outbox.glob("*/*.jsonl")):
            found.setdefault(int(path.parent.name), []).append(path)
        return found

    def _settled(self) -> _Settled | None:
        """Return how many bytes of each file are settled; None before there is a state."""
        uri = f"{self._directory.state.absolute().as_uri()}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as db:
                return _ends(db)
        except sqlite3.Error as error:
            if not self._directory.state.exists():
                return None
            raise StorageError(f"cannot read {self._directory.state}: {error}") from error

    def _copied(self, copy: Path) -> _Settled | None:
        """Copy the state as it is at one moment, and return what `_settled` does of the copy."""
        if not self._directory.state.exists():
            return None
        uri = f"{self._directory.state.absolute().as_uri()}?mode=ro"
        for suffix in ("", "-wal", "-shm", "-journal"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        try:
            with (
                contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as db,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                target.execute("PRAGMA synchronous = OFF")  # it is a copy, and read at once
                db.backup(target)
                target.execute("PRAGMA journal_mode = DELETE")  # or what was said last stays in its log
                return _ends(target)
        except sqlite3.Error as error:
            raise StorageError(f"cannot copy {self._directory.state}: {error}") from error


def _ends(db: sqlite3.Connection) -> _Settled | None:
    try:
        meta = dict(db.execute("SELECT name, value FROM meta"))
    except sqlite3.OperationalError:  # no table yet
        return None
    if "results_length" not in meta:
        return None
    return _Settled(int(meta["results_length"]), int(meta.get("data_length") or 0), archive_lengths(meta))


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _between(path: Path, begin: int, end: int) -> bytes:
    if begin == end:
        return b""
    try:
        with path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), end - begin, begin)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) != end - begin:
        raise StorageError(f"{path} is shorter than its state says")
    return data
