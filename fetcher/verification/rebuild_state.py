"""Rebuilding a state that is lost or damaged, from the records and the files.

The new state is made beside the old one and renamed when it is whole; the old one is kept as
`state.db.damaged`. A kill in between leaves the damaged state, or none beside records, and both are refused
by the next start.

The last record of a URL counts. What ended with a file is so still if the file is there at its recorded
length, and is pending otherwise; names stay with their URLs. Of a crawl the links are lost, so its pages are
put back, to be read again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fetcher.engine.job_factory import JobFactory
from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.discovery import crawl_key
from fetcher.frontiers.sqlite.crawl.row_kinds import ASSET, PAGE, rank_of
from fetcher.frontiers.sqlite.digests import pack_digest
from fetcher.frontiers.sqlite.filename_allocator import own_name
from fetcher.frontiers.sqlite.interning import InternTable
from fetcher.frontiers.sqlite.request_keys import RequestKeys
from fetcher.frontiers.sqlite.schema import ARCHIVE, extend_for_crawl, is_lost, open_state
from fetcher.model import FINAL_STATES, Entry, Job, RequestOverrides, State
from fetcher.policy.fingerprint import request_fingerprint
from fetcher.policy.scope import Scope
from fetcher.run_dir import RunDirectory
from fetcher.verification.check import CheckProgress
from fetcher.verification.file_checks import is_within
from fetcher.verification.object_checks import StoredObjects, stored_objects
from fetcher.verification.rebuild_archives import lengths_of_archives
from fetcher.verification.records import Line, ends_line, length_of, lines_of, record_of

_BATCH = 2000
_PAGE = 512
_ASSETS = ("image/", "font/", "audio/", "video/", "text/css", "text/javascript", "application/javascript")
# A request that failed keeps the file of an earlier one.
_UPSERT = """INSERT INTO url (id, key, check_key, url, given, host, rank, state, source, line, parent, depth,
 extra, has_secret, attempts, status, error, path, bytes, sha256, etag, last_modified, generation, session)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 1)
 ON CONFLICT (id) DO UPDATE SET state = excluded.state, attempts = excluded.attempts,
 status = excluded.status, error = excluded.error, path = coalesce(excluded.path, path),
 bytes = CASE WHEN excluded.state > 2 AND excluded.sha256 IS NULL THEN bytes ELSE excluded.bytes END,
 etag = CASE WHEN excluded.state > 2 AND excluded.sha256 IS NULL THEN etag ELSE excluded.etag END,
 last_modified =
 CASE WHEN excluded.state > 2 AND excluded.sha256 IS NULL THEN last_modified ELSE excluded.last_modified END,
 sha256 = CASE WHEN excluded.state > 2 AND excluded.sha256 IS NULL THEN sha256 ELSE excluded.sha256 END"""
_FILES = """SELECT id, state, path, bytes, sha256 IS NOT NULL, has_secret FROM url
 WHERE id > ? AND (path IS NOT NULL) ORDER BY id LIMIT ?"""
_WITHOUT_FILE = """UPDATE url SET state = ?, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL,
 attempts = 0, status = NULL, error = NULL WHERE id = ?"""
_NO_KNOWN_FILE = "UPDATE url SET bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL WHERE id = ?"
_CRAWLED = (
    # An asset has no links that count; what is no page, or was never had, has none either.
    """UPDATE url SET state = 0, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL, attempts = 0,
 status = NULL, error = NULL WHERE kinds = 1 AND (state IN (1, 2) OR error = 'parse-failed')""",
    "UPDATE url SET claimed = 1 WHERE kinds = 1",
    "INSERT INTO seed SELECT id FROM url WHERE depth = 0 AND parent IS NULL",
)

# What was only checked is not told apart by its record: found again on its page, it is asked for again.
_FORGET_CHECKS = "UPDATE url SET state = 5, claimed = 0 WHERE id NOT IN (SELECT url FROM seed)"

_encode = msgspec.json.Encoder().encode


class Rebuilt(msgspec.Struct):
    """The result of a rebuild: how many URLs there are, and how many the next run fetches."""

    command: str = "get"
    urls: int = 0
    pending: int = 0
    pages_put_back: int = 0  # of a crawl, because their links are lost
    kept_as: str | None = None  # the damaged state


class StateRebuild:
    """Makes the state of a run directory anew. The directory is locked.

    `is_there` tells whether a body of that length is at a path, for bodies that are elsewhere; `archives` is
    the directory that has the archives, where that is another one.
    """

    def __init__(
        self,
        directory: RunDirectory,
        progress: Callable[[CheckProgress], None],
        is_there: Callable[[str, int | None], bool] | None = None,
        archives: RunDirectory | None = None,
    ) -> None:
        self._directory = directory
        self._archives = archives or directory
        self._is_there = is_there
        self._tell_progress = progress
        self._intake = JobFactory()
        self._rules = CrawlOptions(scope=Scope(), agent="")
        self._is_crawl = False
        self._db: sqlite3.Connection
        self._keys: RequestKeys
        self._labels: InternTable

    def run(self) -> Rebuilt:
        """Make it.

        Raises:
            StorageError: there are no records to make it from, or the disk failed; what was there stays.
        """
        results, state = self._directory.results, self._directory.state
        if not length_of(results):
            raise StorageError(
                f"{self._directory.root} has neither a state that can be used nor records to make one from",
                hint="begin anew with --restart: the files stay",
            )
        known = _known_of(state)
        command = known.get("command") or self._guess()
        self._is_crawl = command == "crawl"
        if not known and self._directory.broken_links.exists():
            known = {"link_check": "1"}
        rebuilt = Rebuilt(command=command)
        new = state.with_name("state.db.new")
        try:
            for suffix in ("", "-wal", "-shm", "-journal"):
                new.with_name(new.name + suffix).unlink(missing_ok=True)
            self._db = open_state(new, fsync=True)
            try:
                self._fill(rebuilt, known)
            finally:
                self._db.close()
            rebuilt.kept_as = _replace(state, new)
        except OSError as error:
            raise StorageError(
                f"cannot make {new}: {error.strerror}", hint="free some space, then try again"
            ) from error
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot make {new}: {error}", hint="free some space, then try again"
            ) from error
        return rebuilt

    def _guess(self) -> str:
        """Guess the command: only a crawl's records have parents and depths."""
        for _, line in lines_of(self._directory.results):
            record = record_of(line)
            if record is not None and (record.depth or record.parent):
                return "crawl"
        return "get"

    def _fill(self, rebuilt: Rebuilt, known: Mapping[str, str]) -> None:
        db = self._db
        self._keys = RequestKeys(db)
        self._labels = InternTable(db)
        db.execute("BEGIN")
        if self._is_crawl:
            extend_for_crawl(db)
        settled = self._add_records()
        self._judge_files()
        if self._is_crawl:
            rebuilt.pages_put_back = db.execute(_CRAWLED[0]).rowcount
            for statement in _CRAWLED[1:]:
                db.execute(statement)
            if known.get("link_check") == "1":
                db.execute(_FORGET_CHECKS)
        rebuilt.urls = db.execute("SELECT count(*) FROM url").fetchone()[0]
        rebuilt.pending = db.execute("SELECT count(*) FROM url WHERE state = 0").fetchone()[0]
        meta: dict[str, Any] = {
            "command": rebuilt.command,
            "session": 1,
            "generation": 0,
            "base": 0,
            "mode": "",
            "is_complete": 0,
            "is_clean": 1,
            "created": known.get("created") or dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "results_length": settled,
            "link_check": int(known.get("link_check", 0 if known else -1)),  # -1: the next run says
        }
        data = self._directory.results.with_name("data.jsonl")
        if length := length_of(data):
            meta["data_length"] = length
        meta |= {f"{ARCHIVE}{name}": length for name, length in lengths_of_archives(self._archives).items()}
        if self._is_crawl:
            meta["rules"] = ""  # so that budgets are counted anew
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        db.execute("COMMIT")

    # -- records -------------------------------------------------------------------------------------

    def _add_records(self) -> int:
        """Add a row for each URL. Returns the length up to which the records are whole lines."""
        path = self._directory.results
        size = length_of(path) or 0
        last = 0
        progress = CheckProgress("records", total=size)
        for number, (at, line) in enumerate(lines_of(path)):
            last = at
            record = record_of(line)
            progress.done = at
            self._tell_progress(progress)
            if record is not None:
                with contextlib.suppress(UnicodeEncodeError):  # no URL that was ever taken
                    self._add(record)
            if number % _BATCH == _BATCH - 1:
                self._keys.move()
                self._db.execute("COMMIT")
                self._db.execute("BEGIN")
        return size if ends_line(path, size) else last

    def _add(self, record: Line) -> None:
        entry = Entry(url=record.url, source=record.source, line=record.line, meta=record.meta)
        job = self._intake.job_of(entry)
        if record.error == "bad-entry" and job.target is not None:
            job = Job(id=0, url=record.url, target=None)
        key, check = self._key(job, record)
        number = self._keys.id_of(key)
        target = job.target
        url = record.url if target is None else target.url
        sha256 = _digest(record)
        error = record.error
        if target is None and record.state == "refused":
            error = f"{error or 'bad-url'}\n{record.message or 'not a URL'}"
        path = record.path if record.path and is_within(record.path) else None
        extra = None if record.meta is None else _encode(RequestOverrides(meta=record.meta)).decode()
        row = (
            number, key, check, url, record.url if record.url != url else None,
            0 if target is None else self._labels.hosts[target.host],
            rank_of(record.depth, 0) if self._is_crawl else 0,
            FINAL_STATES[record.state],
            self._labels.sources[record.source] if record.source is not None else None,
            record.line, record.parent, max(record.depth, 0), extra, job.secret is not None, record.attempts,
            record.status, error, path, record.bytes, sha256, record.etag, record.last_modified,
        )  # fmt: skip
        inserted = self._db.execute(_UPSERT, row).lastrowid
        if number is None:
            number = inserted or 0
            self._keys.add(key, number)
        if self._is_crawl and (record.content_type or "").lower().startswith(_ASSETS):
            self._db.execute("UPDATE url SET kinds = ? WHERE id = ? AND kinds = ?", (ASSET, number, PAGE))

    def _key(self, job: Job, record: Line) -> tuple[int, int]:
        if not self._is_crawl:
            return request_fingerprint(job)
        key, check = crawl_key(job, self._rules)
        number = self._keys.id_of(key)
        found = self._db.execute("SELECT coalesce(given, url) FROM url WHERE id = ?", (number,)).fetchone()
        if found is not None and found[0] != record.url:
            return crawl_key(job, self._rules, is_exact=True)
        return key, check

    # -- files ---------------------------------------------------------------------------------------

    def _judge_files(self) -> None:
        """Give every name to its URL, and put back what has no whole file."""
        if self._is_there is not None:
            self._judge_all(self._is_there)
            return
        objects = stored_objects(self._directory)
        with contextlib.closing(objects) if objects is not None else contextlib.nullcontext():
            self._judge_all(
                partial(_is_object, objects) if objects else partial(_is_file, self._directory.root)
            )

    def _judge_all(self, is_there: Callable[[str, int | None], bool]) -> None:
        last = 0
        progress = CheckProgress("files", total=self._db.execute("SELECT count(*) FROM url").fetchone()[0])
        while rows := self._db.execute(_FILES, (last, _PAGE)).fetchall():
            last = rows[-1][0]
            progress.done = last
            self._tell_progress(progress)
            for number, state, path, size, has_digest, has_secret in rows:
                is_own = own_name(self._db, path, number)
                if not is_own:
                    self._db.execute("UPDATE url SET path = NULL WHERE id = ?", (number,))
                is_stored = has_digest or (state <= State.UNCHANGED and size)
                if not is_stored or (is_own and is_there(path, size)):
                    continue
                if state <= State.UNCHANGED:  # passwords are not kept: it waits until it is listed again
                    again = State.FORGOTTEN if has_secret else State.PENDING
                    self._db.execute(_WITHOUT_FILE, (again, number))
                else:
                    self._db.execute(_NO_KNOWN_FILE, (number,))


