"""Time: who may start, whose turn it is, and what waits for what."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fetcher.engine.fetch_state import FetchState
from fetcher.engine.host_queue import Host, HostState
from fetcher.engine.scheduler import Scheduler
from fetcher.model import Job, Target
from fetcher.policy.throttle import HostThrottle

A, B, C = "a.example:80", "b.example:80", "c.example:80"


class Handle:
    """A timer of the hand-moved clock."""

    def __init__(self, when: float, function: Callable[[], None]) -> None:
        self.when = when
        self.function = function
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Hand:
    """A clock moved by hand, with timers that fire as it moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, int, Handle]] = []
        self._number = 0

    def call_at(self, when: float, function: Callable[[], None]) -> Any:
        self._number += 1
        handle = Handle(when, function)
        heapq.heappush(self.timers, (when, self._number, handle))
        return handle

    def pending(self) -> list[float]:
        return [when for when, _, handle in self.timers if not handle.is_cancelled]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(10_000):
            if not self.timers or self.timers[0][0] > end:
                self.now = end
                return
            when, _, handle = heapq.heappop(self.timers)
            if not handle.is_cancelled:
                self.now = max(self.now, when)
                handle.function()
        raise AssertionError("timers without end")


class Bench:
    """A scheduler on a hand-moved clock, and what it was asked to wake."""

    def __init__(self, *, rate: float | None = None, paces: dict[str, HostThrottle] | None = None) -> None:
        self.hand = Hand()
        self.woken = 0
        self.met: list[str] = []
        self._paces = paces or {}
        self.scheduler = Scheduler(
            self._pace_of,
            wake=self._wake,
            call_at=self.hand.call_at,
            clock=lambda: self.hand.now,
            rate=rate,
        )

    def _pace_of(self, host: str) -> HostThrottle:
        self.met.append(host)
        return self._paces.get(host) or HostThrottle(2)

    def _wake(self, number: int) -> None:
        assert number > 0
        self.woken += number

    def push(self, *hosts: str) -> list[FetchState]:
        fetches = [fetch_at(host) for host in hosts]
        self.scheduler.push(fetches)
        return fetches

    def take(self) -> FetchState | None:
        return self.scheduler.next_ready(self.hand.now)

    def take_all(self) -> list[str]:
        """The hosts of all that may start now, in the order in which they start."""
        taken = []
        while (fetch := self.take()) is not None:
            taken.append(fetch.target.host)
        return taken

    def release(self, host: str) -> None:
        self.scheduler.release(host, self.hand.now)

    def starts_in(self, seconds: float, *, step: float = 0.01) -> list[float]:
        """When exchanges start and end at once, as time passes in steps."""
        begun = self.hand.now
        times = []
        for _ in range(round(seconds / step)):
            while (fetch := self.take()) is not None:
                times.append(round(self.hand.now - begun, 3))
                self.release(fetch.target.host)
            self.hand.advance(step)
        return times


_ids = iter(range(1, 1 << 60))


def fetch_at(host: str) -> FetchState:
    name, _, port = host.rpartition(":")
    number = next(_ids)
    target = Target(f"http://{host}/{number}", "http", name, int(port), host)
    return FetchState(job=Job(id=number, url=target.url, target=target), target=target)


# -- turns ------------------------------------------------------------------------------------------


def test_hosts_are_served_in_turn_however_much_each_has_queued():
    bench = Bench(paces={host: HostThrottle(9) for host in (A, B, C)})
    bench.push(*[A] * 5, B, *[C] * 2)
    assert bench.take_all() == [A, B, C, A, C, A, A, A]


def test_a_hosts_own_queue_is_first_come_first_served():
    bench = Bench(paces={A: HostThrottle(9)})
    pushed = bench.push(A, A, A)
    assert [bench.take() for _ in range(3)] == pushed


def test_the_next_hop_of_a_chain_goes_before_what_its_host_has_queued():
    bench = Bench(paces={A: HostThrottle(9)})
    bench.push(A, A)
    hop = fetch_at(A)
    bench.scheduler.push_first(hop)
    assert bench.take() is hop


def test_a_host_never_has_more_in_flight_than_its_limit():
    bench = Bench()
    bench.push(*[A] * 5)
    assert bench.take_all() == [A, A]
    bench.release(A)
    assert bench.take_all() == [A]


def test_a_host_at_its_limit_does_not_keep_others_waiting():
    bench = Bench()
    bench.push(*[A] * 5, B)
    assert bench.take_all() == [A, B, A]


def test_nothing_is_taken_of_nothing():
    assert Bench().take() is None


