"""Judging again what rules left out: because there are more seeds, or because the rules are others.

Links are judged as they are found, and a seed may come later than a link that only it brings into scope;
so once nothing is pending, what was left out is judged by all seeds. Rows keep what that takes: the
smallest depth, and all kinds that they were found as.
"""

from __future__ import annotations

import sqlite3

from fetcher.frontiers.discovery import OF_THE_WAY, Discovery, Way
from fetcher.frontiers.labels import Labels
from fetcher.frontiers.rows import PAGE, SITEMAP
from fetcher.model import State

_ADMITTED = (State.DONE, State.UNCHANGED, State.FAILED, State.REFUSED, State.WITHHELD)


class Rejudging:
    """Works on whole states, a thousand rows at a time."""

    def __init__(self, db: sqlite3.Connection, labels: Labels, discovery: Discovery, base: int) -> None:
        self._db = db
        self._labels = labels
        self._discovery = discovery
        self._base = base

    def left_out(self) -> None:
        """Judge all that is left out by what is known now."""
        discovery = self._discovery
        discovery.has_left_out = False
        for row in discovery.rows(State.LEFT_OUT):
            if row.error in OF_THE_WAY or not row.host or row.generation < self._base:
                continue
            rule = discovery.judge(self._labels.target(row.url, row.host), row.kinds, row.depth)
            if rule == row.error:
                discovery.has_left_out = True
                continue
            rank = row.rank
            discovery.place(row, Way("", row.depth, row.hops, row.kinds, None), rule)
            self._db.execute("UPDATE url SET rank = ? WHERE id = ?", (rank, row.id))

    def everything(self) -> None:
        """The rules have changed: budgets are counted anew, and what was not fetched yet is judged again."""
        discovery = self._discovery
        tally = discovery.tally
        tally.clear()
        seeds = {number for (number,) in self._db.execute("SELECT url FROM seed")}
        for state in _ADMITTED:
            for row in discovery.rows(state):
                if row.host and row.generation >= self._base and row.kinds != SITEMAP:
                    target = self._labels.target(row.url, row.host)
                    tally.take(target, is_page=bool(row.kinds & PAGE), is_listed=True)
        for row in discovery.rows(State.PENDING):
            if not row.host:
                continue
            target = self._labels.target(row.url, row.host)
            if row.id in seeds:
                tally.take(target, is_page=True, is_listed=True)
            elif (rule := discovery.judge(target, row.kinds, row.depth)) is not None:
                self._db.execute("UPDATE url SET state = 7, error = ? WHERE id = ?", (rule, row.id))
        self.left_out()
