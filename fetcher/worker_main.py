"""A worker process: an engine's pool without a frontier, told what to do by its parent.

`processes.WorkerPool` starts it, by `main`. Invariant: it never outlives its parent, whatever it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
from collections.abc import AsyncIterator

import msgspec

from fetcher import wiring
from fetcher.engine.body_options import BodyOptions
from fetcher.engine.engine_state import Policies
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.record_builder import RecordBuilder
from fetcher.engine.room import SharedClaims
from fetcher.engine.run import BUSIEST, LARGEST
from fetcher.engine.run_config import RunConfig
from fetcher.engine.run_context import RunContext
from fetcher.engine.settler import Settler
from fetcher.engine.slots import UNSETTLED
from fetcher.engine.task_pool import TaskPool
from fetcher.errors import DISK_FAULTS, FetcherError, StorageError
from fetcher.events import Event, LogMessage
from fetcher.model import Outcome
from fetcher.open_files import EXHAUSTED
from fetcher.policy.shares import ShareRules
from fetcher.ports import Backend, Reader, Store
from fetcher.processes import Partition, RemoteFrontier
from fetcher.processes import messages as msg
from fetcher.run_dir import directory_of
from fetcher.sharding.kept_share import read_share
from fetcher.subprocesses.framed_transport import FramedTransport
from fetcher.subprocesses.kernel import begin_child


class _Channel:
    """The way to the parent: an observer that sends events, and sends redirects to other workers."""

    def __init__(self, transport: FramedTransport, partition: Partition) -> None:
        self.send_frame = transport.send
        self._partition = partition

    def send(self, message: msg.ToParent) -> None:
        self.send_frame(msg.encode(message))

    def on_event(self, event: Event) -> None:
        message = msg.EVENTS.get(type(event))
        if message is not None:
            self.send(message(event))

    def notice(self, level: str, text: str) -> None:
        self.send(msg.LogReport(LogMessage(level, text)))

    def transfer(self, fetch: FetchState) -> bool:
        """Send the next hop of a chain to the worker whose host it leads to. False if that is this one."""
        host = fetch.target.host
        if self._partition.is_local(host):
            return False
        self.send(msg.Transfer(fetch.job.id, self._partition.owner(host), pickle.dumps(fetch)))
        return True


class WorkerProcess:
    """One worker: its pool and settler, and the parent's messages, which come as `frames`."""

    def __init__(
        self,
        config: RunConfig,
        channel: _Channel,
        frames: asyncio.Queue[bytes],
        *,
        backend: Backend,
        store: Store,
        reader: Reader | None,
        policies: Policies,
        body_options: BodyOptions,
        unsettled: int,
    ) -> None:
        self._channel = channel
        self._frames = frames
        self._ending = asyncio.Event()
        self._grace_s = 0.0
        self._frontier = RemoteFrontier(channel.send_frame, self._load)
        self._context = context = RunContext(
            frontier=self._frontier,
            store=store,
            clock=wiring.MonotonicClock(),
            recorder=RecordBuilder(backend.traits.name, keeps_bodies=False),
            observers=[channel],
            room=body_options.room,
        )
        self._settler = Settler(context, self._on_settled)
        self._pool = TaskPool(
            config,
            context,
            backend,
            policies,
            body_options,
            reader,
            unsettled=unsettled,
            transfer=channel.transfer,
        )

    async def run(self) -> None:
        """Work until the parent says that it is over."""
        context, pool = self._context, self._pool
        async with asyncio.TaskGroup() as tasks:
            settling = tasks.create_task(self._settler.run())
            pool.start(tasks, on_tick=self._beat)
            self._beat()  # so that a later death is not taken for a failed start
            listening = tasks.create_task(self._listen())
            await self._ending.wait()
            if context.stop.is_wanted:
                await pool.wind_down(self._grace_s, context.stop.at_once)
            else:
                await pool.finish()
            context.outcomes.close()
            await settling
            self._beat()
            pool.cancel()
            listening.cancel()
        await pool.aclose()

    async def _listen(self) -> None:
        while True:
            self._receive(msg.decode_for_worker(await self._frames.get()))

    def _receive(self, message: msg.ToWorker) -> None:
        """Do as the parent says."""
        if isinstance(message, msg.Assign):
            self._pool.submit(message.jobs)
        elif isinstance(message, msg.Ack):
            self._frontier.safe(message.number)
        elif isinstance(message, msg.QueryReply):
            self._frontier.answered(message.number, message.answer)
        elif isinstance(message, msg.NameReply):
            self._frontier.answered(message.number, (message.path, message.is_foreign))
        elif isinstance(message, msg.ThrottleHost):
            now = self._context.clock.now()
            self._pool.scheduler.hold(message.host, now, message.seconds, message.reason)
        elif isinstance(message, msg.Adjust):
            self._pool.adjust(message.concurrency, is_paused=message.is_paused)
        elif isinstance(message, msg.SetShare):
            self._pool.take_part(message.part)
        elif isinstance(message, msg.Adopt):
            fetch: FetchState = pickle.loads(message.fetch)  # noqa: S301  (our own process wrote it)
            self._pool.scheduler.push([fetch])
        elif isinstance(message, msg.Finish):
            self._ending.set()
        elif isinstance(message, msg.Stop):
            if not self._ending.is_set():
                self._grace_s = message.grace_s
            self._context.stop.request(at_once=message.at_once)
            self._ending.set()

    def _load(self) -> msg.LoadReport:
        stats, pool = self._context.stats, self._pool
        return msg.LoadReport(pool.active, pool.waiting, stats.requests, stats.wire_bytes, pool.growing_bytes)

    def _beat(self) -> None:
        """Show a sign of life, once a second or so, and how this worker stands."""
        pool = self._pool
        self._channel.send(
            msg.Heartbeat(self._load(), pool.busiest(BUSIEST), pool.growing(LARGEST), pool.holdups())
        )

    def _on_settled(self, batch: list[Outcome], _: int) -> None:
        for outcome in batch:
            if outcome.body is not None:
                outcome.body.discard()
        self._pool.settled(batch)