def test_a_push_wakes_no_more_workers_than_the_host_has_slots():
    bench = Bench()
    bench.push(*[A] * 10)
    assert bench.woken == 2


def test_a_slot_given_back_wakes_a_worker_if_something_is_queued():
    bench = Bench()
    bench.push(A, A, A)
    bench.take_all()
    woken = bench.woken
    bench.release(A)
    assert bench.woken == woken + 1


# -- times ------------------------------------------------------------------------------------------


def test_a_delay_is_kept_between_two_starts_at_a_host():
    bench = Bench(paces={A: HostThrottle(2, delay_s=0.5)})
    bench.push(A, A, A)
    assert bench.starts_in(3) == [0.0, 0.5, 1.0]


def test_a_delay_counts_from_start_to_start_even_while_the_first_is_in_flight():
    bench = Bench(paces={A: HostThrottle(2, delay_s=0.5)})
    bench.push(A, A)
    assert bench.take_all() == [A]
    bench.hand.advance(0.49)
    assert bench.take_all() == []
    bench.hand.advance(0.02)
    assert bench.take_all() == [A]


def test_a_rate_of_the_run_spaces_starts_over_all_hosts():
    bench = Bench(rate=8)
    bench.push(A, B, C, A, B)
    assert bench.starts_in(2, step=1 / 128) == [0.0, 0.125, 0.25, 0.375, 0.5]


def test_a_rate_wakes_somebody_when_the_next_start_is_due():
    bench = Bench(rate=1)
    bench.push(A, B)
    bench.take_all()
    woken = bench.woken
    bench.hand.advance(0.99)
    assert bench.woken == woken
    bench.hand.advance(0.01)
    assert bench.woken == woken + 1


def test_a_hosts_own_rate_spaces_its_starts_and_nobody_elses():
    bench = Bench(paces={A: HostThrottle(8, rate=2), B: HostThrottle(8)})
    bench.push(A, A, A, B, B, B)
    assert bench.take_all() == [A, B, B, B]
    bench.hand.advance(0.5)
    assert bench.take_all() == [A]


def test_a_push_back_holds_the_whole_host_until_its_time():
    bench = Bench()
    bench.push(A, A, A, B)
    bench.take()
    bench.scheduler.on_pushback(A, bench.hand.now, 2.0, "retry-after")
    bench.release(A)
    assert bench.take_all() == [B]
    bench.hand.advance(1.99)
    assert bench.take_all() == []
    bench.hand.advance(0.01)
    assert bench.take_all() == [A]


def test_a_longer_hold_during_a_hold_prolongs_it_and_a_shorter_one_does_not():
    bench = Bench()
    bench.push(A, A, A)
    bench.take_all()
    now = bench.hand.now
    bench.scheduler.on_pushback(A, now, 5.0, "retry-after")
    bench.scheduler.on_pushback(A, now, 8.0, "retry-after")
    bench.scheduler.on_pushback(A, now, 1.0, "retry-after")
    bench.release(A)
    bench.release(A)
    bench.hand.advance(7.9)
    assert bench.take_all() == []
    bench.hand.advance(0.2)
    assert bench.take_all() == [A]


def waits(fetch: FetchState | None) -> dict[str, float]:
    """What a fetch that was handed out has waited for, to a hundredth of a second."""
    assert fetch is not None
    found = fetch.waits_by_cause()
    assert sum(found.values()) == pytest.approx(fetch.queue_s)
    return {cause: round(seconds, 2) for cause, seconds in found.items()}


def test_a_fetch_knows_for_how_long_its_host_was_held_and_for_what():
    bench = Bench()
    bench.push(A, A)
    assert waits(bench.take()) == {"concurrency": 0}
    bench.scheduler.on_pushback(A, bench.hand.now, 5.0, "retry-after")
    bench.release(A)
    assert bench.take() is None
    bench.hand.advance(7.0)
    assert waits(bench.take()) == {"retry-after": 5, "concurrency": 2}


def test_a_wait_for_the_limit_of_a_host_is_told_from_one_for_a_slot():
    bench = Bench()
    bench.push(A, A, A, B)
    bench.take_all()
    bench.hand.advance(3.0)
    bench.release(A)
    assert waits(bench.take()) == {"per-host": 3}
    bench.push(C, C)
    bench.hand.advance(2.0)
    assert waits(bench.take()) == {"concurrency": 2}
    assert waits(bench.take()) == {"concurrency": 2}


