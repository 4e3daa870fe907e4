"""Rebuilding `results.jsonl` from the state.

Lines that are whole and agree with the state stay, in their order; what is no record, or is one of a URL that
the state does not know, is left out; rows without a record that agrees get one at the end. The old file is
kept below `.fetcher/damaged` if a line of it is left out.

The new file is written beside and renamed. Meanwhile the state holds a length that no file has, so that a
start after a kill finds the records too short, cuts nothing, and says so; doing it again then mends it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from fetcher.engine.record_builder import encode_record
from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.digests import unpack_digest
from fetcher.model import FinalState, Record, RequestOverrides, State
from fetcher.run_dir import RunDirectory
from fetcher.verification.findings import Finding
from fetcher.verification.records import ends_line, length_of, lines_of
from fetcher.verification.repair import set_aside

_BEING_MADE = 2**62  # bytes; no file has them
_LEFT_OUT = frozenset({"bad-line", "record-only"})
_MADE = frozenset({"no-record", "record-differs"})
_ROW = """SELECT coalesce(given, url), state, status, error, attempts, bytes, hex(sha256), path, etag,
 last_modified, parent, depth, source.name, line, extra FROM url LEFT JOIN source ON source.id = url.source
 WHERE url.id = ? AND state BETWEEN 1 AND 4"""

_decode_extra = msgspec.json.Decoder(RequestOverrides).decode


class RecordsRebuild:
    """Gathers what is off of the records, then writes them anew. The directory is locked."""

    def __init__(self, directory: RunDirectory, db: sqlite3.Connection) -> None:
        self._directory = directory
        self._db = db
        self._plan = sqlite3.connect("", isolation_level=None)
        self._plan.execute("CREATE TABLE leave (line INTEGER PRIMARY KEY)")
        self._plan.execute("CREATE TABLE make (id INTEGER PRIMARY KEY)")
        self.is_wanted = False

    def add(self, finding: Finding) -> None:
        """Take a finding of the records into account."""
        self.is_wanted = True
        if finding.kind in _LEFT_OUT:
            self._plan.execute("INSERT OR IGNORE INTO leave VALUES (?)", (finding.line,))
        elif finding.kind in _MADE:
            self._plan.execute("INSERT OR IGNORE INTO make VALUES (?)", (finding.id,))

    def close(self) -> None:
        self._plan.close()

    def run(self) -> int:
        """Write them. Returns how many records were made.

        Raises:
            StorageError: the disk failed; the old file stays, or the same command goes on.
        """
        results = self._directory.results
        new = self._directory.own / "results.jsonl.new"
        try:
            new.unlink(missing_ok=True)
            made, left_out = 0, False
            with new.open("xb") as file:
                for line, is_kept in self._old_lines():
                    left_out = left_out or not is_kept
                    if is_kept:
                        file.write(line + b"\n")
                for (number,) in self._plan.execute("SELECT id FROM make ORDER BY id"):
                    if (record := self._record(number)) is not None:
                        file.write(encode_record(record) + b"\n")
                        made += 1
                file.flush()
                os.fsync(file.fileno())
                length = file.tell()
            self._store(results_length=_BEING_MADE)
            if left_out or (os.path.lexists(results) and length_of(results) is None):
                set_aside(self._directory, results.name)
            new.rename(results)
            self._store(results_length=length, records_lost=0)
        except OSError as error:
            raise StorageError(
                f"cannot write {new}: {error.strerror}", hint="free some space, then try again"
            ) from error
        return made

    def _old_lines(self) -> Iterator[tuple[bytes, bool]]:
        path = self._directory.results
        settled = self._db.execute("SELECT value FROM meta WHERE name = 'results_length'").fetchone()
        end = settled[0] if settled is not None and ends_line(path, settled[0]) else None
        leave = (line for (line,) in self._plan.execute("SELECT line FROM leave ORDER BY line"))
        next_left = next(leave, None)
        size = 0
        for number, (at, line) in enumerate(lines_of(path, end), 1):
            is_left = number == next_left
            if is_left:
                next_left = next(leave, None)
            size = at + len(line) + 1
            yield line, not is_left
        if size < (length_of(path) or 0):
            yield b"", False  # more than the state knows

    def _record(self, number: int) -> Record | None:
        """Make the record of a row that ended; what only the record knew is null."""
        row = self._db.execute(_ROW, (number,)).fetchone()
        if row is None:
            return None
        (
            url, state, status, error, attempts, size, packed, path, etag, last_modified, parent, depth,
            source, line, extra,
        ) = row  # fmt: skip
        slug, _, message = (error or "").partition("\n")
        name: FinalState = State(state).name.lower()  # type: ignore[assignment]
        sha256, digest = unpack_digest(packed) if packed else (None, None)
        is_stored = bool(packed) and (state <= State.UNCHANGED or slug == "parse-failed")
        has_file = is_stored or (state <= State.UNCHANGED and bool(size))
        return Record(
            url=url,
            state=name,
            status=status,
            error=slug or None,
            message=message or None,
            attempts=attempts,
            bytes=(size or 0) if has_file else 0,
            sha256=sha256 if is_stored else None,
            digest=digest if is_stored else None,
            path=path if has_file else None,
            etag=etag if has_file else None,
            last_modified=last_modified if has_file else None,
            parent=parent,
            depth=depth,
            source=source,
            line=line,
            meta=_decode_extra(extra).meta if extra else None,
        )

    def _store(self, **values: Any) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())
        self._db.execute("COMMIT")
