"""The handler of what went wrong: errors of exchanges, and statuses that are no success.

Invariant: what follows is exactly one of a deferral (tried again later), a further hop (asked in another way,
or of a mirror), and a final outcome.
"""

from __future__ import annotations

from fetcher import open_files
from fetcher.engine.body import Body
from fetcher.engine.descriptors import PATIENCE_S, is_out_of_descriptors
from fetcher.engine.engine_state import EngineState
from fetcher.engine.fetch_state import RESUME, FetchState
from fetcher.engine.mirrors import Mirrors
from fetcher.errors import (
    UNCONNECTED,
    BodyTooLarge,
    ExchangeError,
    FetcherError,
    PartialAnswer,
    PieceMismatch,
    RedirectFailed,
    Refused,
    StorageError,
)
from fetcher.events import HostThrottled, LogMessage, Retrying
from fetcher.model import Deferral, Response, Wait
from fetcher.policy.redaction import shown
from fetcher.policy.retry import PUSHBACK, Attempt, GiveUp, TryAgain

_EXHAUSTED_PAUSE_S = 0.5


class FailureHandler:
    """Decides what follows an exchange that brought no success."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._mirrors = Mirrors(state)

    def failed(
        self,
        fetch: FetchState,
        error: FetcherError,
        response: Response | None,
        body: Body,
        now: float,
        *,
        grew: bool = False,
    ) -> None:
        """Let follow what must after an error. `grew`: it is excused, as the part of its body grew."""
        state = self._state
        if is_out_of_descriptors(error):
            body.discard()
            is_ours = isinstance(error, StorageError) and not open_files.are_spent()
            if not is_ours and not state.slots.descriptors.reduce(now):
                raise StorageError(
                    f"no file can be opened for {PATIENCE_S:g} s: too many are open",
                    hint="close other programs, or raise the limit (ulimit -n); then run it again",
                ) from error
            state.scheduler.defer(fetch, now + _EXHAUSTED_PAUSE_S, "descriptors")
            return
        if (
            fetch.is_check
            and isinstance(error, ExchangeError)
            and body.phase not in UNCONNECTED
            and self._check_again(fetch, None, body, now)
        ):
            return
        if isinstance(error, BodyTooLarge) and state.policies.link_check and body.response is not None:
            self._too_large_to_read(fetch, body.response, body, now)
            return
        fetch.attempts += 1
        if grew:  # a line that breaks now and then must not use up the retries of a large body
            fetch.free_attempts = fetch.attempts
        message = shown(error.message)
        if (
            isinstance(error, PieceMismatch)
            and error.is_mendable
            and self._mirrors.mend(fetch, error, message, body)
        ):
            return
        decision = self._decide(fetch, body, now, error=error)
        if self._again(fetch, decision, error.slug, message, body, now, grew=grew):
            return
        if isinstance(decision, GiveUp) and not decision.is_passing:
            self._mirrors.give_up_part(fetch)
        if fetch.job.kind == "robots" and isinstance(error, Refused | RedirectFailed):
            # No packet may go there, or nobody knows where it is: each URL ends for its own reason
            # (RFC 9309 §2.3.1.2: after five redirects as if there were none).
            body.discard()
            outcome = fetch.outcome()
            outcome.fault = 404
            state.settle(outcome)
            return
        if isinstance(error, Refused):
            if self._mirrors.turn(fetch, message, body):
                return
            body.discard()
            record = state.recorder.record(
                fetch, "refused", now + state.utc_offset, body=body, error=error.slug, message=message
            )
            outcome = fetch.outcome(record)
            outcome.error = error
            state.finish(outcome)
            return
        self.end_failed(fetch, error.slug, message, response, body, now)

    def bad_status(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        """Ask again later after a status that is no success, or end the URL as `http-status`."""
        if fetch.is_check and self._check_again(fetch, response, body, now):
            return
        if response.status == 416 and fetch.asks_rest:  # the part is of no use: ask for the whole
            body.discard()
            self._state.set_part(fetch, None)
            self._state.scheduler.push_first(fetch)
            return
        fetch.attempts += 1
        retry_after = response.headers.get("retry-after") if response.status in PUSHBACK else None
        decision = self._decide(fetch, body, now, status=response.status, retry_after=retry_after)
        message = f"HTTP {response.status}"
        if self._again(fetch, decision, "http-status", message, body, now):
            return
        assert isinstance(decision, GiveUp)
        if not decision.is_passing:
            self._mirrors.give_up_part(fetch)
        slug, why = decision.error_slug or "http-status", decision.message
        self.end_failed(fetch, slug, f"{message}: {why}" if why else message, response, body, now)

    def throttled(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        """Let the host have the rest that it asked for, where a further connection was refused."""
        if response.status in PUSHBACK:
            retry_after = response.headers.get("retry-after")
            self._decide(fetch, body, now, status=response.status, retry_after=retry_after)

    def end_failed(
        self, fetch: FetchState, slug: str, message: str, response: Response | None, body: Body, now: float
    ) -> None:
        """End a URL as failed, unless a mirror is left; a robots.txt as one that could not be had."""
        state = self._state
        if fetch.job.kind == "robots":
            fetch.keep_content(body)
            body.discard()
            outcome = fetch.outcome()
            outcome.fault = 0 if response is None or slug == PartialAnswer.slug else response.status
            outcome.error = FetcherError(message)
            state.settle(outcome)
            return
        if self._mirrors.turn(fetch, message, body):
            return
        utc = now + state.utc_offset
        record = state.recorder.record(
            fetch, "failed", utc, response=response, body=body, error=slug, message=message
        )
        outcome = fetch.outcome(record)
        outcome.part = fetch.part
        if response is not None and (
            state.recorder.keeps_bodies or (state.keeps_exchanges and body.is_wanted)
        ):
            outcome.body = body
        else:
            body.discard()
        state.finish(outcome)

    def _check_again(self, fetch: FetchState, response: Response | None, body: Body, now: float) -> bool:
        """Ask once more in another way, at once: HEAD and ranges are refused by servers that know GET."""
        if fetch.method == "HEAD":
            fetch.method = "GET"
        elif response is not None and response.status == 416 and not fetch.is_unconditional:
            fetch.is_unconditional = True
        else:
            return False
        fetch.keep_content(body)
        body.discard()
        if response is not None:
            self.throttled(fetch, response, body, now)
        self._state.scheduler.push_first(fetch)
        return True

    def _too_large_to_read(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        """Count a page that is too large for a link check as one that is there. Its links are not read."""
        state = self._state
        fetch.attempts += 1
        body.discard()
        state.scheduler.on_success(fetch.target.host, now)
        state.events.emit(
            LogMessage("warning", f"{shown(fetch.job.url)}: too large for its links to be read")
        )
        record = state.recorder.record(fetch, "done", now + state.utc_offset, response=response)
        record.wire_bytes = body.wire_bytes
        state.finish(fetch.outcome(record))

    def _decide(
        self,
        fetch: FetchState,
        body: Body,
        now: float,
        *,
        error: FetcherError | None = None,
        status: int | None = None,
        retry_after: str | None = None,
    ) -> TryAgain | GiveUp:
        """Ask the retry policy, and let the host have the rest that it asked for."""
        state = self._state
        decision = state.policies.retry.decide(
            Attempt(
                number=fetch.attempts,
                method=fetch.method,
                error=error,
                status=status,
                retry_after=retry_after,
                waited_s=fetch.job.waited_s,
                free_attempts=fetch.free_attempts,
                connection_made=body.phase not in UNCONNECTED,
                now_utc=now + state.utc_offset,
            )
        )
        if status in PUSHBACK:
            hold_s = decision.delay_s if isinstance(decision, TryAgain) else decision.hold_s
            reason = "retry-after" if retry_after is not None else "backoff"
            host = fetch.target.host
            limit = state.scheduler.on_pushback(host, now, hold_s, reason)
            state.events.emit(HostThrottled(host, reason, hold_s, limit))
        return decision

    def _again(
        self,
        fetch: FetchState,
        decision: TryAgain | GiveUp,
        slug: str,
        message: str,
        body: Body,
        now: float,
        *,
        grew: bool = False,
    ) -> bool:
        """Defer the fetch if the policy says so; what it has spent is stored meanwhile."""
        if isinstance(decision, GiveUp):
            return False
        state = self._state
        fetch.keep_content(body)
        body.discard()
        reason = RESUME if grew else decision.reason
        fetch.history += (Wait(reason, round(decision.delay_s, 3), fetch.attempts, slug),)
        if not decision.costs_retry:
            fetch.free_attempts += 1
            fetch.job.waited_s += decision.delay_s
        state.scheduler.defer(fetch, now + decision.delay_s, decision.reason)
        outcome = fetch.outcome()
        outcome.deferral = Deferral(
            now + state.utc_offset + decision.delay_s, fetch.attempts, fetch.job.waited_s, fetch.history
        )
        outcome.part = fetch.part
        state.settle(outcome)
        fetch.exchanges, fetch.timings = (), b""
        state.events.emit(Retrying(fetch.job.url, slug, message, fetch.attempts, decision.delay_s))
        return True
