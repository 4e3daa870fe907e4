"""Figures of hosts: summed in memory while they are few, in a temporary database where they are many."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

_MOST_IN_MEMORY = 20_000
HELD = (
    "delay",
    "rate",
    "retry-after",
    "backoff",
    "hold",
    "robots",
)  # a wait that the host itself is the cause of
_SUMS = ("urls", "failed", "refused", "bytes", "wire_bytes", "attempts", "elapsed", "limited", *HELD)
_SLOWEST = "slowest"
_QUOTED = [f'"{name}"' for name in (*_SUMS, _SLOWEST)]
_CREATE = f"CREATE TABLE host (name TEXT PRIMARY KEY, {', '.join(_QUOTED)}) WITHOUT ROWID"
_ADD = (
    f"INSERT INTO host VALUES (?{', ?' * len(_QUOTED)}) ON CONFLICT DO UPDATE SET "  # noqa: S608
    + ", ".join(f'"{name}" = "{name}" + excluded."{name}"' for name in _SUMS)
    + f', "{_SLOWEST}" = max("{_SLOWEST}", excluded."{_SLOWEST}")'
)
_HELD_S = " + ".join(f'"{name}"' for name in HELD)
URLS, FAILED, REFUSED, BYTES, WIRE_BYTES, ATTEMPTS, ELAPSED, LIMITED = range(8)
_AT = {name: number for number, name in enumerate(_SUMS)} | {"per-host": LIMITED}
_SLOWEST_AT = len(_SUMS)


class HostFigures(msgspec.Struct, kw_only=True):
    """Figures of one host, in seconds and bytes.

    `held` is what its URLs waited in all for its delay, its rate, or because it asked for time;
    `limited`, for its limit on exchanges. `elapsed` is what they took without
    waiting, `slowest` the longest of that.
    """

    host: str
    urls: int
    failed: int
    refused: int
    bytes: int
    wire_bytes: int
    attempts: int
    elapsed: float
    slowest: float
    limited: float
    held: dict[str, float] = {}


class HostTable:
    """Sums by host."""

    def __init__(self) -> None:
        self._rows: dict[str, list[float]] = {}
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(_CREATE)

    def close(self) -> None:
        """Let go of the temporary database."""
        self._db.close()

    def row(self, host: str) -> list[float]:
        """Return the sums of a host, to be added to at once: by `URLS` and the like, or by `count_wait`."""
        row = self._rows.get(host)
        if row is None:
            if len(self._rows) >= _MOST_IN_MEMORY:
                self._flush()
            row = self._rows[host] = [0] * len(_QUOTED)
        return row

    def count_end(self, host: str, elapsed: float) -> list[float]:
        """Count a URL that ended, and return the sums for the rest of it."""
        row = self.row(host)
        row[URLS] += 1
        row[ELAPSED] += elapsed
        row[_SLOWEST_AT] = max(row[_SLOWEST_AT], elapsed)
        return row

    def count_wait(self, host: str, cause: str, seconds: float) -> None:
        """Count what a URL of the host waited, if the host is the cause."""
        if (place := _AT.get(cause)) is not None:
            self.row(host)[place] += seconds

    @property
    def number(self) -> int:
        """The number of hosts with a URL."""
        self._flush()
        return int(self._db.execute("SELECT count(*) FROM host WHERE urls > 0").fetchone()[0])

    def most_urls(self, most: int) -> list[HostFigures]:
        return self._top("urls", most)

    def slowest(self, most: int) -> list[HostFigures]:
        """Return hosts by what an attempt took on average."""
        return self._top("CASE WHEN attempts > 0 THEN elapsed / attempts ELSE 0 END", most)

    def most_errors(self, most: int) -> list[HostFigures]:
        return self._top("failed + refused", most)

    def held_longest(self, most: int) -> list[HostFigures]:
        return self._top(f"round({_HELD_S}, 3)", most)

    def _top(self, order: str, most: int) -> list[HostFigures]:
        self._flush()
        query = f"""SELECT * FROM host WHERE name <> '' AND {order} > 0
         ORDER BY {order} DESC, name LIMIT ?"""  # noqa: S608
        return [_figures(*row) for row in self._db.execute(query, (most,))]

    def _flush(self) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(_ADD, ((name, *row) for name, row in self._rows.items()))
        self._db.execute("COMMIT")
        self._rows.clear()


def _figures(name: str, *row: Any) -> HostFigures:
    held = {cause: round(row[_AT[cause]], 3) for cause in HELD}
    return HostFigures(
        host=name,
        urls=row[URLS],
        failed=row[FAILED],
        refused=row[REFUSED],
        bytes=row[BYTES],
        wire_bytes=row[WIRE_BYTES],
        attempts=row[ATTEMPTS],
        elapsed=round(row[ELAPSED], 6),
        slowest=row[_SLOWEST_AT],
        limited=round(row[LIMITED], 3),
        held={cause: seconds for cause, seconds in held.items() if seconds},
    )
