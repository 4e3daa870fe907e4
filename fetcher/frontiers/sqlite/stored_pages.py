"""Stored pages whose parser did not run: which they are, and what comes of them once it has.

Invariants: a row of `parsed` is there exactly for a page whose stored body the parser has had; it is written
in the transaction that settles what the parser gave. `data.jsonl` is moved aside once for each `--reparse`,
however often that is interrupted: `reparse` in `meta` says how far it has come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fetcher.frontiers.sqlite.converted_rows import forms_of_rows
from fetcher.frontiers.sqlite.digests import unpack_digest
from fetcher.frontiers.sqlite.journal import Journal
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import Job, Outcome, Record, State, StoredPage

BEGUN, MOVED, OVER = 1, 2, 0  # of a `--reparse`: wanted; the data moved aside; nothing under way

_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'parsed'"
_STORED = "sha256 IS NOT NULL AND path IS NOT NULL"
_ALL_PARSED = sql(f"INSERT INTO parsed SELECT id FROM url WHERE state IN :SUCCESSFUL AND {_STORED}")  # noqa: S608
_FIND = sql(f"""INSERT INTO temp.page (id, path) SELECT id, path FROM url WHERE {_STORED}
 AND (state IN :SUCCESSFUL OR (? AND state = :FAILED AND error = 'parse-failed'))
 AND id NOT IN (SELECT url FROM parsed)""")  # noqa: S608
_CREATE_PAGE = (
    "CREATE TEMP TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY, path TEXT UNIQUE, place INTEGER)"
)
_NEXT = """SELECT page.id, page.place, url.url, url.given, url.path, url.status, url.bytes, hex(url.sha256),
 url.etag, url.last_modified, url.state FROM temp.page JOIN url ON url.id = page.id WHERE page.id > ?
 ORDER BY page.id LIMIT ?"""
_UNPARSED = sql("""UPDATE url SET state = :FAILED, error = 'parse-failed', etag = NULL, last_modified = NULL
 WHERE id = ?""")
_PARSED = sql("UPDATE url SET state = :DONE, error = NULL, etag = ?, last_modified = ? WHERE id = ?")


class _Place(msgspec.Struct):
    path: str | None = None


_place = msgspec.json.Decoder(_Place).decode
_record = msgspec.json.Decoder(Record).decode


class StoredPages:
    """The pages of one state. Used in the frontier's lane only.

    With `has_parser` what is settled counts as parsed; without, as not parsed.
    """

    def __init__(self, results: Path, *, has_parser: bool) -> None:
        self._results = results
        self._has_parser = has_parser
        self._db: sqlite3.Connection
        self._is_there = False
        self._last = 0
        self._is_reparse = False

    def move_data(
        self, db: sqlite3.Connection, meta: Mapping[str, Any], data: Journal, *, again: bool
    ) -> int | None:
        """Begin a `--reparse`, or go on with one. Returns the settled length of `data` then, else None.

        In steps of which each may be the last before a kill: the wish is stored, the file moved, and only the
        session's transaction stores that its length is 0.
        """
        stage = meta.get("reparse", OVER)
        if stage == OVER and again:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('reparse', ?)", (BEGUN,))
            stage = BEGUN
        self._is_reparse = stage != OVER
        if stage != BEGUN:
            return None
        if data.path.exists() and data.path.stat().st_size:  # else an earlier attempt has moved it
            data.set_aside()
        return 0

    def attach(self, db: sqlite3.Connection, meta: Mapping[str, Any], *, forget: bool) -> None:
        """Bring the table up to date with how the session begins, in the transaction under way."""
        self._db = db
        self._is_there = db.execute(_HAS_TABLE).fetchone() is not None
        if not self._is_there:
            if not self._has_parser:
                return
            db.execute("CREATE TABLE parsed (url INTEGER PRIMARY KEY)")
            self._is_there = True
            if "data_length" in meta:  # a parser ran before there was the table
                db.execute(_ALL_PARSED)
        if forget:
            db.execute("DELETE FROM parsed")
        if self._is_reparse and meta.get("reparse", OVER) != MOVED:
            db.execute("DELETE FROM parsed")
            db.execute("INSERT OR REPLACE INTO meta VALUES ('reparse', ?)", (MOVED,))

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Note which of the outcomes the parser had, in the transaction under way."""
        if not self._is_there:
            return
        ended = [
            (outcome.job.id,)
            for outcome in outcomes
            if (record := outcome.record) is not None
            and (record.state == "done" or record.error == "parse-failed")
            and (record.sha256 or record.digest)
        ]
        if ended:
            word = "INSERT OR IGNORE INTO parsed VALUES (?)"
            self._db.executemany(word if self._has_parser else "DELETE FROM parsed WHERE url = ?", ended)

    def find(self) -> int:
        """Look for pages whose parser did not run. Returns how many there are; `next` gives them."""
        db = self._db
        db.execute(
            "CREATE TEMP TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY, path TEXT UNIQUE, place INTEGER)"
        )
        db.execute("DELETE FROM temp.page")
        number = db.execute(_FIND, (self._is_reparse,)).rowcount
        if number > 0:
            db.execute("BEGIN")
            db.executemany("UPDATE temp.page SET place = ? WHERE path = ?", self._places())
            db.execute("COMMIT")
        self._last = 0
        return max(number, 0)

    def _places(self) -> Iterable[tuple[int, str]]:
        """Places in the journal where lines of stored pages begin; a later line of a path wins."""
        place = 0
        with self._results.open("rb") as lines:
            for line in lines:
                try:
                    path = _place(line).path
                except (msgspec.MsgspecError, UnicodeError):
                    path = None
                if path is not None:
                    yield place, path
                place += len(line)

    def next(self, limit: int) -> list[StoredPage]:
        """Return the next pages; what was returned is not returned again."""
        rows = self._db.execute(_NEXT, (self._last, limit)).fetchall()
        pages = []
        if rows:
            self._last = rows[-1][0]
            forms = forms_of_rows(self._db, [row[0] for row in rows])
            with self._results.open("rb") as lines:
                for row in rows:
                    line = b""
                    if row[1] is not None:
                        lines.seek(row[1])
                        line = lines.readline()
                    pages.append(StoredPage(*_page(row, line), forms.get(row[0], ())))
        return pages

    def settle_stored(self, outcomes: Sequence[Outcome]) -> None:
        """Store what became of stored pages, in the transaction under way."""
        failed, parsed = [], []
        for outcome in outcomes:
            record = outcome.record
            assert record is not None
            if record.state == "failed":
                failed.append((outcome.job.id,))
            elif outcome.line:  # it had failed before
                parsed.append((record.etag, record.last_modified, outcome.job.id))
        self._db.executemany(_UNPARSED, failed)
        self._db.executemany(_PARSED, parsed)
        self._db.executemany(
            "INSERT OR IGNORE INTO parsed VALUES (?)", [(outcome.job.id,) for outcome in outcomes]
        )

    def finish(self) -> None:
        """Every page has been parsed: a `--reparse` is over."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('reparse', ?)", (OVER,))
        self._is_reparse = False


def _page(row: tuple[Any, ...], line: bytes) -> tuple[Job, Record]:
    """The job and the record of a row; where its line is lost, with what the row knows."""
    number, _, url, given, path, status, size, digest, etag, last_modified, state = row
    sha256, other = unpack_digest(digest)
    try:
        record = _record(line)
    except (msgspec.MsgspecError, UnicodeError):
        record = Record(
            url=given or url, final_url=url, status=status, etag=etag, last_modified=last_modified
        )
    record.path, record.bytes, record.sha256, record.digest = path, size, sha256, other
    if state == State.FAILED:
        record.state, record.error = "failed", "parse-failed"
    else:
        record.state, record.error, record.message = "done", None, None
    return Job(id=number, url=record.url, target=None, path=path), record