@contextlib.asynccontextmanager
async def _open_worker(
    config: msg.WorkerConfig, transport: FramedTransport, frames: asyncio.Queue[bytes]
) -> AsyncIterator[WorkerProcess]:
    """Make a worker with its part of the run's limits, and close all that it works with."""
    settings, count = config.settings, config.count
    directory = directory_of(settings)
    kept = read_share(directory)
    share = None if kept is None else ShareRules(kept)
    policies = wiring.make_policies(settings, config.environ, share, follows=config.follows)
    partition = Partition(config.index, count, policies.throttle_of)
    settings = msgspec.structs.replace(settings, concurrency=max(1, partition.share(settings.concurrency)))
    channel = _Channel(transport, partition)
    async with contextlib.AsyncExitStack() as stack:
        backend = wiring.make_backend(settings)
        stack.push_async_callback(backend.aclose)
        claims = SharedClaims(directory.claims, config.index)
        stack.callback(claims.close)
        executor = stack.enter_context(wiring.writer_threads())
        store = await wiring.open_worker_store(settings, directory)
        stack.push_async_callback(store.aclose)
        reader = wiring.make_reader(
            settings, channel.notice, follows=config.follows, root=directory.root, divided_by=count
        )
        if reader is not None:
            stack.push_async_callback(reader.aclose)
        yield WorkerProcess(
            wiring.make_run_config(settings, follows=config.follows),
            channel,
            frames,
            backend=backend,
            store=store,
            reader=reader,
            policies=msgspec.structs.replace(policies, throttle_of=partition.throttle_of),
            body_options=wiring.make_body_options(
                settings,
                wiring.MonotonicClock(),
                parts=directory.parts,
                executor=executor,
                keep_error_bodies=store.keeps_exchanges,
                keeps_wire=store.keeps_exchanges,
                divided_by=count,
                claims=claims,
            ),
            unsettled=max(1, partition.share(UNSETTLED)),
        )


async def _serve(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    closed = asyncio.Event()
    is_leaving = False

    def on_lost() -> None:
        if not is_leaving:
            os._exit(1)  # without its parent it is nothing
        closed.set()

    _, transport = await loop.create_connection(
        lambda: FramedTransport(lambda frame: frames.put_nowait(bytes(frame)), on_lost), sock=connection
    )
    try:
        config: msg.WorkerConfig = pickle.loads(await frames.get())  # noqa: S301  (our parent wrote it)
        async with _open_worker(config, transport, frames) as worker:
            await worker.run()
        transport.send(msg.encode(msg.Goodbye()))
    except BaseException as error:  # noqa: BLE001  (whatever it is, the parent is to know)
        transport.send(msg.encode(msg.Failed(pickle.dumps(portable(error)))))
    is_leaving = True
    transport.close()
    await closed.wait()


def portable(error: BaseException) -> BaseException:
    """Make an error that can be pickled: ours as it is, out of its group; another by its text and trace.

    What the system denies a worker ends the run as it would in one process.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FetcherError):
        return error
    if isinstance(error, OSError) and error.errno in DISK_FAULTS | EXHAUSTED:
        return StorageError(f"a worker process cannot go on: {error}")
    import traceback  # noqa: PLC0415  (only for a defect)

    return RuntimeError(f"in a worker process: {''.join(traceback.format_exception(error))}")


def main() -> None:
    """Be a worker, from its start to its end."""
    sock = begin_child()
    sock.setblocking(False)
    wiring.run_loop(_serve(sock))
