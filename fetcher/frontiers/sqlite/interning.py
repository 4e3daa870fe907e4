"""Hosts and sources by number: texts that many rows share, stored once, with bounded caches."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import TypeVar

from fetcher.model import Target
from fetcher.policy.http import authority

_MOST_CACHED = 20_000

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Cache(dict[_K, _V]):
    """A dict that looks up what it lacks, and starts anew when it is full. A hit costs no call."""

    def __init__(self, look_up: Callable[[_K], _V]) -> None:
        self._look_up = look_up

    def __missing__(self, key: _K) -> _V:
        if len(self) >= _MOST_CACHED:
            self.clear()
        value = self[key] = self._look_up(key)
        return value


class InternTable:
    """Numbers for hosts (`example.org:443`) and sources, and back. Number 0 is no host.

    `hosts` and `sources` give the number of a name, a new one if need be; `parts` gives name, port and label
    of the host of a number, `source_names` the name of a source.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.hosts: Mapping[str, int] = _Cache(lambda name: self._number("host", name))
        self.parts: Mapping[int, tuple[str, int, str]] = _Cache(self._parts_of)
        self.sources: Mapping[str, int] = _Cache(lambda name: self._number("source", name))
        self.source_names: Mapping[int, str] = _Cache(lambda number: self._name("source", number))

    def target(self, url: str, number: int) -> Target:
        """Take the URL of a row apart again, by the number of its host."""
        name, port, label = self.parts[number]
        return Target(url, "https" if url[4] == "s" else "http", name, port, label)

    def is_host(self, name: str, port: int | None) -> bool:
        """Return True if there is a host of that name, at that port or at any."""
        if port is not None:
            query, bounds = "SELECT 1 FROM host WHERE name = ?", [authority(name, port)]
        else:
            query = "SELECT 1 FROM host WHERE name >= ? AND name < ? LIMIT 1"
            prefix = authority(name, 0)[:-1]
            bounds = [prefix, prefix[:-1] + ";"]  # ";" follows ":"
        return self._db.execute(query, bounds).fetchone() is not None

    def _parts_of(self, number: int) -> tuple[str, int, str]:
        label = self._name("host", number)
        name, _, port = label.rpartition(":")
        return name.strip("[]"), int(port), label

    def _name(self, table: str, number: int) -> str:
        found = self._db.execute(f"SELECT name FROM {table} WHERE id = ?", (number,))  # noqa: S608
        return str(found.fetchone()[0])

    def _number(self, table: str, name: str) -> int:
        found = self._db.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if found is not None:
            return int(found[0])
        inserted = self._db.execute(f"INSERT INTO {table} (name) VALUES (?)", (name,))  # noqa: S608
        return inserted.lastrowid or 0
