"""A worker process: an engine's crew without a frontier, told what to do by its parent.

Started by `processes.Fleet` as `python -m fetcher.worker SOCKET LIFELINE`. Invariant: it never outlives
its parent: the lifeline is a pipe whose other end only the parent holds, and when that ends, so does the
process, whatever it is busy with. Signals of a terminal or a service are the parent's to handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fetcher import compose
from fetcher.directory import RunDirectory
from fetcher.engine.context import UNSETTLED, Ports
from fetcher.engine.crew import LocalCrew
from fetcher.engine.fetch import Fetch
from fetcher.engine.plan import Plan
from fetcher.engine.settler import LINGER_S, Settler
from fetcher.errors import FetcherError
from fetcher.events import Event, HostHeld, Notice, Retrying
from fetcher.model import Outcome
from fetcher.processes import ParentFrontier, Shares
from fetcher.processes import messages as msg
from fetcher.processes.channel import Channel
from fetcher.processes.fleet import IGNORED
from fetcher.settings import Settings

MODULE = "fetcher.worker"
_BUSIEST = 5


class Charge(msgspec.Struct, frozen=True):
    """What a worker is: the run's settings, and its place among `count` workers."""

    settings: Settings
    index: int
    count: int
    environ: dict[str, str]
    command: str


def charge_of(settings: Settings, index: int, count: int, environ: Mapping[str, str], command: str) -> bytes:
    """The charge of one worker, for the pipe. Of the environment, only what proxies are named by."""
    proxies = {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}
    return pickle.dumps(Charge(settings, index, count, proxies, command))


