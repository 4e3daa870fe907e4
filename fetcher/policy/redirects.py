"""Redirects: the next request, or the reason why it is not made.

A pure decision about one hop (RFC 9110 §15.4); the engine then judges the target by scope, robots and
safety like any other URL. Invariant: a `NextRequest` is never a URL that the chain has just seen by the same
method, never one more than `max_redirects`, and never from https to http with credentials.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from fetcher.errors import RedirectFailed
from fetcher.model import Target
from fetcher.policy.urls import resolve_redirect

_LONGEST_SHOWN = 200


class NextRequest(msgspec.Struct, frozen=True, gc=False):
    """The next hop.

    Within the origin the target keeps the userinfo of the current one, unless it brings its own.
    `note` is something worth reporting, or None.
    """

    target: Target
    method: str
    keeps_body: bool
    note: str | None = None


def next_request(
    request_method: str,
    response_status: int,
    location_values: Sequence[str],
    current: Target,
    *,
    hops: int,
    max_redirects: int,
    seen: Collection[str],
    has_credentials: bool,
) -> NextRequest:
    """Return the hop that a redirect (a status of `REDIRECTS`) from `current` asks for.

    `hops` counts the redirects already followed. `seen` is the chain's URLs in order, `current` last,
    since the cookies or the method last changed: after either, the same URL may answer otherwise, even
    `current` itself, and the engine starts the list anew.

    Raises:
        RedirectFailed: `bad-redirect`, `redirect-loop`, `too-many-redirects`, or `insecure-redirect`
            (from https to http, with credentials).
    """
    target = resolve_redirect(current, _location(location_values))
    method = next_method(request_method, response_status)
    if method == request_method:
        _refuse_loop(seen, current.url, target.url)
    if hops >= max_redirects:
        raise RedirectFailed("too-many-redirects", _too_many(hops, max_redirects, target.url))
    if target.origin == current.origin and target.userinfo is None and current.userinfo is not None:
        target = msgspec.structs.replace(target, userinfo=current.userinfo)
    note = None
    if current.scheme == "https" and target.scheme == "http":
        if has_credentials:
            raise RedirectFailed(
                "insecure-redirect",
                f"redirect from https to plain http with credentials: {_shown(target.url)}",
                hint="list the http URL itself if it may have them",
            )
        note = f"redirected from https to plain http: {_shown(target.url)}"
    return NextRequest(
        target=target,
        method=method,
        keeps_body=method == request_method and response_status != 303,
        note=note,
    )


def _location(values: Sequence[str]) -> str:
    """Return the one Location. Several that agree are one; several that differ would be a guess."""
    distinct = {value.strip(" \t") for value in values}
    if not distinct:
        raise RedirectFailed("bad-redirect", "redirect without a Location")
    if len(distinct) > 1:
        raise RedirectFailed("bad-redirect", f"redirect with {len(distinct)} different Locations")
    return distinct.pop()


def next_method(method: str, status: int) -> str:
    """Return the method of the request that follows an answer with this status."""
    if status == 303:
        return "HEAD" if method == "HEAD" else "GET"
    if method == "POST" and status in {301, 302}:
        return "GET"
    return method


def _refuse_loop(seen: Collection[str], current: str, target: str) -> None:
    if target not in seen:
        return
    chain = list(seen)
    if not chain or chain[-1] != current:
        chain.append(current)
    loop = [*chain[chain.index(target) :], target]
    raise RedirectFailed("redirect-loop", "redirect loop: " + " → ".join(map(_shown, loop)))


def _too_many(hops: int, max_redirects: int, last: str) -> str:
    if not max_redirects:
        return f"redirected to {_shown(last)}, and --max-redirects 0 follows none"
    return (
        f"{hops + 1} redirects, more than --max-redirects {max_redirects} allows; the last to {_shown(last)}"
    )


def _shown(url: str) -> str:
    return url if len(url) <= _LONGEST_SHOWN else url[: _LONGEST_SHOWN - 1] + "…"