def _digest(record: Line) -> bytes | None:
    try:
        packed = pack_digest(record.sha256, record.digest) or b""
    except ValueError:
        return None
    return packed if len(packed) == 32 or packed == b"none:" or packed.startswith(b"blake3:") else None


def _is_object(objects: StoredObjects, path: str, size: int | None) -> bool:
    length = objects.length_of(path)
    return length is not None and size in {None, length}


def _is_file(root: Path, path: str, size: int | None) -> bool:
    at = root
    try:
        *folders, name = path.split("/")
        for folder in folders:
            at /= folder
            if not stat.S_ISDIR(at.lstat().st_mode):
                return False
        status = (at / name).lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and (size is None or status.st_size == size)


def _known_of(state: Path) -> dict[str, str]:
    """Read what a damaged state still says of itself."""
    known = {}
    with contextlib.suppress(sqlite3.Error, ValueError, OSError):
        if state.stat().st_size:
            uri = f"{state.absolute().as_uri()}?immutable=1"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                rows = db.execute(
                    "SELECT name, value FROM meta WHERE name IN ('command', 'created', 'link_check')"
                )
                known = {name: str(value) for name, value in rows}
    return known if known.get("command") in {"get", "crawl"} else {}


def _replace(state: Path, new: Path) -> str | None:
    """Put the new state in the place of the old one, which is kept. Returns the old one's new name.

    The old file goes first: its log alone is no state, and a state without its log would be an older one.
    """
    log = state.with_name(f"{state.name}-wal")
    kept, number = state.with_name("state.db.damaged"), 2
    while os.path.lexists(kept) or os.path.lexists(kept.with_name(f"{kept.name}-wal")):
        kept, number = state.with_name(f"state.db.damaged.{number}"), number + 1
    was_there = os.path.lexists(state)
    if was_there and is_lost(state):
        state.unlink()
        was_there = False
    elif was_there:
        state.rename(kept)
    if os.path.lexists(log):
        log.rename(kept.with_name(f"{kept.name}-wal"))
    state.with_name(state.name + "-shm").unlink(missing_ok=True)
    new.rename(state)
    _sync(state.parent)
    return kept.name if was_there else None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
