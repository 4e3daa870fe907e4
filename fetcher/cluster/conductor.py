"""The tasks of a run on a cluster, and the talk with those that run: one task for a shard and session.

Invariant: a shard has at most one task of this client's at a time. Distributed may repeat it; the shard's
lease lets one of them work. Every worker is asked at intervals how its shards stand, and told what they may
have of the totals; one that does not answer keeps no other from being asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from typing import Any, Self

import msgspec
from distributed import Client, Future, KilledWorker

from fetcher.cluster.cluster_plugin import ClusterPlugin, fetch_shard
from fetcher.cluster.connection import scheduler_of, workers_of
from fetcher.cluster.lease import LeaseLost
from fetcher.cluster.shard_messages import (
    CLIENT_GONE,
    HANDED_ON,
    ShardOrder,
    ShardResult,
    ShardStatus,
    ShardTask,
    not_begun,
)
from fetcher.errors import WorkerDied
from fetcher.policy.totals import DividedTotal

_SOON_S, _LATER_S = 0.1, 1.0  # between two rounds of asking
_MOST_ASKED = 500  # workers a second, while shards wait for an answer
_WORKERS_EACH_S = 2.0
_GONE_S = 15.0
_MEASURED_S = 2.0
_MOST_GIVEN_UP = 3  # times without any progress

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[ShardStatus]).decode

MakeTask = Callable[[int, int], ShardTask]


class WorkerSilent(WorkerDied):
    """A worker does not answer: it may be dead, or only asleep."""


class ShardLostWorkers(WorkerDied):
    """Several workers died while they had a shard, and none of them got any further with it."""

    def __init__(self, shard: int) -> None:
        super().__init__(
            f"shard {shard} is given up: several workers died while they had it, and it got no further",
            hint="look at the logs of the workers; the same command tries it again",
        )
        self.shard = shard


class Conductor:
    """Runs shards on the workers of a cluster.

    `make_task` makes the task of a shard as it is to be now, for the session of that number. `progress` tells
    how far a shard has come, as a number that only grows. `on_status` hears how each shard stands, again and
    again. What a worker has is begun elsewhere too once it has not answered for `silence_s`.
    """

    def __init__(
        self,
        client: Client,
        run: str,
        make_task: MakeTask,
        *,
        threads: int,
        concurrency: int,
        rate: float | None,
        bandwidth: float | None,
        silence_s: float,
        progress: Callable[[int], int],
        on_status: Callable[[ShardStatus], None],
    ) -> None:
        self._client = client
        self._run = run
        self._make_task = make_task
        self._progress = progress
        self._on_status = on_status
        self._concurrency = DividedTotal(concurrency, least=1)
        self._threads = threads
        self._silence_s = silence_s
        self._answered: dict[str, float] = {}  # by worker: when it did last
        self._silent: set[str] = set()
        self._moved_at = -math.inf
        self._session: dict[int, int] = {}
        self._rate, self._bandwidth = rate, bandwidth
        self._least_part = 1 / (4 * max(1, threads))
        self._parts = DividedTotal(1.0, least=self._least_part) if rate or bandwidth else None
        self._uses: dict[int, tuple[float, float]] = {}  # by shard: exchanges in flight, part that is used
        self._measured: dict[int, tuple[float, int, int]] = {}  # by shard: when, requests, bytes
        self._where: dict[int, str] = {}  # by shard: the worker that told of it last
        self._last: dict[int, ShardStatus] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._futures: dict[int, Future[ShardResult]] = {}
        self._ended: asyncio.Queue[tuple[int, ShardResult | BaseException]] = asyncio.Queue()
        self._sessions = 0
        self._orders: dict[int, ShardOrder] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._talking: asyncio.Task[None] | None = None
        self._stop: str | None = None
        self._at_once = False
        self._is_paused = False
        self._given_up: dict[int, tuple[int, int]] = {}
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._client.register_plugin(ClusterPlugin(self._run))
        self._talking = asyncio.create_task(self._talk())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._talking is not None:
            self._talking.cancel()
        tasks = [*self._tasks.values(), *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *([self._talking] if self._talking else []), return_exceptions=True)
        with contextlib.suppress(Exception):  # whatever the cluster has come to, the run is over
            await asyncio.wait_for(self._client.cancel(list(self._futures.values())), 5)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._client.unregister_worker_plugin(self._run), 5)

    @property
    def running(self) -> set[int]:
        """The shards that have a task."""
        return {*self._tasks}

    def submit(self, shards: Iterable[int]) -> None:
        """Have shards run, the first ones first."""
        for place, shard in enumerate(shards):
            assert shard not in self._tasks
            self._sessions += 1
            self._session[shard] = self._sessions
            others = self._others() if self._silent else []
            future: Future[ShardResult] = self._client.submit(
                fetch_shard,
                self._make_task(shard, self._sessions),
                workers=others or None,
                key=f"{self._run}-{shard:04d}-{self._sessions}",
                pure=False,
                priority=-place,
            )
            self._futures[shard] = future
            self._tasks[shard] = asyncio.create_task(self._wait_for(shard, future))
            self._wake.set()

    def stop(self, why: str, *, at_once: bool = False) -> None:
        """Stop all shards cleanly; those that have not begun never do."""
        self._stop, self._at_once = self._stop or why, self._at_once or at_once
        self._wake.set()

    def adjust(self, *, is_paused: bool) -> None:
        """Pause all shards, or go on."""
        self._is_paused = is_paused
        self._wake.set()

    async def next_ended(self) -> ShardResult:
        """Return the next session of a shard that has ended for good; others are begun again.

        Raises:
            ShardLostWorkers: its `shard` is given up; the others go on.
            WorkerDied: the scheduler is gone.
            FetcherError: what ended a shard.
        """
        while True:
            shard, result = await self._ended.get()
            self._tasks.pop(shard, None)
            self._futures.pop(shard, None)
            self._last.pop(shard, None)
            self._uses.pop(shard, None)
            self._measured.pop(shard, None)
            self._where.pop(shard, None)
            self._concurrency.forget(shard)
            if self._parts is not None:
                self._parts.forget(shard)
            if isinstance(result, ShardResult):
                if (
                    result.end.summary.stopped in {HANDED_ON, CLIENT_GONE, "lease-lost"}
                    and self._stop is None
                ):
                    self.submit([shard])
                    continue
                return result
            if isinstance(result, WorkerSilent) and self._stop is not None:
                return not_begun(self._make_task(shard, 0), self._stop)  # its lease ends, if not it
            if isinstance(result, KilledWorker | LeaseLost | WorkerSilent) and self._stop is None:
                if isinstance(result, WorkerSilent) or await self._may_go_on(shard):
                    self.submit([shard])
                    continue
                raise ShardLostWorkers(shard) from result
            raise result

    async def _may_go_on(self, shard: int) -> bool:
        """Tell whether a shard that was given up has come further since the last time, or may try again."""
        now = await asyncio.to_thread(self._progress, shard)
        before, times = self._given_up.get(shard, (-1, 0))
        times = 1 if now > before >= 0 else times + 1
        self._given_up[shard] = now, times
        return times <= _MOST_GIVEN_UP

    async def _wait_for(self, shard: int, future: Future[ShardResult]) -> None:
        result: ShardResult | BaseException
        try:
            result = await future
        except (asyncio.CancelledError, futures.CancelledError) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            is_lost = "lost" in getattr(error, "reason", "")
            if self._stop is not None and not is_lost:  # it had not begun
                return self._ended.put_nowait((shard, not_begun(self._make_task(shard, 0), self._stop)))
            result = WorkerDied("the scheduler of the cluster is gone", hint="the same command continues")
            result.__cause__ = error
        except Exception as error:  # noqa: BLE001  (whatever ended it, somebody is to know)
            result = error
        return self._ended.put_nowait((shard, result))

    # ---- talking to workers ----

    async def _talk(self) -> None:
        workers: Mapping[str, Any] = {}
        asked = lost = -math.inf
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if now - asked >= _WORKERS_EACH_S:
                asked = now
                try:
                    workers = await asyncio.wait_for(workers_of(self._client), _GONE_S)
                    lost = -math.inf
                except (OSError, TimeoutError, ValueError):
                    lost = now if lost == -math.inf else lost
                    if now - lost > _GONE_S:
                        self._lose_all()
                        return
            if self._stop is not None:
                await self._drop_waiting(workers)
            await self._look_for_silent(workers, now)
            self._give_orders()
            for address in workers:
                if address not in self._asking:
                    self._asking[address] = asyncio.create_task(self._ask(address))
            least_s = len(workers) / _MOST_ASKED
            pause = max(least_s, _SOON_S if self._is_moving() else _LATER_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
            self._wake.clear()

    def _is_moving(self) -> bool:
        """Tell whether somebody waits for an order, or may begin to at any moment."""
        if self._stop is not None or len(self._last) < min(len(self._tasks), self._threads):
            return True
        return any(not status.concurrency for status in self._last.values())

    async def _look_for_silent(self, workers: Mapping[str, Any], now: float) -> None:
        """Have others do what a worker has that does not answer any more; the scheduler is in no hurry."""
        for address in [*self._answered]:
            if address not in workers:
                del self._answered[address]
                self._silent.discard(address)
        for address in workers:
            answered = self._answered.setdefault(address, now)
            if now - answered <= self._silence_s:
                self._silent.discard(address)
            else:
                self._silent.add(address)
        is_wanted = self._stop is not None or self._others()
        if self._silent and is_wanted and now - self._moved_at >= _WORKERS_EACH_S:
            self._moved_at = now
            with contextlib.suppress(OSError, TimeoutError):
                await self._move_from_silent()

    async def _move_from_silent(self) -> None:
        """Begin elsewhere what silent workers have or were given since: the scheduler thinks them well."""
        found = await asyncio.wait_for(self._client.processing(), _GONE_S)
        keys = {str(key) for address in self._silent for key in found.get(address, ())}
        for shard, future in [*self._futures.items()]:
            task = self._tasks.get(shard)
            if str(future.key) in keys and task is not None and not (task.done() or task.cancelling()):
                task.cancel()
                self._ended.put_nowait((shard, WorkerSilent("a worker does not answer")))

    def _others(self) -> list[str]:
        """Return the workers that answer."""
        return sorted({*self._answered} - self._silent)

    def _lose_all(self) -> None:
        for shard, task in self._tasks.items():
            task.cancel()
            error = WorkerDied("the scheduler of the cluster is gone", hint="the same command continues")
            self._ended.put_nowait((shard, error))

    async def _drop_waiting(self, workers: Mapping[str, Any]) -> None:
        """Cancel what no worker has begun."""
        begun = {*self._last}
        waiting = [future for shard, future in self._futures.items() if shard not in begun]
        if not waiting or not workers:
            return
        with contextlib.suppress(OSError, TimeoutError):
            processing = await asyncio.wait_for(self._client.processing(), _GONE_S)
            executing = {str(key) for keys in processing.values() for key in keys}
            await self._client.cancel([future for future in waiting if str(future.key) not in executing])

    def _give_orders(self) -> None:
        """Make the order of every shard that is running."""
        concurrency = self._concurrency.tell({shard: use[0] for shard, use in self._uses.items()})
        parts = None
        if self._parts is not None:
            parts = self._parts.tell({shard: use[1] for shard, use in self._uses.items()})
        self._orders = {}
        for shard in self._last:
            has = shard in concurrency and (parts is None or shard in parts)
            if has or self._stop is not None:
                self._orders[shard] = ShardOrder(
                    concurrency=int(concurrency.get(shard, 1)),
                    part=1.0 if parts is None else parts.get(shard, self._least_part),
                    stop=self._stop,
                    at_once=self._at_once,
                    is_paused=self._is_paused,
                )

    async def _ask(self, address: str) -> None:
        """Give a worker its orders, and hear how its shards stand."""
        orders = {shard: order for shard, order in self._orders.items() if self._where.get(shard) == address}
        try:
            message = {"op": self._run, "orders": _encode(orders)}
            answer = await scheduler_of(self._client).broadcast(
                msg=message, workers=[address], on_error="return"
            )
        except (OSError, ValueError, TimeoutError):
            return
        finally:
            self._asking.pop(address, None)
        found = answer.get(address)
        if isinstance(found, bytes):
            self._answered[address] = asyncio.get_running_loop().time()
            for status in _decode(found):
                self._hear(status, address)

    def _hear(self, status: ShardStatus, address: str) -> None:
        shard = status.share.index
        if shard not in self._tasks or status.session != self._session[shard]:
            return
        if shard not in self._last:
            self._wake.set()
        self._last[shard] = status
        self._where[shard] = address
        if status.concurrency:
            self._concurrency.confirm(shard, status.concurrency)
        if self._parts is not None and status.part:
            self._parts.confirm(shard, status.part)
        self._uses[shard] = status.snapshot.active, self._used_part(shard, status)
        self._on_status(status)

    def _used_part(self, shard: int, status: ShardStatus) -> float:
        """Tell which part of rate and bandwidth a shard uses, measured over two seconds or more."""
        now, snapshot = asyncio.get_running_loop().time(), status.snapshot
        begun, requests, received = self._measured.get(shard, (-math.inf, 0, 0))
        if begun == -math.inf or snapshot.requests < requests:
            self._measured[shard] = now, snapshot.requests, snapshot.wire_bytes
            return status.part
        seconds = now - begun
        if seconds < _MEASURED_S:
            return self._uses.get(shard, (0.0, status.part))[1]
        self._measured[shard] = now, snapshot.requests, snapshot.wire_bytes
        used = 0.0
        if self._rate:
            used = (snapshot.requests - requests) / seconds / self._rate
        if self._bandwidth:
            used = max(used, (snapshot.wire_bytes - received) / seconds / self._bandwidth)
        return used
