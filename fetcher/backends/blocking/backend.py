"""An exchange on the loop: a place, a connection, its thread's arrivals into the body, and the end.

Invariants: `exchange` is over only when its thread is, so a slot is free exactly when a thread is; the body
is touched by the loop's thread alone; a connection is kept only when its answer was complete and nothing
followed it, in every other case, cancellation included, it is shut down and closed.

What blocks, blocks in the thread: connecting, TLS, sending, receiving. Cancelling shuts the socket down,
which ends all of these at once (on Linux; elsewhere a connection that is being made may last until its
timeout). A lookup of a name can't be ended that way, so names are looked up on the loop.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import Final, NamedTuple

import msgspec

from fetcher.backends import failure_texts as texts
from fetcher.backends.blocking.connection import Connection, PoolKey
from fetcher.backends.blocking.connection_pool import IdleConnections
from fetcher.backends.blocking.dns import DnsCache, Lookup
from fetcher.backends.blocking.errors import FORESEEN, NoThread, Peer, exchange_error
from fetcher.backends.blocking.exchange import BlockingExchange
from fetcher.backends.blocking.threads import LoopCalls, ThreadPool
from fetcher.backends.proxy_url import HttpProxy, SocksProxy, parsed_proxy
from fetcher.backends.tls import tls_context
from fetcher.model import Request, Response
from fetcher.policy.http import IDEMPOTENT
from fetcher.policy.http1_writer import RequestWriter
from fetcher.ports import BodyWriter, ConnectionOptions, Traits

_LEAST_CONNECTIONS: Final = 32  # so that one thread, too, meets the connections of several hosts again
_HEARTBEAT_S: Final = 1.0
_NUDGE_S: Final = 0.1


class _Parts(NamedTuple):
    """The parts of the backend that belong to one event loop."""

    loop_calls: LoopCalls
    threads: ThreadPool[BlockingExchange]
    pool: IdleConnections
    dns: DnsCache


class ThreadsBackend:
    """The `Backend` port on urllib3 and threads, for one event loop at a time.

    There are as many threads as exchanges at once, and no more than `concurrency`; further exchanges wait,
    which counts as nobody's silence. `lookup` replaces DNS.
    """

    def __init__(self, options: ConnectionOptions | None = None, *, lookup: Lookup | None = None) -> None:
        self._options = options = options or ConnectionOptions()
        self.traits = Traits(name="threads", most_exchanges=options.concurrency)
        self._most = options.concurrency
        self._most_connections = max(self._most, _LEAST_CONNECTIONS)
        self._lookup = lookup
        self._tls: ssl.SSLContext | None = None
        self._writer = RequestWriter()
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._parts: _Parts | None = None

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`; see `ports.Backend`.

        An idempotent request whose reused connection ended before any byte of an answer is sent once more, on
        a new one (RFC 9112 §9.3.1); `Response.resent` counts that. Any other has a connection of its own.

        Cancelling shuts the connection down and waits for the thread to see it.
        """
        parts = self._parts or self._opened()
        proxy = None if request.proxy is None else parsed_proxy(request.proxy)
        target = request.target
        is_vetted = proxy is None and not request.allow_private
        key = PoolKey(target.scheme, target.hostname, target.port, proxy, is_vetted)
        if self._busy < self._most:
            self._busy += 1
        else:
            await self._place(body)
        try:
            return await self._sent(parts, request, key, body)
        finally:
            self._release()

    def limit_connections(self, most: int) -> None:
        """Have no more than `most` connections from now on, closing idle ones."""
        self._most_connections = most
        if self._parts is not None:
            self._parts.pool.trim(most - self._busy)

    async def aclose(self) -> None:
        """Close every connection and end every thread. No exchange may be under way."""
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.pool.close()
            parts.threads.close()
            await parts.dns.aclose()

    async def _sent(self, parts: _Parts, request: Request, key: PoolKey, body: BodyWriter) -> Response:
        """Send the request, once more if the connection it went out on had ended before."""
        resent = 0
        is_repeatable = request.method in IDEMPOTENT
        while True:
            try:
                wire = self._written(request, key)
                ends_connection = self._writer.ends_connection or not is_repeatable
                connection = parts.pool.take(key) if is_repeatable and not resent else None
                if connection is None:
                    body.set_phase("connect")
                    connection = await self._new_connection(parts, request, key, body)
                else:
                    body.set_phase("header")
            except ValueError as cause:
                raise exchange_error(cause, Peer(request, key.hostname, "connect")) from cause
            hop = BlockingExchange(request, wire, connection, body, parts.loop_calls)
            try:
                response = await self._attended(parts, hop, body)
            finally:
                if hop.keeps and not ends_connection and not connection.is_aborted:
                    connection.is_reused = True
                    parts.pool.put(connection)
                elif hop.error is not None or connection.is_aborted:
                    connection.reset()
                else:
                    connection.close()
            error = hop.error
            if error is None:
                assert response is not None
                response.resent = resent
                return response
            if not resent and is_repeatable and hop.was_idle_too_long(error):
                resent = 1
                continue
            if not isinstance(error, FORESEEN):
                raise error
            place = Peer(request, key.hostname, hop.phase, hop.is_answered, connection.is_at_proxy)
            raise exchange_error(error, place) from error

    async def _attended(self, parts: _Parts, hop: BlockingExchange, body: BodyWriter) -> Response | None:
        """Take what the thread tells until it has left; then `hop.error` says how that ended."""
        try:
            parts.threads.submit(hop, self._busy)
        except RuntimeError as cause:
            raise exchange_error(NoThread(), Peer(hop.request, "", "connect")) from cause
        response: Response | None = None
        is_wanted = False
        try:
            while True:
                arrival = await hop.next_chunk()
                if arrival.response is not None:
                    response = arrival.response
                    is_wanted = body.begin(response)
                if arrival.data and is_wanted and body.feed(arrival.data):
                    await body.drain()
                if arrival.is_last:
                    return response
                hop.resume(is_wanted=is_wanted)
        except (Exception, asyncio.CancelledError):
            await _has_left(hop)
            raise
        except BaseException:  # the loop is being torn down: nobody can wait any more
            hop.abort()
            raise

    async def _new_connection(
        self, parts: _Parts, request: Request, key: PoolKey, body: BodyWriter
    ) -> Connection:
        """Prepare a connection to addresses that are judged now."""
        started = time.monotonic()
        proxy, behind = key.proxy, key.hostname
        if isinstance(proxy, SocksProxy) and not proxy.finds_names:
            found = await self._addresses(parts, request, key, behind, key.port)
            fit = [address for address in found if proxy.version == 5 or ":" not in address]
            if not fit:
                raise texts.name_failed(request, behind, texts.OtherFamily(4))
            behind = fit[0]
        name, port = (key.hostname, key.port) if proxy is None else (proxy.hostname, proxy.port)
        addresses = await self._addresses(parts, request, key, name, port)
        body.connected(time.monotonic() - started, 0.0)
        parts.pool.trim(self._most_connections - self._busy)
        needs_tls = key.scheme == "https" or (isinstance(proxy, HttpProxy) and proxy.is_tls)
        tls = self._tls_context() if needs_tls else None
        return Connection(key, addresses, tls, self._options, behind)

    async def _addresses(
        self, parts: _Parts, request: Request, key: PoolKey, name: str, port: int
    ) -> list[str]:
        """Find the addresses of `name`. Raises `Refused`, and `NameNotResolved`."""
        try:
            return await parts.dns.addresses(name, port, is_vetted=key.is_vetted)
        except OSError as cause:
            raise exchange_error(cause, Peer(request, name, "connect")) from cause

    def _written(self, request: Request, key: PoolKey) -> bytes:
        if isinstance(key.proxy, HttpProxy) and key.scheme == "http":
            return self._writer.write(request, relayed_for=key.proxy.authorization)
        return self._writer.write(request)

    async def _place(self, body: BodyWriter) -> None:
        """Wait for a thread. That is not connecting, so its time is not to count as that."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            while True:
                await asyncio.wait({place}, timeout=_HEARTBEAT_S)
                if place.done():
                    return
                body.set_phase("connect")
        except BaseException:
            if place.done():
                self._release()
            place.cancel()
            raise

    def _release(self) -> None:
        """Give a free thread to the exchange that has waited longest, if one waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._busy -= 1

    def _opened(self) -> _Parts:
        """Make the parts for the running loop."""
        crew = ThreadPool(self._most, f"fetcher-{self.traits.name}", BlockingExchange.perform)
        self._parts = _Parts(
            loop_calls=LoopCalls(asyncio.get_running_loop()),
            threads=crew,
            pool=IdleConnections(self._most_connections, self._options.keepalive_s),
            dns=DnsCache(self._options, self._lookup),
        )
        return self._parts

    def _tls_context(self) -> ssl.SSLContext:
        """Give the context of TLS connections, made when the first is needed."""
        if self._tls is None:
            self._tls = tls_context(self._options)
        return self._tls


class SyncBackend(ThreadsBackend):
    """The same client on one dedicated thread, one exchange at a time."""

    def __init__(self, options: ConnectionOptions | None = None, *, lookup: Lookup | None = None) -> None:
        options = msgspec.structs.replace(options or ConnectionOptions(), concurrency=1)
        super().__init__(options, lookup=lookup)
        self.traits = Traits(name="sync", most_exchanges=1)


async def _has_left(hop: BlockingExchange) -> None:
    """Make the thread leave, and wait until it has, however often we are told to stop waiting.

    Raises `CancelledError` at the end if we were.
    """
    cancelled: asyncio.CancelledError | None = None
    while not hop.is_over:
        hop.abort()  # again: between two calls of the thread there was nothing to shut down
        try:
            await hop.over(_NUDGE_S)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
