"""Archives in a shared folder: they grow staged under their epoch, and are published once all of them counts.

A record points to bytes that are there: before a segment is written, the archives are on the disk, and their
lengths as they are with it are noted in the journal, `E03.archives`. Whoever takes the shard over copies what
counts, up to those lengths, and publishes the copies; then it removes what others had staged. So an archive
grows over many segments, one file for each session of a shard and each `size` bytes.

Invariant: below `root` stands no byte that does not count, and nobody writes to a file that stands there. The
folder of an epoch is made before its owner sees for the last time that it owns the shard, and is gone before
a later owner changes what was published: whoever is late has nothing left to rename.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from fetcher import wiring
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.cluster.staged_bodies import StagedBodies
from fetcher.errors import StorageError
from fetcher.ports import Store
from fetcher.run_dir import OWN, RunDirectory
from fetcher.settings import Settings
from fetcher.stores.cdxj import CAPTURES, CDXJ, INDEX, index_left
from fetcher.stores.growing_file import OPEN

_NOTES = re.compile(r"E([0-9]{2,9})\.archives")
_BLOCK = 1024 * 1024
_Lengths = dict[str, int]  # by the path in the shard's folder
_decode = msgspec.json.Decoder(dict[int, _Lengths]).decode


class StagedArchives:
    """The archives of one shard, as the owner of an epoch sees them. Bodies of the same are `bodies`."""

    def __init__(self, log: ShardLog, bodies: StagedBodies) -> None:
        self._log = log
        self._bodies = bodies
        self._root = bodies.root
        self._label = f"{log.index:04d}-{bodies.epoch:05d}-"
        self._staged = self._of(bodies.epoch)
        self.published = RunDirectory(self._root)
        self._noted: dict[int, _Lengths] = {}  # of the last two segments
        self._published: set[str] = set()

    def _of(self, epoch: int) -> RunDirectory:
        return RunDirectory(self._bodies.of(epoch) / "archives")

    # ---- at the start of an epoch ----

    def make(self) -> None:
        """Make the folder of this epoch, before its lease is confirmed. Raises `StorageError`."""
        with self._told():
            self._staged.own.mkdir(parents=True, exist_ok=True)

    def take_over(self, last: JournalSegment) -> None:
        """Publish what counts of the archives that an epoch had staged; its `last` segment names it.

        Raises:
            StorageError: something of it is lost, or a disk failed.
        """
        source = self._of(last.epoch)
        for path, length in self._counting(last).items():
            if not os.path.lexists(self._root / path):
                with self._told():
                    try:
                        self._copy(source, path, length)
                    except FileNotFoundError:
                        if os.path.lexists(self._root / path):  # its owner was faster
                            continue
                        raise _lost(self._root / path) from None
                    self._publish(path)

    def index(self) -> None:
        """Merge what is published into the index; what earlier epochs had staged is gone.

        Raises `StorageError`.
        """
        folder = self._root / OWN / CAPTURES
        with self._told():
            lengths = {}
            for path in folder.glob(f"*{CDXJ}"):
                name = path.name.removesuffix(CDXJ)
                with contextlib.suppress(FileNotFoundError):
                    lengths[name] = (self._root / "archive" / name).stat().st_size
            if lengths:
                index_left(self._root / INDEX, folder, lengths, self._staged.own)

    def forget_earlier(self) -> None:
        """Remove what is noted of earlier epochs: all that counts of them is published."""
        for name in self._log.place.names(self._log.folder):
            if (epoch := _NOTES.fullmatch(name)) and int(epoch[1]) < self._bodies.epoch:
                self._log.place.remove(self._log.path(name))

    def open(self, settings: Settings, **options: Any) -> Store:
        """Return the store that stages archives of the kind that the settings name."""
        self._bodies.make_parts()
        return wiring.make_store(settings, self._staged, label=self._label, published=self._root, **options)

    # ---- while it goes on ----

    def secure(self, segment: JournalSegment, lengths: Mapping[str, int]) -> None:
        """Have archives on the disk, and note that a segment needs `lengths` of them.

        Raises `StorageError`.
        """
        own = {
            path: length
            for path, length in lengths.items()
            if f"-{self._label}" in path and path not in self._published
        }
        before = self._noted.get(segment.number - 1, {})
        with self._told():
            for path in own:
                files = [_grown(self._staged, path)]
                if not path.endswith(".parquet"):
                    files.append(_captures(self._staged.own, path))
                for file in files:
                    _sync(file)
                    if path not in before:
                        _sync(file.parent)
        if own or before:
            self._noted = {segment.number - 1: before, segment.number: own}
            self._log.place.write(self._notes(segment.epoch), msgspec.json.encode(self._noted))
        else:
            self._noted = {segment.number: own}

    def publish_whole(self) -> None:
        """Publish the archives that are full, and count whole by the latest segment.

        Raises `StorageError`.
        """
        for path, length in self._latest():
            grown = _grown(self._staged, path)
            with self._told(), contextlib.suppress(FileNotFoundError):  # it grows still
                if grown.stat().st_size == length:
                    self._publish(path)

    def finish(self) -> None:
        """Publish all that counts: the store is closed, and the last segment counts.

        Raises `StorageError`.
        """
        for path, length in self._latest():
            grown = _grown(self._staged, path)
            growing = grown.with_name(f"{grown.name}{OPEN}")
            with self._told():
                with contextlib.suppress(FileNotFoundError):
                    growing.rename(grown)
                if grown.stat().st_size < length:
                    raise _lost(self._root / path)
                os.truncate(grown, length)
                self._publish(path)
        self.index()

    def _latest(self) -> list[tuple[str, int]]:
        noted = self._noted.get(max(self._noted, default=0), {})
        return [(path, length) for path, length in noted.items() if path not in self._published]

    # ---- files ----

    def _notes(self, epoch: int) -> str:
        return self._log.path(f"E{epoch:02d}.archives")

    def _counting(self, last: JournalSegment) -> _Lengths:
        """Return the lengths of what was staged when a segment was the last; later ones may be noted too."""
        raw = self._log.place.read(self._notes(last.epoch))
        if raw is None:
            return {}
        noted = _decode(raw)
        number = max((number for number in noted if number <= last.number), default=None)
        if number is None:
            raise StorageError(
                f"{self._notes(last.epoch)} in the output says nothing of segment {last.number}"
            )
        return noted[number]

    def _copy(self, source: RunDirectory, path: str, length: int) -> None:
        """Copy what counts: its owner may wake, and write to the file that it has open."""
        target = _grown(self._staged, path)
        if _copied(_grown(source, path), target, length) < length:
            raise _lost(self._root / path)
        with contextlib.suppress(FileNotFoundError):  # it came under its final name before the archive
            _copied(_captures(source.own, path), _captures(self._staged.own, path), None)

    def _publish(self, path: str) -> None:
        """Give an archive its final name. Done again after a kill, it makes the same."""
        final = self._root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        grown = _grown(self._staged, path)
        if path.endswith(".parquet"):
            from fetcher.stores.parquet import write_shard  # noqa: PLC0415  (an extra)

            part = grown.with_suffix(".part")
            write_shard(grown, part)
            _sync(part)
            part.rename(final)
            grown.unlink()
        else:
            captures = _captures(self._root / OWN, path)
            captures.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                _captures(self._staged.own, path).rename(captures)
            grown.rename(final)
        _sync(final.parent)
        self._published.add(path)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"cannot write {error.filename or self._root}: {error.strerror}") from error


def _grown(directory: RunDirectory, path: str) -> Path:
    """Return the file that becomes an archive, when it is full; until then its name is longer."""
    if path.endswith(".parquet"):
        from fetcher.stores.parquet import ROWS, rows_name  # noqa: PLC0415  (an extra)

        return directory.own / ROWS / rows_name(path)
    return directory.root / path


def _captures(own: Path, path: str) -> Path:
    return own / CAPTURES / f"{path.rpartition('/')[2]}{CDXJ}"


def _copied(source: Path, target: Path, length: int | None) -> int:
    """Copy a file that may still have its longer name, up to `length`. Returns how much it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _opened(source)
    done = 0
    with os.fdopen(descriptor, "rb", buffering=0) as file, target.open("wb") as copy:
        while block := file.read(_BLOCK if length is None else min(_BLOCK, length - done)):
            done += copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    return done


def _opened(path: Path) -> int:
    """Open a file or folder for reading; a file may be renamed, from its longer name, at any time."""
    try:
        return os.open(f"{path}{OPEN}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _sync(path: Path) -> None:
    descriptor = _opened(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lost(archive: Path) -> StorageError:
    return StorageError(
        f"bodies of {archive} are lost: less of them is there than the records need",
        hint="begin anew, in another --output",
    )
