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

from fetcher.backends.blocking.connection import Connection
from fetcher.backends.blocking.crew import Mailbox
from fetcher.backends.blocking.framing import Ended, Framing, framing_of, stays_open
from fetcher.backends.blocking.head import END, HEAD_BYTES, Broken, Head, parse_head
from fetcher.errors import Phase
from fetcher.model import Headers, Request, Response
from fetcher.ports import BodyWriter

SMALL: Final = 64 * 1024  # header and body that cross to the loop in one go, and a rest worth reading
BLOCK: Final = 256 * 1024
_GATHER_S: Final = 0.05  # for a small body that is not there at once; then the loop is told of the head
_REST_TIME_S: Final = 1.0
_MOST_INTERIM: Final = 32  # 1xx answers before the final one
_START: Final = b"HTTP/"


class Arrival(NamedTuple):
    """What the thread tells."""

    response: Response | None
    data: bytes
    is_last: bool


class Hop:
    """See the module. `perform` is the thread's, `give_leave`, `arrival` and `abort` are the loop's.

    `keeps` tells, after the last arrival, that the connection is at the beginning of the next answer.
    """

    def __init__(
        self, request: Request, wire: bytes, connection: Connection, body: BodyWriter, mailbox: Mailbox
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
        self._arrived: deque[Arrival] = deque()
        self.error: BaseException | None = None  # what ended it, after the last arrival
        self._waiter: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] | None = None
        self._response: Response | None = None  # what was read and not told yet
        self._data = b""

    # -- the loop's side -------------------------------------------------------------------------------

    async def arrival(self) -> Arrival:
        """The next thing that the thread tells. Cancelling loses none."""
        while not self._arrived:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.popleft()

    async def over(self, within_s: float) -> None:
        """Wait for the last arrival, but not for long."""
        if not self.is_over:
            self._left = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._left}, timeout=within_s)

    def give_leave(self, *, is_wanted: bool) -> None:
        """Let the thread read on: the body, or, if it is not wanted, a small rest of it."""
        self._leave.put(is_wanted)

    def abort(self) -> None:
        """Make the thread leave, whatever it is busy with."""
        self.connection.abort()
        self._leave.put(False)

    def was_idle_too_long(self, cause: BaseException) -> bool:
        """Whether `cause` says no more than that a kept connection had ended meanwhile."""
        return (
            self.connection.is_reused
            and self.phase == "header"
            and not self.is_answered
            and isinstance(cause, (Ended, OSError))
            and not isinstance(cause, (TimeoutError, BlockingIOError))
        )

    def _receive(self, arrival: Arrival) -> None:
        self.is_over = arrival.is_last
        self._arrived.append(arrival)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self.is_over and self._left is not None and not self._left.done():
            self._left.set_result(None)

    # -- the thread's side -----------------------------------------------------------------------------

    def perform(self) -> None:
        """The whole exchange. Never raises."""
        try:
            if not self.connection.is_reused:
                self.connection.connect()
                self.phase = "header"
                self._mailbox.post(self._entered)
            self._converse()
        except BaseException as cause:  # noqa: BLE001  (the loop's side raises it)
            self.error = cause
        self._tell(is_last=True)

    def _entered(self) -> None:
        self._body.enter("header")

    def _tell(self, *, is_last: bool = False) -> None:
        arrival = Arrival(self._response, self._data, is_last)
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
        framing, length = framing_of(head, is_head=self.request.method == "HEAD")
        self.phase = "body"
        self._response = Response(
            status=head.status,
            headers=Headers(head.fields),
            http_version=f"1.{head.minor}",
            completeness=framing.completeness,
            length=length,
        )
        if rest or not framing.is_done:
            self._data = framing.take(rest)
        if not framing.is_done and (length is None or length <= SMALL):
            self._gather(framing)
        if framing.is_done:
            self.connection.check()
        else:
            self._tell()
            if self._may_go_on():
                self._stream(framing)
            else:
                self._read_rest(framing, length)
        self.keeps = framing.is_done and not framing.has_surplus and stays_open(head)
        if framing.completeness == "eof-unverified":
            self.keeps = False

    def _head(self) -> tuple[Head, bytes]:
        """The final head, and what came behind it. Interim ones are passed over, up to a bound."""
        receive = self.connection.sock.recv
        came = 0
        buffer: bytes | bytearray = b""
        for _ in range(_MOST_INTERIM + 1):
            start = 0
            while (end := END.search(buffer, start)) is None:
                if buffer[: len(_START)] != _START[: len(buffer)]:
                    raise Broken("no status line")
                data = receive(SMALL)
                if not data:
                    raise Ended
                self.is_answered = True
                came += len(data)
                if came > HEAD_BYTES + SMALL:
                    raise Broken(f"header larger than {HEAD_BYTES} bytes")
                start = max(0, len(buffer) - 2)
                if buffer:
                    buffer = bytearray(buffer)
                    buffer += data
                else:
                    buffer = data
            head = parse_head(bytes(buffer[: end.start()]))
            buffer = bytes(buffer[end.end() :])
            if head.status >= 200:
                return head, buffer
            if head.status == 101:
                raise Broken("switching protocols unasked")
        raise Broken(f"more than {_MOST_INTERIM} interim answers")

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
                pieces.append(framing.take(data))
                size += len(pieces[-1])
        except TimeoutError:
            pass
        finally:
            self._data = b"".join(pieces)

    def _stream(self, framing: Framing) -> None:
        """The rest of a body, in blocks: one may be on its way while the next is read."""
        receive = self.connection.sock.recv
        is_ahead = False
        while not framing.is_done:
            data = receive(BLOCK)
            self.connection.check()
            if not data:
                framing.end()
                break
            self._data = framing.take(data)
            if not self._data or framing.is_done:
                continue
            if is_ahead:
                self._may_go_on()
            self._tell()
            is_ahead = True

    def _read_rest(self, framing: Framing, length: int | None) -> None:
        """Read what is left of an unwanted body, if that is cheaper than a new connection."""
        if length is None or length > SMALL:
            return
        until = time.monotonic() + _REST_TIME_S
        try:
            while not framing.is_done and (left_s := until - time.monotonic()) > 0:
                data = self.connection.receive_within(SMALL, left_s)
                if not data:
                    return
                framing.take(data)
        except (OSError, Broken):
            return
