"""Length-prefixed messages over a socket pair: eight bytes of length, then the message.

Invariant: whole frames are given in order, and the end of the other side is told once, after them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

_LENGTH = struct.Struct("<Q")


class FramedTransport(asyncio.Protocol):
    """One end, on a loop. Writing never blocks: both sides bound what is under way by other means.

    `on_frame` must not keep the view that it is given.
    """

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

    def close_input(self) -> None:
        """Say that no more will be sent; what the other side sends still comes."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Close after what was sent is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not written is lost."""
        if self._transport is not None:
            self._transport.abort()


class BlockingFrames:
    """One end, in plain code. Raises `OSError` when the other side is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stream = sock.makefile("rb")

    def receive(self) -> bytes | None:
        """Return the next message, or None if there will be no more."""
        head = self._stream.read(_LENGTH.size)
        return None if len(head) < _LENGTH.size else self._stream.read(*_LENGTH.unpack(head))

    def send(self, message: bytes) -> None:
        self._sock.sendall(_LENGTH.pack(len(message)))
        self._sock.sendall(message)
