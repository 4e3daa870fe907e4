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

from fetcher.model import State

_PUT_BACK_FAILED = """UPDATE url SET state = 0, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, error = NULL, is_foreign = CASE WHEN sha256 IS NULL THEN 1 ELSE is_foreign END,
 sha256 = CASE WHEN error = 'parse-failed' THEN NULL ELSE sha256 END
 WHERE state = ? OR (state = ? AND error = 'robots-unreachable')"""
_FORGET = """UPDATE url SET state = ?, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL"""
_NO_MARKS = "UPDATE url SET claimed = 0 WHERE claimed <> 0"
_CRAWL_AGAIN = (_NO_MARKS, "DELETE FROM robots", "DELETE FROM tally")
_FORGET_CRAWL = (*_CRAWL_AGAIN, "DELETE FROM seed", "DELETE FROM links")


class Mode(msgspec.Struct, frozen=True):
    """What a session does with URLs that are final already."""

    command: str = "get"
    refresh: bool = False
    retry_failed: bool = False
    restart: bool = False

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
        db.execute(_FORGET, (State.FORGOTTEN,))
        _execute(db, _FORGET_CRAWL if is_crawl else ())
        generation = base = generation + 1
    elif mode.label and not continues:
        generation += 1
        if mode.retry_failed:
            db.execute(_PUT_BACK_FAILED, (State.FAILED, State.REFUSED))
        db.execute("UPDATE url SET generation = ? WHERE state = 0", (generation,))
        if mode.refresh and is_crawl:
            _execute(db, _CRAWL_AGAIN)
            base = generation
    # Passwords are kept in memory only.
    db.execute("UPDATE url SET state = ? WHERE state = 0 AND has_secret = 1", (State.WITHHELD,))
    return generation, base


def _execute(db: sqlite3.Connection, statements: tuple[str, ...]) -> None:
    for statement in statements:
        db.execute(statement)
