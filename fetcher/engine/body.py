"""The body of one attempt: taken as wire bytes, decoded once, held in memory or spooled to a part file.

The life: made, `enter` as the exchange proceeds, `begin` with the header, `feed` and `drain`, `finish`
after the exchange returned, `discard` when nobody needs it any more (or at any earlier moment). All on
the loop's thread. A new attempt has a new body.

Invariants:

- Every decoded byte in memory is charged to the run's budget, and given back once: when it is written,
  or at `discard`. After `discard` there is no charge, no descriptor and no file, and nothing brings
  them back: a backend that is late feeds into nothing.
- `drain` waits for this body's own block on the disk, for bandwidth, or for a turn of the loop; never
  for another body and never for the budget. So a spent budget can't deadlock. It makes bodies spool
  early, and one block at a time: then each in flight holds at most `SMALL` and one chunk, where it
  would hold two blocks. Small bodies and those that may not spool pass; claiming stops instead.
- A step of decoding is bounded (see `decoding`), and the loop has a turn after a few.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from fetcher.engine.budget import Bandwidth, ByteBudget
from fetcher.engine.decoding import Decoder
from fetcher.engine.spool import Spool
from fetcher.errors import BadEncoding, BodyTooLarge, ConnectionLost, Phase, ProtocolBroken, StorageError
from fetcher.model import Response
from fetcher.policy.content import codings

SMALL = 65_536  # below this a body is never asked to wait for the disk
TINY = 4_096  # chunks smaller than this are gathered: an object for each would cost more than its bytes
TURN_BYTES = 524_288  # decoded before the loop has a turn
TURN_STEPS = 32  # the same, where steps give little
ERROR_BODY = 1024 * 1024  # enough of an error's page to see what was wrong

_NO_LIMIT = 1 << 62
_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_NO_CONTENT = frozenset({204, 205, 304})  # RFC 9110 §15.3.5, §15.3.6, §15.4.5


@dataclass(slots=True, kw_only=True, eq=False)
class BodyRules:
    """What all bodies of a run share. `parts` and `executor` are None where bodies stay in memory.

    `now` is the loop's clock. `executor` is for the part files alone: on the loop's default one a slow
    disk would delay whatever else runs there.
    """

    budget: ByteBudget
    now: Callable[[], float]
    max_size: int | None = None
    spool_at: int = 262_144
    block: int = 262_144
    parts: str | None = None
    executor: Executor | None = None
    bandwidth: Bandwidth | None = None
    keep_error_bodies: bool = False
    numbers: Iterator[int] = field(default_factory=itertools.count)  # of part files
    press_at: int = field(init=False)  # held bytes from which a body looks at the disk and the budget

    def __post_init__(self) -> None:
        if self.parts is not None and self.executor is None:
            raise ValueError("part files need an executor of their own")
        self.press_at = min(SMALL, self.spool_at, self.block)


class Body:
    """One body: the `BodyWriter` that a backend fills, and the `Body` that a store takes.

    For the limits on time: `phase` since `phase_since`, `last_progress` (all of the loop's clock),
    `wire_bytes`, and `paused_s`, the time for which the server was made to wait; `is_paused` while it
    is. `length` counts decoded bytes. `response` is the head, as soon as there is one. `is_wanted`
    says whether a body belongs to it, and `is_cut` that it is kept in part only: an error's, and one of
    which no more than `keep` bytes are wanted.
    """

    __slots__ = (
        "_chunks",
        "_decoder",
        "_fault",
        "_held",
        "_is_spare",
        "_limit",
        "_method",
        "_most_kept",
        "_rules",
        "_spool",
        "_wait_s",
        "is_cut",
        "is_paused",
        "is_wanted",
        "last_progress",
        "length",
        "paused_s",
        "phase",
        "phase_since",
        "response",
        "sha256",
        "url_path",
        "wire_bytes",
    )

    def __init__(self, rules: BodyRules, url_path: str, method: str = "GET", keep: int | None = None) -> None:
        self._rules = rules
        self._most_kept = keep
        self.url_path = url_path
        self._method = method
        self.phase: Phase = "connect"
        self.phase_since = self.last_progress = rules.now()
        self.wire_bytes = self.length = self._held = 0
        self.paused_s = self._wait_s = 0.0
        self.is_wanted = self.is_paused = self.is_cut = self._is_spare = False
        self.sha256 = ""
        self.response: Response | None = None
        self._chunks: list[bytes | bytearray] = []
        self._decoder: Decoder | None = None
        self._spool: Spool | None = None
        self._fault: StorageError | None = None
        self._limit = _NO_LIMIT

    def enter(self, phase: Phase) -> None:
        """See `BodyWriter.enter`."""
        self.phase = phase
        self.phase_since = self.last_progress = self._rules.now()

    def begin(self, response: Response) -> bool:
        """See `BodyWriter.begin`. Redirects have no body for us, errors only in the library.

        Raises:
            BodyTooLarge: the declared length says so, and nothing is read.
            BadEncoding: a coding that can't be removed.
        """
        rules = self._rules
        self.response = response
        self.phase = "body"
        self.phase_since = self.last_progress = rules.now()
        status = response.status
        if status >= 300:
            return self._begin_error(response)
        if status in _NO_CONTENT or self._method == "HEAD":
            return False
        headers = response.headers
        if headers.find(b"content-encoding") is not None:
            self._set_decoder(response)
        if self._most_kept is not None:
            self._is_spare = True
            self._limit = self._most_kept
        elif rules.max_size is not None:
            self._limit = rules.max_size
            if self._decoder is None and response.length is not None and response.length > self._limit:
                raise self._too_large()
        self.is_wanted = True
        return True

    def feed(self, data: bytes) -> bool:
        """See `BodyWriter.feed`."""
        rules = self._rules
        self.last_progress = rules.now()
        if not self.is_wanted:
            return False
        self.wire_bytes += len(data)
        must_drain = self._keep(data) if self._decoder is None else self._feed_decoder(data)
        if rules.bandwidth is not None:
            self._wait_s = rules.bandwidth.charge(len(data))
            return must_drain or self._wait_s > 0
        return must_drain

    async def drain(self) -> None:
        """See `BodyWriter.drain`. Cancelling it leaves a block that is being written alone.

        Raises:
            BodyTooLarge, BadEncoding: what was fed is still being decoded here.
            StorageError: the part file can't be written.
        """
        now = self._rules.now
        started = now()
        self.is_paused = True
        try:
            await self._settle_down()
            if self._wait_s > 0:
                wait_s, self._wait_s = self._wait_s, 0.0
                await asyncio.sleep(wait_s)
        finally:
            self.is_paused = False
            self.last_progress = now()
            self.paused_s += self.last_progress - started

    async def finish(self) -> None:
        """The exchange returned: demand that the body is whole, write the rest, set `sha256`.

        Raises:
            ConnectionLost, ProtocolBroken: fewer or more bytes came than Content-Length declared.
            BadEncoding: the decoder has not reached its end.
            BodyTooLarge, StorageError: as in `drain`.
        """
        response = self.response
        if response is None or not self.is_wanted:
            return
        if response.length is not None and response.length != self.wire_bytes:
            self._miscounted(response.length)
        if self._decoder is not None:
            await self._finish_decoder()
        if self._fault is not None:
            raise self._fault
        if self._spool is not None:
            await self._finish_spool(self._spool)
            return
        if self.length > TURN_BYTES:
            await self._hash_in_turns()
            return
        chunks = self._chunks
        if len(chunks) != 1:
            self._chunks = chunks = [b"".join(chunks)]
        self.sha256 = sha256(chunks[0]).hexdigest()

    def data(self) -> bytes | None:
        """The bytes, once finished, if they are in memory."""
        if self._spool is not None:
            return None
        return bytes(self._chunks[0]) if self._chunks else b""

    def part(self) -> str | None:
        """The path of the part file, closed once finished, if they were spooled."""
        return None if self._spool is None else self._spool.path

    def read_all(self) -> bytes:
        """The bytes of a complete body, wherever they are. Blocks if that is a part file."""
        data = self.data()
        if data is not None:
            return data
        part = self.part()
        return b"" if part is None else Path(part).read_bytes()

    def discard(self) -> None:
        """Let go of charge, memory, decoder, descriptor and part file: any time, any number of times.

        A part that the store moved away is no longer ours and stays where it is.
        """
        self.is_wanted = False
        self._decoder = None
        if self._held:
            self._rules.budget.give(self._held)
            self._held = 0
        self._chunks = []
        if self._spool is not None:
            self._spool.abandon()

    def _begin_error(self, response: Response) -> bool:
        """A body that is only looked at: nothing that is wrong with it matters, and it is cut."""
        if (
            not self._rules.keep_error_bodies
            or self._method == "HEAD"
            or response.status in _NO_CONTENT
            or (response.status in _FOLLOWED and response.headers.find(b"location") is not None)
        ):
            return False
        try:
            self._set_decoder(response)
        except BadEncoding:
            return False
        self._is_spare = True
        max_size = self._rules.max_size
        self._limit = ERROR_BODY if max_size is None else min(ERROR_BODY, max_size)
        self.is_wanted = True
        return True

    def _set_decoder(self, response: Response) -> None:
        applied = codings(response.headers, self.url_path)
        if applied:
            self._decoder = Decoder(applied)

    def _keep(self, data: bytes) -> bool:
        """Take decoded bytes. True if the caller must drain."""
        size = len(data)
        self.length += size
        if self.length > self._limit:
            self._overflow(data)
        chunks = self._chunks
        if size >= TINY or not chunks:
            chunks.append(data)
        else:
            last = chunks[-1]
            if type(last) is bytearray and len(last) < SMALL:
                last += data
            else:
                chunks.append(bytearray(data))
        rules = self._rules
        rules.budget.take(size)
        self._held = held = self._held + size
        return held >= rules.press_at and self._press()

    def _press(self) -> bool:
        """Enough is held to look at the disk and the budget. True if the caller must drain."""
        rules = self._rules
        is_spent = rules.budget.is_spent
        spool = self._spool
        if spool is None:
            if rules.parts is None or rules.executor is None or self._is_spare:
                return False
            if self._fault is not None:
                return True
            if self._held < rules.spool_at and not is_spent:
                return False
            try:
                spool = self._spool = Spool(rules.parts, rules.numbers, rules.executor, rules.budget)
            except StorageError as error:
                self._fault = error  # `feed` has no such error; `drain` and `finish` have
                return True
        if spool.is_writing or spool.fault is not None:
            return is_spent or self._held >= rules.block or spool.fault is not None
        if is_spent or self._held >= rules.block:
            spool.write(*self._hand_over())
        return is_spent

    async def _relieve(self) -> None:
        """Wait until more may be held: the other half of `_press`."""
        if self._fault is not None:
            raise self._fault
        spool = self._spool
        if spool is None:
            return
        rules = self._rules
        while spool.fault is None:
            is_spent = rules.budget.is_spent
            if spool.is_writing:
                if not is_spent and self._held < rules.block:
                    return
                await spool.wait()
            elif self._held >= (rules.press_at if is_spent else rules.block):
                spool.write(*self._hand_over())
            else:
                return
        raise spool.fault

    def _hand_over(self) -> tuple[list[bytes | bytearray], int]:
        """What is held, with its charge, for the spool."""
        chunks, held = self._chunks, self._held
        self._chunks, self._held = [], 0
        return chunks, held

    def _feed_decoder(self, data: bytes) -> bool:
        decoder = self._decoder
        if decoder is None:
            return False
        while decoder.is_pending:  # the caller did not drain, so it gets no turns
            self._run_decoder()
        decoder.feed(data)
        return self._run_decoder()

    def _run_decoder(self) -> bool:
        """Decode until it is done, or time for something else. True if the caller must drain."""
        decoder = self._decoder
        if decoder is None:
            return False
        must_drain = False
        begun_at = self.length
        try:
            for _ in range(TURN_STEPS):
                output = decoder.step()
                if output:
                    must_drain = self._keep(output)
                if not decoder.is_pending:
                    return must_drain
                if must_drain or self.length - begun_at >= TURN_BYTES:
                    break
        except BadEncoding:
            self._cut_spare()
            raise
        return True

    async def _settle_down(self) -> None:
        """Bring the disk and the decoder up to what was fed."""
        await self._relieve()
        while self._decoder is not None and self._decoder.is_pending:
            await asyncio.sleep(0)
            self._run_decoder()
            await self._relieve()

    async def _finish_decoder(self) -> None:
        self.is_paused = True  # the server has done its part
        try:
            await self._settle_down()
            if self._decoder is not None:
                self._decoder.finish()
        except (BadEncoding, BodyTooLarge):
            self._cut_spare()
            if not self.is_cut:
                raise
        self._decoder = None  # its window may be megabytes

    async def _finish_spool(self, spool: Spool) -> None:
        self.is_paused = True  # the server has done its part
        await spool.wait()
        if spool.fault is None:
            spool.write(*self._hand_over(), is_last=True)
        self.sha256 = await spool.digest()

    async def _hash_in_turns(self) -> None:
        """A large body in memory: hashed at once it would hold up the loop."""
        self.is_paused = True
        digest = sha256()
        hashed = 0
        for chunk in self._chunks:  # `discard` makes a new list
            digest.update(chunk)
            hashed += len(chunk)
            if hashed >= TURN_BYTES:
                hashed = 0
                await asyncio.sleep(0)
        if self.is_wanted:
            self._chunks = [b"".join(self._chunks)]
            self.sha256 = digest.hexdigest()

    def _miscounted(self, declared: int) -> None:
        self._cut_spare()
        if self.is_cut:
            return
        if self.wire_bytes < declared:
            raise ConnectionLost(f"the body was cut at {self.wire_bytes} of {declared} bytes", phase="body")
        raise ProtocolBroken(f"{self.wire_bytes} bytes came where {declared} were declared", phase="body")

    def _overflow(self, data: bytes) -> NoReturn:
        """`data` passed the limit. An error's body keeps what fits."""
        self.length -= len(data)
        if self._is_spare:
            room = self._limit - self.length
            if room > 0:
                self._keep(data[:room])
            self._cut_spare()
        raise self._too_large()

    def _cut_spare(self) -> None:
        """What was kept of an error's body is all that there will be."""
        if self._is_spare:
            self.is_cut = True
            self._decoder = None
            self._limit = self.length

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than {self._limit} bytes")