def test_only_the_part_of_a_hold_in_which_a_fetch_was_there_counts_as_its_wait():
    bench = Bench(paces={A: HostThrottle(2, delay_s=10.0)})
    bench.push(A)
    bench.take()
    bench.hand.advance(4.0)
    bench.push(A)
    bench.hand.advance(6.0)
    assert waits(bench.take()) == {"delay": 6}


def test_the_rate_of_the_run_and_the_delay_of_a_host_are_told_apart():
    bench = Bench(rate=0.5, paces={A: HostThrottle(9, delay_s=5.0)})
    bench.push(A, A, B)
    assert waits(bench.take()) == {"concurrency": 0}
    assert bench.take() is None
    bench.hand.advance(2.0)
    assert waits(bench.take()) == {"rate": 2}
    bench.hand.advance(3.0)
    assert waits(bench.take()) == {"delay": 5}


def test_a_fetch_that_was_deferred_tells_its_own_wait_from_that_in_the_queue():
    bench = Bench(paces={A: HostThrottle(1)})
    (fetch,) = bench.push(A)
    bench.take()
    bench.scheduler.defer(fetch, bench.hand.now + 2.0, "backoff")
    bench.hand.advance(5.0)
    bench.release(A)
    assert waits(bench.take()) == {"backoff": 2, "per-host": 3}


def test_what_keeps_all_from_starting_is_told():
    bench = Bench()
    bench.push(A)
    bench.scheduler.settling.start(bench.hand.now)
    bench.hand.advance(1.5)
    bench.scheduler.settling.stop(bench.hand.now)
    bench.scheduler.gate.shut("memory", bench.hand.now)
    bench.hand.advance(2.0)
    bench.scheduler.gate.open(bench.hand.now)
    assert waits(bench.take()) == {"settling": 1.5, "memory": 2}


# -- additive increase, multiplicative decrease ---------------------------------------------------------


def test_a_push_back_halves_the_limit_once_in_a_hold_and_again_in_the_next():
    bench = Bench(paces={A: HostThrottle(8)})
    bench.push(*[A] * 40)
    assert len(bench.take_all()) == 8
    for _ in range(8):  # the answers to what was in flight say nothing new
        assert bench.scheduler.on_pushback(A, bench.hand.now, 2.0, "retry-after") == 4
        bench.release(A)
    bench.hand.advance(2.0)
    assert len(bench.take_all()) == 4
    assert bench.scheduler.on_pushback(A, bench.hand.now, 2.0, "retry-after") == 2


def test_the_limit_grows_by_one_for_each_round_of_successes_up_to_where_it_was():
    bench = Bench(paces={A: HostThrottle(8)})
    bench.push(*[A] * 200)
    bench.take()
    bench.scheduler.on_pushback(A, bench.hand.now, 1.0, "retry-after")
    bench.release(A)
    rounds = []
    for _ in range(7):
        bench.hand.advance(1.0)
        taken = bench.take_all()
        rounds.append(len(taken))
        for host in taken:
            bench.scheduler.on_success(host, bench.hand.now)
            bench.release(host)
    assert rounds == [4, 4, 5, 6, 7, 8, 8]


def test_a_limit_never_falls_below_one():
    bench = Bench()
    bench.push(A)
    bench.take()
    for _ in range(5):
        limit = bench.scheduler.on_pushback(A, bench.hand.now, 1.0, "backoff")
        bench.hand.advance(2.0)
    assert limit == 1


# -- deferred fetches ------------------------------------------------------------------------------------


def test_a_deferred_fetch_is_in_nobodys_way_and_comes_first_when_its_time_has_come():
    bench = Bench(paces={A: HostThrottle(1)})
    first, second, third = bench.push(A, A, A)
    assert bench.take() is first
    bench.scheduler.defer(first, bench.hand.now + 5, "backoff")
    bench.release(A)
    assert bench.take() is second
    bench.release(A)
    bench.hand.advance(5)
    assert bench.take() is first
    bench.release(A)
    assert bench.take() is third


def test_a_deferred_fetch_whose_host_is_held_longer_waits_for_its_host():
    bench = Bench()
    (fetch,) = bench.push(A)
    bench.take()
    bench.scheduler.defer(fetch, bench.hand.now + 1, "backoff")
    bench.scheduler.on_pushback(A, bench.hand.now, 3, "retry-after")
    bench.release(A)
    bench.hand.advance(2.9)
    assert bench.take() is None
    bench.hand.advance(0.1)
    assert bench.take() is fetch


def test_a_deferral_into_the_past_is_ready_at_the_next_timer():
    bench = Bench()
    (fetch,) = bench.push(A)
    bench.take()
    bench.scheduler.defer(fetch, bench.hand.now - 10, "backoff")
    bench.release(A)
    bench.hand.advance(0)
    assert bench.take() is fetch


