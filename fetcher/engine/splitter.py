"""The exchanges of one body over several connections: begun, gone on with, and brought together at the end.

Further connections are fetches of the same job in the scheduler, so limits of host, rate and concurrency
count them like any other. Each takes a range when it has a slot, and queues again when it has filled it.

Invariant: a body in segments has an exchange in flight or a fetch that waits, until it is concluded: handed
on once, whole or with the error of the attempt.
"""

from __future__ import annotations

from fetcher.engine.body import Body
from fetcher.engine.body_split import LEAST_SEGMENT, BodySplit, SegmentFetch
from fetcher.engine.engine_state import EngineState
from fetcher.engine.failure_handler import FailureHandler
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.piece_check import PieceCheck
from fetcher.engine.response_handler import ResponseHandler
from fetcher.engine.segment import Segment
from fetcher.errors import ConnectionLost, FetcherError, PartialAnswer, PieceMismatch
from fetcher.model import Request, Response, Target
from fetcher.policy.checksums import mismatch
from fetcher.policy.resume import LEAST_BYTES, begin_of_rest, end_of_rest
from fetcher.policy.urls import admit


class Splitter:
    """Performs what a `BodySplit` decides, for the tasks of one pool."""

    def __init__(
        self, state: EngineState, responses: ResponseHandler, failures: FailureHandler, pieces: PieceCheck
    ) -> None:
        self._state = state
        self._responses = responses
        self._failures = failures
        self._pieces = pieces

    def offer(self, fetch: FetchState, request: Request, body: Body, started: float) -> None:
        """Split a body that proved large, if its answer allows that and it is worth it.

        One that has gaps already is always filled in segments, be it by one connection.
        """
        state, options = self._state, self._state.body_options
        part = body.splittable()
        if part is None or part.total is None or state.keeps_exchanges:
            return
        begin, end = (begin_of_rest(part), end_of_rest(part)) if part.extents else (0, None)
        has_gaps = end is not None
        segment = Segment(begin, part.total if end is None else end, started, asked_end=end)
        connections = 1 if fetch.is_unsplit else options.connections
        is_large = part.total >= options.split_size and segment.end - segment.begin >= 2 * LEAST_SEGMENT
        if not has_gaps and (connections == 1 or not is_large):
            return
        split = BodySplit(part, segment, fetch, request, body, started)
        body.split_into(segment, split)
        state.splits.add(split)
        if is_large:
            places = self._places(fetch)
            for number in range(1, connections):
                self._queue(split, places[number % len(places)])

    async def ended(
        self,
        split: BodySplit,
        segment: Segment,
        fetch: FetchState,
        body: Body,
        response: Response | None,
        error: FetcherError | None,
    ) -> None:
        """Let the connection of an exchange that is over go on, or conclude."""
        state = self._state
        try:
            fault = await body.end_segment()
        finally:
            body.close_segment()
            split.ended(segment)
        if segment is not split.leader:
            split.other_bytes += body.wire_bytes
        error = error or fault
        if error is None and response is not None and response.status >= 300:
            self._failures.throttled(fetch, response, body, state.clock.now())
            error = ConnectionLost(f"HTTP {response.status} where a range was asked for", phase="header")
            if response.status == 416:
                error = PartialAnswer("the range that was asked for is not there (HTTP 416)")
        elif error is None:
            state.scheduler.on_success(fetch.target.host, state.clock.now())
        if isinstance(error, PartialAnswer) and not segment.is_foreign:
            split.stop(error)
        split.error = split.error or error
        came = segment.on_disk - segment.begin
        if not split.is_stopped and (error is None or came >= LEAST_SEGMENT):
            self._go_on(split, fetch.target)
        if split.is_stopped or split.is_whole:
            self._withdraw(split)
        await self.conclude_if_over(split)

    def _places(self, fetch: FetchState) -> list[Target]:
        """Return where ranges may come from: the mirrors too, if a mixture would be seen by a hash.

        Worker processes keep to the one host: the others' limits are with other workers.
        """
        extra = fetch.job.overrides
        if extra is None or fetch.is_unmixed or self._state.is_one_of_many:
            return [fetch.target]
        if not extra.wanted and extra.pieces is None:
            return [fetch.target]
        return [fetch.target, *map(admit, extra.mirrors[fetch.mirror :])]

    def _go_on(self, split: BodySplit, target: Target) -> None:
        """The connection is free: it queues for another range, if there is one."""
        if split.next_range(self._state.clock.now()) is not None:
            self._queue(split, target)

    def _queue(self, split: BodySplit, target: Target) -> None:
        first = split.fetch
        is_foreign = target.url != first.target.url
        fetch = SegmentFetch(
            job=first.job,
            target=target,
            started_utc=first.started_utc,
            allow_private=first.job.is_user_host if is_foreign else first.allow_private,
            cookies=None if is_foreign else first.cookies,
            split=split,
            is_foreign=is_foreign,
        )
        split.waiting.append(fetch)
        self._state.scheduler.push_first(fetch)

    def _withdraw(self, split: BodySplit) -> None:
        for fetch in split.waiting:
            self._state.scheduler.withdraw(fetch)
        split.waiting.clear()

    async def conclude_if_over(self, split: BodySplit) -> None:
        """Conclude, unless an exchange is under way or to come; what a stop cuts off is for another run.

        What is whole waits for no answer.
        """
        if split.is_over or any(segment.body is not None for segment in split.in_flight):
            return
        is_left = split.in_flight or split.waiting or self._state.is_stopping
        if split.is_whole or not is_left:
            split.is_over = True
            for segment in split.in_flight:
                segment.give_up()
            await self._conclude(split)

    async def _conclude(self, split: BodySplit) -> None:
        """Hand on the body, or what there is of it: no exchange is left."""
        state, fetch, body = self._state, split.fetch, split.body
        state.splits.discard(split)
        error: FetcherError | None = None
        is_mendable = False
        if split.is_whole:
            try:
                await body.finish_split(split.part(), split.other_bytes)
            except FetcherError as failure:
                error = failure
            if error is None:
                error = await self._pieces.check(fetch, body, is_mixed=split.is_mixed)
            is_mendable = isinstance(error, PieceMismatch) and error.is_mendable
            if split.is_mixed and not is_mendable and _is_other(fetch, body, error):
                error = PartialAnswer("what several mirrors sent is not the body that the list names")
                split.is_stopped = True
        else:
            error = split.error or ConnectionLost("the body was cut", phase="body")
        grew = False
        if error is not None and not is_mendable:
            fetch.is_unsplit = fetch.is_unsplit or split.is_stopped
            grew = not (split.is_stopped and split.is_mixed) and self._keep_part(split)
            if split.is_stopped and split.is_mixed:
                self._state.set_part(fetch, None)
                state.body_options.remove(split.part())
        if error is not None:
            body.discard()
        now = state.clock.now()
        fetch.elapsed_s += now - split.started
        if error is None and state.names_late:
            await self._responses.name_file(fetch, body.response, body)
        self._responses.handle(fetch, body.response, error, body, now, grew=grew)

    def _keep_part(self, split: BodySplit) -> bool:
        """Keep what there is for another attempt. True if it is a good deal more than there was."""
        fetch, part = split.fetch, split.part()
        if part.held < LEAST_BYTES or not self._state.body_options.resumes:
            self._state.set_part(fetch, None)
            self._state.body_options.remove(part)
            return False
        self._state.set_part(fetch, part)
        grew = part.held - fetch.furthest >= LEAST_BYTES
        if grew:
            fetch.furthest = part.held
        return grew


def _is_other(fetch: FetchState, body: Body, error: FetcherError | None) -> bool:
    """Return True if a body that is all there is not the one that its list names."""
    extra = fetch.job.overrides
    if isinstance(error, PieceMismatch):
        return True
    return error is None and extra is not None and mismatch(extra.wanted, body.found) is not None
