"""Seeds, and the origins and hosts that the user named by them, over all sessions.

A crawl's table of hosts holds thousands that nobody named; credentials go to named origins only, and
private addresses are reached on named hosts only.
"""

from __future__ import annotations

import sqlite3

from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.interning import InternTable
from fetcher.model import Target
from fetcher.policy.http import authority

_ALL = "SELECT url.url, url.host FROM seed JOIN url ON url.id = seed.url WHERE url.host <> 0"


class Seeds:
    """The table `seed`; each seed is told to the scope."""

    def __init__(self, db: sqlite3.Connection, interned: InternTable, options: CrawlOptions) -> None:
        self._db = db
        self._scope = options.scope
        self._origins: set[tuple[str, str, int]] = set()
        self._hosts: set[str] = set()
        self._names: set[str] = set()
        for url, host in db.execute(_ALL).fetchall():
            self._remember(interned.target(url, host))

    def add(self, number: int, target: Target) -> bool:
        """Remember a listed URL. False if it was a seed before."""
        is_new = self._db.execute("INSERT OR IGNORE INTO seed VALUES (?)", (number,)).rowcount > 0
        self._remember(target)
        return is_new

    def lists(self, target: Target) -> bool:
        """Return True if the user named the origin."""
        return target.origin in self._origins

    def names_hostname(self, target: Target) -> bool:
        """Return True if the user named the host, at whatever port."""
        return target.hostname in self._names

    def is_user_host(self, name: str, port: int | None) -> bool:
        if port is None:
            return name in self._names
        return authority(name, port) in self._hosts

    def _remember(self, target: Target) -> None:
        self._origins.add(target.origin)
        self._hosts.add(target.host)
        self._names.add(target.hostname)
        self._scope.add_seed(target)
