"""Frames over a socket pair: four bytes of length, then the message.

Invariant: `on_frame` gets whole frames in order, and `on_lost` is called once, when the other side is
gone. Writing never blocks: both sides bound what is under way by other means.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

_LENGTH = struct.Struct("<I")


class Channel(asyncio.Protocol):
    """One end of a socket pair."""

    def __init__(self, on_frame: Callable[[memoryview], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._rest = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a loop that need not derive it

    def send(self, message: bytes) -> None:
        """Send one frame. Lost silently if the other side is gone: `on_lost` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_LENGTH.pack(len(message)) + message)

    def data_received(self, data: bytes) -> None:
        rest = self._rest
        rest += data
        start, end = 0, len(rest)
        view = memoryview(rest)
        try:
            while end - start >= _LENGTH.size:
                after = start + _LENGTH.size + _LENGTH.unpack_from(view, start)[0]
                if after > end:
                    break
                self._on_frame(view[start + _LENGTH.size : after])
                start = after
        finally:
            view.release()
        if start:
            del rest[:start]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why does not matter)
        self._transport = None
        self._on_lost()

    def close(self) -> None:
        """Close after what was sent is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not written is lost."""
        if self._transport is not None:
            self._transport.abort()
