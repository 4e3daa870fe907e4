"""The bytes of one connection: written in one piece, received in blocks, and no surprises while idle.

aiohttp's own parser reads what a proxy says to a CONNECT; answers are read by `policy/head` and
`policy/framing`, as on the other backends.

A large body of known length is received straight into its own blocks (`BodyReceiver`): the transport writes
where the disk will read.

Invariant: bytes come out of `receive` before the end that followed them; no more than `BUFFER` and one
block wait.
"""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from fetcher.backends.aiohttp.internals import PoolProtocol
from fetcher.policy.framing import CountedFraming
from fetcher.ports import BodyWriter

BUFFER: Final = 64 * 1024  # of unread body for each connection; the last block read may add to it


class Protocol(PoolProtocol):
    """aiohttp's protocol, for its pool, with a reader of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.is_idle = False
        self.has_ended = False
        self.lost_by: BaseException | None = None
        self._blocks: list[bytes] = []
        self._unread = 0
        self._is_held = False
        self._receiver: asyncio.Future[None] | None = None

    @property
    def has_more(self) -> bool:
        """True if bytes came that nobody received."""
        return bool(self._blocks)

    @property
    def is_plain(self) -> bool:
        """True if no TLS is on it, and it is open."""
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def send(self, data: bytes) -> None:
        """Write a request. Raises `ServerDisconnectedError` if the connection has ended."""
        self.is_idle = False
        transport = self.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        self.stop_parsing()
        transport.write(data)

    async def sent(self) -> None:
        """Wait until a large request has left."""
        await self.written()

    async def receive(self) -> bytes:
        """Receive all that came since the last call, at least one byte; nothing is the end.

        Raises `ClientOSError` if the connection was reset. Cancelling loses nothing.
        """
        if not self._blocks:
            if not self.has_ended:
                self._receiver = self.loop.create_future()
                try:
                    await self._receiver
                finally:
                    self._receiver = None
            if not self._blocks:
                if self.lost_by is not None:
                    raise aiohttp.ClientOSError(*self.lost_by.args) from self.lost_by
                return b""
        arrived, self._blocks = self._blocks, []
        self._unread = 0
        if self._is_held:
            self._is_held = False
            self.resume_receiving()
        return arrived[0] if len(arrived) == 1 else b"".join(arrived)

    async def receive_into(self, body: BodyWriter, framing: CountedFraming) -> None:
        """Receive into the blocks of `body` until it is whole or has no more, or the connection ended.

        Nothing may wait to be received. Raises what `fill` and `drain` raise. Cancelling loses nothing.
        """
        receiver = BodyReceiver(self, body, framing)
        try:
            while receiver.has_room() and not self.has_ended:
                receiver.stopped = self._loop.create_future()
                self._hand_reading_to(receiver)
                await receiver.stopped
                if receiver.failure is not None:
                    raise receiver.failure
                if receiver.must_drain:
                    receiver.must_drain = False
                    await body.drain()
        finally:
            self._hand_reading_to(self)

    def _hand_reading_to(self, protocol: asyncio.BaseProtocol) -> None:
        transport = self.transport
        if transport is not None and not transport.is_closing():
            self.pause_receiving()  # uvloop decides at the resumption how it reads
            transport.set_protocol(protocol)
            self.resume_receiving()

    def data_received(self, data: bytes) -> None:
        if self.is_idle:
            self.abort()  # an answer to no question must not become that of the next one
            return
        if self.is_parsing:
            super().data_received(data)
            return
        self._blocks.append(bytes(data))
        self._unread += len(data)
        if self._unread >= BUFFER and not self._is_held:
            self._is_held = True
            self.pause_receiving()
        self._wake()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.has_ended = True
        self.lost_by = exc
        super().connection_lost(exc)
        self._wake()

    def _wake(self) -> None:
        waiter = self._receiver
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class BodyReceiver(asyncio.BufferedProtocol):
    """The protocol of a connection while it fills the blocks of one body.

    `stopped` is done when reading is paused: the body is whole, or `must_drain`, or there was a `failure`.
    """

    def __init__(self, owner: Protocol, body: BodyWriter, framing: CountedFraming) -> None:
        self.stopped: asyncio.Future[None] | None = None
        self.must_drain = False
        self.failure: BaseException | None = None
        self._owner = owner
        self._body = body
        self._framing = framing
        self._room: memoryview | None = None

    def has_room(self) -> bool:
        """Ask the body for room. False if it has none, or needs none."""
        self._room = None if self._framing.is_done else self._body.room()
        return self._room is not None

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  the block's own size is better
        room, left = self._room, self._framing.left
        assert room is not None
        return room if len(room) <= left else room[: left + 1]  # one more, so that a surplus is seen

    def buffer_updated(self, nbytes: int) -> None:
        try:
            self.must_drain = self._body.fill(self._framing.take(nbytes))
            if not self.must_drain and self.has_room():
                return
        except BaseException as failure:  # noqa: BLE001  (raised again by the exchange)
            self.failure = failure
        self._owner.pause_receiving()
        self._stop()

    def eof_received(self) -> None:
        self._owner.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._owner.connection_lost(exc)
        self._stop()

    def pause_writing(self) -> None:
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._owner.resume_writing()

    def _stop(self) -> None:
        if self.stopped is not None and not self.stopped.done():
            self.stopped.set_result(None)
