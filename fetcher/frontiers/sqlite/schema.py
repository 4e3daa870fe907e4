"""The state file of a run directory: its schema, and opening it without ever harming it.

One connection in one process at a time (the directory's lock sees to that), WAL, no mmap: SQLite
before 3.51.3 can corrupt a WAL database that two connections write or checkpoint at once.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fetcher.errors import ConfigError, StorageError
from fetcher.frontiers.sqlite.request_keys import CREATE_KEYS, index_keys
from fetcher.frontiers.sqlite.url_rows import sql

APPLICATION_ID = 0x46455443  # "FETC"
SCHEMA = 2
ARCHIVE = "archive "  # before the name of one: the rows of `meta` that hold their settled lengths
_DAMAGED = ("malformed", "not a database", "decode", "corrupt", "no such", "mismatch")

_CREATE = sql(f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE host (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE source (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE url (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,           -- 64 bits of the request's digest, probed upwards on a collision
    check_key INTEGER NOT NULL,     -- 64 more, so that two requests are never taken for one
    url TEXT NOT NULL,              -- as it goes on the wire; a refused line as it came
    given TEXT,                     -- as listed, where that differs; passwords masked
    host INTEGER NOT NULL,
    rank INTEGER NOT NULL,          -- smaller first
    state INTEGER NOT NULL,
    source INTEGER, line INTEGER, parent TEXT, depth INTEGER NOT NULL DEFAULT 0,
    extra TEXT, has_secret INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, waited REAL NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0, history TEXT,
    path TEXT, is_foreign INTEGER NOT NULL DEFAULT 0,
    status INTEGER, error TEXT, bytes INTEGER, sha256 BLOB, etag TEXT, last_modified TEXT,
    generation INTEGER NOT NULL, session INTEGER NOT NULL
);
{CREATE_KEYS};
CREATE INDEX url_pending ON url (rank, host, id) WHERE state = :PENDING;
CREATE TABLE name (fold INTEGER PRIMARY KEY, url INTEGER NOT NULL);  -- url 0: a directory
""")

# A crawl's own, so that the rows of `get` stay as lean as they are.
_CREATE_CRAWL = (
    # All that it was found as: 1 page, 2 asset, 4 sitemap.
    "ALTER TABLE url ADD COLUMN kinds INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE url ADD COLUMN hops INTEGER NOT NULL DEFAULT 0",  # redirects and canonicals that led to it
    # The session that claimed it last; negative where that did not count as a page. 0: none since a refresh.
    "ALTER TABLE url ADD COLUMN claimed INTEGER NOT NULL DEFAULT 0",
    sql("CREATE INDEX url_unbudgeted ON url (id) WHERE state = :PENDING AND (claimed <> 0 OR kinds = 2)"),
    "CREATE TABLE seed (url INTEGER PRIMARY KEY)",
    "CREATE TABLE links (url INTEGER PRIMARY KEY, edges BLOB NOT NULL)",
    "CREATE TABLE tally (key INTEGER PRIMARY KEY, used INTEGER NOT NULL)",
    "CREATE TABLE robots (origin TEXT PRIMARY KEY, fetched REAL NOT NULL, text BLOB NOT NULL)",
)

# A link check's own.
_CREATE_CHECKS = (
    # Of a page: a text for each of its edges in `links`, in their order, as a list in JSON.
    "CREATE TABLE IF NOT EXISTS link_text (url INTEGER PRIMARY KEY, texts TEXT NOT NULL)",
    sql("CREATE INDEX IF NOT EXISTS url_checks ON url (id) WHERE state = :PENDING AND kinds >= 8"),
)


class NewerState(StorageError):
    """The state is of a version that this program does not know."""


def extend_for_crawl(connection: sqlite3.Connection) -> None:
    """Give a state what a crawl needs, if it has not got it; in the transaction under way."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'links'").fetchone() is None:
        for statement in _CREATE_CRAWL:
            connection.execute(statement)
    for statement in _CREATE_CHECKS:
        connection.execute(statement)


def open_memory() -> sqlite3.Connection:
    """Open a state in memory, which ends with its connection."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    _create(connection)
    return connection


