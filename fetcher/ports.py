"""The ports: what the engine needs of its adapters, and nothing more.

An adapter imports layers 0 and 1 only. Every port has a contract suite under `tests/contract` that
each implementation must pass, differences declared through traits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from fetcher.errors import ParseFailed, Phase, StorageError
from fetcher.events import Event
from fetcher.model import (
    Added,
    Counts,
    Entry,
    Findings,
    Headers,
    Job,
    Link,
    Outcome,
    Record,
    Request,
    Response,
)


class Traits(msgspec.Struct, frozen=True):
    """What a backend can do. `most_exchanges` bounds concurrency; None is no bound of its own.

    `sees_fragments` says that it knows of bytes that make no whole header line, and of those that follow a
    chunked body in its last packet.
    """

    name: str
    is_cancellable: bool = True
    streams: bool = True
    http_versions: frozenset[str] = frozenset({"1.1"})
    most_exchanges: int | None = None
    sees_fragments: bool = True


class BodyWriter(Protocol):
    """Where a backend puts what it receives. The engine's `Body` is the one implementation."""

    def enter(self, phase: Phase) -> None:
        """Say what the exchange is busy with, for the limits on time: connect, then header."""

    def begin(self, response: Response) -> bool:
        """The final header is complete. True if the body is wanted.

        If not, the backend drains a small rest or closes the connection.
        """

    def feed(self, data: bytes) -> bool:
        """Take wire bytes. True if the caller must await `drain` before it feeds more.

        Raises `BodyTooLarge` or `BadEncoding`; the exchange is then to be abandoned.
        """

    async def drain(self) -> None:
        """Wait until more can be taken: the disk, the byte budget or the bandwidth limit."""


class Backend(Protocol):
    """One HTTP exchange: no redirects, no retries, no cookies decision, no waiting."""

    traits: Traits

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`.

        One hop only: a 3xx is returned, not followed (RFC 9110 §15.4).

        Raises:
            NameNotResolved, ConnectFailed, TlsRejected: no connection was made.
            Refused: policy denies the address (`private-address`).
            TimedOut: the backend's own limits; those of the engine come as cancellation.
            ConnectionLost: the peer closed before the framing said so.
            ProtocolBroken: the answer is not HTTP.

        Cancelling closes the connection and leaves `body` incomplete.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection. No exchange may be under way."""


class Frontier(Protocol):
    """What is to be fetched, and what became of it. One owner, one session at a time."""

    is_durable: bool
    is_spent: bool  # `--max-pages` were claimed: what is pending stays so

    async def open(self) -> Counts:
        """Begin a session: recover what was left, apply the session's mode."""
        ...

    async def add(self, jobs: Sequence[Job]) -> Added:
        """Add jobs in input order, de-duplicated by their request."""
        ...

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:
        """Up to `limit` pending jobs, smallest rank first, then fairly by host, then in order.

        No host gets more than `per_host` claimed and not settled. `now` is UTC epoch seconds.
        A claim is lost with the session, never the job.
        """
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Store the outcomes, all or none. Jobs with a deferral stay claimed by this session.

        Returns by how many the links of the outcomes have raised the number of pending URLs.
        """
        ...

    async def names_host(self, name: str, port: int | None) -> bool:
        """Whether the user listed a URL on the host `name`, at `port` or at any."""
        ...

    async def counts(self) -> Counts: ...

    async def findings(self) -> Findings:
        """What a crawl came to. Empty for a batch."""
        ...

    async def aclose(self, *, complete: bool) -> None:
        """End the session; `complete` says that nothing was left to do."""


class Crew(Protocol):
    """Whoever performs the exchanges of claimed jobs: tasks of this loop, or worker processes.

    Each job that it takes comes back as an outcome, by the `settle` of the run's ledger.
    """

    per_host: int  # how many of one host may be claimed and not settled

    @property
    def room(self) -> int:
        """How many more jobs may be claimed now."""
        ...

    @property
    def is_hungry(self) -> bool:
        """Whether it is worth claiming."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether any job is in hand that is not an outcome yet."""
        ...

    @property
    def active(self) -> int:
        """Exchanges in flight."""
        ...

    @property
    def waiting(self) -> int:
        """Jobs in hand that only time can make ready."""
        ...

    def busiest(self, most: int) -> list[tuple[str, int, int, str]]:
        """See `Snapshot.hosts`."""
        ...

    def start(
        self, tasks: asyncio.TaskGroup, *, on_idle: Callable[[], None], on_tick: Callable[[], None]
    ) -> None:
        """Begin, in `tasks`. `on_idle` is called when nothing is in flight, `on_tick` once a second or so."""

    def take(self, jobs: Sequence[Job]) -> None:
        """Take claimed jobs, each with a target."""

    def settled(self, batch: Sequence[Outcome]) -> None:
        """These outcomes are safe now."""

    async def finish(self) -> None:
        """There is no more work, and none in hand."""

    async def wind_down(self, grace_s: float, at_once: asyncio.Event) -> None:
        """Let what is in flight end within the grace period; `at_once` cuts it short."""

    def cancel(self) -> None:
        """Cancel every task of the crew; they end with their group."""

    async def aclose(self) -> None:
        """Nothing is left behind."""


class Body(Protocol):
    """A complete body: in memory or spooled to a part file."""

    length: int
    sha256: str

    def data(self) -> bytes | None:
        """The bytes, if they are in memory."""

    def part(self) -> str | None:
        """The path of the part file, if they were spooled."""


class Store(Protocol):
    """Where bodies go, a batch at a time; idempotent by key (the job's path)."""

    keeps_files: bool

    async def put(self, batch: Sequence[tuple[Job, Record, Body]]) -> list[str | StorageError | None]:
        """For each, the path it is stored at (relative to the folder; None if not kept), or an error.

        A path differs from the job's where a foreign file stood in its place. An error that is
        `systemic` is raised, not returned.
        """
        ...

    def occupied(self, path: str) -> bool:
        """Whether anything stands at `path`."""
        ...

    def holds(self, path: str, length: int) -> bool:
        """Whether a regular file of `length` bytes stands at `path`."""
        ...

    async def aclose(self) -> None: ...


class Reading(msgspec.Struct, gc=False):
    """What was read of one page. `links` is None where they were not looked for."""

    links: Sequence[Link] | None = None
    data: Sequence[bytes] = ()  # lines of JSON
    error: ParseFailed | None = None  # the links of the page itself are there all the same


class Reader(Protocol):
    """Reads pages: their links, and what the user's parser makes of them."""

    most_at_once: int  # batches that may be under way
    batch: int  # pages in one, at most

    async def read(self, pages: Sequence[tuple[Job, Record, Headers, Body]]) -> list[Reading]:
        """What each page holds, in their order. Never raises on a page, whatever it holds.

        Cancelling abandons the batch.
        """
        ...

    async def aclose(self) -> None:
        """End what helps: threads, processes. No batch may be under way."""


class Source(Protocol):
    """A list of URLs, read in batches, never whole."""

    def __aiter__(self) -> AsyncIterator[Sequence[Entry]]: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Observer(Protocol):
    """Gets frozen events synchronously; one that raises is logged once and dropped."""

    def on_event(self, event: Event) -> None: ...


class Clock(Protocol):
    """Two clocks: `now` is the loop's, for deadlines; `utc` is epoch seconds, storable."""

    def now(self) -> float: ...

    def utc(self) -> float: ...
