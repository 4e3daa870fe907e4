"""One exchange: connect or reuse, write the request in one piece, read the answer, keep or abort.

Invariants: a connection goes back to the pool only when its answer was complete and nothing followed it; in
every other case, cancellation included, it is aborted. Requests that may reach private addresses and those
that may not never share a connection, because each kind has a connector of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver

from fetcher.backends.aiohttp.connection import Connector, Resolver, WireRequest
from fetcher.backends.aiohttp.errors import exchange_error
from fetcher.backends.aiohttp.internals import HttpProcessingError
from fetcher.backends.aiohttp.protocol import Protocol
from fetcher.backends.aiohttp.response import read_answer
from fetcher.backends.proxy_url import HttpProxy, parsed_proxy
from fetcher.backends.socks import SocksFailed
from fetcher.backends.tls import tls_context
from fetcher.errors import ProtocolBroken
from fetcher.model import Request, Response
from fetcher.policy.http import IDEMPOTENT
from fetcher.policy.http1_writer import RequestWriter
from fetcher.ports import BodyWriter, ConnectionOptions, Traits

_FORESEEN: Final = (
    aiohttp.ClientError,
    HttpProcessingError,
    SocksFailed,
    OSError,
    ValueError,
    AssertionError,
)


class AiohttpBackend:
    """The `Backend` port on aiohttp, for one event loop at a time.

    `resolver` replaces DNS.
    """

    traits = Traits(name="asyncio")

    def __init__(
        self, options: ConnectionOptions | None = None, *, resolver: AbstractResolver | None = None
    ) -> None:
        self._options = options = options or ConnectionOptions()
        # Limits on the header, silence and speed are the engine's; a timer each would cost 5 µs.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_read=None, sock_connect=options.connect_timeout_s
        )
        self._given_resolver = resolver
        self._open: Connector | None = None
        self._guarded: Connector | None = None
        self._resolver: Resolver | None = None
        self._tls: ssl.SSLContext | bool | None = None
        self._writer = RequestWriter()
        self._most_connections: int | None = None

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`; see `ports.Backend`.

        An idempotent request whose reused connection ended before any byte of an answer is sent once more, on
        a new one (RFC 9112 §9.3.1); `Response.resent` counts that. Any other has a connection of its own.
        """
        is_vetted = not request.allow_private and request.proxy is None
        connector = (self._guarded if is_vetted else self._open) or self._connector(vetting=is_vetted)
        tls = True if request.target.scheme == "http" else self._tls
        if tls is None:
            tls = await asyncio.to_thread(
                self._tls_context
            )  # it reads files, perhaps hundreds of certificates
        proxy = relayed_for = None
        if request.proxy is not None:
            proxy = parsed_proxy(request.proxy)
            if request.target.scheme == "http" and isinstance(proxy, HttpProxy):
                relayed_for = proxy.authorization
        resent = 0
        is_repeatable = request.method in IDEMPOTENT
        while True:
            fresh = not is_repeatable or resent > 0
            wire = WireRequest(request, body, self._options, tls=tls, proxy=proxy, fresh=fresh)
            try:
                data = self._writer.write(request, relayed_for=relayed_for)
                ends_connection = self._writer.ends_connection
                connection = await connector.lease(wire, self._timeout)
                protocol = connection.protocol
                assert isinstance(protocol, Protocol)
                try:
                    if self._options.may_send is not None:
                        self._options.may_send()
                    protocol.send(data)
                    body.set_phase("header")
                    wire.phase = "header"
                    if protocol.writing_paused:
                        await protocol.sent()
                    response = await read_answer(wire, protocol, body, resent)
                except BaseException:
                    protocol.abort()
                    connection.close()
                    raise
                if wire.keeps and is_repeatable and not ends_connection:
                    protocol.is_idle = True
                    connection.release()
                else:
                    protocol.abort()
                    connection.close()
            except ProtocolBroken as broken:
                broken.url = request.url
                raise
            except _FORESEEN as cause:
                if not resent and is_repeatable and wire.was_idle_too_long(cause):
                    resent = 1
                    continue
                raise exchange_error(cause, wire) from cause
            return response

    def limit_connections(self, most: int) -> None:
        """Have no more than `most` connections from now on, closing idle ones."""
        self._most_connections = most
        self._make_room()

    def _make_room(self) -> bool:
        """Close as many idle connections as there are too many, with the one that is being made.

        False: there is no limit.
        """
        if self._most_connections is None:
            return False
        connectors = [each for each in (self._open, self._guarded) if each is not None]
        surplus = sum(each.number for each in connectors) - self._most_connections
        for each in connectors:
            if surplus > 0:
                surplus = each.close_idle(surplus)
        return True

    async def aclose(self) -> None:
        """Close every connection. No exchange may be under way."""
        connectors, resolver = (self._open, self._guarded), self._resolver
        self._open = self._guarded = self._resolver = None
        for connector in connectors:
            if connector is not None:
                await connector.close()
        if resolver is not None:
            await resolver.close()

    def _connector(self, *, vetting: bool) -> Connector:
        """Make the connector of one kind, in the running loop."""
        if self._resolver is None:
            self._resolver = Resolver(
                self._given_resolver or aiohttp.DefaultResolver(), self._options.resolve
            )
        connector = Connector(self._options, self._resolver, vetting=vetting, make_room=self._make_room)
        if vetting:
            self._guarded = connector
        else:
            self._open = connector
        return connector

    def _tls_context(self) -> ssl.SSLContext | bool:
        """Give the context of https connections, made when the first is needed; True is aiohttp's own."""
        if self._tls is None:
            options = self._options
            is_own = options.ca_file or options.client_cert
            made = tls_context(options) if is_own else not options.insecure
            self._tls = made if self._tls is None else self._tls  # two may have been at it
        return self._tls
