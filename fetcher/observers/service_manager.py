"""The service manager's view of a run: `READY=1`, `STATUS=` and `WATCHDOG=1`, as sd_notify(3) has them.

Invariant: `WATCHDOG=1` is sent from the loop that runs the exchanges, so that one that hangs sends none.
A message that can't be delivered is dropped: telling stops no run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Self

from fetcher.events import Event, RunEnded, RunStarted, Snapshot
from fetcher.observers.formatting import RateEstimator
from fetcher.observers.line_display import progress_line

_STATUS_S = 2.0


class ServiceManager:
    """Tells the manager behind `address`, a path or an abstract name (`@…`); `watchdog_s` is its patience."""

    def __init__(
        self, address: str, snapshot: Callable[[], Snapshot], *, watchdog_s: float | None = None
    ) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._snapshot = snapshot
        self._watchdog_s = watchdog_s
        self._pace = RateEstimator()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], snapshot: Callable[[], Snapshot]) -> Self | None:
        """Return the one that started this process, or None."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in {"/", "@"}:
            return None
        watchdog = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_s = int(watchdog) / 1e6 if watchdog.isdecimal() and is_ours else None
        return cls(address, snapshot, watchdog_s=watchdog_s or None)

    def on_event(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.tell("READY=1\nSTATUS=reading the list")
        elif isinstance(event, RunEnded):
            self.tell(f"STOPPING=1\nSTATUS={self._status(event.snapshot)}")

    def tell(self, text: str) -> None:
        """Send one message."""
        with contextlib.suppress(OSError):
            self._socket.sendto(text.encode(), self._address)

    async def run(self) -> None:
        """Send status and signs of life until cancelled; twice in the time that the watchdog waits."""
        every_s = min(_STATUS_S, self._watchdog_s / 2) if self._watchdog_s else _STATUS_S
        sign = "WATCHDOG=1\n" if self._watchdog_s else ""
        try:
            while True:
                self.tell(f"{sign}STATUS={self._status(self._snapshot())}")
                await asyncio.sleep(every_s)
        finally:
            self._socket.close()

    def _status(self, snapshot: Snapshot) -> str:
        return progress_line(snapshot, self._pace.sample(snapshot))
