"""The handler of redirects: the next hop of a chain, or in a crawl a link of its own.

Invariant: a redirect that leads nowhere, in circles or too far is a failure like any other.
"""

from __future__ import annotations

from fetcher.engine.body import Body
from fetcher.engine.engine_state import EngineState
from fetcher.engine.failure_handler import FailureHandler
from fetcher.engine.fetch_state import FetchState
from fetcher.errors import RedirectFailed, Refused
from fetcher.events import LogMessage
from fetcher.model import Link, Request, Response
from fetcher.policy.cookies import RedirectCookies
from fetcher.policy.credentials import carry_credentials
from fetcher.policy.redaction import escape_controls, shown
from fetcher.policy.redirects import next_request

ROBOTS_REDIRECTS = 5  # RFC 9309 §2.3.1.2


class RedirectHandler:
    """Decides what follows an answer that leads elsewhere."""

    def __init__(self, state: EngineState, failures: FailureHandler) -> None:
        self._state = state
        self._failures = failures

    async def follow(
        self, fetch: FetchState, request: Request, response: Response, body: Body, now: float
    ) -> None:
        """Let follow the next hop of a chain; in a crawl, a link."""
        state = self._state
        fetch.keep_content(body)
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
            self._failures.failed(fetch, failure, response, body, now)
            return
        if is_link and state.policies.link_check and hop.target.url == target.url:
            is_link = False  # it may want its cookie back
            if not has_new_cookies or len(redirects) >= most:
                loop = RedirectFailed("redirect-loop", "it redirects to itself")
                self._failures.failed(fetch, loop, response, body, now)
                return
        if hop.note:
            state.events.emit(LogMessage("info", shown(hop.note)))
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
        """End the URL of a redirect, as a crawl does: what it leads to is a link like any other."""
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
