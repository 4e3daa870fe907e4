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
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fetcher.backends.blocking.connection import Connection, Key, Proxy, parsed_proxy
from fetcher.backends.blocking.crew import Crew, Mailbox
from fetcher.backends.blocking.failures import FORESEEN, NoThread, Place, translated
from fetcher.backends.blocking.hop import Hop
from fetcher.backends.blocking.idle import IdleConnections
from fetcher.backends.blocking.names import Lookup, Names
from fetcher.errors import ConfigError, Phase
from fetcher.model import Request, Response
from fetcher.policy.wire import RequestWriter
from fetcher.ports import BodyWriter, Traits

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 §9.2.2
_LEAST_CONNECTIONS: Final = 32  # so that one thread, too, meets the connections of several hosts again
_HEARTBEAT_S: Final = 1.0
_NUDGE_S: Final = 0.1


class _Parts(NamedTuple):
    """What belongs to one event loop."""

    mailbox: Mailbox
    crew: Crew[Hop]
    idle: IdleConnections
    names: Names


class ThreadsBackend:
    """The `Backend` port on urllib3 and threads, for one event loop at a time.

    There are as many threads as exchanges at once, and no more than `concurrency`; further exchanges wait,
    which counts as nobody's silence. `resolve` gives addresses for (host, port) without asking DNS;
    `lookup` replaces DNS. `ca_file` replaces the system's trust store, `client_cert` is a PEM file with
    certificate and key.
    """

    def __init__(
        self,
        *,
        concurrency: int = 64,
        connect_timeout_s: float | None = 10.0,
        user_agent: str = "fetcher",
        family: int | None = None,
        resolve: Mapping[tuple[str, int], str] | None = None,
        ca_file: str | None = None,
        client_cert: str | None = None,
        insecure: bool = False,
        keepalive_s: float = 15.0,
        lookup: Lookup | None = None,
    ) -> None:
        self.traits = Traits(name="threads", most_exchanges=concurrency)
        self._most = concurrency
        self._most_connections = max(concurrency, _LEAST_CONNECTIONS)
        self._connect_timeout_s = connect_timeout_s
        self._user_agent = user_agent
        self._family = family
        self._resolve = {(host.lower(), port): address for (host, port), address in (resolve or {}).items()}
        self._ca_file = ca_file
        self._client_cert = client_cert
        self._is_insecure = insecure
        self._keepalive_s = keepalive_s
        self._lookup = lookup
        self._tls: ssl.SSLContext | None = None
        self._proxies: dict[str, Proxy] = {}
        self._writer = RequestWriter()
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._parts: _Parts | None = None

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`; see `ports.Backend`.

        An idempotent request whose reused connection ended before any byte of an answer is sent once more
        (RFC 9112 §9.3.1); `Response.resent` counts that.

        Cancelling shuts the connection down and waits for the thread to see it.
        """
        parts = self._parts or self._opened()
        proxy = None if request.proxy is None else self._proxy(request.proxy)
        target = request.target
        is_vetted = proxy is None and not request.allow_private
        key = Key(target.scheme, target.name, target.port, proxy, is_vetted)
        if self._busy < self._most:
            self._busy += 1
        else:
            await self._place(body)
        try:
            return await self._sent(parts, request, key, body)
        finally:
            self._release()

    async def aclose(self) -> None:
        """Close every connection and end every thread. No exchange may be under way."""
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.idle.close()
            parts.crew.close()
            await parts.names.aclose()

    async def _sent(self, parts: _Parts, request: Request, key: Key, body: BodyWriter) -> Response:
        """Send the request, once more if the connection it went out on had ended before."""
        resent = 0
        while True:
            phase: Phase = "connect"
            try:
                wire = self._written(request, key)
                connection = parts.idle.take(key)
                if connection is None:
                    body.enter("connect")
                    connection = await self._new_connection(parts, key)
                else:
                    body.enter("header")
                    phase = "header"
            except (OSError, ValueError) as cause:
                raise translated(cause, Place(request.url, key, phase)) from cause
            hop = Hop(request, wire, connection, body, parts.mailbox)
            try:
                response = await self._attended(parts, hop, body)
            finally:
                if hop.keeps and not connection.is_aborted:
                    connection.is_reused = True
                    parts.idle.put(connection)
                elif hop.error is not None or connection.is_aborted:
                    connection.drop()
                else:
                    connection.close()
            error = hop.error
            if error is None:
                assert response is not None
                response.resent = resent
                return response
            if not resent and request.method in _IDEMPOTENT and hop.was_idle_too_long(error):
                resent = 1
                continue
            if not isinstance(error, FORESEEN):
                raise error
            raise translated(error, Place(request.url, key, hop.phase, hop.is_answered)) from error

    async def _attended(self, parts: _Parts, hop: Hop, body: BodyWriter) -> Response | None:
        """Take what the thread tells until it has left; then `hop.error` says how that ended."""
        try:
            parts.crew.give(hop, self._busy)
        except RuntimeError as cause:
            raise translated(NoThread(), Place(hop.request.url, hop.connection.key, "connect")) from cause
        response: Response | None = None
        is_wanted = False
        try:
            while True:
                arrival = await hop.arrival()
                if arrival.response is not None:
                    response = arrival.response
                    is_wanted = body.begin(response)
                if arrival.data and is_wanted and body.feed(arrival.data):
                    await body.drain()
                if arrival.is_last:
                    return response
                hop.give_leave(is_wanted=is_wanted)
        except (Exception, asyncio.CancelledError):
            await _has_left(hop)
            raise
        except BaseException:  # the loop is being torn down: nobody can wait any more
            hop.abort()
            raise

    async def _new_connection(self, parts: _Parts, key: Key) -> Connection:
        """One to be made, to addresses that are judged now. Raises `gaierror` and `Refused`."""
        proxy = key.proxy
        name, port = (key.name, key.port) if proxy is None else (proxy.name, proxy.port)
        addresses = await parts.names.addresses(name, port, is_vetted=key.is_vetted)
        parts.idle.trim(self._most_connections - self._busy)
        needs_tls = key.scheme == "https" or (proxy is not None and proxy.is_tls)
        tls = self._tls_context() if needs_tls else None
        return Connection(key, addresses, tls, self._connect_timeout_s, self._user_agent)

    def _written(self, request: Request, key: Key) -> bytes:
        if key.proxy is None or key.scheme == "https":
            return self._writer.write(request)
        return self._writer.write(request, relayed_for=key.proxy.authorization)

    async def _place(self, body: BodyWriter) -> None:
        """Wait for a thread. That is not connecting, so its time is not to count as that."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            while True:
                await asyncio.wait({place}, timeout=_HEARTBEAT_S)
                if place.done():
                    return
                body.enter("connect")
        except BaseException:
            if place.done():
                self._release()
            place.cancel()
            raise

    def _release(self) -> None:
        """A thread is free: for whoever waits longest, if anybody does."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._busy -= 1

    def _opened(self) -> _Parts:
        """What belongs to the running loop."""
        crew = Crew(self._most, f"fetcher-{self.traits.name}", Hop.perform)
        self._parts = _Parts(
            mailbox=Mailbox(asyncio.get_running_loop()),
            crew=crew,
            idle=IdleConnections(self._most_connections, self._keepalive_s),
            names=Names(self._resolve, self._family, self._lookup),
        )
        return self._parts

    def _tls_context(self) -> ssl.SSLContext:
        """The context of TLS connections, made when the first is needed."""
        if self._tls is None:
            try:
                context = ssl.create_default_context(cafile=self._ca_file)
                if self._client_cert:
                    context.load_cert_chain(self._client_cert)
            except OSError as cause:  # SSLError too
                files = " or ".join(name for name in (self._ca_file, self._client_cert) if name)
                raise ConfigError(f"cannot use {files}: {cause.strerror or cause}") from cause
            if self._is_insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._tls = context
        return self._tls

    def _proxy(self, text: str) -> Proxy:
        proxy = self._proxies.get(text)
        if proxy is None:
            proxy = self._proxies[text] = parsed_proxy(text)
        return proxy


class SyncBackend(ThreadsBackend):
    """The same client on one dedicated thread, one exchange at a time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(concurrency=1, **options)
        self.traits = Traits(name="sync", most_exchanges=1)


async def _has_left(hop: Hop) -> None:
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
