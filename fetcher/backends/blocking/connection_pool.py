"""Idle connections, on the loop's thread: kept for the next request of their key, within bounds.

Invariants: an idle connection is in no exchange; one that ended, or on which something came, is closed
before anybody gets it: those that are idle for longer than a moment are watched by the loop, the others are
asked. Most are not, so watching costs nothing while there is work.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

from fetcher.backends.blocking.connection import Connection, PoolKey

_MOMENT_S: Final = 0.05


class IdleConnections:
    """A pool of up to `most` idle connections, each kept for up to `keepalive_s`."""

    def __init__(self, most: int, keepalive_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._keepalive_s = keepalive_s
        self._by_key: defaultdict[PoolKey, list[Connection]] = defaultdict(list)
        self._all: dict[Connection, None] = {}  # the longest idle first
        self._timer: asyncio.TimerHandle | None = None

    def take(self, key: PoolKey) -> Connection | None:
        """Take the one that was used last, or None."""
        same = self._by_key.get(key)
        while same:
            connection = same[-1]
            is_asked = not connection.is_watched
            self._remove(connection)
            if not is_asked or connection.is_quiet():
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        connection.idle_since = now = self._loop.time()
        self._by_key[connection.key].append(connection)
        self._all[connection] = None
        self.trim(self._most)
        if self._timer is None or self._timer.when() > now + _MOMENT_S:
            self._tend_in(_MOMENT_S)

    def trim(self, most: int) -> None:
        """Close the longest idle, so that no more than `most` are left."""
        while len(self._all) > max(0, most):
            self._drop(next(iter(self._all)))

    def close(self) -> None:
        """Close all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.trim(0)

    def _tend_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._tend)

    def _tend(self) -> None:
        """Close what was idle for too long, watch what was idle for a moment, and come back for the rest."""
        self._timer = None
        now = self._loop.time()
        for connection in [*self._all]:
            if now - connection.idle_since >= self._keepalive_s:
                self._drop(connection)
            elif not connection.is_watched:
                connection.is_watched = True
                self._loop.add_reader(connection.fileno(), self._drop, connection)
        for connection in self._all:
            self._tend_in(max(_MOMENT_S, connection.idle_since + self._keepalive_s - now))
            break

    def _drop(self, connection: Connection) -> None:
        self._remove(connection)
        connection.close()

    def _remove(self, connection: Connection) -> None:
        if connection.is_watched:
            connection.is_watched = False
            self._loop.remove_reader(connection.fileno())
            connection.make_blocking()
        same = self._by_key[connection.key]
        same.remove(connection)
        if not same:
            del self._by_key[connection.key]
        del self._all[connection]