# -- what is kept ----------------------------------------------------------------------------------------


def test_a_host_with_nothing_to_do_is_forgotten():
    bench = Bench()
    bench.push(A)
    bench.take()
    bench.release(A)
    bench.push(A)
    assert bench.met == [A, A]


def test_a_host_that_must_not_be_asked_yet_is_remembered_until_it_may():
    bench = Bench(paces={A: HostThrottle(2, delay_s=5)})
    bench.push(A)
    bench.take()
    bench.release(A)
    bench.push(A)
    assert bench.take() is None
    assert bench.met == [A]
    bench.hand.advance(5)
    bench.take()
    bench.release(A)
    bench.hand.advance(5)
    assert bench.scheduler._hosts == {}


def test_a_host_with_a_deferred_fetch_is_remembered():
    bench = Bench()
    (fetch,) = bench.push(A)
    bench.take()
    bench.scheduler.defer(fetch, bench.hand.now + 5, "backoff")
    bench.release(A)
    assert bench.scheduler._hosts[A].deferred == 1


def test_one_timer_at_most_is_armed_for_a_thousand_waiting_hosts():
    bench = Bench(paces={f"h{n}.example:80": HostThrottle(1, delay_s=5 + n / 100) for n in range(1000)})
    hosts = list(bench._paces)
    bench.push(*hosts, *hosts)
    assert len(bench.take_all()) == 1000
    for host in hosts:
        bench.release(host)
    assert len(bench.hand.pending()) == 1
    assert bench.scheduler.waiting == 1000


def test_closing_leaves_no_timer_and_none_is_armed_later():
    bench = Bench()
    (fetch,) = bench.push(A)
    bench.take()
    bench.scheduler.defer(fetch, bench.hand.now + 5, "backoff")
    bench.scheduler.close()
    bench.scheduler.defer(fetch_at(B), bench.hand.now + 1, "backoff")
    assert bench.hand.pending() == []


# -- the busiest hosts -------------------------------------------------------------------------------------


def test_the_busiest_hosts_are_those_with_most_in_flight_then_most_queued():
    bench = Bench()
    bench.push(*[A] * 3, *[B] * 9, *[C] * 1)
    bench.take_all()
    bench.release(C)
    assert bench.scheduler.busiest(5, bench.hand.now) == [(B, 2, 7, ""), (A, 2, 1, "")]
    assert bench.scheduler.busiest(1, bench.hand.now) == [(B, 2, 7, "")]


def test_a_busy_host_says_what_it_waits_for_and_how_long():
    bench = Bench()
    bench.push(A, A, A)
    bench.take()
    bench.scheduler.on_pushback(A, bench.hand.now, 30, "retry-after")
    bench.release(A)
    assert bench.scheduler.busiest(5, bench.hand.now + 10) == [(A, 0, 2, "retry-after 20 s")]


# -- every order of everything ------------------------------------------------------------------------------

HOSTS = ["a.example:80", "b.example:80", "c.example:80", "d.example:80"]


