"""The body of one attempt: taken as wire bytes, decoded once, held in memory or spooled to a part file.

The life: made, `set_phase` as the exchange proceeds, `begin` with the header, `feed` and `drain`, `finish`
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

Over 400 lines, because these hold over every way that one attempt can take, from the header to its end, and
each way may be cut short at any step; what is held is in `held_bytes`, what is written in `spool`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from fetcher.engine.body_options import BodyOptions
from fetcher.engine.decoding import Decoder
from fetcher.engine.digest import Digests
from fetcher.engine.held_bytes import HeldBytes
from fetcher.engine.segment import Segment, SegmentFilled
from fetcher.engine.spool import Spool
from fetcher.engine.wire_copy import WireCopy
from fetcher.errors import (
    BadEncoding,
    BodyTooLarge,
    ConnectionLost,
    PartialAnswer,
    Phase,
    ProtocolBroken,
    StorageError,
)
from fetcher.model import Headers, Part, Response
from fetcher.policy import resume
from fetcher.policy.checksums import (
    CONTENT_DIGEST,
    DIGEST_FIELDS,
    DIGEST_KEYS,
    REPR_DIGEST,
    algorithms_of,
    announced,
)
from fetcher.policy.content_encoding import content_codings
from fetcher.policy.http import NO_CONTENT, REDIRECTS
from fetcher.policy.ranges import PARTIAL_CONTENT, asks_range, content_range_of, may_be_part, part_in

TURN_BYTES = 524_288  # decoded before the loop has a turn
TURN_STEPS = 32  # the same, where steps give little
LATE_BYTES = 32_768  # from here on a hash is worth a place in another thread, if there is one anyway
ERROR_BODY = 1024 * 1024  # enough of an error's page to see what was wrong

_NO_LIMIT = 1 << 62


class SharedPart(Protocol):
    """A body that several exchanges fill (`BodySplit`), as one of them looks at it."""

    total: int

    @property
    def received(self) -> int: ...

    def part(self) -> Part: ...

    def began(self, segment: Segment) -> bool: ...


class Body:
    """One body: the `BodyWriter` that a backend fills, and the `Body` that a store takes.

    For the limits on time: `phase` since `phase_since` (of the loop's clock; `now` at first), `wire_bytes`,
    and `paused_s`, the time for which the server was made to wait, `throttled_s` of it for bandwidth;
    `is_paused` while it is. `connect_s` went to a connection, `name_s` and `tls_s` of it to DNS and TLS.
    `length` counts decoded bytes, those of a part that is continued included. `rest_of` is a part that an
    earlier attempt has left and whose rest was asked for; it is there until the answer decides about it.
    `response` is the head, as soon as there is one. `is_wanted` says whether a body belongs to it, and
    `is_cut` that it is kept in part only: an error's, and one of which no more than `keep` bytes are wanted.
    `has_trailer` says that text stood after its coding's end. With `hashes_late` a body in memory that is
    not small is hashed by `hash`, in the thread of the store. `part_held` says what it holds if that is a
    part, and `asked`, the request's fields, had no Range.
    `is_of_use` decides by the head of a success whether its body is read.
    `on_large` is called when a body that could be split, or has gaps, has begun to grow; then `segment` is
    the range of it that this exchange brings, and `split` the whole.
    `needs` are algorithms of checksums to be met, `announced` is the checksum that the answer brings; `found`
    has the digests to meet them, in hexadecimal by algorithm. `wire` is the body with its content-coding on,
    where that is wanted.
    """

    __slots__ = (
        "_algorithms",
        "_asked",
        "_block",
        "_continues",
        "_decoder",
        "_expected",
        "_fault",
        "_had_part",
        "_hashes_late",
        "_held",
        "_is_of_use",
        "_is_spare",
        "_limit",
        "_method",
        "_most_kept",
        "_rules",
        "_spool",
        "_total",
        "_url",
        "_validator",
        "_wait_s",
        "_written",
        "announced",
        "connect_s",
        "digest",
        "earlier_bytes",
        "found",
        "has_trailer",
        "is_connecting",
        "is_cut",
        "is_paused",
        "is_wanted",
        "length",
        "name_s",
        "on_large",
        "part_held",
        "paused_s",
        "phase",
        "phase_since",
        "response",
        "rest_of",
        "resumed_at",
        "segment",
        "sha256",
        "split",
        "throttled_s",
        "tls_s",
        "wire",
        "wire_bytes",
    )

    def __init__(
        self,
        rules: BodyOptions,
        url: str,
        method: str = "GET",
        keep: int | None = None,
        part: Part | None = None,
        asked: Sequence[tuple[str, str]] = (),
        *,
        now: float | None = None,
        needs: frozenset[str] = frozenset(),
        hashes_late: bool = False,
        on_large: Callable[[Body], None] | None = None,
        is_of_use: Callable[[Headers], bool] | None = None,
        segment: Segment | None = None,
        split: SharedPart | None = None,
    ) -> None:
        self._rules = rules
        self._hashes_late = hashes_late
        self._algorithms = rules.algorithms.also(needs) if needs else rules.algorithms
        self.announced: str | None = None
        self.found: Mapping[str, str] = {}
        self._asked = asked
        self._most_kept = keep
        self._is_of_use = is_of_use
        self._url = url
        self._method = method
        self.phase: Phase = "connect"
        self.phase_since = rules.now() if now is None else now
        self.wire_bytes = self.length = 0
        self.paused_s = self._wait_s = self.throttled_s = 0.0
        self.connect_s = self.name_s = self.tls_s = 0.0
        self.is_connecting = False
        self.is_wanted = self.is_paused = self.is_cut = self.has_trailer = self._is_spare = False
        self.sha256 = self.digest = ""
        self.response: Response | None = None
        self._held = HeldBytes(rules.budget)
        self._block = rules.block
        self._decoder: Decoder | None = None
        self._spool: Spool | None = None
        self._fault: StorageError | None = None
        self._expected: int | None = None
        self.part_held: str | None = None
        self.wire: WireCopy | None = None
        self._limit = _NO_LIMIT
        self._validator: str | None = None
        self._total: int | None = None
        self.rest_of = part
        self.on_large = on_large
        self.segment = segment
        self.split = split
        self._continues: Part | None = None
        self._had_part = part is not None
        self._written = 0
        self.earlier_bytes, self.resumed_at = (0, ()) if part is None else (part.wire_bytes, part.resumed_at)

    def set_phase(self, phase: Phase) -> None:
        """See `BodyWriter.set_phase`."""
        now = self._rules.now()
        if self.is_connecting or (phase == "connect" and self.phase == "connect"):
            self.connect_s += now - self.phase_since
        self.is_connecting = phase == "connect"
        self.phase = phase
        self.phase_since = now

    def connected(self, name_s: float, tls_s: float) -> None:
        """See `BodyWriter.connected`."""
        self.name_s += name_s
        self.tls_s += tls_s

    def begin(self, response: Response) -> bool:
        """See `BodyWriter.begin`. Redirects have no body for us, errors only in the library.

        Raises:
            BodyTooLarge: the declared length says so, and nothing is read.
            BadEncoding: a coding that can't be removed.
            PartialAnswer: a 206 that does not continue the part, or can't; the part is lost.
        """
        self.response = response
        self._expected = response.length
        self.phase = "body"
        self.phase_since = self._rules.now()
        status = response.status
        if self.segment is not None and self.split is not None:
            return self._begin_segment(self.segment, self.split, response)
        if status >= 300:
            return self._begin_error(response)
        if status in NO_CONTENT or self._method == "HEAD":
            return False
        if self._is_of_use is not None and not self._is_of_use(response.headers):
            return False
        rest_of = self.rest_of
        if rest_of is not None and self._meet_part(rest_of, response):
            is_wanted = self._begin_body(response)
            self._continues = rest_of
            if self.on_large is not None:
                self.on_large(self)
            return is_wanted
        if may_be_part(response):
            if rest_of is None and asks_range(self._asked):  # a range of the user's own
                return self._begin_body(response)
            self.part_held = part_in(response)
            if self.part_held is not None:
                return False
            if status == PARTIAL_CONTENT and (whole := content_range_of(response)) is not None:
                self._expected = whole.size
        return self._begin_body(response)

    def _begin_body(self, response: Response) -> bool:
        """Begin a body that is stored."""
        rules = self._rules
        if b"content-encoding" in response.headers.first:
            self._set_decoder(response)
        is_announced = not DIGEST_KEYS.isdisjoint(response.headers.first)
        if is_announced and self._spool is None and self._decoder is None and self._most_kept is None:
            names = CONTENT_DIGEST if response.status == PARTIAL_CONTENT else DIGEST_FIELDS
            self._expect_announced(response, names)
        if self._most_kept is not None:
            self._is_spare = True
            self._limit = self._most_kept
        elif rules.max_size is not None:
            self._limit = rules.max_size
            length = response.length if self._total is None else self._total
            if length is not None and length > self._limit:
                decoder = self._decoder
                if decoder is None or not decoder.may_expand():
                    raise self._too_large()
        self.is_wanted = True
        return True

    def _expect_announced(self, response: Response, names: Sequence[str]) -> None:
        """Be ready to meet what the fields `names` say of the bytes that are going to be stored."""
        self.announced = announced(response.headers, names)
        if self.announced is not None:
            self._algorithms = self._algorithms.also(algorithms_of([self.announced]))
            self._hashes_late = False

    def feed(self, data: bytes) -> bool:
        """See `BodyWriter.feed`."""
        if not self.is_wanted:
            return False
        size = len(data)
        self.wire_bytes += size
        must_drain = self._keep(data, size) if self._decoder is None else self._feed_decoder(data)
        bandwidth = self._rules.bandwidth
        if bandwidth is not None:
            self._wait_s = bandwidth.account(size)
            return must_drain or self._wait_s > 0
        return must_drain

    def room(self) -> memoryview | None:
        """See `BodyWriter.room`."""
        if self._spool is None or self._decoder is not None or not self.is_wanted or self._fault is not None:
            return None
        return self._held.room(self._block)

    def fill(self, size: int) -> bool:
        """See `BodyWriter.fill`."""
        rules = self._rules
        if not self.is_wanted:
            return False
        self.wire_bytes += size
        self.length += size
        if self.length > self._limit:
            if self.segment is None:
                raise self._too_large()
            self._held.fill(size - self._surplus())
            self._end_at_limit()
            return False
        must_drain = self._held.fill(size) >= rules.press_at and self._maybe_spool()
        if rules.bandwidth is not None:
            self._wait_s = rules.bandwidth.account(size)
            return must_drain or self._wait_s > 0
        return must_drain

    async def drain(self) -> None:
        """See `BodyWriter.drain`. Cancelling it leaves a block that is being written alone.

        Raises:
            BodyTooLarge, BadEncoding: what was fed is still being decoded here.
            StorageError: the part file can't be written.
        """
        started = self._rules.now()
        self.is_paused = True
        try:
            await self._finish_pending()
            if self._wait_s > 0:
                wait_s, self._wait_s = self._wait_s, 0.0
                self.throttled_s += wait_s
                await asyncio.sleep(wait_s)
        finally:
            self.is_paused = False
            self.paused_s += self._rules.now() - started

    async def finish(self) -> None:
        """The exchange returned: demand that the body is whole, write the rest, set `sha256` and `digest`.

        Raises:
            ConnectionLost, ProtocolBroken: fewer or more bytes came than Content-Length declared.
            BadEncoding: the decoder has not reached its end.
            BodyTooLarge, StorageError: as in `drain`.
        """
        response = self.response
        if response is None or not self.is_wanted:
            return
        if self._expected is not None and self._expected != self.wire_bytes:
            self._miscounted(self._expected)
        segment, whole = self.segment, self._total
        if segment is not None:
            whole = max(segment.end, min(self.length, segment.limit))
        if whole is not None and self.length != whole:
            raise ConnectionLost(f"the body was cut at {self.length} of {whole} bytes", phase="body")
        if self.segment is not None:
            return
        if self._decoder is not None:
            await self._finish_decoder()
        if self.wire is not None:
            await self.wire.finish()
        if self._fault is not None:
            raise self._fault
        if self._spool is not None:
            await self._finish_spool(self._spool)
            return
        if self._hashes_late and self.length >= LATE_BYTES:
            return
        self._hashes_late = False
        if self.length > TURN_BYTES:
            await self._hash_in_turns()
            return
        self._set_digests(self._algorithms.of(self._held.joined()))

    def hash(self) -> tuple[str, str]:
        """See `ports.Body`."""
        if self._hashes_late and self.is_wanted and self._spool is None:
            self._set_digests(self._algorithms.of(self.data() or b""))
            self._hashes_late = False
        return self.sha256, self.digest

    def _set_digests(self, digests: Digests) -> None:
        self.sha256, self.digest, others = digests
        self.found = {**others, "sha256": self.sha256} if self.sha256 else others

    def data(self) -> bytes | None:
        """The bytes, once finished, if they are in memory."""
        return None if self._spool is not None else bytes(self._held.joined())

    def part(self) -> str | None:
        """The path of the part file, closed once finished, if they were spooled."""
        return None if self._spool is None else self._spool.path

    def cut_page(self) -> bool:
        """Keep what came of an error's page, though the exchange failed. False if there is none."""
        response = self.response
        if not self.is_cut and self._is_spare and response is not None and response.status >= 300:
            self._truncate_optional()
        return self.is_cut

    def read_all(self) -> bytes:
        """The bytes of a complete body, wherever they are. Blocks if that is a part file."""
        data = self.data()
        if data is not None:
            return data
        part = self.part()
        return b"" if part is None else Path(part).read_bytes()

    @property
    def total(self) -> int | None:
        """The length of the whole, where that is known and no content-coding is on it."""
        if self._total is not None:
            return self._total
        if self.split is not None:
            return self.split.total
        response = self.response
        return None if response is None or self._decoder is not None else response.length

    @property
    def received(self) -> int:
        """The bytes of the whole that came, whatever connection brought them."""
        return self.length if self.split is None else self.split.received

    @property
    def spooled_to(self) -> int:
        """The end of the bytes that its file has."""
        return self._written if self._spool is None else self._spool.written

    @property
    def is_spooled(self) -> bool:
        """True if it grows in a part file."""
        return self._spool is not None

    def growing(self) -> Part | None:
        """The part as its file has it now, if a later attempt could continue it."""
        spool, rules = self._spool, self._rules
        if self.split is not None:
            part = self.split.part()
            return part if rules.resumes and part.held >= resume.LEAST_BYTES else None
        if spool is None or self._validator is None or not rules.resumes:
            return None
        if spool.written < resume.LEAST_BYTES:
            return None
        return Part(
            name=spool.name,
            address=self._url.partition("?")[0],
            validator=self._validator,
            total=self._total,
            extents=((0, spool.written),),
            resumed_at=self.resumed_at,
            wire_bytes=self.earlier_bytes + self.wire_bytes,
        )

    # -- a body that several connections fill --------------------------------------------------------

    def splittable(self) -> Part | None:
        """Return what earlier attempts have left of the body, if other connections could bring a range of it.

        None where its answer has no strong validator, or the user asked for a range.
        """
        spool = self._spool
        if spool is None or self._validator is None or (not self._had_part and asks_range(self._asked)):
            return None
        if self._continues is not None:
            return msgspec.structs.replace(self._continues, total=self._total)
        return Part(
            name=spool.name, address=self._url.partition("?")[0], validator=self._validator, total=self._total
        )

    def split_into(self, segment: Segment, split: SharedPart) -> None:
        """Go on as one of several exchanges that fill `split`; this one brings `segment`."""
        self.segment, self.split = segment, split
        segment.body = self
        self.limit_to(segment.limit)

    def limit_to(self, end: int) -> None:
        """Take what comes up to `end`, as the body of a segment."""
        self._limit = end - 1

    async def end_segment(self) -> StorageError | None:
        """The exchange is over: write out what came, and close the file. Returns what went wrong with it."""
        spool = self._spool
        if spool is None:
            return None
        await spool.wait()
        if spool.fault is None and self._held.size:
            spool.write(*self._held.hand_over())
            await spool.wait()
        return spool.fault

    def close_segment(self) -> None:
        """Close the file, which stays, and let go of charge and memory: at once, any number of times."""
        if self._spool is not None:
            self._written = self._spool.written
            self._spool.leave()
            self._spool = None
        self._held.let_go()

    def leave_pieces(self, good: tuple[tuple[int, int], ...]) -> Part:
        """Leave the file of a body that is all there, as a part that has its ranges `good` alone."""
        assert self._spool is not None
        part = Part(
            name=self._spool.name,
            address=self._url.partition("?")[0],
            validator="",
            total=self.length,
            extents=good,
            resumed_at=self.resumed_at,
            wire_bytes=self.earlier_bytes + self.wire_bytes,
        )
        self.close_segment()
        return part

    async def finish_split(self, part: Part, other_bytes: int) -> None:
        """All of `part` is on disk: set `length`, `sha256` and `digest`, which take another look at the file.

        Raises `StorageError`.
        """
        assert part.total is not None
        self.segment = self.split = None
        self.length = part.total
        self.earlier_bytes += other_bytes
        self._spool = self._rules.open_spool(part, part.total, self._algorithms)
        await self._finish_spool(self._spool)

    def _begin_segment(self, segment: Segment, split: SharedPart, response: Response) -> bool:
        if response.status >= 300:
            return False
        if response.status != PARTIAL_CONTENT:
            raise PartialAnswer("the answer is no range, where one was asked for")
        part = split.part()
        problem = resume.misfit_range(
            part, response, segment.begin, segment.asked_end, is_foreign=segment.is_foreign
        )
        if problem is not None:
            raise PartialAnswer(f"the answer is not the range that was asked for: {problem}")
        if not split.began(segment):
            return False
        self.length = segment.begin
        self._spool = self._rules.open_spool(part, segment.begin, self._algorithms, is_shared=True)
        segment.body = self
        self.limit_to(segment.limit)
        self.is_wanted = True
        self._rules.growth.set()
        return True

    def _surplus(self) -> int:
        """Go back to the end of the segment. Returns how many bytes came beyond it."""
        assert self.segment is not None
        surplus = self.length - max(self.segment.limit, self.segment.begin)
        self.length -= surplus
        return surplus

    def _end_at_limit(self) -> None:
        """The segment is filled. What the answer holds beyond it is left to others."""
        if self._expected is None or self.wire_bytes < self._expected:
            raise SegmentFilled

    # -- the end of an attempt -----------------------------------------------------------------------

    async def suspend(self) -> Part | None:
        """The body was cut off: write out what came of it, and leave the part; see `leave`.

        Cancelling it lets go of nothing: `leave` follows.
        """
        spool = self._spool
        if spool is not None and self._validator is not None:
            await spool.wait()
            if spool.fault is None and self._held.size:
                spool.write(*self._held.hand_over())
                await spool.wait()
        return self.leave()

    def leave(self) -> Part | None:
        """Let go of everything but a part that a later attempt can continue, and give that.

        It is this body's own, or the one that it was to continue, if no answer has come to that.
        """
        part = self.growing()
        if part is not None and self._spool is not None:
            self._spool.leave()
            self._spool = None
        else:
            part = self.rest_of
        self.discard()
        return part

    def discard(self) -> None:
        """Let go of charge, memory, decoder, descriptor and part file: any time, any number of times.

        A part that the store moved away is no longer ours and stays where it is.
        """
        self.is_wanted = False
        self._decoder = None
        self._held.let_go()
        if self.wire is not None:
            self.wire.discard()
        if self._spool is not None:
            self._spool.abandon()

    def _meet_part(self, part: Part, response: Response) -> bool:
        """Go on where the part ends, or begin anew (False): the answer is whole, or of another version."""
        rules = self._rules
        self.rest_of = None
        if response.status != PARTIAL_CONTENT:
            rules.remove(part)
            self.resumed_at = ()
            return False
        problem = resume.misfit(part, response)
        if problem is not None or rules.parts is None or rules.executor is None:
            rules.remove(part)
            raise PartialAnswer(f"the answer does not continue what is there: {problem}")
        self.length = resume.begin_of_rest(part)
        self._expect_announced(response, REPR_DIGEST)
        try:
            self._spool = rules.open_spool(
                part, self.length, self._algorithms, is_shared=resume.end_of_rest(part) is not None
            )
        except StorageError as error:
            if error.exhausted:
                self.rest_of = part
                raise
            rules.remove(part)  # it is gone, or short; where the disk is to blame, a new part will tell
            raise PartialAnswer(f"what is there can't be continued: {error.message}") from error
        self._validator, self._total = part.validator, resume.total_of(part, response)
        if self.length not in part.resumed_at:  # nothing came when it was tried there before
            self.resumed_at = (*part.resumed_at, self.length)
        rules.growth.set()
        return True

    def _begin_error(self, response: Response) -> bool:
        """A body that is only looked at: nothing that is wrong with it matters, and it is cut."""
        if (
            not self._rules.keep_error_bodies
            or self._method == "HEAD"
            or response.status in NO_CONTENT
            or (
                response.status in REDIRECTS
                and response.headers.find(b"location") is not None
                and not self._rules.keeps_wire
            )
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
        applied = content_codings(response.headers, self._url.partition("?")[0])
        if applied:
            self._decoder = Decoder(applied)
            if self._rules.keeps_wire:
                self.wire = self._new_wire_copy(None if response.status < 300 else ERROR_BODY)

    def _new_wire_copy(self, most: int | None) -> WireCopy:
        rules = self._rules
        return WireCopy(
            rules.budget,
            spool_at=rules.spool_at,
            press_at=rules.press_at,
            most=most,
            new_spool=None if rules.parts is None or most is not None else rules.new_spool,
        )

    def _keep(self, data: bytes, size: int) -> bool:
        """Take `size` decoded bytes. True if the caller must drain."""
        self.length += size
        if self.length > self._limit:
            self._overflow(data)
            return False
        rules = self._rules
        held = self._held.add(data, size) if self._spool is None else self._held.pour(data, self._block)
        return held >= rules.press_at and self._maybe_spool()

    def _maybe_spool(self) -> bool:
        """Enough is held to look at the disk and the budget. True if the caller must drain."""
        rules = self._rules
        is_spent = rules.budget.is_spent
        spool = self._spool
        if spool is None:
            if rules.parts is None or self._is_spare:
                return False
            if self._fault is not None:
                return True
            if self._held.size < rules.spool_at and not is_spent:
                return False
            try:
                spool = self._spool = rules.new_spool(self._algorithms)
            except StorageError as error:
                self._fault = error  # `feed` has no such error; `drain` and `finish` have
                return True
            response = self.response
            is_plain = self._decoder is None and self._method == "GET"
            if is_plain and response is not None and (rules.resumes or rules.connections > 1):
                self._validator, self._total = resume.resumable(response), response.length
                rules.growth.set()
                if self.on_large is not None and resume.takes_ranges(response):
                    self.on_large(self)
        if spool.is_writing or spool.fault is not None:
            return is_spent or self._held.size >= self._block or spool.fault is not None
        if is_spent or self._held.size >= self._block:
            spool.write(*self._held.hand_over())
        return is_spent

    async def _wait_for_room(self) -> None:
        """Wait until more may be held: the other half of `_maybe_spool`."""
        if self._fault is not None:
            raise self._fault
        spool = self._spool
        if spool is None:
            return
        rules = self._rules
        while spool.fault is None:
            is_spent = rules.budget.is_spent
            if spool.is_writing:
                if not is_spent and self._held.size < self._block:
                    return
                await spool.wait()
            elif self._held.size >= (rules.press_at if is_spent else self._block):
                spool.write(*self._held.hand_over())
                self._enlarge_blocks()
            else:
                return
        raise spool.fault

    def _enlarge_blocks(self) -> None:
        """Hold more at once: the disk is behind the network, and each block costs a way to a thread and back.

        What comes slowly stays in small blocks, of which a kill loses less.
        """
        size = min(2 * self._block, self._rules.largest_block)
        if size > self._block and self._held.enlarge(size):
            self._block = size

    def _feed_decoder(self, data: bytes) -> bool:
        decoder = self._decoder
        if decoder is None:
            return False
        while decoder.is_pending:  # the caller did not drain, so it gets no turns
            self._run_decoder()
        decoder.feed(data)
        must_drain = self.wire is not None and self.wire.add(data)
        return self._run_decoder() or must_drain

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
                    must_drain = self._keep(output, len(output))
                if not decoder.is_pending:
                    return must_drain
                if must_drain or self.length - begun_at >= TURN_BYTES:
                    break
        except BadEncoding:
            self._truncate_optional()
            raise
        return True

    async def _finish_pending(self) -> None:
        """Bring the disk and the decoder up to what was fed."""
        if self.wire is not None:
            await self.wire.drain()
        await self._wait_for_room()
        while self._decoder is not None and self._decoder.is_pending:
            await asyncio.sleep(0)
            self._run_decoder()
            await self._wait_for_room()

    async def _finish_decoder(self) -> None:
        self.is_paused = True  # the server has done its part
        try:
            await self._finish_pending()
            if self._decoder is not None:
                left = self._decoder.finish()
                self.has_trailer = self._decoder.has_passed_over
                if left:
                    self._keep(left, len(left))
        except (BadEncoding, BodyTooLarge):
            self._truncate_optional()
            if not self.is_cut:
                raise
        self._decoder = None  # its window may be megabytes

    async def _finish_spool(self, spool: Spool) -> None:
        self.is_paused = True  # the server has done its part
        started = self._rules.now()
        await spool.wait()
        if spool.fault is None:
            spool.write(*self._held.hand_over(), is_last=True)
        self._set_digests(await spool.digests())
        self.paused_s += self._rules.now() - started
        self._held.let_go_blocks()

    async def _hash_in_turns(self) -> None:
        """A large body in memory: hashed at once it would hold up the loop."""
        self.is_paused = True
        hashers = self._algorithms.begin()
        hashed = 0
        for chunk in self._held.chunks:  # `discard` makes a new list
            hashers.update(chunk)
            hashed += len(chunk)
            if hashed >= TURN_BYTES:
                hashed = 0
                await asyncio.sleep(0)
        if self.is_wanted:
            self._set_digests(hashers.digests())

    def _miscounted(self, declared: int) -> None:
        self._truncate_optional()
        if self.is_cut:
            return
        if self.wire_bytes < declared:
            raise ConnectionLost(f"the body was cut at {self.wire_bytes} of {declared} bytes", phase="body")
        raise ProtocolBroken(f"{self.wire_bytes} bytes came where {declared} were declared", phase="body")

    def _overflow(self, data: bytes) -> None:
        """`data` passed the limit. A segment and an error's body keep what fits."""
        if self.segment is not None:
            kept = data[: len(data) - self._surplus()]
            self._held.add(kept, len(kept))
            self._end_at_limit()
            return
        self.length -= len(data)
        if self._is_spare:
            room = self._limit - self.length
            if room > 0:
                self._keep(data[:room], room)
            self._truncate_optional()
        raise self._too_large()

    def _truncate_optional(self) -> None:
        """Settle for what was kept of an error's body."""
        if self._is_spare:
            self.is_cut = True
            self._decoder = None
            self._limit = self.length

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body is larger than {self._limit} bytes")