class _Voice:
    """An observer that tells the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def on_event(self, event: Event) -> None:
        if isinstance(event, Retrying):
            message: msg.ToParent = msg.Retry(
                event.url, event.error, event.message, event.attempt, event.delay_s
            )
        elif isinstance(event, HostHeld):
            message = msg.Held(event.host, event.reason, event.seconds, event.limit)
        elif isinstance(event, Notice):
            message = msg.Said(event.level, event.text)
        else:
            return
        self._channel.send(msg.encode(message))


class WorkerProcess:
    """One worker from its charge to its end."""

    def __init__(self, charge: Charge, channel: Channel) -> None:
        self._charge = charge
        self._channel = channel
        self._ending = asyncio.Event()
        self._stop: msg.Stop | None = None
        self._at_once = asyncio.Event()
        settings = charge.settings
        self._clock = compose.MonotonicClock()
        policies = compose.make_policies(settings, charge.environ)
        self._shares = shares = Shares(charge.index, charge.count, policies.pace_of)
        own = msgspec.structs.replace(settings, concurrency=max(1, shares.of(settings.concurrency)))
        self._policies = msgspec.structs.replace(policies, pace_of=shares.pace_of)
        self._plan: Plan = compose.make_plan(own, follows=charge.command == "crawl")
        self._settings = own
        self._told: tuple[Any, ...] = ()
        self._is_ready = False
        self._early: list[msg.ToWorker] = []

    async def run(self) -> None:
        """Work until the parent says that it is over."""
        settings, directory = self._settings, RunDirectory(Path(self._charge.settings.output))
        async with contextlib.AsyncExitStack() as stack:
            backend = compose.make_backend(settings)
            stack.push_async_callback(backend.aclose)
            executor = stack.enter_context(compose.writer_threads())
            store = compose.make_store(settings, directory)
            stack.push_async_callback(store.aclose)
            self._rules = compose.make_rules(
                settings, self._clock, parts=directory.parts, executor=executor, divided_by=self._charge.count
            )
            reader = compose.make_reader(
                settings,
                self._charge.command,
                root=directory.root,
                divided_by=self._charge.count,
                notice=lambda level, text: self._channel.send(msg.encode(msg.Said(level, text))),
            )
            if reader is not None:
                stack.push_async_callback(reader.aclose)
            self._frontier = ParentFrontier(self._channel.send, self._load)
            self._crew = crew = LocalCrew(
                self._plan,
                Ports(
                    backend=backend,
                    frontier=self._frontier,
                    store=store,
                    clock=self._clock,
                    observers=[_Voice(self._channel)],
                    reader=reader,
                ),
                self._policies,
                self._rules,
                unsettled=max(1, self._shares.of(UNSETTLED)),
            )
            ledger = crew.ledger
            ledger.route = self._route
            settler = Settler(ledger, self._on_settled, linger_s=LINGER_S)
            ledger.settle = settler.put
            async with asyncio.TaskGroup() as tasks:
                settling = tasks.create_task(settler.run())
                crew.start(tasks, on_idle=settler.hurry, on_tick=self._pulse)
                self._is_ready = True
                self._pulse()  # so that a later death is not taken for a failed start
                for message in self._early:
                    self.hear(message)
                await self._ending.wait()
                if self._stop is None:
                    await crew.finish()
                else:
                    ledger.is_stopping = True
                    await crew.wind_down(self._stop.grace_s, self._at_once)
                settler.close()
                await settling
                crew.cancel()
            await crew.aclose()

    def hear(self, message: msg.ToWorker) -> None:
        """What the parent says."""
        if not self._is_ready:
            self._early.append(message)
        elif isinstance(message, msg.Take):
            self._crew.take(message.jobs)
        elif isinstance(message, msg.Safe):
            self._frontier.safe(message.number)
        elif isinstance(message, msg.Answer):
            self._frontier.answered(message.number, answer=message.answer)
        elif isinstance(message, msg.Hold):
            scheduler = self._crew.ledger.scheduler
            scheduler.hold(message.host, self._clock.now(), message.seconds, message.reason)
        elif isinstance(message, msg.Share):
            self._share(message.part)
        elif isinstance(message, msg.TakeOver):
            fetch: Fetch = pickle.loads(message.fetch)  # noqa: S301  (our own process wrote it)
            self._crew.ledger.scheduler.push([fetch])
        elif isinstance(message, msg.Finish):
            self._ending.set()
        elif isinstance(message, msg.Stop):
            self._stop = self._stop or message
            if message.at_once:
                self._at_once.set()
            self._ending.set()

    def _share(self, part: float) -> None:
        if self._policies.rate is not None:
            self._crew.ledger.scheduler.set_rate(self._policies.rate * part)
        bandwidth, most = self._rules.bandwidth, self._settings.max_bandwidth
        if bandwidth is not None and most is not None:
            bandwidth.bytes_per_s = most * part

    def _route(self, fetch: Fetch) -> None:
        """The next hop of a chain: ours, or that of the worker whose host it leads to."""
        host = fetch.target.host
        if self._shares.is_ours(host):
            self._crew.ledger.scheduler.push_first(fetch)
        else:
            message = msg.HandOver(fetch.job.id, self._shares.owner(host), pickle.dumps(fetch))
            self._channel.send(msg.encode(message))

    def _load(self) -> msg.Load:
        ledger, crew = self._crew.ledger, self._crew
        return msg.Load(crew.active, crew.waiting, ledger.requests, ledger.wire_bytes)

    def _pulse(self) -> None:
        """Once a second or so: how we stand, if that is news."""
        load, hosts = self._load(), self._crew.busiest(_BUSIEST)
        if self._told != (load, hosts):
            self._told = load, hosts
            self._channel.send(msg.encode(msg.Pulse(load, hosts)))

    def _on_settled(self, batch: list[Outcome], _: int) -> None:
        for outcome in batch:
            if outcome.body is not None:
                outcome.body.discard()
        self._crew.settled(batch)


async def _serve(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    closed = asyncio.Event()
    is_leaving = False

    def on_lost() -> None:
        if not is_leaving:
            os._exit(1)  # without its parent it is nothing
        closed.set()

    _, channel = await loop.create_connection(
        lambda: Channel(lambda frame: frames.put_nowait(bytes(frame)), on_lost), sock=connection
    )

    async def listen() -> None:
        while True:
            worker.hear(msg.decode_for_worker(await frames.get()))

    try:
        worker = WorkerProcess(pickle.loads(await frames.get()), channel)  # noqa: S301  (our parent wrote it)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(listen())
            await worker.run()
            listening.cancel()
        channel.send(msg.encode(msg.Bye()))
    except BaseException as error:  # noqa: BLE001  (whatever it is, the parent is to know)
        channel.send(msg.encode(msg.Failed(pickle.dumps(_portable(error)))))
    is_leaving = True
    channel.close()
    await closed.wait()


def _portable(error: BaseException) -> BaseException:
    """An error that can be pickled: ours as it is, out of its group; another by its text and trace."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FetcherError):
        return error
    import traceback  # noqa: PLC0415  (only for a defect)

    return RuntimeError(f"in a worker process: {''.join(traceback.format_exception(error))}")


def _end_with(lifeline: int) -> None:
    """Wait for the parent's end, and end too."""
    with contextlib.suppress(OSError):
        os.read(lifeline, 1)
    os._exit(1)


def main() -> None:
    """Be a worker. What is printed here goes to the program's standard error, a line at a time."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)  # held back until now
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.setblocking(False)
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    compose.run_loop(_serve(connection))


if __name__ == "__main__":
    main()
