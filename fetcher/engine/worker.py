"""One slot of the pool: takes a fetch, performs one hop, and decides what follows.

What follows a hop is exactly one of: a final outcome, a deferral (tried again later), or the next hop of
its chain. All three go back through the scheduler or to the settler; a worker never waits for anything
but its exchange, so a slot is never asleep.
"""

from __future__ import annotations

import asyncio

from fetcher.engine.body import Body
from fetcher.engine.context import Context
from fetcher.engine.fetch import Fetch
from fetcher.engine.watchdog import Watch
from fetcher.errors import (
    ConnectFailed,
    ExchangeError,
    FetcherError,
    ProtocolBroken,
    RedirectFailed,
    Refused,
    StorageError,
)
from fetcher.events import HostHeld, Notice, Retrying
from fetcher.model import Deferral, Link, Outcome, Request, Response, Wait
from fetcher.policy.cookies import ChainCookies
from fetcher.policy.credentials import Fields, carry_credentials
from fetcher.policy.redirects import REDIRECTS, next_hop
from fetcher.policy.retry import PUSHBACK, Again, Attempt, GiveUp
from fetcher.policy.text import mask, visible

_UNCONNECTED = frozenset({"name", "connect", "tls"})
_EXHAUSTED_PAUSE_S = 0.5
ROBOTS_BYTES = 500 * 1024  # RFC 9309 §2.5
ROBOTS_REDIRECTS = 5  # RFC 9309 §2.3.1.2
_UNGUARDED = "requests go through a proxy: it chooses the addresses, so private ones are not guarded against"


