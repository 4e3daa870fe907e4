"""Retry policy: what is tried again, when, and what bounds it."""

import email.utils
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher import errors
from fetcher.errors import (
    BadEncoding,
    ConnectFailed,
    ConnectionLost,
    FetcherError,
    NameNotResolved,
    RedirectFailed,
    Refused,
    StorageError,
    TimedOut,
    TlsRejected,
)
from fetcher.policy.retry import (
    LEAST_HOLD_S,
    LONGEST_RETRY_AFTER_S,
    TRIED_AGAIN,
    Attempt,
    GiveUp,
    RetryPolicy,
    TryAgain,
    retry_after_s,
)

STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
NOW = 1_700_000_000.0


def policy(retries=3, *, retry_on=STATUSES, max_wait_s=300.0, draw=0.5):
    return RetryPolicy(retries, retry_on, max_wait_s, lambda: draw)


def cut_short():
    error = BadEncoding("gzip body cut short")
    error.is_truncated = True
    return error


def http_date(offset_s):
    return email.utils.formatdate(NOW + offset_s, usegmt=True)


PASSING = [
    ConnectFailed("refused"),
    TimedOut("silence", phase="body"),
    TimedOut("slow", phase="connect"),
    ConnectionLost("cut", phase="body"),
    NameNotResolved("try again", temporary=True),
    cut_short(),
]
LASTING = [
    TlsRejected("expired"),
    NameNotResolved("no such name"),
    errors.ProtocolBroken("not HTTP"),
    errors.BodyTooLarge("too large"),
    BadEncoding("unknown coding"),
    Refused("private-address", "private"),
    RedirectFailed("redirect-loop", "loop"),
    StorageError("disk full"),
    errors.ParseFailed("parser"),
    errors.WorkerDied("gone"),
    errors.ExchangeError("unknown"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_an_error_that_may_pass_is_tried_again_at_the_cost_of_a_retry(error):
    decision = policy().decide(Attempt(number=1, error=error))
    assert decision == TryAgain(delay_s=0.25, costs_retry=True, reason="backoff")


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_an_error_that_will_not_pass_is_not_tried_again(error):
    assert policy().decide(Attempt(number=1, error=error)) == GiveUp()


def test_the_table_decides_for_every_class_of_error():
    def classes(cls):
        yield cls
        for child in cls.__subclasses__():
            if child.__module__ == "fetcher.errors":
                yield from classes(child)

    for cls in classes(FetcherError):
        rules = [TRIED_AGAIN[base] for base in cls.__mro__ if base in TRIED_AGAIN]
        assert rules, cls


@pytest.mark.parametrize("status", sorted(STATUSES))
def test_a_listed_status_is_tried_again(status):
    assert isinstance(policy().decide(Attempt(number=1, status=status)), TryAgain)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501, 505, 599, 999])
def test_any_other_status_is_not_tried_again(status):
    assert policy().decide(Attempt(number=1, status=status)) == GiveUp()


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_the_budget_is_the_first_attempt_and_the_retries(retries):
    decisions = [
        policy(retries).decide(Attempt(number=number, error=ConnectFailed())) for number in range(1, 6)
    ]
    assert [isinstance(decision, TryAgain) for decision in decisions] == [n <= retries for n in range(1, 6)]


def test_attempts_that_cost_no_retry_are_not_counted():
    attempt = Attempt(number=9, free_attempts=8, error=ConnectFailed())
    assert policy(1).decide(attempt) == TryAgain(0.25, costs_retry=True, reason="backoff")
    assert isinstance(policy(1).decide(Attempt(number=9, free_attempts=7, error=ConnectFailed())), GiveUp)


