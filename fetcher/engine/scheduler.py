"""Time: which claimed URL may start now. A ready queue per host, and one heap of times.

Invariants:

- a host is in `_ready` exactly when it is READY, and in the heap exactly once when it is TIMED;
- a host with queued URLs and a free slot is READY, or TIMED until its `not_before`; one without is IDLE;
- a host with nothing queued, active or deferred, whose pace is at rest, is forgotten (beyond
  `_MOST_HOSTS`, also one whose limit has not recovered);
- `held` counts the URLs that only time can make ready: deferred ones, and those of TIMED hosts.

Nothing sleeps in a slot: delays, rates, backoff and Retry-After all become one `not_before`.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
from collections import deque
from collections.abc import Callable, Iterable

from fetcher.engine.fetch import Fetch
from fetcher.policy.pace import HostPace, StartRate

_MOST_HOSTS = 10_000  # beyond, one that was slowed down is forgotten too when it has nothing to do


class _Place(enum.Enum):
    IDLE = 0
    READY = 1
    TIMED = 2


_IDLE, _READY, _TIMED = _Place.IDLE, _Place.READY, _Place.TIMED


class Host:
    """One host's queue and slots."""

    __slots__ = ("active", "blocked_by", "deferred", "name", "pace", "place", "queue")

    def __init__(self, name: str, pace: HostPace) -> None:
        self.name = name
        self.pace = pace
        self.queue: deque[Fetch] = deque()
        self.active = 0
        self.deferred = 0
        self.place = _IDLE
        self.blocked_by = ""


