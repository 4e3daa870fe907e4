"""Story of a URL's name on disk: which it has, which it wanted, and who has that instead."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Literal

import msgspec

from fetcher.policy.filenames import casefold_key, wanted_name
from fetcher.policy.fingerprint import text_fingerprint
from fetcher.story.url_finder import Row


class NameStory(msgspec.Struct, kw_only=True):
    """A name, `path` None as long as none was given. `wanted` is there where another has it.

    `held_by` says who: another URL (`holder`), a folder, or a file that the state does not know (`foreign`).
    With `is_foreign` such a file stands at `path` itself, and the suffix is chosen when the body is stored.
    """

    path: str | None = None
    wanted: str | None = None
    held_by: Literal["url", "folder", "foreign"] | None = None
    holder: str | None = None
    is_foreign: bool = False


def name_story(db: sqlite3.Connection, row: Row, tables: Collection[str]) -> NameStory:
    """Tell about the name of a row."""
    number, path, is_foreign = row["id"], row["path"], bool(row["is_foreign"])
    given = list(_given(db)) if "naming" in tables else []
    if path is None:  # claimed, and not moved to its row yet
        path, is_foreign = next(((p, f) for _, owner, p, f in given if owner == number), (None, False))
    told = NameStory(path=path, is_foreign=is_foreign)
    told.wanted = None if path is None else wanted_name(path, row["url"])
    if told.wanted is None:
        return told
    key = text_fingerprint(casefold_key(told.wanted))
    found = db.execute("SELECT url FROM name WHERE fold = ?", (key,)).fetchone()
    owner = next((owner for fold, owner, *_ in given if fold == key), None) if found is None else found[0]
    if owner == 0:
        told.held_by = "folder"
    elif owner in {None, number}:
        told.held_by = "foreign" if owner == number else None
    else:
        told.held_by = "url"
        holder = db.execute("SELECT coalesce(given, url) FROM url WHERE id = ?", (owner,)).fetchone()
        told.holder = None if holder is None else holder[0]
    return told


def _given(db: sqlite3.Connection) -> Iterator[tuple[int, int, str | None, bool]]:
    """Yield what is not moved yet: key, owner, path, and whether it is foreign."""
    for (text,) in db.execute("SELECT given FROM naming ORDER BY id"):
        yield from json.loads(text)