class Worker:
    """A task that fetches until it is sent home or cancelled."""

    def __init__(self, context: Context) -> None:
        self.watch = Watch()
        self._context = context

    async def run(self) -> None:
        context = self._context
        now = context.clock.now
        self.watch.task = asyncio.current_task()
        context.awake()
        while True:
            fetch = context.take(now())
            if fetch is None:
                if not await context.park():
                    return
                context.awake()
                continue
            host = fetch.target.host
            try:
                await self._hop(fetch)
            finally:
                context.release(host)

    async def _hop(self, fetch: Fetch) -> None:
        """One exchange, within all limits, and what follows from it."""
        context = self._context
        watch = self.watch
        started = context.clock.now()
        fetch.begin(started, started + context.utc_offset, context.scheduler.reason_of(fetch))
        request = await self._request(fetch)
        keep = ROBOTS_BYTES if fetch.job.kind == "robots" else None
        body = Body(context.rules, request.target.url.partition("?")[0], request.method, keep)
        response: Response | None = None
        error: FetcherError | None = None
        context.requests += 1
        watch.begin(body, request.target.url, started)
        try:
            response = await context.backend.exchange(request, body)
            await body.finish()
        except (ExchangeError, Refused, StorageError) as failure:
            if isinstance(failure, StorageError) and failure.systemic:
                body.discard()
                raise
            if body.is_cut:  # of an error's page, as much was kept as is wanted
                response = body.response
            else:
                error = failure
        except asyncio.CancelledError:
            task = watch.task
            if watch.verdict is None or task is None or task.uncancel() > 0:
                body.discard()
                raise
            error = watch.verdict
        except BaseException:
            body.discard()
            raise
        finally:
            watch.end()
        now = context.clock.now()
        fetch.elapsed_s += now - started
        context.wire_bytes += body.wire_bytes
        if response is not None and response.resent:
            fetch.attempts += response.resent
            fetch.excused += response.resent
        if error is not None or response is None:
            assert error is not None
            self._failed(fetch, error, response, body, now)
        elif response.status < 300:
            self._done(fetch, response, body, now)
        elif response.status in REDIRECTS:
            await self._redirected(fetch, request, response, body, now)
        elif response.status == 304:
            self._not_modified(fetch, response, body, now)
        else:
            self._bad_status(fetch, response, body, now)

    # -- the request -------------------------------------------------------------------------------

    async def _request(self, fetch: Fetch) -> Request:
        context = self._context
        policies = context.policies
        job, target = fetch.job, fetch.target
        own = job.target
        if own is target and job.secret is None and job.extra is None:
            headers = policies.credentials.headers_for(target, origin_listed=job.is_listed)
        else:
            headers = await self._headers(fetch)
        fetch.is_conditional = False
        if job.known is not None and fetch.method == "GET" and not fetch.plain and self._is_here(fetch):
            headers += _conditions(fetch)
            fetch.is_conditional = True
        elif fetch.plain:
            headers += (("Cache-Control", "no-cache"),)
        cookies = fetch.cookies
        if cookies is None and policies.jar:
            cookies = fetch.cookies = ChainCookies(policies.jar)
        if cookies is not None:
            cookie = cookies.header(target, context.clock.utc())
            if cookie:
                headers = _with_cookie(headers, cookie)
        if fetch.body is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers += (("Content-Type", "application/x-www-form-urlencoded"),)  # as curl does
        proxy = None if policies.proxies.is_empty else policies.proxies.proxy_for(target)
        if proxy is not None:
            context.notice_once("info", _UNGUARDED)
        private = policies.private_addresses
        return Request(
            target=target,
            method=fetch.method,
            headers=headers,
            body=fetch.body,
            allow_private=fetch.allow_private if private == "seeds" else private == "allow",
            proxy=proxy,
        )

    async def _headers(self, fetch: Fetch) -> Fields:
        """The headers of a hop that is not an ordinary first one."""
        job, target = fetch.job, fetch.target
        assert job.target is not None
        is_own = target.origin == job.target.origin
        listed = (is_own and job.is_listed) or await self._context.frontier.names_host(
            target.name, target.port
        )
        extra = {**((job.extra and job.extra.headers) or {}), **(job.secret_headers or {})}
        return self._context.policies.credentials.headers_for(
            target,
            origin_listed=listed,
            userinfo=(job.secret if is_own else None) or target.userinfo,
            extra=extra if is_own and extra else None,
        )

    def _is_here(self, fetch: Fetch) -> bool:
        known = fetch.job.known
        if known is None or known.path is None or not (known.etag or known.last_modified):
            return False
        return self._context.store.holds(known.path, known.bytes)

    # -- what follows ------------------------------------------------------------------------------

    def _done(self, fetch: Fetch, response: Response, body: Body, now: float) -> None:
        context = self._context
        if response.status < 200:
            self._failed(fetch, ProtocolBroken(f"status {response.status}"), None, body, now)
            return
        fetch.attempts += 1
        job = fetch.job
        context.scheduler.on_success(fetch.target.host, now)
        wanted = job.extra.sha256 if job.extra is not None else None
        if wanted is not None and wanted != body.sha256:
            message = f"SHA-256 is {body.sha256}, not {wanted}"
            self._end_failed(fetch, "checksum", message, response, body, now)
            return
        known = job.known
        utc = now + context.utc_offset
        if (
            known is not None
            and known.sha256 == body.sha256
            and (known.path is None or context.store.holds(known.path, known.bytes))
        ):
            record = context.recorder.record(fetch, "unchanged", utc, response=response, body=body)
            record.bytes, record.sha256, record.path = known.bytes, known.sha256, known.path
            body.discard()
            context.finish(Outcome(job=job, record=record, history=fetch.history))
            return
        if job.kind == "robots":
            context.settle(Outcome(job=job, robots=body.read_all()))
            body.discard()
            return
        record = context.recorder.record(fetch, "done", utc, response=response, body=body)
        headers = None if context.desk is None else response.headers
        context.finish(Outcome(job=job, record=record, history=fetch.history, body=body, headers=headers))

    def _not_modified(self, fetch: Fetch, response: Response, body: Body, now: float) -> None:
        context = self._context
        known = fetch.job.known
        body.discard()
        if known is None or not fetch.is_conditional:
            if fetch.plain:
                self._bad_status(fetch, response, body, now)
            else:  # nobody asked for it: ask once more, past whatever cache said so
                fetch.plain = True
                context.scheduler.push_first(fetch)
            return
        fetch.attempts += 1
        context.scheduler.on_success(fetch.target.host, now)
        utc = now + context.utc_offset
        record = context.recorder.record(fetch, "unchanged", utc, response=response, body=body)
        record.bytes, record.sha256, record.path = known.bytes, known.sha256, known.path
        record.etag = record.etag or known.etag
        record.last_modified = record.last_modified or known.last_modified
        context.finish(Outcome(job=fetch.job, record=record, history=fetch.history))

    async def _redirected(
        self, fetch: Fetch, request: Request, response: Response, body: Body, now: float
    ) -> None:
        context = self._context
        body.discard()
        target = fetch.target
        set_cookies = response.headers.get_all("set-cookie")
        has_new_cookies = False
        if set_cookies:
            if fetch.cookies is None:
                fetch.cookies = ChainCookies(context.policies.jar)
            has_new_cookies = fetch.cookies.store(target, set_cookies, context.clock.utc())
        seen = [target.url] if fetch.seen is None else fetch.seen
        redirects = fetch.redirects or []
        is_link = context.follows and fetch.job.kind != "robots"
        most = context.policies.max_redirects
        if fetch.job.kind == "robots":
            most = ROBOTS_REDIRECTS
        try:
            hop = next_hop(
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
        if hop.note:
            context.emit(Notice("info", visible(mask(hop.note))))
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
        if context.policies.private_addresses == "seeds":
            fetch.allow_private = (
                fetch.job.is_named and hop.target.name == own.name
            ) or await context.frontier.names_host(hop.target.name, None)
        context.route(fetch)

    def _moved(self, fetch: Fetch, response: Response, body: Body, to: str, now: float) -> None:
        """In a crawl a redirect ends its URL, and what it leads to is a link like any other."""
        context = self._context
        fetch.attempts += 1
        context.scheduler.on_success(fetch.target.host, now)
        utc = now + context.utc_offset
        record = context.recorder.record(fetch, "done", utc, response=response)
        record.wire_bytes, record.redirects, record.completeness = body.wire_bytes, [to], "none"
        own = fetch.job.target
        if fetch.job.parent is None and own is not None and not to.startswith(f"{own.scheme}://{own.name}"):
            context.emit(
                Notice("info", f"{visible(own.url)} leads to another host, which --scope may leave out")
            )
        links = [Link(to, "redirect")]
        context.settle(Outcome(job=fetch.job, record=record, history=fetch.history, links=links))

    def _bad_status(self, fetch: Fetch, response: Response, body: Body, now: float) -> None:
        """A status that is not success: again later, or failed as `http-status`."""
        fetch.attempts += 1
        retry_after = response.headers.get("retry-after") if response.status in PUSHBACK else None
        decision = self._decide(fetch, body, now, status=response.status, retry_after=retry_after)
        message = f"HTTP {response.status}"
        if self._again(fetch, decision, "http-status", message, body, now):
            return
        assert isinstance(decision, GiveUp)
        slug, why = decision.error_slug or "http-status", decision.message
        self._end_failed(fetch, slug, f"{message}: {why}" if why else message, response, body, now)

    def _failed(
        self, fetch: Fetch, error: FetcherError, response: Response | None, body: Body, now: float
    ) -> None:
        """An exchange that did not end as HTTP should."""
        context = self._context
        if isinstance(error, ConnectFailed) and error.exhausted and context.shrink():
            body.discard()
            context.scheduler.defer(fetch, now + _EXHAUSTED_PAUSE_S)
            return
        fetch.attempts += 1
        decision = self._decide(fetch, body, now, error=error)
        message = visible(mask(error.message))
        if self._again(fetch, decision, error.slug, message, body, now):
            return
        if fetch.job.kind == "robots" and isinstance(error, Refused | RedirectFailed):
            # No packet may go there, or nobody knows where it is: each URL ends for its own reason
            # (RFC 9309 §2.3.1.2: after five redirects as if there were none).
            body.discard()
            context.settle(Outcome(job=fetch.job, fault=404))
            return
        if isinstance(error, Refused):
            body.discard()
            record = context.recorder.record(
                fetch, "refused", now + context.utc_offset, body=body, error=error.slug, message=message
            )
            context.finish(Outcome(job=fetch.job, record=record, history=fetch.history, error=error))
            return
        self._end_failed(fetch, error.slug, message, response, body, now)

    def _decide(
        self,
        fetch: Fetch,
        body: Body,
        now: float,
        *,
        error: FetcherError | None = None,
        status: int | None = None,
        retry_after: str | None = None,
    ) -> Again | GiveUp:
        """Ask the retry policy, and let the host have the rest that it asked for."""
        context = self._context
        decision = context.policies.retry.decide(
            Attempt(
                number=fetch.attempts,
                method=fetch.method,
                error=error,
                status=status,
                retry_after=retry_after,
                waited_s=fetch.job.waited_s,
                excused=fetch.excused,
                connection_made=body.phase not in _UNCONNECTED,
                now_utc=now + context.utc_offset,
            )
        )
        if status in PUSHBACK:
            hold_s = decision.delay_s if isinstance(decision, Again) else decision.hold_s
            reason = "retry-after" if retry_after is not None else "backoff"
            host = fetch.target.host
            limit = context.scheduler.on_pushback(host, now, hold_s, reason)
            context.emit(HostHeld(host, reason, hold_s, limit))
        return decision

    def _again(
        self, fetch: Fetch, decision: Again | GiveUp, slug: str, message: str, body: Body, now: float
    ) -> bool:
        """Defer the fetch if the policy says so; what it has spent is stored meanwhile."""
        if isinstance(decision, GiveUp):
            return False
        context = self._context
        body.discard()
        fetch.history += (Wait(decision.reason, round(decision.delay_s, 3), fetch.attempts, slug),)
        if not decision.costs_retry:
            fetch.excused += 1
            fetch.job.waited_s += decision.delay_s
        context.scheduler.defer(fetch, now + decision.delay_s)
        deferral = Deferral(
            now + context.utc_offset + decision.delay_s, fetch.attempts, fetch.job.waited_s, fetch.history
        )
        context.settle(Outcome(job=fetch.job, deferral=deferral))
        context.emit(Retrying(fetch.job.url, slug, message, fetch.attempts, decision.delay_s))
        return True

    def _end_failed(
        self, fetch: Fetch, slug: str, message: str, response: Response | None, body: Body, now: float
    ) -> None:
        context = self._context
        if fetch.job.kind == "robots":
            body.discard()
            status = 0 if response is None else response.status
            context.settle(Outcome(job=fetch.job, fault=status, error=FetcherError(message)))
            return
        utc = now + context.utc_offset
        record = context.recorder.record(
            fetch, "failed", utc, response=response, body=body, error=slug, message=message
        )
        outcome = Outcome(job=fetch.job, record=record, history=fetch.history)
        if context.recorder.keeps_bodies and response is not None:
            outcome.body = body
        else:
            body.discard()
        context.finish(outcome)


def _with_cookie(headers: Fields, cookie: str) -> Fields:
    """The headers with one Cookie field: the user's own, if there is one, and then `cookie`."""
    own = [value for name, value in headers if name.lower() == "cookie"]
    rest = tuple((name, value) for name, value in headers if name.lower() != "cookie")
    return (*rest, ("Cookie", "; ".join([*own, cookie])))


def _conditions(fetch: Fetch) -> Fields:
    known = fetch.job.known
    assert known is not None
    conditions = []
    if known.etag:
        conditions.append(("If-None-Match", known.etag))
    if known.last_modified:
        conditions.append(("If-Modified-Since", known.last_modified))
    return tuple(conditions)
