"""The records of all shards as one: told to observers as segments come, and joined in one file at the end.

A path in a record of a shard is relative to its folder; here it is relative to the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import msgspec

from fetcher.cluster.places import Place
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.events import OutcomesSettled
from fetcher.model import Record

_NO_PATH = b'"path":null'
_AT_ONCE = 16  # shards that are looked at: each waits for the output most of the time
_BLOCK_BYTES = 1024**2
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_record = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


class NewRecords:
    """The records of segments that count and were not read before. Blocking, in one thread at a time."""

    def __init__(self, place: Place, shards: Iterable[int]) -> None:
        self._place = place
        self._read: dict[int, set[JournalSegment]] = {}
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for log, found in _counting(place, shards, threads):
                self._read[log.index] = {*found}

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


def join_records(place: Place, shards: Sequence[int]) -> None:
    """Write `results.jsonl`, and `data.jsonl` if there is any, of what counts of all shards.

    Raises:
        StorageError: something of it is lost, or can't be written.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        counting = [*_counting(place, shards, threads)]
    for name, kind in (("results.jsonl", ""), ("data.jsonl", ".data")):
        blocks = _blocks(counting, kind)
        first = next(blocks, b"")
        if first or not kind or place.exists(name):
            place.write(name, chain([first], blocks))


def _counting(
    place: Place, shards: Iterable[int], threads: ThreadPoolExecutor
) -> Iterator[tuple[ShardLog, list[JournalSegment]]]:
    """Yield the log of each shard with its segments that count."""
    logs = [ShardLog(place, shard) for shard in shards]
    yield from zip(logs, threads.map(ShardLog.counting, logs), strict=True)


def _blocks(counting: Iterable[tuple[ShardLog, list[JournalSegment]]], kind: str) -> Iterator[bytes]:
    """Yield the lines of segments, or of what belongs to them, some at a time."""
    block = bytearray()
    for log, segments in counting:
        for segment in segments:
            for line in _lines(log, segment, kind):
                block += line + b"\n"
                if len(block) >= _BLOCK_BYTES:
                    yield bytes(block)
                    block.clear()
    if block:
        yield bytes(block)


def _lines(log: ShardLog, segment: JournalSegment, kind: str) -> Iterator[bytes]:
    """Yield the lines of a segment, or of what belongs to it."""
    for line in (log.place.read(log.path(f"{segment.name}{kind}.jsonl")) or b"").splitlines():
        if kind or _NO_PATH in line:
            yield line
        else:
            fields = _decode(line)
            path = msgspec.json.decode(fields["path"], type=str | None)
            yield line if path is None else _encode({**fields, "path": f"{log.index:04d}/{path}"})
