"""The handler of responses and errors: it decides what follows a hop.

Invariant: that is exactly one of a final outcome, a deferral (tried again later), and the next hop of the
chain. All three go back through the scheduler or to the outcome queue.
"""

from __future__ import annotations

import msgspec

from fetcher import open_files
from fetcher.engine.body import Body
from fetcher.engine.descriptors import PATIENCE_S
from fetcher.engine.engine_state import EngineState
from fetcher.engine.fetch_state import RESUME, FetchState
from fetcher.errors import (
    BodyTooLarge,
    ExchangeError,
    FetcherError,
    NameNotResolved,
    PartialAnswer,
    PieceMismatch,
    ProtocolBroken,
    RedirectFailed,
    Refused,
    StorageError,
)
from fetcher.events import HostThrottled, LogMessage, Retrying
from fetcher.model import CacheEntry, Deferral, Link, NameHints, Part, Request, Response, Wait
from fetcher.policy.checksums import mismatch
from fetcher.policy.content_disposition import filename_of
from fetcher.policy.cookies import RedirectCookies
from fetcher.policy.credentials import carry_credentials
from fetcher.policy.redaction import escape_controls, mask
from fetcher.policy.redirects import next_request
from fetcher.policy.retry import PUSHBACK, Attempt, GiveUp, TryAgain
from fetcher.policy.urls import admit

UNCONNECTED = frozenset({"name", "connect", "tls"})
_EXHAUSTED_PAUSE_S = 0.5
ROBOTS_REDIRECTS = 5  # RFC 9309 §2.3.1.2
MOST_CONTENT = 65_536  # bytes that are kept, for an archive, of an answer that is not the last


def is_out_of_descriptors(error: FetcherError | None) -> bool:
    """Return True if nothing but descriptors was wanting; a resolver without any knows no better."""
    if isinstance(error, ExchangeError | StorageError) and error.exhausted:
        return True
    return isinstance(error, NameNotResolved) and error.temporary and open_files.are_spent()


