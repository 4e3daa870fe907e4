"""Pace of a host and of the run: limit, holds and spacing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.policy.throttle import CATCH_UP_S, HostThrottle, RateLimiter

LONG_AGO = float("-inf")


def starts(pace, until, *, late_s=0.0, begin=0.0):
    """When a scheduler that wakes `late_s` after each allowed time starts, up to `until`."""
    times, now = [], begin
    while now < until:
        times.append(now)
        pace.after_start(now)
        now = max(now, pace.not_before + late_s)
    return times


def test_a_new_host_may_be_asked_at_once_up_to_its_limit():
    pace = HostThrottle(8)
    assert (pace.limit, pace.not_before, pace.reason) == (8, LONG_AGO, "")


def test_without_delay_rate_or_pushback_nothing_ever_changes():
    pace = HostThrottle(8)
    for now in range(100):
        pace.after_start(now)
        pace.on_success(now)
    assert (pace.limit, pace.not_before, pace.reason) == (8, LONG_AGO, "")


def test_a_pushback_halves_the_limit_and_holds_the_host():
    pace = HostThrottle(8)
    pace.on_pushback(100.0, 30.0, "retry-after")
    assert (pace.limit, pace.not_before, pace.reason) == (4, 130.0, "retry-after")


def test_pushbacks_within_one_hold_halve_only_once_and_the_longest_counts():
    pace = HostThrottle(64)
    pace.on_pushback(100.0, 30.0, "retry-after")
    pace.on_pushback(110.0, 5.0, "backoff")
    assert (pace.limit, pace.not_before, pace.reason) == (32, 130.0, "retry-after")
    pace.on_pushback(129.0, 60.0, "retry-after")
    assert (pace.limit, pace.not_before) == (32, 189.0)
    pace.on_pushback(188.9, 0.0, "backoff")
    assert pace.limit == 32
    pace.on_pushback(189.0, 1.0, "backoff")
    assert pace.limit == 16


def test_a_hold_of_no_length_still_halves_only_once_a_round():
    pace = HostThrottle(64)
    for step in range(10):
        pace.on_pushback(100.0 + step * 0.1, 0.0, "backoff")
    assert pace.limit == 32
    pace.on_pushback(101.0, 0.0, "backoff")
    assert pace.limit == 16


def test_the_limit_never_falls_below_one():
    pace = HostThrottle(3)
    for now in range(0, 1000, 10):
        pace.on_pushback(float(now), 1.0, "backoff")
    assert pace.limit == 1


def test_a_negative_delay_holds_nothing_back():
    pace = HostThrottle(2)
    pace.on_pushback(100.0, -50.0, "backoff")
    assert pace.not_before == 100.0


def test_one_more_at_once_after_a_round_of_successes():
    pace = HostThrottle(8)
    pace.on_pushback(0.0, 1.0, "backoff")
    for expected in (5, 6, 7, 8):
        for _ in range(expected):
            pace.on_success(2.0)
        assert int(pace.limit) >= expected
    for _ in range(50):
        pace.on_success(2.0)
    assert pace.limit == 8


def test_recovery_is_gradual():
    pace = HostThrottle(64)
    pace.on_pushback(0.0, 1.0, "backoff")
    for _ in range(32):
        pace.on_success(2.0)
    assert 32.9 < pace.limit <= 33.0


def test_a_delay_spaces_the_starts():
    pace = HostThrottle(8, delay_s=2.0)
    assert starts(pace, 10.0) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert pace.reason == "delay"


def test_a_delay_is_not_caught_up():
    pace = HostThrottle(8, delay_s=2.0)
    times = starts(pace, 30.0, late_s=0.5)
    assert all(later - earlier >= 2.0 for earlier, later in itertools.pairwise(times))


def test_a_crawl_delay_that_came_to_be_known_spaces_what_follows():
    pace = HostThrottle(8)
    pace.after_start(1.0)
    pace.set_delay(3.0)
    pace.after_start(2.0)
    assert pace.not_before == 5.0
    pace.set_delay(0.0)
    pace.after_start(6.0)
    assert pace.not_before == 5.0


def test_a_delay_does_not_shorten_a_hold():
    pace = HostThrottle(8, delay_s=2.0)
    pace.on_pushback(0.0, 60.0, "retry-after")
    pace.after_start(1.0)
    assert (pace.not_before, pace.reason) == (60.0, "retry-after")


def test_a_host_rate_spaces_the_starts_and_says_so():
    pace = HostThrottle(8, rate=4.0)
    assert starts(pace, 1.0) == [0.0, 0.25, 0.5, 0.75]
    assert pace.reason == "rate"


def test_a_host_rate_stays_when_a_delay_goes():
    pace = HostThrottle(8, rate=2.0, delay_s=5.0)
    pace.set_delay(0.0)
    assert starts(pace, 2.0) == [0.0, 0.5, 1.0, 1.5]


def test_delay_and_rate_together_give_the_slower():
    assert starts(HostThrottle(8, rate=100.0, delay_s=1.0), 3.0) == [0.0, 1.0, 2.0]
    assert starts(HostThrottle(8, rate=0.5, delay_s=1.0), 5.0) == [0.0, 2.0, 4.0]


def test_a_rate_makes_up_for_a_timer_that_is_a_little_late():
    times = starts(RateLimiter(100.0), 10.0, late_s=0.005)
    assert 995 <= len(times) <= 1001


def test_a_rate_makes_up_for_no_more_than_fifty_milliseconds():
    rate = RateLimiter(1000.0)
    rate.after_start(0.0)
    burst = 0
    while rate.not_before <= 60.0:
        rate.after_start(60.0)
        burst += 1
    assert burst == pytest.approx(50, abs=2)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_must_be_above_zero(rate):
    with pytest.raises(ValueError):
        RateLimiter(rate)


def test_a_host_has_at_least_one_exchange():
    with pytest.raises(ValueError):
        HostThrottle(0)


@given(
    rate=st.floats(0.1, 10_000),
    gaps=st.lists(st.floats(0, 1), max_size=200),
)
def test_no_stretch_of_time_has_more_starts_than_the_rate_and_the_catching_up_allow(rate, gaps):
    pace, now, times = RateLimiter(rate), 0.0, []
    for gap in gaps:
        now = max(now + gap, pace.not_before)
        times.append(now)
        pace.after_start(now)
    for index, begin in enumerate(times):
        most = (times[-1] - begin + CATCH_UP_S) * rate + 1
        assert len(times) - index <= most * (1 + 1e-6) + 1e-6


events = st.lists(
    st.tuples(
        st.sampled_from(["success", "pushback", "start"]),
        st.floats(0, 5),  # time since the last event
        st.floats(-10, 400),  # delay
    ),
    max_size=200,
)


@given(most=st.integers(1, 100), delay_s=st.sampled_from([0.0, 1.5]), events=events)
def test_the_limit_stays_within_its_bounds_and_time_never_goes_back(most, delay_s, events):
    pace, now = HostThrottle(most, delay_s=delay_s), 0.0
    for kind, gap, delay in events:
        now += gap
        before = pace.not_before
        match kind:
            case "success":
                pace.on_success(now)
            case "pushback":
                pace.on_pushback(now, delay, "backoff")
                assert pace.not_before >= now + delay
            case "start":
                pace.after_start(now)
        assert 1 <= pace.limit <= most
        assert pace.not_before >= before
        assert pace.not_before <= now + 400 or pace.not_before == before
