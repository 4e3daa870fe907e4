"""The check of one run directory: state, records and files against each other, in both directions.

Everything is streamed: rows by pages, records line by line, files by several threads; what has to be compared
lies in scratch tables. The state is only read.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from fetcher.errors import StorageError
from fetcher.frontiers.soundness import DAMAGE, SUSPICIOUS, damage_of, damaged
from fetcher.frontiers.sqlite.converted_rows import forms_of_rows
from fetcher.frontiers.sqlite.digests import unpack_digest
from fetcher.frontiers.sqlite.schema import archive_lengths
from fetcher.kept_output import JOURNALS
from fetcher.model import Part, State
from fetcher.policy.checksums import ChecksumLists
from fetcher.policy.fingerprint import text_fingerprint
from fetcher.policy.redaction import safe_text
from fetcher.run_dir import RunDirectory
from fetcher.verification.file_checks import FileCheck, Stored, files_below, is_within
from fetcher.verification.findings import Finding, Verdict
from fetcher.verification.object_checks import StoredObjects
from fetcher.verification.records import ends_line, length_of, lines_of, record_of, says
from fetcher.verification.scratch import Scratch

_PAGE = 512
_ROWS = """SELECT id, coalesce(given, url), state, error, path, bytes, hex(sha256), is_foreign, {kinds}
 FROM url WHERE id > ? ORDER BY id LIMIT ?"""
_SITEMAP = 4
_FINAL = frozenset({State.DONE, State.UNCHANGED, State.FAILED, State.REFUSED})
_KEEPS_NAME = frozenset({State.PENDING, State.WITHHELD, State.FORGOTTEN})

_decode_part = msgspec.json.Decoder(Part).decode
_decode_given = msgspec.json.Decoder(list[tuple[int, int, str | None, bool]]).decode


class CheckProgress(msgspec.Struct):
    """CheckProgress of a check: `done` of `total` (URLs, or bytes of records) in a phase."""

    phase: str = ""
    done: int = 0
    total: int = 0
    files: int = 0
    bytes: int = 0


class Check:
    """Compares a state that is open with what lies around it, or with the `objects` that are its bodies.

    `progress` is told now and then. `verdict` counts what was looked at. `lists` have checksums to be met.
    """

    def __init__(
        self,
        directory: RunDirectory,
        db: sqlite3.Connection,
        verdict: Verdict,
        *,
        fast: bool,
        progress: Callable[[CheckProgress], None],
        lists: ChecksumLists | None = None,
        objects: StoredObjects | None = None,
    ) -> None:
        self._lists = lists
        self._objects = objects
        self._directory = directory
        self._db = db
        self._verdict = verdict
        self._fast = fast
        self._tell_progress = progress
        self._progress = CheckProgress()
        self._meta: dict[str, Any] = dict(db.execute("SELECT name, value FROM meta"))
        self._tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1] for row in db.execute("PRAGMA table_info(url)")}
        self._rows_of = _ROWS.format(kinds="kinds" if "kinds" in columns else "1")

    def run(self) -> Iterator[Finding]:
        """Yield every finding.

        Raises:
            StorageError: the state turns out to be damaged, or a file of records can't be read.
        """
        state = self._directory.state
        try:
            with Scratch() as scratch:
                yield from self._files(scratch)
                yield from self._records(scratch)
                yield from self._lengths()
                yield from self._uploaded()
                yield from self._parts()
                yield from self._archives(scratch)
                yield from self._unknown(scratch)
        except OSError as error:
            raise StorageError(f"cannot read {error.filename or state}: {error.strerror}") from error
        except (*DAMAGE, *SUSPICIOUS) as error:
            if not isinstance(error, DAMAGE) and damage_of(self._db) is None:
                raise  # a defect
            raise damaged(state, error) from error

    # -- files ---------------------------------------------------------------------------------------

    def _files(self, scratch: Scratch) -> Iterator[Finding]:
        total = self._db.execute("SELECT count(*) FROM url WHERE state <> 7").fetchone()[0]
        self._enter("files", total)
        unsettled: list[Finding] = []
        stored = self._stored(scratch, unsettled)
        if self._objects is not None:
            findings = self._objects.findings(stored, fast=self._fast, on_read=self._on_read)
        else:
            check = FileCheck(self._directory.root, fast=self._fast, on_read=self._on_read)
            findings = check.findings(stored)
        for finding in findings:
            yield from unsettled
            unsettled.clear()
            yield finding
        yield from unsettled
        yield from self._named(scratch)

    def _stored(self, scratch: Scratch, unsettled: list[Finding]) -> Iterator[Sequence[Stored]]:
        """Yield the files that are to be there, and put every row into the scratch tables."""
        last = 0
        while rows := self._db.execute(self._rows_of, (last, _PAGE)).fetchall():
            last = rows[-1][0]
            batch = []
            forms = forms_of_rows(self._db, [row[0] for row in rows])
            for number, url, state, error, path, size, digest, is_foreign, kinds in rows:
                sha256, other = unpack_digest(digest) if digest else (None, None)
                chosen = other or sha256
                has_file = path and (chosen or (state <= State.UNCHANGED and state and size))
                needs_record = state in _FINAL and kinds != _SITEMAP
                said = says(state, error, path, chosen) if needs_record else None
                scratch.add_row(text_fingerprint(url), said, number)
                if state != State.LEFT_OUT:
                    self._verdict.urls += 1
                if has_file:
                    scratch.add_path(text_fingerprint(path))
                    wanted = () if self._lists is None else self._lists.of(url, path)
                    batch.append(Stored(number, url, path, size, chosen, wanted, forms.get(number, ())))
                elif path and state in _KEEPS_NAME and not is_foreign:
                    unsettled += self._left(scratch, path, url, number)
            self._advance(len(rows))
            if batch:
                yield batch

    def _left(self, scratch: Scratch, path: str, url: str, number: int) -> list[Finding]:
        """Return the finding for the file of a URL that has not ended, if there is one."""
        objects = self._objects
        if not is_within(path):
            return []
        if objects.length_of(path) is None if objects else not os.path.lexists(self._directory.root / path):
            return []
        scratch.add_path(text_fingerprint(path))
        return [Finding("unsettled", path, url, id=number)]

    def _named(self, scratch: Scratch) -> Iterator[Finding]:
        """Yield the files of URLs whose names a killed run had given and not moved yet."""
        if "naming" not in self._tables:
            return
        for (text,) in self._db.execute("SELECT given FROM naming ORDER BY id"):
            try:
                given = _decode_given(text)
            except msgspec.MsgspecError as error:
                raise damaged(self._directory.state, error) from error
            for _, owner, path, is_foreign in given:
                row = self._db.execute(
                    "SELECT coalesce(given, url) FROM url WHERE id = ? AND path IS NULL", (owner,)
                ).fetchone()
                if row is not None and path is not None and not is_foreign:
                    yield from self._left(scratch, path, row[0], owner)

    def _unknown(self, scratch: Scratch) -> Iterator[Finding]:
        self._enter("folders", 0)
        objects = self._objects
        for path in files_below(self._directory.root) if objects is None else objects.bodies():
            self._advance(1)
            try:
                is_known = scratch.knows_path(text_fingerprint(path))
            except UnicodeEncodeError:  # no name of ours is beyond UTF-8
                is_known = False
            if not is_known:
                yield Finding("unknown", safe_text(path))

    # -- records -------------------------------------------------------------------------------------

    def _records(self, scratch: Scratch) -> Iterator[Finding]:
        path = self._directory.results
        settled = self._meta.get("results_length")
        end = settled if settled is not None and ends_line(path, settled) else None
        self._enter("records", length_of(path) or 0)
        for number, (at, line) in enumerate(lines_of(path, end), 1):
            record = record_of(line)
            self._advance(len(line) + 1)
            if record is None:
                yield Finding("bad-line", path.name, line=number)
                continue
            self._verdict.records += 1
            state = State[record.state.upper()]
            said = says(state, record.error, record.path, record.digest or record.sha256)
            scratch.add_record(text_fingerprint(record.url), said, number, at)
        for row, line_number, has_record in scratch.disagreeing():
            url = self._db.execute("SELECT coalesce(given, url) FROM url WHERE id = ?", (row,)).fetchone()[0]
            if has_record:
                yield Finding("record-differs", url=url, line=line_number, id=row)
            else:
                yield Finding("no-record", url=url, id=row)
        for number, at in scratch.unknown_records():
            record = record_of(next(lines_of(path, begin=at))[1])
            yield Finding("record-only", url=None if record is None else record.url, line=number)

    def _lengths(self) -> Iterator[Finding]:
        """Yield where `results.jsonl` and `data.jsonl` are not as long as the state knows."""
        results = self._directory.results
        is_whole = bool(self._meta.get("is_complete", 1))
        for path, name, kind in (
            (results, "results_length", "journal"),
            (results.with_name("data.jsonl"), "data_length", "data"),
        ):
            settled = self._meta.get(name)
            if settled is None:
                continue
            length = length_of(path)
            if length is None and not settled and not os.path.lexists(path):
                continue
            if length is None:
                message = "it is not there" if not os.path.lexists(path) else "it is not a file"
                yield Finding(f"{kind}-short", path.name, message=message)
            elif length < settled:
                yield Finding(f"{kind}-short", path.name, message=f"{length:,} of {settled:,} bytes")
            elif length > settled:
                message = f"{length:,} bytes, {settled:,} known"
                is_torn = not ends_line(path, settled)
                is_tail = not (is_whole or is_torn)
                yield Finding("journal-tail" if is_tail else f"{kind}-long", path.name, message=message)

    def _uploaded(self) -> Iterator[Finding]:
        """Yield the records in an object store that are not as long as those of the state."""
        if self._objects is None:
            return
        for path, name in zip(JOURNALS, ("results_length", "data_length"), strict=True):
            settled, length = self._meta.get(name) or 0, self._objects.length_of(path) or 0
            if length != settled:
                yield Finding("upload-behind", path, message=f"{length:,} bytes, {settled:,} known")

    # -- parts ---------------------------------------------------------------------------------------

    def _parts(self) -> Iterator[Finding]:
        folder = self._directory.parts
        known = set()
        rows = self._db.execute("SELECT url, part FROM part").fetchall() if "part" in self._tables else []
        for number, text in rows:
            found = self._db.execute(
                "SELECT coalesce(given, url) FROM url WHERE id = ?", (number,)
            ).fetchone()
            url = None if found is None else found[0]
            try:
                part = _decode_part(text)
            except msgspec.MsgspecError:
                yield Finding("part-missing", None, url, message="its row can't be read", id=number)
                continue
            path = f".fetcher/parts/{part.name}"
            known.add(part.name)
            end = max((extent[1] for extent in part.extents), default=0)
            length = length_of(folder / part.name) if "/" not in part.name else None
            if length is None:
                yield Finding("part-missing", path, url, id=number)
            elif length < end:
                yield Finding("part-short", path, url, message=f"{length:,} of {end:,} bytes", id=number)
        if folder.is_dir():
            for entry in os.scandir(folder):
                if entry.name not in known:
                    yield Finding("orphan-part", f".fetcher/parts/{entry.name}")

    # -- archives ------------------------------------------------------------------------------------

    def _archives(self, scratch: Scratch) -> Iterator[Finding]:
        """Yield the archives that are not as long as the state knows; one that still grows may be longer."""
        lengths = archive_lengths(self._meta)
        for path, settled in lengths.items():
            if path.endswith(".parquet"):  # it is written whole; until then its rows grow beside the state
                scratch.add_path(text_fingerprint(path))
                if length_of(self._directory.root / path) is None and not _is_growing(self._directory, path):
                    yield Finding("archive-missing", path)
                continue
            is_growing = os.path.lexists(self._directory.root / f"{path}.open")
            standing = f"{path}.open" if is_growing else path
            scratch.add_path(text_fingerprint(standing))
            length = length_of(self._directory.root / standing)
            message = f"{length or 0:,} bytes, {settled:,} settled"
            if length is None:
                yield Finding("archive-missing", path)
            elif length < settled:
                yield Finding("archive-short", path, message=message)
            elif length > settled and not is_growing:
                yield Finding("archive-long", path, message=message)
        if lengths:
            scratch.add_path(text_fingerprint("indexes/index.cdxj"))

    # -- progress ------------------------------------------------------------------------------------

    def _enter(self, phase: str, total: int) -> None:
        self._progress.phase, self._progress.done, self._progress.total = phase, 0, total

    def _advance(self, number: int) -> None:
        self._progress.done += number
        self._tell_progress(self._progress)

    def _on_read(self, files: int, octets: int) -> None:
        self._verdict.files += files
        self._verdict.bytes += octets
        self._progress.files, self._progress.bytes = self._verdict.files, self._verdict.bytes
        self._tell_progress(self._progress)


def _is_growing(directory: RunDirectory, shard: str) -> bool:
    """Tell whether the rows of a shard are there still, whole or open."""
    number = shard.rpartition("bodies-")[2].removesuffix(".parquet")
    return any((directory.own / "rows").glob(f"{number}.arrows*"))