def test_the_window_doubles_from_half_a_second_to_a_minute():
    windows = [
        policy(20, draw=1.0).decide(Attempt(number=number, error=ConnectFailed())).delay_s
        for number in range(1, 11)
    ]
    assert windows == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(number=st.integers(1, 10**6), draw=st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_negative_nor_above_a_minute(number, draw):
    decision = policy(10**7, draw=draw).decide(Attempt(number=number, error=ConnectFailed()))
    assert 0 <= decision.delay_s <= min(60.0, 0.5 * 2 ** min(number - 1, 10))


def test_full_jitter_spreads_over_the_whole_window():
    spread = RetryPolicy(9, STATUSES, 300.0, random.Random(7).random)
    delays = [spread.decide(Attempt(number=5, error=ConnectFailed())).delay_s for _ in range(2000)]
    assert min(delays) < 0.2
    assert max(delays) > 7.8
    assert 3.7 < sum(delays) / len(delays) < 4.3


@pytest.mark.parametrize("method", ["POST", "PATCH", "PROPPATCH"])
class TestMethodsThatMayNotBeRepeated:
    @pytest.mark.parametrize(
        "error",
        [ConnectFailed(), TimedOut(phase="connect"), NameNotResolved(temporary=True)],
        ids=repr,
    )
    def test_are_tried_again_if_no_connection_was_made(self, method, error):
        attempt = Attempt(number=1, method=method, error=error, connection_made=False)
        assert isinstance(policy().decide(attempt), TryAgain)

    def test_are_not_tried_again_after_a_connection_was_made(self, method):
        for error in PASSING:
            attempt = Attempt(number=1, method=method, error=error, connection_made=True)
            assert policy().decide(attempt) == GiveUp()

    def test_are_not_tried_again_when_the_error_itself_shows_a_connection(self, method):
        error = ConnectionLost(phase="header")
        attempt = Attempt(number=1, method=method, error=error, connection_made=False)
        assert policy().decide(attempt) == GiveUp()

    def test_are_never_tried_again_by_status_but_the_host_is_left_alone(self, method):
        for status in STATUSES:
            attempt = Attempt(number=1, method=method, status=status, connection_made=False)
            assert policy().decide(attempt) == GiveUp()
        attempt = Attempt(number=1, method=method, status=429, retry_after="20")
        assert policy().decide(attempt) == GiveUp(hold_s=20.0)


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("value", ["20", http_date(20)])
    def test_holds_the_host_and_costs_no_retry(self, status, value):
        attempt = Attempt(number=4, status=status, retry_after=value, now_utc=NOW)
        assert policy().decide(attempt) == TryAgain(20.0, costs_retry=False, reason="retry-after")

    def test_is_not_heeded_on_other_statuses(self):
        decision = policy().decide(Attempt(number=1, status=500, retry_after="20"))
        assert decision == TryAgain(0.25, costs_retry=True, reason="backoff")

    @pytest.mark.parametrize(("waited_s", "again"), [(0, True), (280, True), (281, False), (300, False)])
    def test_is_waited_for_up_to_max_wait_in_all(self, waited_s, again):
        decision = policy().decide(Attempt(number=1, status=429, retry_after="20", waited_s=waited_s))
        assert isinstance(decision, TryAgain) is again

    @pytest.mark.parametrize("value", ["3600", "1" + "0" * 9, "9" * 60])
    def test_beyond_max_wait_ends_as_retry_later(self, value):
        decision = policy().decide(Attempt(number=1, status=503, retry_after=value))
        assert decision.error_slug == "retry-later"
        assert decision.hold_s == 0

    def test_beyond_max_wait_says_what_was_asked_and_allowed(self):
        decision = policy().decide(Attempt(number=1, status=429, retry_after="3600"))
        assert decision.message == "asked to wait 3600 s, more than --max-wait 300 s allows"
        decision = policy().decide(Attempt(number=1, status=429, retry_after="90", waited_s=240.0))
        assert decision.message == (
            "asked to wait 90 s after 240 s of waiting, more than --max-wait 300 s allows"
        )

    @pytest.mark.parametrize("value", ["soon", "-5", "", http_date(-10), http_date(0)])
    def test_that_says_nothing_gets_the_ordinary_backoff_which_holds_the_host(self, value):
        attempt = Attempt(number=1, status=429, retry_after=value, now_utc=NOW)
        assert policy().decide(attempt) == TryAgain(0.25, costs_retry=True, reason="backoff")

    def test_of_zero_waits_a_second_so_that_it_ends_some_time(self):
        waited_s, rounds = 0.0, 0
        while True:
            attempt = Attempt(number=rounds + 1, status=503, retry_after="0", waited_s=waited_s)
            decision = policy().decide(attempt)
            if isinstance(decision, GiveUp):
                break
            waited_s += decision.delay_s
            rounds += 1
        assert rounds == 300
        assert decision.error_slug == "retry-later"

    def test_does_not_bring_back_a_status_that_the_user_left_out(self):
        attempt = Attempt(number=1, status=429, retry_after="20")
        assert policy(retry_on=frozenset({500})).decide(attempt) == GiveUp(hold_s=20.0)

    def test_a_last_pushback_still_holds_the_host_for_a_backoff(self):
        assert policy(0).decide(Attempt(number=1, status=503)) == GiveUp(hold_s=0.25, is_passing=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7\t", 7.0),
        ("1.5", 1.5),
        ("1000000000", 1e9),
        ("9" * 64, LONGEST_RETRY_AFTER_S),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
        ("Tue Nov 14 22:14:20 2023", 60.0),
    ],
)
def test_retry_after_is_read_in_seconds_and_in_all_three_forms_of_date(value, seconds):
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "x",
        "-1",
        "+5",
        "1e9",
        "inf",
        "nan",
        "٣",
        "120, 120",
        "9" * 65,
        "Tue, 99 Nov 2023 22:14:20 GMT",
    ],
)
def test_garbage_in_retry_after_is_as_if_it_were_absent(value):
    assert retry_after_s(value, NOW) is None


@given(value=st.one_of(st.text(), st.from_regex(r"[-+]?[0-9., :GMTa-z]{0,70}")), now=st.floats(0, 1e10))
def test_retry_after_is_none_or_within_its_bounds(value, now):
    seconds = retry_after_s(value, now)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_S


def test_a_date_without_a_zone_is_utc_wherever_the_program_runs(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after_s("Tue Nov 14 22:14:20 2023", NOW) == 60.0
        assert retry_after_s("Tue, 14 Nov 2023 23:14:20 +0100", NOW) == 60.0
    finally:
        monkeypatch.undo()
        time.tzset()


attempts = st.builds(
    Attempt,
    number=st.integers(1, 50),
    method=st.sampled_from(["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"]),
    error=st.sampled_from([None, *PASSING, *LASTING]),
    status=st.one_of(st.none(), st.integers(400, 999)),
    retry_after=st.one_of(st.none(), st.sampled_from(["0", "1", "299", "3600", "x", http_date(50)])),
    waited_s=st.floats(0, 1000),
    connection_made=st.booleans(),
    now_utc=st.just(NOW),
)


@given(attempt=attempts, retries=st.integers(0, 9))
def test_every_further_attempt_is_allowed_bounded_and_paid_for(attempt, retries):
    decision = policy(retries, draw=0.999).decide(attempt)
    if isinstance(decision, GiveUp):
        assert 0 <= decision.hold_s <= 300
        return
    assert attempt.error in PASSING or (attempt.error is None and attempt.status in STATUSES)
    if attempt.method in {"POST", "PATCH"}:
        assert not attempt.connection_made
        assert attempt.status is None
    if decision.costs_retry:
        assert attempt.number <= retries
        assert 0 <= decision.delay_s <= 60
    else:
        assert decision.delay_s >= LEAST_HOLD_S
        assert attempt.waited_s + decision.delay_s <= 300
