"""Copies of the shards' states and records in a folder of the client's: `--state`, with an object store.

Each shard is a run directory there whose bodies are objects, for status, verify, export and the others. They
are read, and never written back.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from fetcher.cluster.bucket_place import BucketPlace
from fetcher.cluster.manifest import Manifest
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.errors import ConfigError, StorageError
from fetcher.kept_output import KeptOutput, keep_output, read_output
from fetcher.policy.shares import Share
from fetcher.run_dir import RunDirectory

_AT_ONCE = 8


class StateCopies:
    """Copies in `folder` of the shards in `place`."""

    def __init__(self, place: FolderPlace | BucketPlace, folder: Path) -> None:
        assert isinstance(place, BucketPlace)  # with a folder, --state is refused
        self._place = place
        self._folder = folder

    def check(self) -> None:
        """Make the folder, and see that it is no other run's.

        Raises:
            ConfigError: it has the state of another output.
            StorageError: it can't be made or read.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            inside = [self._folder, *(path for path in self._folder.iterdir() if path.name.isdigit())]
        except OSError as error:
            raise StorageError(f"state: cannot use {self._folder}: {error.strerror}") from error
        for path in inside:
            directory = RunDirectory(path)
            kept = read_output(directory)
            wanted = str(self._place.url.below(path.name)) if path is not self._folder else None
            if directory.is_made and (kept is None or kept.url != wanted):
                raise ConfigError(
                    f"state: {path} holds the state of {'another run' if kept is None else kept.url}",
                    hint="choose another --state",
                )

    def make(self, manifest: Manifest) -> None:
        """Bring the copies up to date; those of shards that were not stopped cleanly stay as they are.

        Raises `StorageError`.
        """
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for copying in [threads.submit(self._copy, n, manifest) for n in range(manifest.shards)]:
                copying.result()

    def _copy(self, shard: int, manifest: Manifest) -> None:
        log = ShardLog(self._place, shard)
        segments = log.counting()
        if not segments:
            return
        directory = RunDirectory(self._folder / f"{shard:04d}", self._place.url.below(f"{shard:04d}"))
        latest = directory.own / "latest-segment"
        try:
            if latest.exists() and latest.read_text() == segments[-1].name:
                return
            directory.own.mkdir(parents=True, exist_ok=True)
            new = directory.own / "state.new"
            new.unlink(missing_ok=True)
            if not log.place.fetch(log.path(f"{segments[-1].name}.db"), new):
                return
            self._copy_lines(log, segments, directory.results, ".jsonl")
            self._copy_lines(log, segments, directory.results.with_name("data.jsonl"), ".data.jsonl")
            directory.share.write_bytes(msgspec.json.encode(Share(shard, manifest.shards, manifest.divided)))
            keep_output(directory, KeptOutput(str(directory.url), was_empty=True))
            for suffix in ("-wal", "-shm"):  # of a repair
                directory.state.with_name(directory.state.name + suffix).unlink(missing_ok=True)
            new.replace(directory.state)
            latest.write_text(segments[-1].name)
        except OSError as error:
            raise StorageError(f"state: cannot write {directory.root}: {error.strerror}") from error

    @staticmethod
    def _copy_lines(log: ShardLog, segments: list[JournalSegment], target: Path, suffix: str) -> None:
        new = target.with_name(f".{target.name}.new")
        new.unlink(missing_ok=True)
        for segment in segments:
            log.place.fetch(log.path(f"{segment.name}{suffix}"), new)
        with suppress(FileNotFoundError):  # no data
            new.replace(target)