class Scheduler:
    """Hands out fetches whose time has come, host by host in turn.

    `pace_of` makes the pace of a host first met; `wake(n)` is called when up to `n` more fetches have
    become ready; `call_at(time, function)` is the loop's timer.
    """

    def __init__(
        self,
        pace_of: Callable[[str], HostPace],
        *,
        wake: Callable[[int], None],
        call_at: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        clock: Callable[[], float],
        rate: float | None = None,
    ) -> None:
        self._pace_of = pace_of
        self._wake = wake
        self._call_at = call_at
        self._clock = clock
        self._rate = StartRate(rate) if rate else None
        self._hosts: dict[str, Host] = {}
        self._ready: deque[Host] = deque()
        self._heap: list[tuple[float, int, Host | Fetch | None]] = []
        self._sequence = 0
        self._timer_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._is_rate_timed = False
        self.queued = 0  # in the hosts' queues
        self.deferred = 0  # waiting for a time of their own
        self.held = 0
        self.active = 0

    @property
    def live(self) -> int:
        """How many could start as soon as there are slots."""
        return self.queued + self.deferred - self.held

    @property
    def has_ready(self) -> bool:
        """Whether a host is ready, as far as is known."""
        return bool(self._ready)

    def push(self, fetches: Iterable[Fetch]) -> None:
        """Queue fetches at the end of their hosts' queues."""
        now = self._clock()
        for fetch in fetches:
            name = fetch.target.host
            host = self._hosts.get(name)
            if host is None:
                host = self._hosts[name] = Host(name, self._pace_of(name))
            fetch.queued_at = now
            host.queue.append(fetch)
            self.queued += 1
            if host.place is _TIMED:
                self.held += 1
            elif host.place is _IDLE:
                self._settle_place(host, now)
            elif len(host.queue) <= int(host.pace.limit) - host.active:
                self._wake(1)

    def push_first(self, fetch: Fetch) -> None:
        """Queue the next hop of a chain: what was begun is finished first."""
        now = self._clock()
        fetch.queued_at = now
        self._queue_first(fetch, now)

    def defer(self, fetch: Fetch, until: float) -> None:
        """Queue `fetch` again at `until`, the loop's time; until then it is in nobody's way."""
        fetch.queued_at = self._clock()
        self._host(fetch.target.host).deferred += 1
        self.deferred += 1
        self.held += 1
        self._at(until, fetch)

    def take(self, now: float) -> Fetch | None:
        """The next fetch whose time has come, with a slot of its host; or None."""
        rate = self._rate
        ready = self._ready
        while ready:
            if rate is not None and rate.not_before > now:
                if not self._is_rate_timed:
                    self._is_rate_timed = True
                    self._at(rate.not_before, None)
                return None
            host = ready.popleft()
            pace = host.pace
            queue = host.queue
            host.place = _IDLE
            if not queue or pace.not_before > now or host.active >= int(pace.limit):
                self._settle_place(host, now)
                continue
            fetch = queue.popleft()
            self.queued -= 1
            host.active += 1
            self.active += 1
            pace.after_start(now)
            if rate is not None:
                rate.after_start(now)
            if queue:
                if pace.not_before <= now and host.active < int(pace.limit):
                    host.place = _READY
                    ready.append(host)
                else:
                    self._settle_place(host, now)
            return fetch
        return None

    def reason_of(self, fetch: Fetch) -> str:
        """Why the host of a fetch kept it waiting; empty if it did not."""
        return self._hosts[fetch.target.host].blocked_by or ("rate" if self._rate is not None else "")

    def release(self, name: str, now: float) -> Host:
        """Give a slot of the host back."""
        host = self._hosts[name]
        host.active -= 1
        self.active -= 1
        if host.place is _IDLE:
            if host.queue:
                self._settle_place(host, now)
            elif not host.active and not host.deferred:
                self._forget(host, now)
        return host

    def set_rate(self, rate: float) -> None:
        """The run's rate from now on. There must have been one from the beginning."""
        assert self._rate is not None
        self._rate.set(rate)

    def slow_down(self, name: str, delay_s: float) -> None:
        """Space the starts at a host by at least `delay_s`: its robots.txt asks for that."""
        pace = self._host(name).pace
        if delay_s > pace.delay_s:
            pace.set_delay(delay_s)

    def hold(self, name: str, now: float, delay_s: float, reason: str) -> None:
        """Start nothing at the host for `delay_s`: it asked that of another process."""
        host = self._host(name)
        host.pace.hold(now, delay_s, reason)
        if host.place is _IDLE and not host.queue and not host.active and not host.deferred:
            self._forget(host, now)  # in time: it may never be asked from here

    def on_success(self, name: str, now: float) -> None:
        """The host answered as it should: it may be asked for a little more."""
        self._hosts[name].pace.on_success(now)

    def on_pushback(self, name: str, now: float, delay_s: float, reason: str) -> int:
        """The host asked for time: hold it, and ask it for less at once. Returns its new limit."""
        pace = self._hosts[name].pace
        pace.on_pushback(now, delay_s, reason)
        return int(pace.limit)

    def _forget(self, host: Host, now: float) -> None:
        """Drop a host with nothing to do, unless it would be asked too soon or too much by a new one."""
        pace = host.pace
        if pace.not_before <= now and (pace.limit >= pace.most or len(self._hosts) > _MOST_HOSTS):
            del self._hosts[host.name]
        elif pace.not_before > now:
            host.place = _TIMED
            self._at(pace.not_before, host)

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(name, self._pace_of(name))
        return host

    def _queue_first(self, fetch: Fetch, now: float) -> None:
        host = self._host(fetch.target.host)
        host.queue.appendleft(fetch)
        self.queued += 1
        if host.place is _TIMED:
            self.held += 1
        elif host.place is _IDLE:
            self._settle_place(host, now)
        else:
            self._wake(1)

    def _settle_place(self, host: Host, now: float) -> None:
        """Put an IDLE host where it belongs."""
        pace = host.pace
        if not host.queue:
            return
        if host.active >= int(pace.limit):
            host.blocked_by = "per-host"
            return
        if pace.not_before > now:
            host.place = _TIMED
            host.blocked_by = pace.reason
            self.held += len(host.queue)
            self._at(pace.not_before, host)
        else:
            host.place = _READY
            self._ready.append(host)
            self._wake(min(len(host.queue), int(pace.limit) - host.active))

    def _at(self, time: float, what: Host | Fetch | None) -> None:
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
                self._wake(1)
            elif isinstance(what, Fetch):
                host = self._host(what.target.host)
                host.deferred -= 1
                self.deferred -= 1
                self.held -= 1
                self._queue_first(what, now)
            else:
                what.place = _IDLE
                self.held -= len(what.queue)
                if what.queue:
                    self._settle_place(what, now)
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
            left = host.pace.not_before - now
            why = f"{host.pace.reason} {left:.0f} s" if left > 0.5 else ""
            rows.append((host.name, host.active, queued, why))
        return rows
