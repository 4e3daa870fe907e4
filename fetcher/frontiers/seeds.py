"""What the user named in a crawl: seeds, their origins, hosts and names, over all sessions.

A crawl's table of hosts holds thousands that nobody named; credentials go to named origins only, and
private addresses are reached on named hosts only.
"""

from __future__ import annotations

import sqlite3

from fetcher.frontiers.labels import Labels
from fetcher.frontiers.rules import CrawlRules
from fetcher.model import Target

_ALL = "SELECT url.url, url.host FROM seed JOIN url ON url.id = seed.url WHERE url.host <> 0"


class Seeds:
    """Keeps the table `seed`, and tells the scope of each."""

    def __init__(self, db: sqlite3.Connection, labels: Labels, rules: CrawlRules) -> None:
        self._db = db
        self._scope = rules.scope
        self._origins: set[tuple[str, str, int]] = set()
        self._hosts: set[str] = set()
        self._names: set[str] = set()
        for url, host in db.execute(_ALL).fetchall():
            self._remember(labels.target(url, host))

    def add(self, number: int, target: Target) -> bool:
        """Remember a listed URL. False if it was a seed before."""
        is_new = self._db.execute("INSERT OR IGNORE INTO seed VALUES (?)", (number,)).rowcount > 0
        self._remember(target)
        return is_new

    def lists(self, target: Target) -> bool:
        """Whether the user named the origin."""
        return target.origin in self._origins

    def names(self, target: Target) -> bool:
        """Whether the user named the host, at whatever port."""
        return target.name in self._names

    def names_host(self, name: str, port: int | None) -> bool:
        if port is None:
            return name in self._names
        return (f"[{name}]:{port}" if ":" in name else f"{name}:{port}") in self._hosts

    def _remember(self, target: Target) -> None:
        self._origins.add(target.origin)
        self._hosts.add(target.host)
        self._names.add(target.name)
        self._scope.add_seed(target)
