"""Time: which claimed URL may start now. A ready queue per host, and one heap of times.

Invariants:

- a host is in `ready` exactly when it is READY, and in the heap exactly once when it is TIMED;
- a host with queued URLs and a free slot is READY, or TIMED until its `not_before`; one without is IDLE;
- a host with nothing queued, active or deferred, whose pace is at rest, is forgotten (beyond
  `_MOST_HOSTS`, also one whose limit has not recovered);
- `waiting` counts the URLs that only time can make ready: deferred ones, and those of TIMED hosts;
- a fetch that is handed out knows how long it waited and for what: `queue_s`, and `cause`, or `waits` where
  it was more than one thing. That is measured here and nowhere else.

Nothing sleeps in a slot: delays, rates, backoff and Retry-After all become one `not_before`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable

from fetcher.engine.fetch_state import FetchState
from fetcher.engine.gate_clock import GateClock, Stopwatch
from fetcher.engine.host_queue import Host, HostState
from fetcher.policy.throttle import HostThrottle, RateLimiter
from fetcher.timings import CONCURRENCY, PER_HOST

LEAST_WAIT_S = 0.001  # what is less, beside another wait, is not worth a name
_MOST_HOSTS = 10_000  # beyond, one that was slowed down is forgotten too when it has nothing to do


_IDLE, _READY, _TIMED = HostState.IDLE, HostState.READY, HostState.TIMED


class Scheduler:
    """Hands out fetches whose time has come, host by host in turn.

    `throttle_of` makes the throttle of a host first met; `wake(n)` is called when up to `n` more fetches have
    become ready; `call_at(time, function)` is the loop's timer.
    """

    def __init__(
        self,
        throttle_of: Callable[[str], HostThrottle],
        *,
        wake: Callable[[int], None],
        call_at: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        clock: Callable[[], float],
        rate: float | None = None,
    ) -> None:
        self._throttle_of = throttle_of
        self._wake = wake
        self._call_at = call_at
        self._clock = clock
        self._rate = RateLimiter(rate) if rate else None
        self._hosts: dict[str, Host] = {}
        self.ready: deque[Host] = deque()
        self._heap: list[tuple[float, int, Host | FetchState | None]] = []
        self._sequence = 0
        self._timer_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._is_rate_timed = False
        self.gate = GateClock()  # of the whole run: its rate, and want of memory
        self.settling = Stopwatch()  # nothing may start before more is settled, which is nothing rare
        self.queued = 0  # in the hosts' queues
        self.deferred = 0  # waiting for a time of their own
        self.waiting = 0
        self.active = 0

    @property
    def runnable(self) -> int:
        """The number that could start as soon as there are slots."""
        return self.queued + self.deferred - self.waiting

    @property
    def is_paced(self) -> bool:
        """True while only the run's rate keeps a fetch from starting."""
        return self._is_rate_timed and bool(self.ready)

    @property
    def is_blocked(self) -> bool:
        """True if fetches are here that can't start."""
        return bool(self.queued or self.deferred)

    def blocked(self) -> dict[tuple[str, str], int]:
        """Return what keeps hosts from starting what they have, by cause and host, with how much that is.

        A host that waits for something counts by that, and only one that does not by what is deferred.
        """
        found: dict[tuple[str, str], int] = {}
        deferred: dict[tuple[str, str], int] = {}
        for host in self._hosts.values():
            queued = len(host.queue)
            if queued and host.state is _TIMED:
                found[host.hold_cause, host.name] = queued
            elif queued and host.state is _IDLE:
                cause = "per-host" if host.throttle.limit >= host.throttle.most else "pushback"
                found[cause, host.name] = queued
            elif host.deferred:
                deferred[host.deferred_for, host.name] = host.deferred
        return found or deferred

    def push(self, fetches: Iterable[FetchState]) -> None:
        """Queue fetches at the end of their hosts' queues."""
        now = self._clock()
        host, free = None, 0  # the host of the last one, and its slots that nothing queued will take
        run_mark = self.gate.mark(now)
        settling_s = self.settling.seconds(now)
        for fetch in fetches:
            name = fetch.target.host
            if host is None or host.name != name:
                host = self._host(name)
                free = int(host.throttle.limit) - host.active - len(host.queue)
            fetch.queued_at = now
            fetch.run_mark = run_mark
            fetch.settling_s = settling_s
            if host.gate is not None:
                fetch.host_mark = host.gate.mark(now)
            host.queue.append(fetch)
            free -= 1
            self.queued += 1
            if host.state is _TIMED:
                self.waiting += 1
            elif host.state is _IDLE:
                self._reschedule(host, now)
            elif free >= 0:
                self._wake(1)

    def push_first(self, fetch: FetchState) -> None:
        """Queue the next hop of a chain: what was begun is finished first."""
        now = self._clock()
        fetch.queued_at = now
        self._queue_first(fetch, now)

    def withdraw(self, fetch: FetchState) -> None:
        """Take a fetch that was queued, and has not been handed out, off its host's queue."""
        host = self._hosts[fetch.target.host]
        host.queue.remove(fetch)
        self.queued -= 1
        if host.state is _TIMED:
            self.waiting -= 1

    def defer(self, fetch: FetchState, until: float, reason: str) -> None:
        """Queue `fetch` again at `until`, the loop's time; until then it is in nobody's way.

        `reason` is one of `timings.CAUSES`.
        """
        fetch.queued_at = self._clock()
        fetch.deferred_for = reason
        waits_at = self._host(fetch.target.host)
        waits_at.deferred += 1
        waits_at.deferred_for = reason
        self.deferred += 1
        self.waiting += 1
        self._at(until, fetch)

    def next_ready(self, now: float) -> FetchState | None:
        """The next fetch whose time has come, with a slot of its host; or None."""
        rate = self._rate
        ready = self.ready
        while ready:
            if rate is not None and rate.not_before > now:
                if not self._is_rate_timed:
                    self._is_rate_timed = True
                    self.gate.shut("rate", now)
                    self._at(rate.not_before, None)
                return None
            host = ready[0]
            pace = host.throttle
            queue = host.queue
            most = int(pace.limit)
            if not queue or pace.not_before > now or host.active >= most:
                self._leave_ready(host, now)
                continue
            fetch = queue.popleft()
            fetch.queue_s = now - fetch.queued_at
            fetch.settling_s = self.settling.seconds(now) - fetch.settling_s
            fetch.cause = PER_HOST if host.is_full else CONCURRENCY
            if (
                (host.gate is not None and host.gate.totals is not fetch.host_mark)
                or self.gate.totals is not fetch.run_mark
                or fetch.deferred_for
                or fetch.held_s
            ):
                fetch.waits = self._waits_of(fetch, host, now)
            self.queued -= 1
            host.active += 1
            self.active += 1
            if pace.is_spaced:
                pace.after_start(now)
            if rate is not None:
                rate.after_start(now)
            if queue and pace.not_before <= now and host.active < most:
                host.is_full = False
                ready.rotate(-1)
            else:
                self._leave_ready(host, now)
            return fetch
        return None

    def _leave_ready(self, host: Host, now: float) -> None:
        """Take the first host that is ready to where it belongs."""
        self.ready.popleft()
        host.state = _IDLE
        self._reschedule(host, now)

    def _waits_of(self, fetch: FetchState, host: Host, now: float) -> dict[str, float]:
        """Part the time that a fetch has waited by what it was for, in the order in which it was.

        What was shut at the same time counts once: for the host before the run.
        """
        waits: dict[str, float] = {}
        left = fetch.queue_s
        parts = {fetch.deferred_for: fetch.deferred_s} if fetch.deferred_for else {}
        gates = [(self.gate, fetch.run_mark)]
        if host.gate is not None:
            gates.insert(0, (host.gate, fetch.host_mark))
        shut = [gate.since(mark or {}, now) for gate, mark in gates]
        for seconds_by_cause in (parts, *shut, {"settling": fetch.settling_s}):
            for cause, seconds in seconds_by_cause.items():
                if (taken := min(seconds, left)) > 0:
                    waits[cause] = waits.get(cause, 0.0) + taken
                    left -= taken
        if left > LEAST_WAIT_S or not waits:
            waits["per-host" if host.is_full else "concurrency"] = left
        if fetch.held_s:
            waits["robots"] = fetch.held_s
        fetch.deferred_for, fetch.deferred_s, fetch.held_s = "", 0.0, 0.0
        return waits

    def release(self, name: str, now: float) -> Host:
        """Give a slot of the host back."""
        host = self._hosts[name]
        host.active -= 1
        self.active -= 1
        if host.state is _IDLE:
            if host.queue:
                self._reschedule(host, now)
            elif not host.active and not host.deferred:
                self._forget(host, now)
        return host

    def set_rate(self, rate: float) -> None:
        """The run's rate from now on. There must have been one from the beginning."""
        assert self._rate is not None
        self._rate.set(rate)

    def slow_down(self, name: str, delay_s: float) -> None:
        """Space the starts at a host by at least `delay_s`: its robots.txt asks for that."""
        pace = self._host(name).throttle
        if delay_s > pace.delay_s:
            pace.set_delay(delay_s)

    def hold(self, name: str, now: float, delay_s: float, reason: str) -> None:
        """Start nothing at the host for `delay_s`: it asked that of another process."""
        host = self._host(name)
        host.throttle.hold(now, delay_s, reason)
        if host.state is _IDLE and not host.queue and not host.active and not host.deferred:
            self._forget(host, now)  # in time: it may never be asked from here

    def on_success(self, name: str, now: float) -> None:
        """The host answered as it should: it may be asked for a little more."""
        pace = self._hosts[name].throttle
        if pace.limit < pace.most:
            pace.on_success(now)

    def on_pushback(self, name: str, now: float, delay_s: float, reason: str) -> int:
        """The host asked for time: hold it, and ask it for less at once. Returns its new limit."""
        pace = self._hosts[name].throttle
        pace.on_pushback(now, delay_s, reason)
        return int(pace.limit)

    def _forget(self, host: Host, now: float) -> None:
        """Drop a host with nothing to do, unless it would be asked too soon or too much by a new one."""
        pace = host.throttle
        if pace.not_before <= now and (pace.limit >= pace.most or len(self._hosts) > _MOST_HOSTS):
            del self._hosts[host.name]
        elif pace.not_before > now:
            self._hold_until(host, now)

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(name, self._throttle_of(name))
        return host

    def _queue_first(self, fetch: FetchState, now: float) -> None:
        host = self._host(fetch.target.host)
        fetch.run_mark = self.gate.mark(now)
        fetch.settling_s = self.settling.seconds(now)
        fetch.host_mark = None if host.gate is None else host.gate.mark(now)
        host.queue.appendleft(fetch)
        self.queued += 1
        if host.state is _TIMED:
            self.waiting += 1
        elif host.state is _IDLE:
            self._reschedule(host, now)
        else:
            self._wake(1)

    def _reschedule(self, host: Host, now: float) -> None:
        """Put an IDLE host where it belongs."""
        pace = host.throttle
        if not host.queue:
            return
        if host.active >= int(pace.limit):
            host.is_full = True
            return
        if pace.not_before > now:
            self.waiting += len(host.queue)
            self._hold_until(host, now)
        else:
            host.state = _READY
            self.ready.append(host)
            self._wake(min(len(host.queue), int(pace.limit) - host.active))

    def _hold_until(self, host: Host, now: float) -> None:
        host.state = _TIMED
        host.is_full = False
        if host.gate is None:
            host.gate = GateClock()
        host.gate.shut(host.throttle.reason or "delay", now)
        self._at(host.throttle.not_before, host)

    def _at(self, time: float, what: Host | FetchState | None) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (time, self._sequence, what))
        if time < self._timer_at:
            self._arm(time)

    def _arm(self, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = time
        self._timer = self._call_at(time, self._on_time)

    def close(self) -> None:
        """No timer is left behind."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = float("-inf")

    def _on_time(self) -> None:
        """Everything whose time has come goes back to its place. Timers that came late do no harm."""
        now = self._clock()
        heap = self._heap
        self._timer_at = float("inf")
        while heap and heap[0][0] <= now:
            what = heapq.heappop(heap)[2]
            if what is None:
                self._is_rate_timed = False
                self.gate.open(now)
                self._wake(1)
            elif isinstance(what, FetchState):
                host = self._host(what.target.host)
                host.deferred -= 1
                self.deferred -= 1
                self.waiting -= 1
                what.deferred_s = now - what.queued_at
                self._queue_first(what, now)
            else:
                what.state = _IDLE
                if what.gate is not None:
                    what.gate.open(now)
                self.waiting -= len(what.queue)
                if what.queue:
                    self._reschedule(what, now)
                elif not what.active and not what.deferred:
                    self._forget(what, now)
        if heap and heap[0][0] < self._timer_at:
            self._arm(heap[0][0])

    def busiest(self, most: int, now: float) -> list[tuple[str, int, int, str]]:
        """The hosts with most in flight and queued: name, active, queued, why it waits or nothing."""
        top = heapq.nlargest(
            most, self._hosts.values(), key=lambda host: (host.active, len(host.queue) + host.deferred)
        )
        rows = []
        for host in top:
            queued = len(host.queue) + host.deferred
            if not host.active and not queued:
                continue
            left = host.throttle.not_before - now
            why = f"{host.throttle.reason} {left:.0f} s" if left > 0.5 else ""
            rows.append((host.name, host.active, queued, why))
        return rows
