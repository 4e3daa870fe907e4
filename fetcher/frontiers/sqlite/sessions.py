"""Sessions and generations: what a session's mode does with URLs that are final already.

A *session* is one run of the program. A *generation* is one asking of a list: `--refresh`,
`--retry-failed` and `--restart` begin one, the first two unless the last was interrupted under the same
flags. A crawl's *base* is the generation in which its last whole asking began (`--refresh`, `--restart`):
rows of an older one are asked for again when they are found again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from fetcher.frontiers.sqlite.url_rows import put_back, sql

_RETRY_FAILED = put_back(
    "state = :PENDING, error = NULL",
    where="state = :FAILED OR (state = :REFUSED AND error = 'robots-unreachable')",
)
_ASK_ANEW = sql("UPDATE url SET generation = ? WHERE state = :PENDING")
# Passwords are kept in memory only.
_WITHHOLD = sql("UPDATE url SET state = :WITHHELD WHERE state = :PENDING AND has_secret = 1")
_FORGET = sql("""UPDATE url SET state = :FORGOTTEN, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL""")
_NO_MARKS = "UPDATE url SET claimed = 0 WHERE claimed <> 0"
_CRAWL_AGAIN = (_NO_MARKS, "DELETE FROM robots", "DELETE FROM tally")
_FORGET_CRAWL = (*_CRAWL_AGAIN, "DELETE FROM seed", "DELETE FROM links", "DELETE FROM link_text")


class Mode(msgspec.Struct, frozen=True):
    """Flags that decide about URLs which are final already."""

    command: str = "get"
    refresh: bool = False
    retry_failed: bool = False
    restart: bool = False
    reparse: bool = False
    link_check: bool = False

    @property
    def flags(self) -> str:
        """The flags as they are typed."""
        given = ("refresh", "retry_failed", "restart")
        return " ".join(f"--{flag.replace('_', '-')}" for flag in given if getattr(self, flag))

    @property
    def label(self) -> str:
        return ",".join(flag for flag in ("refresh", "retry_failed") if getattr(self, flag))


def begin_session(
    db: sqlite3.Connection, meta: Mapping[str, Any], mode: Mode, *, is_crawl: bool
) -> tuple[int, int]:
    """Apply the mode, in the transaction under way. Returns the generation, and the base of a crawl."""
    generation, base = int(meta.get("generation", 0)), int(meta.get("base", 0))
    continues = not meta.get("is_complete", 1) and meta.get("mode", "") == mode.label
    if mode.restart:
        db.execute(_FORGET)
        _execute(db, _FORGET_CRAWL if is_crawl else ())
        generation = base = generation + 1
    elif mode.label and not continues:
        generation += 1
        if mode.retry_failed:
            db.execute(_RETRY_FAILED)
        db.execute(_ASK_ANEW, (generation,))
        if mode.refresh and is_crawl:
            _execute(db, _CRAWL_AGAIN)
            base = generation
    db.execute(_WITHHOLD)
    return generation, base


def _execute(db: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    for statement in statements:
        db.execute(statement)
