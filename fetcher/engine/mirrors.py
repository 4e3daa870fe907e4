"""The turn to another server of a body, where its list names mirrors.

Invariant: a body that several have sent is kept only while hashes of its pieces vouch for each of them.
"""

from __future__ import annotations

import msgspec

from fetcher.engine.body import Body
from fetcher.engine.engine_state import EngineState
from fetcher.engine.fetch_state import FetchState
from fetcher.errors import PieceMismatch
from fetcher.events import LogMessage
from fetcher.policy.redaction import shown
from fetcher.policy.urls import admit


class Mirrors:
    """Turns the fetches of one pool to their mirrors."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def turn(self, fetch: FetchState, message: str, body: Body) -> bool:
        """Begin anew at the next mirror, after a failure for good. False if there is none.

        It has the retries of a URL of its own, and nothing of what another has sent, unless hashes of pieces
        vouch for that.
        """
        mirror = _next_mirror(fetch)
        if mirror is None:
            return False
        failed = shown(fetch.target.url)
        body.discard()
        self.give_up_part(fetch)
        if fetch.part is not None:
            self._state.set_part(fetch, msgspec.structs.replace(fetch.part, validator=""))
        fetch.furthest = 0
        fetch.target = admit(mirror)
        fetch.mirror += 1
        fetch.method = "GET"
        fetch.redirects = fetch.seen = fetch.cookies = None
        fetch.free_attempts = fetch.attempts
        fetch.allow_private = fetch.job.is_user_host
        state = self._state
        to = shown(fetch.target.url)
        state.events.emit(LogMessage("info", f"{failed}: {message}; going on with {to}"))
        state.enqueue_redirect(fetch)
        return True

    def mend(self, fetch: FetchState, error: PieceMismatch, message: str, body: Body) -> bool:
        """Ask for the wrong pieces of a body at once. False if all who have it were asked by themselves.

        Of a mixture nobody knows who sent them, so its first server is the first to be asked.
        """
        may_be_anothers = (error.is_mixed or body.resumed_at) and not fetch.is_unmixed
        fetch.is_unmixed = True
        if not may_be_anothers:
            return self.turn(fetch, message, body)
        body.discard()
        state = self._state
        state.events.emit(LogMessage("info", f"{shown(fetch.target.url)}: {message}; asking for them again"))
        fetch.free_attempts = fetch.attempts
        state.scheduler.push_first(fetch)
        return True

    def give_up_part(self, fetch: FetchState) -> None:
        """Drop what is there of the body, unless a mirror is left and hashes of pieces will vouch for all."""
        extra, part = fetch.job.overrides, fetch.part
        has_pieces = extra is not None and extra.pieces is not None
        if not has_pieces or part is None or part.total is None or _next_mirror(fetch) is None:
            self._state.set_part(fetch, None)


def _next_mirror(fetch: FetchState) -> str | None:
    """Return the mirror that is to be turned to next, or None."""
    extra = fetch.job.overrides
    if extra is None or fetch.mirror >= len(extra.mirrors) or extra.method is not None:
        return None
    return extra.mirrors[fetch.mirror]
