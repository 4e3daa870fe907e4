"""One exchange, as its thread performs it and as the loop sees it.

The thread tells the loop of arrivals: the head with what came with it, blocks of the body, and the last one,
after which it has left the exchange. An answer that is small and there at once is one arrival, the last. To
go on after one that was not, it needs the loop's leave: at once for the head, which may be all that is
wanted, and for blocks with one more on its way, so that reading and storing overlap.

Invariants: the last arrival comes always and once, whatever happens; nothing of the body is touched by the
thread; while the loop has not given its leave, at most two blocks wait for it.

Limits on time are the engine's, which cancels. The timeouts of sockets are a net below that, for whoever has
switched them all off: an hour for each read and write.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections import deque
from typing import Final, NamedTuple

from fetcher.backends import failure_texts
from fetcher.backends.blocking.connection import Connection
from fetcher.backends.blocking.threads import LoopCalls
from fetcher.errors import Phase, ProtocolBroken
from fetcher.model import Request, Response
from fetcher.policy.framing import (
    EndedEarly,
    Framing,
    check_beginning,
    frame_of,
    framing_of,
    response_of,
    stays_open,
)
from fetcher.policy.head import Head, HeadReader
from fetcher.policy.http import REST_TIME_S, SMALL_REST
from fetcher.ports import BodyWriter

SMALL: Final = 64 * 1024  # header and body that cross to the loop in one go
BLOCK: Final = 256 * 1024
_GATHER_S: Final = 0.05  # for a small body that is not there at once; then the loop is told of the head


class Chunk(NamedTuple):
    """A message of the thread to the loop: the head, bytes of the body, or the end."""

    response: Response | None
    data: bytes
    is_last: bool


class BlockingExchange:
    """An exchange with two sides: `perform` is the thread's, the other methods are the loop's.

    `keeps` tells, after the last arrival, that the connection is at the beginning of the next answer.
    """

    def __init__(
        self, request: Request, wire: bytes, connection: Connection, body: BodyWriter, mailbox: LoopCalls
    ) -> None:
        self.request = request
        self.connection = connection
        self.phase: Phase = "header" if connection.is_reused else "connect"
        self.is_answered = False  # a byte of an answer arrived
        self.is_over = False
        self.keeps = False
        self._wire = wire
        self._body = body
        self._mailbox = mailbox
        self._leave: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._arrived: deque[Chunk] = deque()
        self.error: BaseException | None = None  # what ended it, after the last arrival
        self._waiter: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] | None = None
        self._response: Response | None = None  # what was read and not told yet
        self._data = b""

    # -- the loop's side -------------------------------------------------------------------------------

    async def next_chunk(self) -> Chunk:
        """Wait for the next message of the thread. Cancelling loses none."""
        while not self._arrived:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.popleft()

    async def over(self, within_s: float) -> None:
        """Wait for the last arrival, but not for long."""
        if not self.is_over:
            self._left = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._left}, timeout=within_s)

    def resume(self, *, is_wanted: bool) -> None:
        """Let the thread read on: the body, or, if it is not wanted, a small rest of it."""
        self._leave.put(is_wanted)

    def abort(self) -> None:
        """Make the thread leave, whatever it is busy with."""
        self.connection.abort()
        self._leave.put(False)

    def was_idle_too_long(self, cause: BaseException) -> bool:
        """Tell whether `cause` means no more than that a kept connection had ended meanwhile."""
        return (
            self.connection.is_reused
            and self.phase == "header"
            and not self.is_answered
            and isinstance(cause, (EndedEarly, OSError))
            and not isinstance(cause, (TimeoutError, BlockingIOError))
        )

    def _receive(self, arrival: Chunk) -> None:
        self.is_over = arrival.is_last
        self._arrived.append(arrival)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self.is_over and self._left is not None and not self._left.done():
            self._left.set_result(None)

    # -- the thread's side -----------------------------------------------------------------------------

    def perform(self) -> None:
        """Perform the whole exchange. Never raises."""
        try:
            if not self.connection.is_reused:
                self.connection.connect()
                self.phase = "header"
                self._mailbox.post(self._entered)
            self._converse()
        except ProtocolBroken as broken:
            broken.url = self.request.url
            self.error = broken
        except BaseException as cause:  # noqa: BLE001  (the loop's side raises it)
            self.error = cause
        self._tell(is_last=True)

    def _entered(self) -> None:
        self._body.connected(0.0, self.connection.tls_s)
        self._body.set_phase("header")

    def _tell(self, *, is_last: bool = False) -> None:
        arrival = Chunk(self._response, self._data, is_last)
        self._response, self._data = None, b""
        self._mailbox.post(lambda: self._receive(arrival))

    def _may_go_on(self) -> bool:
        """Wait for the loop's leave."""
        is_wanted = self._leave.get()
        self.connection.check()
        return is_wanted

    def _converse(self) -> None:
        self.connection.sock.sendall(self._wire)
        head, rest = self._head()
        if head.status == 407 and self.connection.relays:
            raise failure_texts.relay_refused(self.request)
        frame = frame_of(head, self.request.method)
        framing, length = framing_of(frame), frame.length
        self.phase = "body"
        self._response = response_of(head, frame)
        fault: BaseException | None = None
        if framing.is_done:
            framing.has_surplus = bool(rest)
        else:
            fault = self._begin(framing, rest, is_small=length is None or length <= SMALL)
        if framing.is_done:
            self.connection.check()
        else:
            self._tell()
            is_wanted = self._may_go_on()
            if fault is not None:
                if is_wanted:
                    raise fault
                return  # of a body that nobody wants, nothing is wrong
            if is_wanted:
                self._stream(framing)
            else:
                self._read_rest(framing, length)
        self.keeps = (
            framing.is_done
            and not framing.has_surplus
            and frame.completeness != "eof-unverified"
            and stays_open(head)
        )

    def _head(self) -> tuple[Head, bytes]:
        """Receive the final head, and what came behind it."""
        receive = self.connection.sock.recv
        reader = HeadReader()
        while True:
            data = receive(SMALL)
            if not data:
                check_beginning(reader.beginning, self.request.method)
                raise EndedEarly
            self.is_answered = True
            head = reader.take(data)
            if head is not None:
                return head, reader.rest

    def _begin(self, framing: Framing, rest: bytes, *, is_small: bool) -> BaseException | None:
        """Take what came with the head, and of a small body what comes soon. Return what cut it short."""
        try:
            self._data = framing.feed(rest)
            if not framing.is_done and is_small:
                self._gather(framing)
        except (EndedEarly, OSError, ProtocolBroken) as fault:
            return fault
        return None

    def _gather(self, framing: Framing) -> None:
        """Wait a moment for the whole of a small body, so that it takes one crossing and not two."""
        pieces = [self._data]
        size = len(self._data)
        until = time.monotonic() + _GATHER_S
        try:
            while not framing.is_done and size < SMALL and (left_s := until - time.monotonic()) > 0:
                data = self.connection.receive_within(SMALL, left_s)
                if not data:
                    framing.end()
                    break
                pieces.append(framing.feed(data))
                size += len(pieces[-1])
        except TimeoutError:
            pass
        finally:
            self._data = b"".join(pieces)

    def _stream(self, framing: Framing) -> None:
        """Receive the rest of a body, in blocks: one may be on its way while the next is read."""
        receive = self.connection.sock.recv
        is_ahead = False
        while not framing.is_done:
            data = receive(BLOCK)
            self.connection.check()
            if not data:
                framing.end()
                break
            self._data = framing.feed(data)
            if not self._data or framing.is_done:
                continue
            if is_ahead:
                self._may_go_on()
            self._tell()
            is_ahead = True

    def _read_rest(self, framing: Framing, length: int | None) -> None:
        """Read what is left of an unwanted body, if that is cheaper than a new connection."""
        if length is None or length > SMALL_REST:
            return
        until = time.monotonic() + REST_TIME_S
        try:
            while not framing.is_done and (left_s := until - time.monotonic()) > 0:
                data = self.connection.receive_within(SMALL, left_s)
                if not data:
                    return
                framing.feed(data)
        except (OSError, ProtocolBroken):
            return
