"""Findings: the kinds of disagreement between state, records and files, each with a stable name."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec


class Kind(NamedTuple):
    """The words for a kind of finding; `is_off` says that a run directory which has one is off."""

    words: str
    is_off: bool = True


KINDS: dict[str, Kind] = {
    "missing": Kind("files that are not there"),
    "short": Kind("files that are shorter than recorded"),
    "long": Kind("files that are longer than recorded"),
    "changed": Kind("files whose content is not what was stored"),
    "checksum": Kind("files that do not meet a checksum of --checksums"),
    "unreadable": Kind("files that can't be read"),
    "not-a-file": Kind("names where something else stands than a file"),
    "no-record": Kind("URLs that ended without a record"),
    "record-differs": Kind("records that say something else than the state"),
    "record-only": Kind("records of URLs that the state does not know"),
    "bad-line": Kind("lines that are no record"),
    "journal-short": Kind("files of records that are shorter than the state knows"),
    "journal-long": Kind("files of records with more than the state knows"),
    "journal-tail": Kind(
        "files of records that an interrupted run was writing; the next one cuts them", False
    ),
    "upload-behind": Kind("records in the object store that the next run brings up to date", False),
    "data-short": Kind("data that a parser returned and that is not there"),
    "data-long": Kind("data with more than the state knows"),
    "part-missing": Kind("parts of large bodies that are not there"),
    "part-short": Kind("parts of large bodies that are shorter than recorded"),
    "orphan-part": Kind("parts that nothing goes on with; the next run removes them", False),
    "archive-missing": Kind("archives that are not there"),
    "archive-short": Kind("archives that are shorter than what was settled in them"),
    "archive-long": Kind("archives with more than was settled in them"),
    "unsettled": Kind("files of URLs that have not ended", False),
    "unknown": Kind("files that the state does not know", False),
}
# What `--repair` puts back, and what a new `results.jsonl` mends.
OF_FILES = frozenset({"missing", "short", "long", "changed", "checksum", "unreadable", "not-a-file"})
OF_DATA = frozenset({"data-short", "data-long"})
# No repair mends them: an archive has no part that could be put back.
OF_ARCHIVES = frozenset({"archive-missing", "archive-short", "archive-long"})
OF_PARTS = frozenset({"part-missing", "part-short"})
OF_RECORDS = frozenset(
    {"no-record", "record-differs", "record-only", "bad-line", "journal-short", "journal-long"}
)


class Finding(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One disagreement. `path` is relative to the run directory; `line` counts from 1; `id` is the row's."""

    kind: str
    path: str | None = None
    url: str | None = None
    line: int | None = None
    message: str | None = None
    id: int = 0


class Verdict(msgspec.Struct, kw_only=True):
    """The result of a verification: how much was looked at, and the findings by kind.

    `mended` counts, by kind, those that are off no more. `bytes` are those of the files whose content was
    read, `elapsed` is in seconds.
    """

    urls: int = 0
    files: int = 0
    bytes: int = 0
    records: int = 0
    elapsed: float = 0.0
    found: Counter[str] = msgspec.field(default_factory=Counter)
    mended: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, other: Verdict) -> None:
        """Add the verdict on another run directory."""
        for name in ("urls", "files", "bytes", "records", "elapsed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.elapsed = round(self.elapsed, 3)
        self.found.update(other.found)
        self.mended.update(other.mended)

    def left(self) -> Counter[str]:
        """Count, by kind, what is off still."""
        return Counter(
            {kind: self.found[kind] - self.mended[kind] for kind in self.found if KINDS[kind].is_off}
        )

    @property
    def off(self) -> int:
        """Number of findings that are off still."""
        return self.left().total()
