"""Retries of attempts that failed: is there another one, and when?

A pure decision: the attempt goes in, `TryAgain` or `GiveUp` comes out, and the scheduler does the
waiting. Invariants: an attempt that `TRIED_AGAIN`, the statuses or the method rule out is never tried
again; every `TryAgain` either costs one of the URL's retries or adds at least `LEAST_HOLD_S` to its waits
for Retry-After, so no answer of a server can keep a URL alive for ever.

The bounds are tenacity's `wait` and `stop` objects, called with the attempt's number. Its
`wait_random_exponential` draws from the global `random`; here randomness is passed in, so the window
comes from `wait_exponential`, which has the same arithmetic, and the jitter is drawn from that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Literal, cast

import msgspec
import tenacity

from fetcher import errors
from fetcher.errors import ExchangeError, FetcherError
from fetcher.policy.http import IDEMPOTENT

# What may be tried again: yes, no, or the attribute of the error that says so. A class that is not
# listed goes by its base; what is listed nowhere is not tried again.
TRIED_AGAIN: Mapping[type[FetcherError], bool | str] = {
    errors.ConnectFailed: "temporary",
    errors.TimedOut: True,
    errors.ConnectionLost: True,
    errors.PartialAnswer: True,
    errors.NameNotResolved: "temporary",
    errors.BadEncoding: "is_truncated",
    errors.PieceMismatch: "is_mendable",
    errors.TlsRejected: False,
    errors.ProtocolBroken: False,
    errors.BodyTooLarge: False,
    errors.Refused: False,
    errors.RedirectFailed: False,
    errors.ParseFailed: False,
    errors.StorageError: False,
    FetcherError: False,
}

# The statuses by which a host asks for time (RFC 9110 §15.6.4, RFC 6585 §4).
PUSHBACK = frozenset({429, 503})

FIRST_WINDOW_S = 0.5
LAST_WINDOW_S = 60.0
LEAST_HOLD_S = 1.0  # `Retry-After: 0`, over and over, must not become a busy loop
LONGEST_RETRY_AFTER_S = 1e10

_CONNECTED_PHASES = frozenset({"write", "header", "body"})
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")
_LONGEST_VALUE = 64


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that did not succeed: an `error`, or a `status` from 400 up.

    `number` counts the attempts made, this one included; `free_attempts` says how many of the earlier ones
    ended in an `TryAgain` that cost no retry. `waited_s` is what the URL has spent on Retry-After so far.
    """

    number: int
    method: str = "GET"
    error: FetcherError | None = None
    status: int | None = None
    retry_after: str | None = None  # the header as it came
    waited_s: float = 0.0
    free_attempts: int = 0
    connection_made: bool = True
    now_utc: float = 0.0


class TryAgain(msgspec.Struct, frozen=True, gc=False):
    """Try again after `delay_s`."""

    delay_s: float
    costs_retry: bool
    reason: Literal["backoff", "retry-after"]


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """The attempt was the last. None leaves error and message as they are.

    `hold_s` is how long the host is still to be left alone, for the sake of its other URLs.
    """

    error_slug: str | None = None
    message: str | None = None
    hold_s: float = 0.0
    is_passing: bool = False  # another run may do better: only the budget was spent


_GIVE_UP = GiveUp()
_SPENT = GiveUp(is_passing=True)


class RetryPolicy:
    """The retries of one run; it holds nothing that changes, so any number of tasks may share it.

    `random` returns floats in [0, 1), as `random.Random().random` does.
    """

    __slots__ = ("_max_wait_s", "_random", "_retry_on", "_stop", "_wait")

    def __init__(
        self, retries: int, retry_on: frozenset[int], max_wait_s: float, random: Callable[[], float]
    ) -> None:
        self._retry_on = retry_on
        self._max_wait_s = max_wait_s
        self._random = random
        self._wait = tenacity.wait_exponential(multiplier=FIRST_WINDOW_S, max=LAST_WINDOW_S)
        self._stop = tenacity.stop_after_attempt(retries + 1)

    def decide(self, attempt: Attempt) -> TryAgain | GiveUp:
        """Decide what follows the attempt."""
        pushed_back = attempt.status in PUSHBACK
        asked_s = retry_after_s(attempt.retry_after, attempt.now_utc) if pushed_back else None
        if not self.allows(attempt):
            return _GIVE_UP if asked_s is None else GiveUp(hold_s=min(asked_s, self._max_wait_s))
        if asked_s is not None:
            return self._after_asked(max(asked_s, LEAST_HOLD_S), attempt.waited_s)
        state = _call_state(attempt.number - attempt.free_attempts)
        delay_s = self._wait(state) * self._random()
        if self._stop(state):
            return GiveUp(hold_s=delay_s, is_passing=True) if pushed_back else _SPENT
        return TryAgain(delay_s=delay_s, costs_retry=True, reason="backoff")

    def allows(self, attempt: Attempt) -> bool:
        """Return True if what happened may be tried again at all, whatever budget is left."""
        if attempt.method not in IDEMPOTENT and _may_have_arrived(attempt):
            return False
        if attempt.error is not None:
            return _is_passing(attempt.error)
        return attempt.status in self._retry_on

    def _after_asked(self, delay_s: float, waited_s: float) -> TryAgain | GiveUp:
        if waited_s + delay_s <= self._max_wait_s:
            return TryAgain(delay_s=delay_s, costs_retry=False, reason="retry-after")
        after = f" after {waited_s:.0f} s of waiting" if waited_s else ""
        return GiveUp(
            "retry-later",
            f"asked to wait {delay_s:.0f} s{after}, more than --max-wait {self._max_wait_s:g} s allows",
            is_passing=True,
        )


def retry_after_s(value: str | None, now_utc: float) -> float | None:
    """Seconds that a Retry-After header asks for, in [0, `LONGEST_RETRY_AFTER_S`] (RFC 9110 §10.2.3).

    None where it is absent, garbage, negative, or a date that is not in the future.
    """
    if value is None or len(value) > _LONGEST_VALUE:
        return None
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    import email.utils  # noqa: PLC0415  (20 modules, for few answers)

    try:
        date = email.utils.parsedate_to_datetime(value)
        if date.tzinfo is None:  # asctime's form, and "-0000"
            date = date.replace(tzinfo=UTC)
        seconds = date.timestamp() - now_utc
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(seconds, LONGEST_RETRY_AFTER_S) if seconds > 0 else None


def _is_passing(error: FetcherError) -> bool:
    for cls in type(error).__mro__:
        rule = TRIED_AGAIN.get(cls)
        if rule is not None:
            return bool(getattr(error, rule, False)) if isinstance(rule, str) else rule
    return False


def _may_have_arrived(attempt: Attempt) -> bool:
    """Return False only if the server cannot have seen the request."""
    if attempt.connection_made or attempt.status is not None:
        return True
    return isinstance(attempt.error, ExchangeError) and attempt.error.phase in _CONNECTED_PHASES


def _call_state(number: int) -> tenacity.RetryCallState:
    """Return the least that tenacity's wait and stop objects look at: the attempt's number."""
    state = tenacity.RetryCallState(cast("tenacity.BaseRetrying", None), None, (), {})
    state.attempt_number = max(number, 1)
    return state
