"""The index of requests by key, in two levels: what is older in the state, what is recent in memory.

A key is a digest, so each new one would go to a page of its own of a large index, to be read and written for
it alone. So new keys are gathered in memory. Once they are many, they move into the table `request_key` in
the order of keys: with each transaction one slice of all possible keys, so that no caller waits long. They
are many when they are a fixed part of all, so a page takes as many of them however large the table grew. A
filter of a byte or two for each key says of nearly all new ones that the table can't have them: to look there
would read a page for each.

Invariant: the key of every row is in one of both, and that of every row up to `keyed` (of `meta`) is in
`request_key`. What came later is read from `url` when a state is opened, whoever was killed in between; to
move a key again changes nothing. What is in memory is right only as long as every transaction succeeds: a
session ends with the first that fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

CREATE_KEYS = "CREATE TABLE request_key (key INTEGER PRIMARY KEY, url INTEGER NOT NULL)"

_LEAST_MOVED = 65_536
_PART_MOVED = 64  # of all keys one in so many is moved at once: about three for each page of the table
_SLICES = 128
_LEAST_WIDTH = 13  # of a filter: the logarithm of its bits
_SHIFT = 64 - 7  # the slice of a key, from -64 to 63; below 0 a list counts from its end

_IS_THERE = "SELECT 1 FROM sqlite_master WHERE name = 'request_key'"
_KEYED = "SELECT value FROM meta WHERE name = 'keyed'"
_SET_KEYED = "INSERT OR REPLACE INTO meta VALUES ('keyed', ?)"
_NEWEST = "SELECT max(id) FROM url"
_RECENT = "SELECT key, id FROM url WHERE id > ?"
_ID_OF = "SELECT url FROM request_key WHERE key = ?"
_ID_IN_URL = "SELECT id FROM url WHERE key = ?"  # of a state of the first version, which has an index for it
_KNOWN = "SELECT request_key.key FROM json_each(?) CROSS JOIN request_key ON request_key.key = value"
_OF_SLICE = "SELECT key FROM request_key WHERE key BETWEEN ? AND ?"
_MOVE = "INSERT OR IGNORE INTO request_key VALUES (?, ?)"
_LAST_KEY = 2**63 - 1

_encode = msgspec.json.Encoder().encode


class KeyFilter:
    """A filter of the keys of one slice: what it does not hold is not among them.

    Keys are digests, so bits in the middle of each tell where its own bit is. It takes as many keys as fill a
    quarter of the bits.
    """

    __slots__ = ("_bits", "_mask", "_room", "_shift")

    def __init__(self, keys: Sequence[int]) -> None:
        width = max(_LEAST_WIDTH, (8 * len(keys)).bit_length())
        self._bits = bytearray(1 << width - 3)
        self._mask = (1 << width) - 1
        self._shift = _SHIFT - width
        self._room = 1 << width - 2
        self.take(keys)

    def take(self, keys: Sequence[int]) -> bool:
        """Add keys; False if there is no room for them."""
        if len(keys) > self._room:
            return False
        self._room -= len(keys)
        bits, shift, mask = self._bits, self._shift, self._mask
        for key in keys:
            at = key >> shift & mask
            bits[at >> 3] |= 1 << (at & 7)
        return True

    def may_hold(self, key: int) -> int:
        """Return 0 if a key is not among those that were taken."""
        at = key >> self._shift & self._mask
        return self._bits[at >> 3] >> (at & 7) & 1


class RequestKeys:
    """The keys of all rows in a state, which may be open for reading only.

    Whoever inserts a row adds its key.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._slices: list[dict[int, int]] = [{} for _ in range(_SLICES)]
        self._filters: list[KeyFilter | None] = [None] * _SLICES  # of the table; None: it has to be asked
        self._recent = 0  # how many are in memory
        self._next = 0  # the slice to be moved next
        self._newest = 0  # row when the first was moved
        if db.execute(_IS_THERE).fetchone() is None:
            self._find, self._keyed, self._has_older = _ID_IN_URL, 0, True
            return
        found = db.execute(_KEYED).fetchone()
        self._find, self._keyed, self._has_older = _ID_OF, 0, found is not None
        if found is not None:
            self._keyed = int(found[0])
        for key, number in db.execute(_RECENT, (self._keyed,)):
            self.add(key, number)

    def add(self, key: int, number: int) -> None:
        """Take note of the key of a new row."""
        self._slices[key >> _SHIFT][key] = number
        self._recent += 1

    def add_new(self, rows: Collection[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Take note of rows (id, key, …) that are to be inserted, and return those whose key is new."""
        known: set[int] = set()
        if self._has_older:
            filters = self._filters
            wanted = [
                row[1]
                for row in rows
                if (older := filters[row[1] >> _SHIFT]) is None or older.may_hold(row[1])
            ]
            if wanted:
                known = {key for (key,) in self._db.execute(_KNOWN, (_encode(wanted).decode(),))}
        slices, new = self._slices, []
        for row in rows:
            key = row[1]
            recent = slices[key >> _SHIFT]
            if key not in recent and key not in known:
                recent[key] = row[0]
                new.append(row)
        self._recent += len(new)
        return new

    def id_of(self, key: int) -> int | None:
        """Return the row of a key, or None."""
        number = self._slices[key >> _SHIFT].get(key)
        if number is None and self._has_older:
            found = self._db.execute(self._find, (key,)).fetchone()
            return None if found is None else int(found[0])
        return number

    def find(self, columns: str, key: int, check: int) -> tuple[int, tuple[Any, ...] | None]:
        """Find the row of a request by its fingerprint, probing past rows of others.

        `columns` is a statement that selects by id, `check_key` in the first column. Returns the key and the
        row, or the key that is free for it and None.
        """
        while (number := self.id_of(key)) is not None:
            found: tuple[Any, ...] = self._db.execute(columns, (number,)).fetchone()
            if found[0] == check:
                return key, found
            key = key + 1 if key < _LAST_KEY else -_LAST_KEY - 1
        return key, None

    def move(self) -> None:
        """Move the next slice if it is time, in the transaction under way."""
        if not self._next:
            if self._recent < _LEAST_MOVED:
                return
            newest = self._db.execute(_NEWEST).fetchone()[0]
            if self._recent < newest // _PART_MOVED:
                return
            self._newest = newest
        recent = self._slices[self._next]
        self._db.executemany(_MOVE, sorted(recent.items()))
        older = self._filters[self._next]
        if older is None or not older.take(list(recent)):
            first = (self._next + _SLICES // 2) % _SLICES - _SLICES // 2 << _SHIFT
            of_slice = self._db.execute(_OF_SLICE, (first, first + (1 << _SHIFT) - 1))
            self._filters[self._next] = KeyFilter([key for (key,) in of_slice])
        self._recent -= len(recent)
        recent.clear()
        self._has_older = True
        self._next = (self._next + 1) % _SLICES
        if not self._next:
            self._keyed = self._newest
            self._db.execute(_SET_KEYED, (self._keyed,))


def index_keys(db: sqlite3.Connection) -> None:
    """Make the table in place of the unique index of the first version, in the transaction under way."""
    db.execute(CREATE_KEYS)
    db.execute("INSERT INTO request_key SELECT key, id FROM url ORDER BY key")
    db.execute("DROP INDEX IF EXISTS url_key")
    db.execute(_SET_KEYED, (db.execute(_NEWEST).fetchone()[0] or 0,))