class ResponseHandler:
    """Decides what follows an exchange, by its response or its error."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def handle(
        self,
        fetch: FetchState,
        response: Response | None,
        error: FetcherError | None,
        body: Body,
        now: float,
        *,
        grew: bool,
    ) -> None:
        """Let follow what must, but for a redirect. `grew`: it failed, and is excused: its part grew."""
        if error is not None or response is None:
            assert error is not None
            self._failed(fetch, error, response, body, now, grew=grew)
        elif response.status < 300:
            self._done(fetch, response, body, now)
        elif response.status == 304:
            self._not_modified(fetch, response, body, now)
        else:
            self._bad_status(fetch, response, body, now)

    def throttled(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        """Let the host have the rest that it asked for, where a further connection was refused."""
        if response.status in PUSHBACK:
            retry_after = response.headers.get("retry-after")
            self._decide(fetch, body, now, status=response.status, retry_after=retry_after)

    async def name_file(self, fetch: FetchState, response: Response | None, body: Body) -> None:
        """Have the file named, now that the answer is there; once only, whatever later ones say."""
        state, job = self._state, fetch.job
        if response is None or response.status >= 300 or not body.is_wanted:
            return
        if job.path is not None or job.kind not in {"page", "asset"}:
            return
        find = response.headers.get
        field = find("content-disposition") if state.policies.server_names else None
        job.hints = NameHints(
            None if field is None else filename_of(field),
            find("content-type") if state.policies.extension else None,
        )
        try:
            await state.frontier.name_file(job)
        except BaseException:
            part = body.leave()
            if part is not None:
                state.left.append((job.id, part))
            raise

    def set_part(self, fetch: FetchState, part: Part | None) -> None:
        """Keep `part` as what is there of the body, and remove a file that it no longer names."""
        old, fetch.part = fetch.part, part
        if old is not None and (part is None or part.name != old.name):
            self._state.body_options.remove(old)

    def _done(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        state = self._state
        if response.status < 200:
            self._failed(fetch, ProtocolBroken(f"status {response.status}"), None, body, now)
            return
        fetch.attempts += 1
        job = fetch.job
        if fetch.part is not None and not fetch.asks_rest:
            self.set_part(fetch, None)
        fetch.part = None  # it has become the body
        state.scheduler.on_success(fetch.target.host, now)
        extra = None if fetch.is_check else job.overrides  # a body that is not read meets nothing
        size = extra.size if extra is not None else None
        if size is not None and size != body.length:
            message = f"it has {body.length} bytes, not {size}"
            self._end_failed(fetch, "checksum", message, response, body, now)
            return
        wanted = () if extra is None else extra.wanted
        if body.announced is not None:
            wanted = (*wanted, body.announced)
        unmet = None
        if wanted:
            unmet = mismatch(wanted, body.found) if body.is_wanted else "there is no body to be checked"
        if unmet is not None:
            self._end_failed(fetch, "checksum", unmet, response, body, now)
            return
        known = job.cached
        utc = now + state.utc_offset
        if (
            known is not None
            and self._is_same(known, response, body)
            and (known.path is None or state.store.has_file(known.path, known.length))
        ):
            record = state.recorder.record(fetch, "unchanged", utc, response=response, body=body)
            record.bytes, record.path = known.bytes, known.path
            record.sha256, record.digest = known.sha256, known.digest
            outcome = fetch.outcome(record)
            if state.keeps_exchanges and known.path is None:  # the archive may not have it after all
                outcome.body = body
            else:
                body.discard()
            state.finish(outcome)
            return
        if job.kind == "robots":
            self._keep_content(fetch, body)
            outcome = fetch.outcome()
            outcome.robots = body.read_all()
            state.settle(outcome)
            body.discard()
            return
        if body.has_trailer:
            self._tell_trailer(fetch)
        record = state.recorder.record(fetch, "done", utc, response=response, body=body)
        outcome = fetch.outcome(record)
        outcome.body = body
        if state.parse_stage is not None:
            outcome.headers = response.headers
        state.finish(outcome)

    def _keep_content(self, fetch: FetchState, body: Body) -> None:
        """Keep with the last exchange what its answer held, where any are kept: the body is let go of."""
        if not fetch.exchanges or not body.is_wanted:
            return
        wire = body.wire or body
        content = wire.data() or b""
        last = msgspec.structs.replace(
            fetch.exchanges[-1],
            content=content[:MOST_CONTENT],
            is_cut=body.is_cut or wire.is_cut or len(content) > MOST_CONTENT,
        )
        fetch.exchanges = (*fetch.exchanges[:-1], last)

    def _is_same(self, known: CacheEntry, response: Response, body: Body) -> bool:
        """Return True if the body is the known one: by a digest; with none, by validators and length."""
        if body.digest != "none":
            return body.digest == known.digest if body.digest else body.sha256 == known.sha256
        find = response.headers.find
        pairs = ((find(b"etag"), known.etag), (find(b"last-modified"), known.last_modified))
        told = [(new, old) for new, old in pairs if new is not None or old]
        is_same = (
            bool(told)
            and body.length == known.bytes
            and all(new is not None and old == new.decode("latin-1") for new, old in told)
        )
        if is_same:
            self._state.events.notice_once(
                "info", "without a digest, a body counts as unchanged by its validators and length alone"
            )
        return is_same

    def _tell_trailer(self, fetch: FetchState) -> None:
        """Say once for each host that text after a body's end is not kept."""
        self._state.events.notice_once(
            "info",
            f"{escape_controls(mask(fetch.target.url))}: text after the end of the compressed body is passed"
            " over (so on this host, without further notices)",
            key=f"trailer {fetch.target.host}",
        )

    def _not_modified(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        state = self._state
        known = fetch.job.cached
        body.discard()
        if known is None or not fetch.is_conditional:
            if fetch.is_unconditional:
                self._bad_status(fetch, response, body, now)
            else:  # nobody asked for it: ask once more, past whatever cache said so
                fetch.is_unconditional = True
                state.scheduler.push_first(fetch)
            return
        fetch.attempts += 1
        state.scheduler.on_success(fetch.target.host, now)
        utc = now + state.utc_offset
        record = state.recorder.record(fetch, "unchanged", utc, response=response, body=body)
        record.bytes, record.path = known.bytes, known.path
        record.sha256, record.digest = known.sha256, known.digest
        record.etag = record.etag or known.etag
        record.last_modified = record.last_modified or known.last_modified
        state.finish(fetch.outcome(record))

    async def redirected(
        self, fetch: FetchState, request: Request, response: Response, body: Body, now: float
    ) -> None:
        """Let follow the next hop of a chain; in a crawl, a link."""
        state = self._state
        self._keep_content(fetch, body)
        body.discard()
        target = fetch.target
        set_cookies = response.headers.get_all("set-cookie")
        has_new_cookies = False
        if set_cookies:
            if fetch.cookies is None:
                fetch.cookies = RedirectCookies(state.policies.jar)
            has_new_cookies = fetch.cookies.store(target, set_cookies, state.clock.utc())
        seen = [target.url] if fetch.seen is None else fetch.seen
        redirects = fetch.redirects or []
        is_link = state.follows and fetch.job.kind != "robots"
        most = state.policies.max_redirects
        if fetch.job.kind == "robots":
            most = ROBOTS_REDIRECTS
        try:
            hop = next_request(
                fetch.method,
                response.status,
                response.headers.get_all("location"),
                target,
                hops=fetch.job.hops if is_link else len(redirects),
                max_redirects=most,
                seen=() if has_new_cookies or is_link else seen,
                has_credentials=carry_credentials(request.headers),
            )
        except (RedirectFailed, Refused) as failure:
            self._failed(fetch, failure, response, body, now)
            return
        if is_link and state.policies.link_check and hop.target.url == target.url:
            is_link = False  # it may want its cookie back
            if not has_new_cookies or len(redirects) >= most:
                loop = RedirectFailed("redirect-loop", "it redirects to itself")
                self._failed(fetch, loop, response, body, now)
                return
        if hop.note:
            state.events.emit(LogMessage("info", escape_controls(mask(hop.note))))
        if is_link:
            self._moved(fetch, response, body, hop.target.url, now)
            return
        fetch.redirects = [*redirects, hop.target.url]
        fetch.seen = (
            [hop.target.url] if has_new_cookies or hop.method != fetch.method else [*seen, hop.target.url]
        )
        fetch.target = hop.target
        fetch.method = hop.method
        if not hop.keeps_body:
            fetch.body = None
        own = fetch.job.target
        assert own is not None
        if state.policies.private_addresses == "seeds":
            fetch.allow_private = (
                fetch.job.is_user_host and hop.target.hostname == own.hostname
            ) or await state.frontier.is_user_host(hop.target.hostname, None)
        state.enqueue_redirect(fetch)

    def _moved(self, fetch: FetchState, response: Response, body: Body, to: str, now: float) -> None:
        """In a crawl a redirect ends its URL, and what it leads to is a link like any other."""
        state = self._state
        fetch.attempts += 1
        state.scheduler.on_success(fetch.target.host, now)
        utc = now + state.utc_offset
        record = state.recorder.record(fetch, "done", utc, response=response)
        record.wire_bytes, record.redirects, record.completeness = body.wire_bytes, [to], "none"
        own = fetch.job.target
        if (
            fetch.job.parent is None
            and own is not None
            and not to.startswith(f"{own.scheme}://{own.hostname}")
        ):
            state.events.emit(
                LogMessage(
                    "info", f"{escape_controls(own.url)} leads to another host, which --scope may leave out"
                )
            )
        outcome = fetch.outcome(record)
        outcome.links = [Link(to, "redirect")]
        state.settle(outcome)

    def _bad_status(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        """A status that is not success: again later, or failed as `http-status`."""
        if fetch.is_check and self._check_again(fetch, response, body, now):
            return
        if response.status == 416 and fetch.asks_rest:  # the part is of no use: ask for the whole
            body.discard()
            self.set_part(fetch, None)
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
            self._give_up_part(fetch)
        slug, why = decision.error_slug or "http-status", decision.message
        self._end_failed(fetch, slug, f"{message}: {why}" if why else message, response, body, now)

    def _check_again(self, fetch: FetchState, response: Response | None, body: Body, now: float) -> bool:
        """Ask once more in another way, at once: HEAD and ranges are refused by servers that know GET."""
        if fetch.method == "HEAD":
            fetch.method = "GET"
        elif response is not None and response.status == 416 and not fetch.is_unconditional:
            fetch.is_unconditional = True
        else:
            return False
        self._keep_content(fetch, body)
        body.discard()
        if response is not None:
            self.throttled(fetch, response, body, now)
        self._state.scheduler.push_first(fetch)
        return True

    def _failed(
        self,
        fetch: FetchState,
        error: FetcherError,
        response: Response | None,
        body: Body,
        now: float,
        *,
        grew: bool = False,
    ) -> None:
        """An exchange that did not end as HTTP should."""
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
        message = escape_controls(mask(error.message))
        if isinstance(error, PieceMismatch) and error.is_mendable and self._mend(fetch, error, message, body):
            return
        decision = self._decide(fetch, body, now, error=error)
        if self._again(fetch, decision, error.slug, message, body, now, grew=grew):
            return
        if isinstance(decision, GiveUp) and not decision.is_passing:
            self._give_up_part(fetch)
        if fetch.job.kind == "robots" and isinstance(error, Refused | RedirectFailed):
            # No packet may go there, or nobody knows where it is: each URL ends for its own reason
            # (RFC 9309 §2.3.1.2: after five redirects as if there were none).
            body.discard()
            outcome = fetch.outcome()
            outcome.fault = 404
            state.settle(outcome)
            return
        if isinstance(error, Refused):
            if self._turn_to_mirror(fetch, message, body):
                return
            body.discard()
            record = state.recorder.record(
                fetch, "refused", now + state.utc_offset, body=body, error=error.slug, message=message
            )
            outcome = fetch.outcome(record)
            outcome.error = error
            state.finish(outcome)
            return
        self._end_failed(fetch, error.slug, message, response, body, now)

    def _too_large_to_read(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        """In a link check a page that is too large is there, and that counts. Its links are not read."""
        state = self._state
        fetch.attempts += 1
        body.discard()
        state.scheduler.on_success(fetch.target.host, now)
        state.events.emit(
            LogMessage(
                "warning", f"{escape_controls(mask(fetch.job.url))}: too large for its links to be read"
            )
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
        self._keep_content(fetch, body)
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

    def _turn_to_mirror(self, fetch: FetchState, message: str, body: Body) -> bool:
        """After a failure for good, begin anew at the next mirror. False if there is none.

        It has the retries of a URL of its own, and nothing of what another has sent, unless hashes of pieces
        vouch for that.
        """
        mirror = _next_mirror(fetch)
        if mirror is None:
            return False
        failed = escape_controls(mask(fetch.target.url))
        body.discard()
        self._give_up_part(fetch)
        if fetch.part is not None:
            self.set_part(fetch, msgspec.structs.replace(fetch.part, validator=""))
        fetch.furthest = 0
        fetch.target = admit(mirror)
        fetch.mirror += 1
        fetch.method = "GET"
        fetch.redirects = fetch.seen = fetch.cookies = None
        fetch.free_attempts = fetch.attempts
        fetch.allow_private = fetch.job.is_user_host
        state = self._state
        to = escape_controls(mask(fetch.target.url))
        state.events.emit(LogMessage("info", f"{failed}: {message}; going on with {to}"))
        state.enqueue_redirect(fetch)
        return True

    def _mend(self, fetch: FetchState, error: PieceMismatch, message: str, body: Body) -> bool:
        """Ask for the wrong pieces of a body at once. False if all who have it were asked by themselves.

        Of a mixture nobody knows who sent them, so its first server is the first to be asked.
        """
        may_be_anothers = (error.is_mixed or body.resumed_at) and not fetch.is_unmixed
        fetch.is_unmixed = True
        if not may_be_anothers:
            return self._turn_to_mirror(fetch, message, body)
        body.discard()
        state, shown = self._state, escape_controls(mask(fetch.target.url))
        state.events.emit(LogMessage("info", f"{shown}: {message}; asking for them again"))
        fetch.free_attempts = fetch.attempts
        state.scheduler.push_first(fetch)
        return True

    def _give_up_part(self, fetch: FetchState) -> None:
        """Drop what is there of the body, unless a mirror is left and hashes of pieces will vouch for all."""
        extra, part = fetch.job.overrides, fetch.part
        has_pieces = extra is not None and extra.pieces is not None
        if not has_pieces or part is None or part.total is None or _next_mirror(fetch) is None:
            self.set_part(fetch, None)

    def _end_failed(
        self, fetch: FetchState, slug: str, message: str, response: Response | None, body: Body, now: float
    ) -> None:
        state = self._state
        if fetch.job.kind == "robots":
            self._keep_content(fetch, body)
            body.discard()
            outcome = fetch.outcome()
            outcome.fault = 0 if response is None or slug == PartialAnswer.slug else response.status
            outcome.error = FetcherError(message)
            state.settle(outcome)
            return
        if self._turn_to_mirror(fetch, message, body):
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


def _next_mirror(fetch: FetchState) -> str | None:
    """Return the mirror that is to be turned to next, or None."""
    extra = fetch.job.overrides
    if extra is None or fetch.mirror >= len(extra.mirrors) or extra.method is not None:
        return None
    return extra.mirrors[fetch.mirror]
