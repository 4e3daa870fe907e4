"""The log of one shard in the output: epochs, and the segments of its journal.

Below `journal/SHARD/`, with two digits or more for the epoch and six for the segment:

- `E03` is the claim of an epoch, made by a conditional create: so each epoch has one owner, for good;
- `E03.lease` is what its owner renews, and at last its end (`lease`);
- `E03.counts` says how many segments of each earlier epoch count. A segment of one of those that appears
  later never does;
- `E03.archives` says how long the archives of its owner are with each of its last two segments;
- `E03-000012.jsonl` is a segment: lines of records, in order. It is never changed, and it is made last, so
  what belongs to it is there with it: `.data.jsonl` what a parser returned, `.db` a copy of the state as the
  segment leaves it, `.to-7.jsonl` links for shard 7.

Invariant: the newest epoch with counts says what counts: those of earlier ones, and all of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from fetcher.cluster.places import Place
from fetcher.errors import StorageError

JOURNAL = "journal"
_CLAIM = re.compile(r"E([0-9]{2,9})")
_COUNTS = re.compile(r"E([0-9]{2,9})\.counts")
_SEGMENT = re.compile(r"E([0-9]{2,9})-([0-9]{6,9})\.jsonl")
_OUTBOX = re.compile(r"E([0-9]{2,9})-([0-9]{6,9})\.to-([0-9]+)\.jsonl")


class JournalSegment(NamedTuple):
    """Number `number`, from 1, of the segments of an epoch, from 1."""

    epoch: int
    number: int

    @property
    def name(self) -> str:
        return f"E{self.epoch:02d}-{self.number:06d}"


class ShardLog:
    """The log of shard `index` in a place, in a `folder` of its own."""

    def __init__(self, place: Place, index: int, *, folder: str | None = None) -> None:
        self.place = place
        self.index = index
        self.folder = folder or f"{JOURNAL}/{index:04d}"

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def newest_epoch(self) -> int:
        """Return the newest epoch that was claimed; 0 if none was."""
        return max((int(match[1]) for match in self._matches(_CLAIM)), default=0)

    def claim(self, epoch: int, owner: bytes) -> bool:
        """Claim an epoch, unless another has; the counts of earlier ones are still to be settled."""
        return self.place.create(self.path(f"E{epoch:02d}"), owner)

    def is_superseded(self, epoch: int) -> bool:
        """Tell whether the epoch after this one was claimed."""
        return self.place.exists(self.path(f"E{epoch + 1:02d}"))

    def settle_counts(self, epoch: int, segments: Iterable[JournalSegment]) -> None:
        """Let those segments count, and no others of epochs before `epoch`, which the caller has claimed."""
        counts: dict[int, int] = {}
        for segment in segments:
            counts[segment.epoch] = max(counts.get(segment.epoch, 0), segment.number)
        self.place.create(self.path(f"E{epoch:02d}.counts"), msgspec.json.encode(counts))

    def counting(self) -> list[JournalSegment]:
        """Return the segments that count, in order.

        Raises:
            StorageError: a segment that counts is not there.
        """
        names = self.place.names(self.folder)
        there = {(int(match[1]), int(match[2])) for name in names if (match := _SEGMENT.fullmatch(name))}
        newest = max((int(match[1]) for name in names if (match := _COUNTS.fullmatch(name))), default=0)
        if not newest:
            return []
        found = []
        raw = self.place.read(self.path(f"E{newest:02d}.counts")) or b"{}"
        for epoch, last in sorted(msgspec.json.decode(raw, type=dict[int, int]).items()):
            for number in range(1, last + 1):
                segment = JournalSegment(epoch, number)
                if segment not in there:
                    raise StorageError(
                        f"{self.path(segment.name)}.jsonl is lost",
                        hint="the records that it held are lost: begin anew, in another --output",
                    )
                found.append(segment)
        number = 1
        while (newest, number) in there:
            found.append(JournalSegment(newest, number))
            number += 1
        return found

    def posted(self, segments: Iterable[JournalSegment]) -> dict[int, list[str]]:
        """Return the names of files of links that those segments posted, by the shard that they are for."""
        counting = set(segments)
        found: dict[int, list[str]] = {}
        for match in self._matches(_OUTBOX):
            if (int(match[1]), int(match[2])) in counting:
                found.setdefault(int(match[3]), []).append(match[0])
        return found

    def _matches(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        return [match for name in self.place.names(self.folder) if (match := pattern.fullmatch(name))]
