"""The links of a page as they are stored: numbers of rows with how each was linked, in one blob.

They are kept so that a page that is found again at a smaller depth, or answers that it has not changed,
is not needed to find its links once more. An edge is `id << 4 | flags`.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection

import msgspec

from fetcher.model import LinkKind

ID_SHIFT = 4
NOFOLLOW = 8
KIND_OF: tuple[LinkKind, ...] = ("page", "asset", "canonical", "redirect", "sitemap")
FLAGS_OF: dict[LinkKind, int] = {kind: flags for flags, kind in enumerate(KIND_OF)}
KIND_FLAGS = 7


def pack(edges: Collection[int]) -> bytes:
    """Pack edges in four bytes each, or eight where a number needs them; the first byte says which."""
    if max(edges, default=0) < 2**32:
        return b"I" + struct.pack(f"<{len(edges)}I", *edges)
    return b"Q" + struct.pack(f"<{len(edges)}Q", *edges)


def unpack(blob: bytes) -> tuple[int, ...]:
    """Return the edges that were packed."""
    width = chr(blob[0])
    return struct.unpack(f"<{(len(blob) - 1) // struct.calcsize('<' + width)}{width}", blob[1:])


class StoredLinks:
    """The tables `links`, and `link_text` where pages' texts of links are kept."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, page: int, edges: Collection[int]) -> None:
        """Store the links of a page in place of those that it had."""
        if edges:
            self._db.execute("INSERT OR REPLACE INTO links VALUES (?, ?)", (page, pack(edges)))
        else:
            self._db.execute("DELETE FROM links WHERE url = ?", (page,))

    def put_texts(self, page: int, texts: Collection[str]) -> None:
        """Store the texts of the links of a page, one for each, in place of those that it had."""
        if any(texts):
            encoded = msgspec.json.encode(list(texts)).decode()
            self._db.execute("INSERT OR REPLACE INTO link_text VALUES (?, ?)", (page, encoded))
        else:
            self._db.execute("DELETE FROM link_text WHERE url = ?", (page,))

    def get(self, page: int) -> tuple[int, ...]:
        found = self._db.execute("SELECT edges FROM links WHERE url = ?", (page,)).fetchone()
        return () if found is None else unpack(found[0])
