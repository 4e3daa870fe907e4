"""The records of all shards as one: told to observers as segments come, and joined in one file at the end.

A path in a record of a shard is relative to its folder; here it is relative to the output.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from fetcher.cluster.places import Place
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.errors import StorageError
from fetcher.events import OutcomesSettled
from fetcher.model import Record

_NO_PATH = b'"path":null'
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_record = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


class NewRecords:
    """The records of segments that count and were not read before. Blocking, in one thread at a time."""

    def __init__(self, place: Place, shards: Iterable[int]) -> None:
        self._place = place
        self._read: dict[int, set[JournalSegment]] = {
            shard: {*ShardLog(place, shard).counting()} for shard in shards
        }

    def read(self, shard: int) -> list[OutcomesSettled]:
        """Return what is new of a shard, an event for each segment. Raises `StorageError`."""
        log = ShardLog(self._place, shard)
        known = self._read.setdefault(shard, set())
        found = []
        for segment in log.counting():
            if segment not in known:
                known.add(segment)
                lines = [*_lines(log, segment, "")]
                if lines:
                    found.append(OutcomesSettled([_decode_record(line) for line in lines], lines))
        return found


def join_records(place: Place, shards: Sequence[int], target: Path) -> None:
    """Write `results.jsonl` in `target`, and `data.jsonl` if there is any, of what counts of all shards.

    Raises:
        StorageError: something of it is lost, or can't be written.
    """
    logs = [ShardLog(place, shard) for shard in shards]
    counting = [(log, segment) for log in logs for segment in log.counting()]
    for name, kind in (("results.jsonl", ""), ("data.jsonl", ".data")):
        new = target / f".{name}.new"
        try:
            with new.open("wb") as file:
                for log, segment in counting:
                    file.writelines(line + b"\n" for line in _lines(log, segment, kind))
                size = file.tell()
                file.flush()
                os.fsync(file.fileno())
            if size or not kind or (target / name).exists():
                new.replace(target / name)
        except OSError as error:
            raise StorageError(f"cannot write {target / name}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)


def _lines(log: ShardLog, segment: JournalSegment, kind: str) -> Iterator[bytes]:
    """Yield the lines of a segment, or of what belongs to it."""
    for line in (log.place.read(log.path(f"{segment.name}{kind}.jsonl")) or b"").splitlines():
        if kind or _NO_PATH in line:
            yield line
        else:
            fields = _decode(line)
            path = msgspec.json.decode(fields["path"], type=str | None)
            yield line if path is None else _encode({**fields, "path": f"{log.index:04d}/{path}"})
