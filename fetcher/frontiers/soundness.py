"""Soundness of a state: its file, and what its rows say of each other.

SQLite tells of a page that is none, but a byte that changed within a value is a value still. What is looked
at here is what the program relies on wherever it reads a row.
"""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import msgspec

from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.schema import rebuild_command

# Each gives a row where something is off.
_RELATIONS = (
    ("a URL has an unknown state", "SELECT 1 FROM url WHERE state NOT BETWEEN 0 AND 7 LIMIT 1"),
    (
        "a URL has a column of the wrong type",
        """SELECT 1 FROM url WHERE typeof(url) <> 'text' OR typeof(host) <> 'integer'
         OR typeof(depth) <> 'integer' OR typeof(rank) <> 'integer'
         OR typeof(attempts) <> 'integer' OR typeof(session) <> 'integer'
         OR typeof(waited) NOT IN ('real', 'integer') OR typeof(not_before) NOT IN ('real', 'integer')
         OR typeof(path) NOT IN ('text', 'null') OR typeof(sha256) NOT IN ('blob', 'null')
         OR typeof(bytes) NOT IN ('integer', 'null') OR (length(sha256) <> 32
         AND substr(sha256, 1, 7) <> CAST('blake3:' AS BLOB) AND sha256 <> CAST('none:' AS BLOB)) LIMIT 1""",
    ),
    (
        "a URL has an unknown host",
        "SELECT 1 FROM url WHERE host <> 0 AND host NOT IN (SELECT id FROM host) LIMIT 1",
    ),
    (
        "a URL has an unknown source",
        "SELECT 1 FROM url WHERE source IS NOT NULL AND source NOT IN (SELECT id FROM source) LIMIT 1",
    ),
    (
        "a URL has notes that can't be read",
        """SELECT 1 FROM url WHERE NOT json_valid(coalesce(extra, '{}'))
         OR NOT json_valid(coalesce(history, '[]')) LIMIT 1""",
    ),
    ("a host has no port", "SELECT 1 FROM host WHERE name NOT GLOB '*:[0-9]*' LIMIT 1"),
    (
        "it lacks what it was begun with",
        """SELECT 1 WHERE (SELECT count(*) FROM meta WHERE name IN ('command', 'session', 'generation')) < 3
         AND EXISTS (SELECT 1 FROM url)""",
    ),
)
_COLUMNS = frozenset(
    {"id", "key", "check_key", "url", "given", "host", "rank", "state", "source", "line", "parent", "depth"}
    | {"extra", "has_secret", "attempts", "waited", "not_before", "history", "path", "is_foreign", "status"}
    | {"error", "bytes", "sha256", "etag", "last_modified", "generation", "session"}
)
_LOST_KEY = """SELECT 1 FROM url WHERE id <= (SELECT value FROM meta WHERE name = 'keyed')
 AND id IS NOT (SELECT request_key.url FROM request_key WHERE request_key.key = url.key) LIMIT 1"""
_BAD_NAMING = "SELECT 1 FROM naming WHERE NOT json_valid(given) LIMIT 1"
_TEXTS = frozenset({"meta", "host", "source", "url", "naming", "part", "robots"})
# What reading a damaged value raises; a defect of the program seldom does.
DAMAGE = (UnicodeError, msgspec.MsgspecError, struct.error)
# What it may raise as well; the state is looked at then.
SUSPICIOUS = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, AttributeError)


def damage_of(db: sqlite3.Connection, *, quick: bool = False) -> str | None:
    """Say what is wrong with a state, or None if it is sound. `quick` looks at less: no indexes, no texts."""
    try:
        found = db.execute(f"PRAGMA {'quick_check' if quick else 'integrity_check'}(1)").fetchone()
        if found is None or found[0] != "ok":
            return "its file is damaged" if found is None else str(found[0]).strip().splitlines()[-1]
        for what, statement in _RELATIONS:
            if db.execute(statement).fetchone() is not None:
                return what
        missing = _COLUMNS - {row[1] for row in db.execute("PRAGMA table_info(url)")}
        if missing:
            return f"no column {', '.join(sorted(missing))}"
        tables = {name for name, _ in db.execute("SELECT name, sql FROM sqlite_master")}
        for table in () if quick else sorted(tables & _TEXTS):
            for _ in db.execute(f"SELECT * FROM {table}"):  # noqa: S608
                pass  # every text was decoded
        if not quick and "request_key" in tables and db.execute(_LOST_KEY).fetchone() is not None:
            return "a URL is not found by its key"
        if "naming" in tables and db.execute(_BAD_NAMING).fetchone() is not None:
            return "names were given that can't be read"
    except (sqlite3.Error, *DAMAGE) as error:
        return str(error)
    return None


def damaged(path: Path, what: object) -> StorageError:
    """Return the error for a state that can't be relied on."""
    return StorageError(
        f"the state {path} is damaged: {what}; it was left as it is",
        hint=f"make it anew from the records and files: {rebuild_command(path.parent.parent)}",
    )
