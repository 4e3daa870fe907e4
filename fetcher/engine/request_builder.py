"""The request of a hop: its fields, credentials, conditions, range, cookies and proxy."""

from __future__ import annotations

from fetcher.engine.body_split import SegmentFetch
from fetcher.engine.engine_state import EngineState
from fetcher.engine.fetch_state import FetchState
from fetcher.model import Part, Request
from fetcher.policy.checksums import mismatch
from fetcher.policy.cookies import RedirectCookies
from fetcher.policy.credentials import Fields
from fetcher.policy.ranges import asks_range
from fetcher.policy.resume import may_continue, range_fields, segment_fields

_LEAST: Fields = (("Range", "bytes=0-0"),)  # of a body that nobody reads
_UNGUARDED = "requests go through a proxy: it chooses the addresses, so private ones are not guarded against"


class RequestBuilder:
    """Makes the requests of a pool's hops."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._has_proxies = not state.policies.proxies.is_empty

    async def build(self, fetch: FetchState) -> Request:
        """Make the request of the hop that begins now; `fetch` learns what it asks for."""
        state = self._state
        policies = state.policies
        job, target = fetch.job, fetch.target
        own = job.target
        if own is target and job.secret is None and job.overrides is None:
            headers = policies.credentials.headers_for(target, origin_listed=job.is_listed)
        else:
            headers = await self._headers(fetch)
        fetch.is_conditional = fetch.asks_rest = False
        part = fetch.part
        if isinstance(fetch, SegmentFetch):
            assert fetch.segment is not None
            validator = None if fetch.segment.is_foreign else fetch.split.part().validator or None
            headers += segment_fields(fetch.segment.begin, fetch.segment.asked_end, validator)
        elif part is not None and state.body_options.resumes and _may_ask_rest(fetch, part, headers):
            headers += range_fields(part)
            fetch.asks_rest = True
        elif (
            job.cached is not None
            and fetch.method == "GET"
            and not fetch.is_unconditional
            and not fetch.mirror
            and self._is_here(fetch)
        ):
            headers += _conditions(fetch)
            fetch.is_conditional = True
        elif fetch.is_check and fetch.method == "GET" and not (fetch.is_unconditional or asks_range(headers)):
            headers += _LEAST
        elif fetch.is_unconditional:
            headers += (("Cache-Control", "no-cache"),)
        cookies = fetch.cookies
        if cookies is None and policies.jar:
            cookies = fetch.cookies = RedirectCookies(policies.jar)
        if cookies is not None:
            cookie = cookies.header(target, state.clock.utc())
            if cookie:
                headers = _with_cookie(headers, cookie)
        if fetch.body is not None and not any(name.lower() == "content-type" for name, _ in headers):
            headers += (("Content-Type", "application/x-www-form-urlencoded"),)  # as curl does
        proxy = policies.proxies.proxy_for(target) if self._has_proxies else None
        if proxy is not None:
            state.events.notice_once("info", _UNGUARDED)
        private = policies.private_addresses
        return Request(
            target=target,
            method=fetch.method,
            headers=headers,
            body=fetch.body,
            allow_private=fetch.allow_private if private == "seeds" else private == "allow",
            proxy=proxy,
        )

    async def _headers(self, fetch: FetchState) -> Fields:
        """Make the headers of a hop that is not an ordinary first one."""
        job, target = fetch.job, fetch.target
        assert job.target is not None
        is_own = target.origin == job.target.origin
        listed = (is_own and job.is_listed) or await self._state.frontier.is_user_host(
            target.hostname, target.port
        )
        extra = {**((job.overrides and job.overrides.headers) or {}), **(job.secret_headers or {})}
        return self._state.policies.credentials.headers_for(
            target,
            origin_listed=listed,
            userinfo=(job.secret if is_own else None) or target.userinfo,
            extra=extra if is_own and extra else None,
        )

    def _is_here(self, fetch: FetchState) -> bool:
        known, extra = fetch.job.cached, fetch.job.overrides
        if known is None or not (known.etag or known.last_modified):
            return False
        if known.sha256 and extra is not None and mismatch(extra.wanted, {"sha256": known.sha256}):
            return False  # it is there, and not what is wanted
        if known.path is None:
            return self._state.store.holds(fetch.target.url)
        return self._state.store.has_file(known.path, known.length)


def _with_cookie(headers: Fields, cookie: str) -> Fields:
    """Give the headers one Cookie field: the user's own, if there is one, and then `cookie`."""
    own = [value for name, value in headers if name.lower() == "cookie"]
    rest = tuple((name, value) for name, value in headers if name.lower() != "cookie")
    return (*rest, ("Cookie", "; ".join([*own, cookie])))


def _may_ask_rest(fetch: FetchState, part: Part, headers: Fields) -> bool:
    """Decide if this hop asks for the rest of the part: not where the user asks for a range of their own."""
    return fetch.method == "GET" and may_continue(part, fetch.target) and not asks_range(headers)


def _conditions(fetch: FetchState) -> Fields:
    known = fetch.job.cached
    assert known is not None
    conditions = []
    if known.etag:
        conditions.append(("If-None-Match", known.etag))
    if known.last_modified:
        conditions.append(("If-Modified-Since", known.last_modified))
    return tuple(conditions)
