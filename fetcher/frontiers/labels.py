"""Hosts and sources by number: texts that many rows share, stored once, with bounded caches."""

from __future__ import annotations

import sqlite3

from fetcher.model import Target

_MOST_CACHED = 20_000


class Labels:
    """Numbers for hosts (`example.org:443`) and sources, and back. Number 0 is no host."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._hosts: dict[str, int] = {}
        self._parts: dict[int, tuple[str, int, str]] = {}
        self._sources: dict[str, int] = dict(db.execute("SELECT name, id FROM source"))
        self._source_names = {number: name for name, number in self._sources.items()}

    def host(self, name: str) -> int:
        """The number of a host, given if it is new."""
        number = self._hosts.get(name)
        if number is None:
            number = self._number("host", name)
            if len(self._hosts) >= _MOST_CACHED:
                self._hosts.clear()
            self._hosts[name] = number
        return number

    def parts(self, number: int) -> tuple[str, int, str]:
        """Name, port and label of a host."""
        parts = self._parts.get(number)
        if parts is None:
            label = self._db.execute("SELECT name FROM host WHERE id = ?", (number,)).fetchone()[0]
            name, _, port = label.rpartition(":")
            if len(self._parts) >= _MOST_CACHED:
                self._parts.clear()
            parts = self._parts[number] = name.strip("[]"), int(port), label
        return parts

    def target(self, url: str, number: int) -> Target:
        """The URL of a row on the host of that number, taken apart again."""
        name, port, label = self.parts(number)
        return Target(url, "https" if url[4] == "s" else "http", name, port, label)

    def source(self, name: str) -> int:
        """The number of a source, given if it is new."""
        number = self._sources.get(name)
        if number is None:
            number = self._sources[name] = self._number("source", name)
            self._source_names[number] = name
        return number

    def source_name(self, number: int) -> str:
        return self._source_names[number]

    def is_host(self, name: str, port: int | None) -> bool:
        """Whether there is a host of that name, at that port or at any."""
        prefix = f"[{name}]:" if ":" in name else f"{name}:"
        if port is not None:
            query, bounds = "SELECT 1 FROM host WHERE name IN (?, ?)", (f"{prefix}{port}",) * 2
        else:
            query = "SELECT 1 FROM host WHERE name >= ? AND name < ? LIMIT 1"
            bounds = prefix, prefix[:-1] + ";"  # ";" follows ":"
        return self._db.execute(query, bounds).fetchone() is not None

    def _number(self, table: str, name: str) -> int:
        found = self._db.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if found is not None:
            return int(found[0])
        inserted = self._db.execute(f"INSERT INTO {table} (name) VALUES (?)", (name,))  # noqa: S608
        return inserted.lastrowid or 0
