"""Filtering of stored URLs again, after seeds were added or the rules of the crawl changed.

Links are judged as they are found, and a seed may come later than a link that only it brings into scope;
so once nothing is pending, what was left out is judged by all seeds. Rows keep what that takes: the
smallest depth, and all kinds that they were found as.
"""

from __future__ import annotations

import sqlite3

from fetcher.frontiers.sqlite.crawl.discovery import Discovery, LinkPath, UrlRow
from fetcher.frontiers.sqlite.crawl.row_kinds import BY_LINK, CHECK, PAGE, SITEMAP, check_rule, kind_of
from fetcher.frontiers.sqlite.interning import InternTable
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import FINAL, State

_ADMITTED = (*sorted(FINAL), State.WITHHELD)
_JUDGED = (*_ADMITTED, State.PENDING)
_SET_KINDS = "UPDATE url SET kinds = ? WHERE id = ?"
_LEAVE_OUT = sql("UPDATE url SET state = :LEFT_OUT, error = ? WHERE id = ?")


class Refilter:
    """Filter over whole states, a thousand rows at a time."""

    def __init__(
        self,
        db: sqlite3.Connection,
        interned: InternTable,
        discovery: Discovery,
        base: int,
        *,
        checks: bool = False,
    ) -> None:
        self._db = db
        self._interned = interned
        self._discovery = discovery
        self._base = base
        self._checks = checks

    def left_out(self) -> None:
        """Judge all that is left out by what is known now."""
        discovery = self._discovery
        discovery.has_left_out = False
        for row in discovery.rows(State.LEFT_OUT):
            if discovery.is_set_aside(row) or not row.host or row.generation < self._base:
                continue
            self._judge_again(row)
        if self._checks:
            self._checked()

    def _judge_again(self, row: UrlRow) -> None:
        discovery, path = self._discovery, _path_to(row)
        rule, path.bit = discovery.place(self._interned.target(row.url, row.host), path)
        if rule == row.error:
            discovery.has_left_out = True
            return
        rank = row.rank
        discovery.set_state(row, path, rule)
        self._db.execute("UPDATE url SET rank = ? WHERE id = ?", (rank, row.id))

    def _checked(self) -> None:
        """Fetch what was only checked, and may be followed by now; a link's own rule is there still."""
        discovery = self._discovery
        for row in discovery.checked():
            if not row.kinds & BY_LINK and row.generation >= self._base and row.state in _JUDGED:
                rule, kinds = discovery.place(self._interned.target(row.url, row.host), _path_to(row))
                if rule is None and kinds != row.kinds:
                    self._place(row, kinds)

    def _place(self, row: UrlRow, kinds: int) -> None:
        """Keep the new kinds of a row; one that is a page now is asked for again."""
        self._db.execute(_SET_KINDS, (kinds, row.id))
        row.kinds = kinds
        if row.state != State.PENDING and kind_of(kinds) == "page":
            rank = row.rank
            self._discovery.set_state(row, _path_to(row), None)
            self._db.execute("UPDATE url SET rank = ? WHERE id = ?", (rank, row.id))

    def everything(self) -> None:
        """Count budgets anew and judge again what was not fetched yet: the rules have changed."""
        discovery = self._discovery
        quotas = discovery.quotas
        quotas.clear()
        seeds = {number for (number,) in self._db.execute("SELECT url FROM seed")}
        for state in _ADMITTED:
            for row in discovery.rows(state):
                is_counted = row.kinds != SITEMAP and not row.kinds & CHECK
                if row.host and row.generation >= self._base and is_counted:
                    target = self._interned.target(row.url, row.host)
                    quotas.count(target, is_page=bool(row.kinds & PAGE), is_listed=True)
        for row in discovery.rows(State.PENDING):
            if not row.host:
                continue
            target = self._interned.target(row.url, row.host)
            if row.id in seeds:
                quotas.count(target, is_page=True, is_listed=True)
                continue
            rule, kinds = discovery.place(target, _path_to(row))
            if rule is not None:
                self._db.execute(_LEAVE_OUT, (rule, row.id))
            elif kinds != row.kinds:
                self._db.execute(_SET_KINDS, (kinds, row.id))
        self.left_out()


def _path_to(row: UrlRow) -> LinkPath:
    """Return the nearest path to a row, as it is known."""
    rule = check_rule(row.kinds) if row.kinds & BY_LINK else None
    return LinkPath("", row.depth, row.hops, row.kinds, rule)