def open_state(path: Path, *, fsync: bool) -> sqlite3.Connection:
    """Open or create the state at `path`, mode 0600.

    Raises:
        StorageError: corrupt, foreign, newer than this program, or not accessible; the file is kept.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        _check_log(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    with _closing_unless_usable(connection, path):
        # Also what a kill in the middle of creating it left: SQLite has just rolled that back.
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            _create(connection)
        else:
            _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA temp_store = MEMORY")
        _upgrade(connection)
    return connection


def archive_lengths(meta: Mapping[str, Any]) -> dict[str, int]:
    """The settled length of each archive, by its name."""
    return {name[len(ARCHIVE) :]: length for name, length in meta.items() if name.startswith(ARCHIVE)}


def is_lost(path: Path) -> bool:
    """Tell whether there is no state, or an empty file in its place with no log beside it."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return stat.S_ISREG(status.st_mode) and not status.st_size and not _size(_log_of(path))


def refuse_lost(path: Path, *, is_new: bool = False) -> None:
    """Refuse a state that is lost, or knows of no record (`is_new`), beside records of what was fetched.

    Raises:
        StorageError: without the state all would be fetched again.
    """
    if (is_new or is_lost(path)) and _size(_results_of(path)):
        directory = path.parent.parent
        raise StorageError(
            f"the state {path} is lost, and {_results_of(path).name} says that URLs were fetched",
            hint=f"make it anew: {rebuild_command(directory)}; or begin anew with --restart",
        )


def rebuild_command(directory: Path) -> str:
    """Return the command that makes what is lost or damaged in a run directory anew."""
    return f"fetcher verify {shlex.quote(str(directory))} --rebuild"


def read_state(path: Path) -> sqlite3.Connection:
    """Open an existing state for reading only.

    Raises:
        ConfigError: there is none.
        StorageError: corrupt, foreign or newer.
    """
    try:
        refuse_lost(path)
        if is_lost(path):
            raise _no_state(path)
        _check_log(path)
        # Without a log beside it the file is whole; to read it in any other way would leave a log there.
        how = "mode=ro" if _log_of(path).exists() else "immutable=1"
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    with _closing_unless_usable(connection, path):
        _check(connection, path)
    return connection


@contextlib.contextmanager
def _closing_unless_usable(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Close the connection if the block fails; what SQLite says of the file becomes a `StorageError`."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:  # the latter where a name in the schema is damaged
        connection.close()
        raise _unusable(path, error) from error
    except BaseException:
        connection.close()
        raise


def _no_state(path: Path) -> ConfigError:
    root, within = path.parent.parent, Path(path.parent.name, path.name)
    around = next((folder for folder in root.parents if (folder / within).is_file()), None)
    return ConfigError(
        f"{root} is not a run directory: it has no {within}",
        hint=f"name the folder that it is in: {around}"
        if around
        else "name the folder that was given to --output",
    )


def storage_error(error: sqlite3.Error, doing: str, path: Path | None = None) -> StorageError:
    """Make the error that stops the run of a failed statement; what was settled is safe."""
    text = str(error)
    if path is not None and any(word in text for word in _DAMAGED):
        return StorageError(
            f"{doing}: the state {path} is damaged: {text}",
            hint=f"make it anew from the records and files: {rebuild_command(path.parent.parent)}",
        )
    if "full" in text:
        return StorageError(f"{doing}: no space left for the state", hint="free some space, then continue")
    return StorageError(
        f"{doing}: the state failed: {text}", hint="what was settled is safe; look at the disk"
    )


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _results_of(path: Path) -> Path:
    return path.parent.parent / "results.jsonl"


def _size(path: Path) -> int:
    """The length of a regular file; 0 where there is none."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _check_log(path: Path) -> None:
    """Refuse an empty state beside a log that is not: SQLite would throw the log away."""
    log = _log_of(path)
    if path.stat().st_size == 0 and _size(log):
        raise sqlite3.DatabaseError(f"it is empty, and {log.name} is not")


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN; {_CREATE}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT;"
    )


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a state of an older version up to this one, at once or not at all."""
    if connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA:
        connection.execute("BEGIN IMMEDIATE")
        index_keys(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StorageError(
            f"{path} is not a state of this program; it was left as it is",
            hint="choose another --output, or move that file away",
        )
    if version > SCHEMA:
        raise NewerState(
            f"{path} was written by a newer version (schema {version}, this one knows {SCHEMA})",
            hint="upgrade fetcher, or choose another --output",
        )


def _unusable(path: Path, error: Exception) -> StorageError:
    if isinstance(error, OSError):
        return StorageError(f"cannot open {path}: {error.strerror}", hint="check the folder's permissions")
    return StorageError(
        f"cannot use {path}: {error}; it was left as it is",
        hint=f"make it anew from the records and files: {rebuild_command(path.parent.parent)}",
    )
