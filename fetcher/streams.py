"""Results and pages of a run as they end, in both worlds.

Invariant: to make a stream costs no heavy import; what its run needs is imported in a thread, when it is
iterated.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from fetcher.loading import loaded
from fetcher.model import Outcome, Result, Summary
from fetcher.settings import Settings
from fetcher.sync_async import iterate

if TYPE_CHECKING:
    from fetcher.engine.run import Run
    from fetcher.parsers.page import Page
    from fetcher.ports import Backend

Item = TypeVar("Item", bound=Result)

Urls: TypeAlias = Iterable[Any] | AsyncIterable[Any]

_OF_CONNECTIONS = (  # a crawl that differs in one of these has connections of its own
    *("backend", "http", "connect_timeout", "user_agent", "resolve", "ca_file", "client_cert"),
    *("insecure", "ipv4", "ipv6"),
)
_MOST_PULLED = 32  # items of a plain iterable that are taken in one go


class StreamOwner(Protocol):
    """A `Fetcher` as its streams see it."""

    settings: Settings

    @property
    def is_open(self) -> bool: ...

    @property
    def backend(self) -> Backend: ...

    def adopt(self, task: asyncio.Task[Summary]) -> None:
        """Cancel `task` when the Fetcher is closed."""


class _Stream(Generic[Item]):
    """Results of a run, an item at a time; iterates in both worlds.

    Leaving the loop early, or cancelling, frees every connection. Each iteration fetches anew.
    """

    _follows = False

    def __init__(self, urls: Urls, settings: Settings, owner: StreamOwner | None = None) -> None:
        self._urls = urls
        self._settings = settings
        self._owner = owner

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._items()

    def __iter__(self) -> Iterator[Item]:
        if (
            self._owner is not None and self._owner.is_open
        ):  # its connections belong to the loop that opened it
            raise RuntimeError("iterate what an open Fetcher gives by 'async for'")
        return iterate(self._items)

    async def _items(self, positions: list[int] | None = None) -> AsyncGenerator[Item]:
        """Yield the items; `positions` gets the place in the input of each, from 1."""
        ended: deque[Outcome] = deque()
        wake = asyncio.Event()

        def deliver(outcome: Outcome) -> None:
            ended.append(outcome)
            wake.set()

        await loaded(self._settings, follows=self._follows)
        from fetcher import wiring
        from fetcher.sources.iterables import IterableSource

        async with contextlib.AsyncExitStack() as stack:
            if self._owner is not None and self._is_tied():
                backend = self._owner.backend
            else:
                backend = wiring.make_backend(self._settings)
                stack.push_async_callback(backend.aclose)
            batch = min(_MOST_PULLED, max(1, self._settings.concurrency // 2))
            run = self._make_run(backend, deliver, batch, stack)
            task = asyncio.create_task(run.run([IterableSource(self._urls, batch=batch)]))
            task.add_done_callback(lambda _: wake.set())
            if self._owner is not None:
                self._owner.adopt(task)
            try:
                while True:
                    while ended:
                        outcome = ended.popleft()
                        if positions is not None:
                            positions.append(outcome.job.id)
                        item = self._item(outcome)
                        yield item
                        self._taken(run, outcome, item)
                    if task.done():
                        if task.cancelled():
                            raise RuntimeError("the Fetcher was closed while this was read")
                        task.result()
                        return
                    wake.clear()
                    await wake.wait()
            finally:
                await cancelled(task)
                while ended:
                    self._dropped(ended.popleft(), run)

    def _is_tied(self) -> bool:
        """Return True if it uses the connections of its Fetcher."""
        return self._owner is not None

    def _make_run(
        self,
        backend: Backend,
        deliver: Callable[[Outcome], None],
        batch: int,
        stack: contextlib.AsyncExitStack,
    ) -> Run:
        raise NotImplementedError

    def _item(self, outcome: Outcome) -> Item:
        raise NotImplementedError

    def _taken(self, run: Run, outcome: Outcome, item: Item) -> None:
        raise NotImplementedError

    def _dropped(self, outcome: Outcome, run: Run) -> None:
        raise NotImplementedError


class Stream(_Stream[Result]):
    """Results as they end: `async for`, and `for` in plain code. See `Fetcher.stream`."""

    def _make_run(
        self,
        backend: Backend,
        deliver: Callable[[Outcome], None],
        batch: int,
        stack: contextlib.AsyncExitStack,  # noqa: ARG002
    ) -> Run:
        from fetcher import wiring
        from fetcher.frontiers.memory import MemoryFrontier
        from fetcher.stores.none import NoneStore

        return wiring.make_local_run(
            self._settings,
            backend,
            MemoryFrontier(distinct=False),
            NoneStore(),
            ahead=2 * self._settings.concurrency - batch + 1,
            observers=wiring.service_traces(),
            keeps_bodies=True,
            deliver=deliver,
        )

    def _item(self, outcome: Outcome) -> Result:
        assert isinstance(outcome.record, Result)
        return outcome.record

    def _taken(self, run: Run, outcome: Outcome, item: Result) -> None:  # noqa: ARG002
        run.ack(outcome)

    def _dropped(self, outcome: Outcome, run: Run) -> None:
        run.ack(outcome)


class Crawl(_Stream["Page"]):
    """Pages of a crawl as they end: `async for`, and `for` in plain code. See `Fetcher.crawl`."""

    _follows = True

    def _is_tied(self) -> bool:
        owner = self._owner
        if owner is None or not owner.is_open:
            return False
        return all(getattr(self._settings, key) == getattr(owner.settings, key) for key in _OF_CONNECTIONS)

    def _make_run(
        self,
        backend: Backend,
        deliver: Callable[[Outcome], None],
        batch: int,
        stack: contextlib.AsyncExitStack,
    ) -> Run:
        from fetcher import wiring
        from fetcher.engine.settler import RECORDED
        from fetcher.stores.none import NoneStore

        settings = self._settings

        def review(outcome: Outcome) -> bool:
            if outcome.record is None or outcome.job.kind not in RECORDED:
                return False
            deliver(outcome)
            return True

        reader = wiring.make_reader(settings, follows=True)
        assert reader is not None
        stack.push_async_callback(reader.aclose)
        return wiring.make_local_run(
            settings,
            backend,
            wiring.make_frontier(settings, None, None, NoneStore(), follows=True),
            NoneStore(),
            reader=reader,
            follows=True,
            ahead=2 * settings.concurrency - batch + 1,
            observers=wiring.service_traces(),
            keeps_bodies=True,
            review=review,
        )

    def _item(self, outcome: Outcome) -> Page:
        from fetcher.parsers.page import page_of

        assert isinstance(outcome.record, Result)
        return page_of(outcome.record, outcome.links)

    def _taken(self, run: Run, outcome: Outcome, item: Page) -> None:
        if item.followed:
            outcome.links = [*(outcome.links or ()), *item.followed]
        run.reviewed(outcome)

    def _dropped(self, outcome: Outcome, run: Run) -> None:  # noqa: ARG002
        if outcome.body is not None:
            outcome.body.discard()


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever that is; a cancellation of our own is raised then."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.cancelled():
        task.exception()  # seen: whoever reads the results has had it
    if cancelled is not None:
        raise cancelled
