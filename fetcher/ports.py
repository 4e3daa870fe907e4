"""The ports: what the engine needs of its adapters, and nothing more.

An adapter imports layers 0 and 1 only. Every port has a contract suite under `tests/contract` that
each implementation must pass, differences declared through traits.

Over 400 lines, because all that the engine asks of the world is to be read in one place.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from fetcher.errors import ParseFailed, Phase, StorageError
from fetcher.events import Event
from fetcher.model import (
    Added,
    Bottleneck,
    Counts,
    CrawlFindings,
    Entry,
    Headers,
    Holdup,
    Job,
    Link,
    Outcome,
    Part,
    Record,
    Request,
    Response,
    StoredPage,
)


class Traits(msgspec.Struct, frozen=True):
    """Capabilities of a backend. `most_exchanges` bounds concurrency; None is no bound of its own.

    `sees_fragments` says that it knows of bytes that make no whole header line. `descriptors_each` is how
    many descriptors an exchange may need at once.
    """

    name: str
    http_versions: frozenset[str] = frozenset({"1.1"})
    most_exchanges: int | None = None
    sees_fragments: bool = True
    descriptors_each: int = 1


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run's connections: what the constructor of every backend takes.

    `connect_timeout_s` is for making one connection; None is no limit. `user_agent` is told to proxies.
    `family` is the one IP version to use, 4 or 6. `resolve` gives an address, without brackets, for a host in
    lower case and a port, and DNS is not asked. `ca_file` replaces the system's trust store; `client_cert` is
    a PEM file with certificate and key. `http` is the version to prefer on https, if there is a choice.
    `concurrency` is how many exchanges there may be at once. `may_send` raises where no request may be sent
    any more; the `asyncio` backend asks it between connecting and sending.
    """

    connect_timeout_s: float | None = 10.0
    user_agent: str = "fetcher"
    family: Literal[4, 6] | None = None
    resolve: Mapping[tuple[str, int], str] = {}
    ca_file: str | None = None
    client_cert: str | None = None
    insecure: bool = False
    keepalive_s: float = 15.0
    http: str = "auto"  # "1.1", "2" or "3"
    concurrency: int = 64
    may_send: Callable[[], None] | None = None

    @property
    def address_family(self) -> socket.AddressFamily:
        """`family` as the system's calls take it."""
        return {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[self.family]


class BodyWriter(Protocol):
    """Receiver of a body, fed by a backend. The engine's `Body` is the one implementation."""

    def set_phase(self, phase: Phase) -> None:
        """Say what the exchange is busy with, for the limits on time: connect, then header."""

    def connected(self, name_s: float, tls_s: float) -> None:
        """Say what a new connection took: seconds for DNS, and for TLS. For timings, so at any moment."""

    def begin(self, response: Response) -> bool:
        """The final header is complete. True if the body is wanted.

        If not, the backend drains a small rest or closes the connection.
        """

    def feed(self, data: bytes) -> bool:
        """Take wire bytes. True if the caller must await `drain` before it feeds more.

        Raises `BodyTooLarge` or `BadEncoding`; the exchange is then to be abandoned.
        """

    def room(self) -> memoryview | None:
        """Give room for wire bytes to be received into, in order with what is fed; None: feed them.

        It holds until the next call of any method, and is never empty unless `fill` asked for `drain`.
        """

    def fill(self, size: int) -> bool:
        """Note that so many bytes were received into `room`. As `feed`."""

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

    def limit_connections(self, most: int) -> None:
        """Have no more than `most` connections from now on, closing idle ones: descriptors are short."""

    async def aclose(self) -> None:
        """Close every connection. No exchange may be under way."""


class Frontier(Protocol):
    """Storage of URLs to be fetched and of their outcomes. One owner, one session at a time."""

    is_durable: bool
    is_spent: bool  # `--max-pages` were claimed: what is pending stays so
    notes: Sequence[str]  # for people, on what opening it has found

    async def open(self) -> Counts:
        """Begin a session: recover what was left, apply the session's mode."""
        ...

    async def add(self, jobs: Sequence[Job]) -> Added:
        """Add jobs in input order, de-duplicated by their request."""
        ...

    async def claim(self, limit: int, *, per_host: int, now: float) -> list[Job]:
        """Give out up to `limit` pending jobs, smallest rank first, then fairly by host, then in order.

        No host gets more than `per_host` claimed and not settled. `now` is UTC epoch seconds.
        A claim is lost with the session, never the job.
        """
        ...

    async def name_file(self, job: Job) -> None:
        """Give the file of a claimed job its `path`, by `hints`, for good; nothing where it has one."""
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Store the outcomes, all or none. Jobs with a deferral stay claimed by this session.

        Returns by how many the links of the outcomes have raised the number of pending URLs.
        """
        ...

    async def keep_parts(self, parts: Sequence[tuple[int, Part]]) -> None:
        """Store how far the bodies of claimed jobs (by `Job.id`) have come, for a later session."""
        ...

    async def keep_bottleneck(self, bottleneck: Bottleneck) -> None:
        """Store what holds this session back, in the place of what was stored of it before."""
        ...

    async def is_user_host(self, name: str, port: int | None) -> bool:
        """Return True if the user listed a URL on the host `name`, at `port` or, if that is None, at any."""
        ...

    async def counts(self) -> Counts: ...

    async def findings(self) -> CrawlFindings:
        """Return the findings of a crawl. Empty for a batch."""
        ...

    async def aclose(self, *, complete: bool) -> None:
        """End the session; `complete` says that nothing was left to do."""


class StoredPageFrontier(Protocol):
    """A frontier that knows of stored pages whose parser did not run."""

    async def find_stored(self) -> int:
        """Look for them. Returns how many there are."""
        ...

    async def next_stored(self, limit: int) -> list[StoredPage]:
        """Return the next of those found."""
        ...

    async def settle_stored(self, outcomes: Sequence[Outcome]) -> int:
        """Store what the parser gave, all or none; a record that has changed comes with its line.

        Returns by how many links have raised the number of pending URLs.
        """
        ...

    async def finish_stored(self) -> None:
        """Note that all of them have been parsed."""


class ExchangePool(Protocol):
    """Pool that performs the exchanges of claimed jobs: tasks of this loop, or worker processes.

    Each job that it takes comes back as an outcome, through the outcome queue that it was made with; that is
    flushed when nothing is in flight.
    """

    per_host: int  # how many of one host may be claimed and not settled

    @property
    def room(self) -> int:
        """The number of jobs that may still be claimed now."""
        ...

    @property
    def is_hungry(self) -> bool:
        """True while less than half of the window is filled, so that a claim is worth its transaction."""
        ...

    @property
    def is_busy(self) -> bool:
        """True while any job is in hand that is not an outcome yet."""
        ...

    @property
    def active(self) -> int:
        """Exchanges in flight."""
        ...

    @property
    def waiting(self) -> int:
        """Jobs in hand that only time can make ready."""
        ...

    @property
    def growing_bytes(self) -> int:
        """Wire bytes that the exchanges in flight have received so far."""
        ...

    def busiest(self, most: int) -> list[tuple[str, int, int, str]]:
        """See `Snapshot.hosts`."""
        ...

    def growing(self, most: int) -> list[tuple[str, int, int | None]]:
        """See `Snapshot.growing`."""
        ...

    def holdups(self) -> Sequence[Holdup]:
        """Return what has kept exchanges from starting so far, by cause and host."""
        ...

    def start(self, tasks: asyncio.TaskGroup, *, on_tick: Callable[[], None]) -> None:
        """Begin, in `tasks`. `on_tick` is called once a second or so."""

    def adjust(self, concurrency: int, *, is_paused: bool) -> None:
        """Have no more than so many exchanges in flight; while paused, start none. Those in flight go on."""

    def take_part(self, part: float) -> None:
        """Have this part of the rate and the bandwidth that the settings allow, above 0 and at most 1."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take claimed jobs, each with a target."""

    def settled(self, batch: Sequence[Outcome]) -> None:
        """Note that these outcomes are safe now."""

    def abandon(self, number: int) -> None:
        """Give up a job whose outcome nobody wants any more: its exchange may be ended."""

    async def finish(self) -> None:
        """Stop what is idle: there is no more work, and none in hand."""

    async def wind_down(self, grace_s: float, at_once: asyncio.Event) -> None:
        """Let what is in flight end within the grace period; `at_once` cuts it short."""

    def cancel(self) -> None:
        """Cancel every task of the pool; they end with their group."""

    async def aclose(self) -> None:
        """Close it; nothing is left behind."""


class Body(Protocol):
    """A complete body: in memory or spooled to a part file."""

    length: int
    sha256: str  # "" where it was not computed

    def hash(self) -> tuple[str, str]:
        """`sha256` and the record's `digest`, "" for none. In any thread: the hash may be left until now."""

    def data(self) -> bytes | None:
        """Return the bytes, if they are in memory."""

    def part(self) -> str | None:
        """Return the path of the part file, if they were spooled."""


class ArchivableBody(Body, Protocol):
    """A body as a store that keeps exchanges gets it."""

    is_cut: bool  # an error's, of which no more was kept
    wire: ArchivableBody | None  # the same with its content-coding on, where there is one


class Store(Protocol):
    """Storage of bodies, a batch at a time; idempotent by key (the job's path)."""

    keeps_files: bool
    keeps_archives: bool  # bodies go to the ends of files, whose settled lengths the frontier keeps
    keeps_exchanges: bool  # as an archive does; the engine collects them only if so

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Return for each the path it is stored at (relative to the folder; None if not kept), or an error.

        Each outcome has a record and a complete `body`. A store that keeps exchanges also gets every other
        outcome with `exchanges`: redirects, failures with or without the page that says why, deferrals (they
        have no record, and more follows under the same `job.id`), and robots.txt (its text is in `robots`).
        Bodies are decoded; what a redirect or a deferral came with is not kept. A batch may be put twice,
        if the program is killed before it is settled.

        A path differs from the job's where a foreign file stood in its place. A store that keeps archives
        sets `archived` of each outcome that it put. An error that is `systemic` is raised, not returned.
        Worker processes have a store each.
        """
        ...

    def recover(self, lengths: Mapping[str, int]) -> None:
        """Cut every archive back to its settled length. `lengths` is kept up to date while outcomes settle.

        Called by the owner of the directory as it begins, never by a worker process. Raises `StorageError`.
        """

    def holds(self, url: str) -> bool:
        """Return True if an earlier session has archived a body of `url`."""
        ...

    def existing(self, paths: Collection[str]) -> Collection[str]:
        """Return those of `paths` at which anything stands."""
        ...

    def has_file(self, path: str, length: int) -> bool:
        """Return True if a regular file of `length` bytes stands at `path`."""
        ...

    async def aclose(self) -> None: ...


class Reading(msgspec.Struct, gc=False):
    """Links and data of one page. `links` is None where they were not looked for."""

    links: Sequence[Link] | None = None
    data: Sequence[bytes] = ()  # lines of JSON
    notes: Sequence[str] = ()  # for people: damage that was passed over
    error: ParseFailed | None = None  # the links of the page itself are there all the same


class Reader(Protocol):
    """Reader of pages: their links, and the data of the user's parser."""

    most_at_once: int  # batches that may be under way
    batch: int  # pages in one, at most

    async def read(self, pages: Sequence[tuple[Job, Record, Headers, Body]]) -> list[Reading]:
        """Read links and data of pages, in their order. Never raises on a page, whatever it holds.

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
    """Receiver of frozen events, called synchronously; one that raises is logged once and dropped.

    One that sets `wants_exchanges` to True is told of `ExchangesSettled` too.
    """

    def on_event(self, event: Event) -> None: ...


class Clock(Protocol):
    """Two clocks: `now` is the loop's, for deadlines; `utc` is epoch seconds, storable."""

    def now(self) -> float: ...

    def utc(self) -> float: ...
