"""Budgets that are counted by row: query variants of one path, pages of one host.

Invariant: what was taken is the number of admitted rows, exactly, over all sessions; which rows those
are depends on who came first. A rule that leaves out takes nothing.
"""

from __future__ import annotations

import sqlite3

from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.model import Target
from fetcher.policy.fingerprint import text_fingerprint
from fetcher.policy.scope import variants_key

_TAKE = """INSERT INTO tally VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET used = used + 1 WHERE used < ?"""
_NO_LIMIT = 2**62


class Quotas:
    """Budgets of one crawl, used inside the transaction of discovery."""

    def __init__(self, db: sqlite3.Connection, options: CrawlOptions) -> None:
        self._db = db
        self._max_variants = options.max_variants
        self._max_host_pages = options.max_host_pages

    def count(self, target: Target, *, is_page: bool, is_listed: bool = False) -> str | None:
        """Count one row as admitted, or say which budget is spent. A listed one is always admitted."""
        variants = None
        if self._max_variants is not None:
            path = variants_key(target.url)
            if path is not None:
                variants = text_fingerprint(f"variants\0{path}")
                if not self._take(variants, _NO_LIMIT if is_listed else self._max_variants):
                    return "variants"
        if self._max_host_pages is not None and is_page:
            key = text_fingerprint(f"host\0{target.host}")
            if not self._take(key, _NO_LIMIT if is_listed else self._max_host_pages):
                if variants is not None:
                    self._db.execute("UPDATE tally SET used = used - 1 WHERE key = ?", (variants,))
                return "host-pages"
        return None

    def clear(self) -> None:
        self._db.execute("DELETE FROM tally")

    def _take(self, key: int, most: int) -> bool:
        return most > 0 and self._db.execute(_TAKE, (key, most)).rowcount > 0