class AnyOrder(RuleBasedStateMachine):
    """Random operations against the counters and places that the module promises."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(
            paces={
                HOSTS[0]: HostThrottle(1),
                HOSTS[1]: HostThrottle(3, delay_s=0.7),
                HOSTS[2]: HostThrottle(4),
            }
        )
        self.active: list[FetchState] = []
        self.inside = 0

    @rule(hosts=st.lists(st.sampled_from(HOSTS), max_size=6))
    def push(self, hosts):
        self.bench.push(*hosts)
        self.inside += len(hosts)

    @rule(host=st.sampled_from(HOSTS))
    def push_first(self, host):
        self.bench.scheduler.push_first(fetch_at(host))
        self.inside += 1

    @rule()
    def take(self):
        now = self.bench.hand.now
        fetch = self.bench.take()
        if fetch is None:
            return
        self.active.append(fetch)
        self.inside -= 1
        pace = self.bench.scheduler._hosts[fetch.target.host].throttle
        in_flight = sum(1 for other in self.active if other.target.host == fetch.target.host)
        assert in_flight <= pace.most
        assert pace.not_before <= now + pace.delay_s

    @precondition(lambda self: self.active)
    @rule(data=st.data(), after=st.sampled_from(["nothing", "success", "defer", "hop", "push-back"]))
    def end(self, data, after):
        scheduler = self.bench.scheduler
        now = self.bench.hand.now
        fetch = self.active.pop(data.draw(st.integers(0, len(self.active) - 1)))
        host = fetch.target.host
        if after == "success":
            scheduler.on_success(host, now)
        elif after in {"defer", "push-back"}:
            if after == "push-back":
                before = int(scheduler._hosts[host].throttle.limit)
                limit = scheduler.on_pushback(host, now, data.draw(st.floats(0, 5)), "retry-after")
                assert max(1, before // 2) <= limit <= before
            scheduler.defer(fetch, now + data.draw(st.floats(-1, 9)), "backoff")
            self.inside += 1
        elif after == "hop":
            other = fetch_at(data.draw(st.sampled_from(HOSTS)))
            scheduler.push_first(other)
            self.inside += 1
        scheduler.release(host, now)

    @rule(seconds=st.floats(0, 4))
    def wait(self, seconds):
        self.bench.hand.advance(seconds)

    @invariant()
    def counters_agree_with_a_recount(self):
        scheduler = self.bench.scheduler
        hosts: list[Host] = list(scheduler._hosts.values())
        in_heap = Counter(what.name for _, _, what in scheduler._heap if isinstance(what, Host))
        deferred = sum(isinstance(what, FetchState) for _, _, what in scheduler._heap)
        timed = [host for host in hosts if host.state is HostState.TIMED]
        ready = [host for host in hosts if host.state is HostState.READY]
        assert scheduler.queued == sum(len(host.queue) for host in hosts)
        assert scheduler.deferred == deferred == sum(host.deferred for host in hosts)
        assert scheduler.waiting == deferred + sum(len(host.queue) for host in timed)
        assert scheduler.active == len(self.active) == sum(host.active for host in hosts)
        assert scheduler.queued + scheduler.deferred == self.inside
        assert in_heap == Counter(host.name for host in timed)
        assert Counter(host.name for host in scheduler.ready) == Counter(host.name for host in ready)

    @invariant()
    def whoever_could_start_is_ready_or_timed(self):
        now = self.bench.hand.now
        for host in self.bench.scheduler._hosts.values():
            has_slot = host.active < int(host.throttle.limit)
            if host.state is HostState.IDLE:
                assert not (host.queue and has_slot)
                at_rest = host.throttle.not_before <= now and host.throttle.limit >= host.throttle.most
                assert host.queue or host.active or host.deferred or not at_rest, "a host at rest is kept"

    @invariant()
    def a_timer_is_armed_for_the_first_time_in_the_heap(self):
        heap = self.bench.scheduler._heap
        pending = self.bench.hand.pending()
        assert len(pending) == (1 if heap else 0)
        if heap:
            assert pending[0] <= heap[0][0]

    def teardown(self):
        """Everything can be finished, and then nothing is left."""
        for _ in range(500):
            while (fetch := self.bench.take()) is not None:
                self.active.append(fetch)
            for fetch in self.active:
                self.bench.scheduler.on_success(fetch.target.host, self.bench.hand.now)
                self.bench.release(fetch.target.host)
            self.active.clear()
            scheduler = self.bench.scheduler
            if not scheduler.queued and not scheduler.deferred:
                break
            self.bench.hand.advance(1.0)
        assert scheduler.queued == scheduler.deferred == scheduler.waiting == scheduler.active == 0


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_the_counters_and_places_hold_in_any_order_of_operations = AnyOrder.TestCase


@given(st.lists(st.sampled_from(HOSTS[:3]), min_size=1, max_size=40), st.integers(1, 4))
def test_whoever_is_queued_starts_in_the_end_and_no_host_starts_twice_while_another_waits(hosts, slots):
    bench = Bench(paces={host: HostThrottle(slots) for host in HOSTS})
    bench.push(*hosts)
    started: list[str] = []
    flying: list[str] = []
    while len(started) < len(hosts):
        taken = bench.take_all()
        assert taken or flying
        started += taken
        flying += taken
        bench.release(flying.pop(0))
    assert Counter(started) == Counter(hosts)


@pytest.mark.parametrize("reason", ["delay", "retry-after"])
def test_a_host_held_for_any_reason_counts_as_held_and_not_as_live(reason):
    bench = Bench(paces={A: HostThrottle(2, delay_s=5 if reason == "delay" else 0)})
    bench.push(A, A, A)
    bench.take()
    if reason == "retry-after":
        bench.scheduler.on_pushback(A, bench.hand.now, 5, reason)
    bench.release(A)
    bench.take()
    assert (bench.scheduler.waiting, bench.scheduler.runnable) == (2, 0)
    bench.hand.advance(5)
    assert (bench.scheduler.waiting, bench.scheduler.runnable) == (0, 2)
