"""The task in one slot of the pool: it takes a fetch and performs one hop, within all limits.

Invariant: a task never waits for anything but its exchange, so a slot is never asleep.
"""

from __future__ import annotations

import asyncio

from fetcher.engine.body import Body
from fetcher.engine.body_split import BodySplit, SegmentFetch
from fetcher.engine.descriptors import is_out_of_descriptors
from fetcher.engine.engine_state import EngineState
from fetcher.engine.exchange_timing import timing_of
from fetcher.engine.failure_handler import FailureHandler
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.piece_check import PieceCheck
from fetcher.engine.redirect_handler import RedirectHandler
from fetcher.engine.request_builder import RequestBuilder
from fetcher.engine.response_handler import ResponseHandler
from fetcher.engine.segment import SegmentFilled
from fetcher.engine.splitter import Splitter
from fetcher.engine.timeouts import ExchangeTimer
from fetcher.errors import ConnectionLost, ExchangeError, FetcherError, PartialAnswer, Refused, StorageError
from fetcher.model import Exchange, Headers, Outcome, Request, Response
from fetcher.policy.checksums import algorithms_of
from fetcher.policy.http import REDIRECTS
from fetcher.policy.resume import LEAST_BYTES

_NOT_NEEDED = ConnectionLost("others have brought what it was to bring", phase="header")
_NO_NEEDS: frozenset[str] = frozenset()
ROBOTS_BYTES = 500 * 1024 + 1  # RFC 9309 §2.5; one more, so that it is seen to be cut


class FetchTask:
    """A task that fetches until it is sent home or cancelled."""

    def __init__(self, state: EngineState) -> None:
        self.timer = ExchangeTimer()
        self._state = state
        self._requests = RequestBuilder(state)
        failures = FailureHandler(state)
        self._redirects = RedirectHandler(state, failures)
        self._responses = ResponseHandler(state, failures)
        self._pieces = PieceCheck(state)
        self._splitter = Splitter(state, self._responses, failures, self._pieces)

    async def run(self) -> None:
        """Fetch until there is nothing more to do."""
        slots = self._state.slots
        scheduler = slots.scheduler
        clock = self._state.clock
        self.timer.task = asyncio.current_task()
        slots.on_woken()
        now = clock.now()
        while True:
            fetch = slots.next_fetch(now)
            if fetch is None:
                if not await slots.wait_for_work():
                    return
                slots.on_woken()
                now = clock.now()
                continue
            host = fetch.target.host
            try:
                if isinstance(fetch, SegmentFetch):
                    await self._fill(fetch, fetch.split)
                    now = clock.now()
                elif self._state.abandoned and fetch.job.id in self._state.abandoned:
                    self._abandon(fetch)
                else:
                    now = await self._hop(fetch, now)
            finally:
                scheduler.release(host, now)

    async def _hop(self, fetch: FetchState, started: float) -> float:
        """Perform one exchange, within all limits, and let follow what must. Returns the time at its end."""
        state = self._state
        job = fetch.job
        fetch.begin(started + state.utc_offset)
        request = await self._requests.build(fetch)
        is_robots = job.kind == "robots"
        body = Body(
            state.body_options,
            request.target.url,
            request.method,
            ROBOTS_BYTES if is_robots else None,
            part=fetch.part if fetch.asks_rest else None,
            asked=request.headers,
            now=started,
            hashes_late=state.hashes_late and job.cached is None and job.overrides is None and not is_robots,
            needs=_NO_NEEDS if job.overrides is None else algorithms_of(job.overrides.wanted),
            on_large=lambda body: self._splitter.offer(fetch, request, body, started),
            is_of_use=_not_at_all
            if fetch.is_check
            else state.policies.has_links
            if job.kind == "page"
            else None,
        )
        response, error = await self._exchange(fetch, request, body, started)
        if response is not None and response.resent:
            fetch.attempts += response.resent
            fetch.free_attempts += response.resent
        if isinstance(body.split, BodySplit) and body.segment is not None:
            self._time(fetch, body, response, error, started, state.clock.now())
            await self._splitter.ended(body.split, body.segment, fetch, body, response, error)
            return state.clock.now()
        if error is None and body.part_held is not None:
            error = PartialAnswer(f"the answer holds {body.part_held}, and no range was asked for")
        grew = False
        if error is not None and (body.is_spooled or not is_out_of_descriptors(error)):
            grew = await self._keep_part(fetch, body)
            if isinstance(error, ExchangeError) and state.sleep_watch.slept_since(started):
                grew = True  # what broke meanwhile is nobody's fault, and costs no retry either
        if error is None and job.overrides is not None and job.overrides.pieces is not None:
            error = await self._pieces.check(fetch, body)
        now = state.clock.now()
        fetch.elapsed_s += now - started
        if state.keeps_exchanges:
            fetch.exchanges += (
                Exchange(
                    request=request,
                    response=response or body.response,
                    started_at=started + state.utc_offset,
                    elapsed_s=now - started,
                    error=error,
                ),
            )
        self._time(fetch, body, response, error, started, now)
        if state.abandoned and fetch.job.id in state.abandoned:
            body.discard()
            self._abandon(fetch)
            return now
        if error is None and response is not None and response.status in REDIRECTS:
            await self._redirects.follow(fetch, request, response, body, now)
            return state.clock.now()
        if error is None and state.names_late:
            await self._responses.name_file(fetch, response, body)
        self._responses.handle(fetch, response, error, body, now, grew=grew)
        return now

    def _time(
        self,
        fetch: FetchState,
        body: Body,
        response: Response | None,
        error: FetcherError | None,
        started: float,
        ended: float,
    ) -> None:
        """Note where the time of an attempt went."""
        state = self._state
        if state.keeps_timings and fetch.job.id > 0:
            fetch.timings += timing_of(fetch, body, response, error, started, ended, state.utc_offset)

    async def _fill(self, fetch: SegmentFetch, split: BodySplit) -> None:
        """Perform one exchange that brings a range of a body that others have begun."""
        state = self._state
        started = state.clock.now()
        split.waiting.remove(fetch)
        segment = fetch.segment = split.take(started)
        if segment is None:
            await self._splitter.conclude_if_over(split)
            return
        segment.is_foreign = fetch.is_foreign
        segment.give_up = lambda: self.timer.expire(_NOT_NEEDED)
        try:
            request = await self._requests.build(fetch)
        except BaseException:
            split.ended(segment)
            raise
        body = Body(
            state.body_options,
            request.target.url,
            asked=request.headers,
            segment=segment,
            split=split,
        )
        response, error = await self._exchange(fetch, request, body, started)
        await self._splitter.ended(split, segment, fetch, body, response, error)

    async def _exchange(
        self, fetch: FetchState, request: Request, body: Body, started: float
    ) -> tuple[Response | None, FetcherError | None]:
        """Perform one exchange, within all limits. Returns its answer, or what went wrong."""
        state = self._state
        watch = self.timer
        response: Response | None = None
        error: FetcherError | None = None
        state.stats.requests += 1
        job = fetch.job
        watch.begin(body, request.target.url, started, job.id)
        limit = None
        if job.overrides is not None and (own_s := job.overrides.timeout_s) is not None:
            limit = asyncio.get_running_loop().call_later(own_s, watch.expire_at_total, own_s)
        try:
            response = await state.backend.exchange(request, body)
            await body.finish()
        except SegmentFilled:
            response = body.response
        except (ExchangeError, Refused, StorageError) as failure:
            if isinstance(failure, StorageError) and failure.systemic:
                self._leave(fetch, body)
                raise
            if body.cut_page():  # of an error's page, as much was kept as is wanted or came
                response = body.response
            else:
                error = failure
        except asyncio.CancelledError:
            task = watch.task
            if watch.verdict is None or task is None or task.uncancel() > 0:
                self._leave(fetch, body)
                raise
            error = watch.verdict
        except BaseException:
            self._leave(fetch, body)
            raise
        finally:
            watch.body = None
            if limit is not None:
                limit.cancel()
        if error is None:
            state.slots.descriptors.succeeded()
        state.stats.wire_bytes += body.wire_bytes
        return response, error

    async def _keep_part(self, fetch: FetchState, body: Body) -> bool:
        """Keep what an exchange that failed has left of the body. True if it came a good deal further.

        Further than any attempt before: a server could break each time at one place, and refuse the rest.
        """
        before, furthest = fetch.part, fetch.furthest
        try:
            after = await body.suspend()
        except asyncio.CancelledError:
            self._leave(fetch, body)
            raise
        self._state.set_part(fetch, after if after is not None or fetch.asks_rest else before)
        if after is None or after.held - furthest < LEAST_BYTES:
            return False
        fetch.furthest = after.held
        return True

    def _abandon(self, fetch: FetchState) -> None:
        """End a job whose outcome nobody waits for."""
        state, job = self._state, fetch.job
        state.abandoned.discard(job.id)
        utc = state.clock.utc()
        record = state.recorder.unfetched(job, "failed", utc, error="cancelled", message="it was cancelled")
        state.settle(Outcome(job=job, record=record))

    def _leave(self, fetch: FetchState, body: Body) -> None:
        """The exchange is abandoned: what it left of the body is for a later run."""
        if isinstance(body.split, BodySplit) and body.segment is not None:
            body.close_segment()
            body.split.ended(body.segment)
            return
        before, after = fetch.part, body.leave()
        if after is not None and after is not before:
            self._state.left.append((fetch.job.id, after))


def _not_at_all(_headers: Headers) -> bool:
    """Return False: whether it is there is all that is asked."""
    return False
