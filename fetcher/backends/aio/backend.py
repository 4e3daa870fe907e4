"""One exchange: connect or reuse, write the request in one piece, read the answer, keep or abort.

Invariants: a connection goes back to the pool only when its answer was complete and nothing followed it; in
every other case, cancellation included, it is aborted. Requests that may reach private addresses and those
that may not never share a connection, because each kind has a connector of its own.
"""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.resolver import DefaultResolver
from yarl import URL

from fetcher.backends.aio.answer import read_answer
from fetcher.backends.aio.connection import Connector, Protocol, Proxy, Resolver, WireRequest
from fetcher.backends.aio.failures import translated
from fetcher.errors import ConfigError
from fetcher.model import Request, Response
from fetcher.policy.wire import RequestWriter
from fetcher.ports import BodyWriter, Traits

_DNS_NAMES: Final = 50_000
_DNS_TTL_S: Final = 120
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 §9.2.2


class AioBackend:
    """The `Backend` port on aiohttp, for one event loop at a time.

    `resolve` gives addresses for (host, port) without asking DNS; `resolver` replaces DNS altogether.
    `ca_file` replaces the system's trust store, `client_cert` is a PEM file with certificate and key.
    """

    traits = Traits(name="asyncio")

    def __init__(
        self,
        *,
        connect_timeout_s: float | None = 10.0,
        user_agent: str = "fetcher",
        family: int | None = None,
        resolve: Mapping[tuple[str, int], str] | None = None,
        ca_file: str | None = None,
        client_cert: str | None = None,
        insecure: bool = False,
        keepalive_s: float = 15.0,
        resolver: AbstractResolver | None = None,
    ) -> None:
        # Limits on the header, silence and speed are the engine's; a timer each would cost 5 µs.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_read=None, sock_connect=connect_timeout_s
        )
        self._user_agent = user_agent
        self._family = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
        self._resolve = {(host.lower(), port): address for (host, port), address in (resolve or {}).items()}
        self._ca_file = ca_file
        self._client_cert = client_cert
        self._is_insecure = insecure
        self._keepalive_s = keepalive_s
        self._given_resolver = resolver
        self._open: Connector | None = None
        self._guarded: Connector | None = None
        self._resolver: Resolver | None = None
        self._tls: ssl.SSLContext | bool | None = None
        self._proxies: dict[str, Proxy] = {}
        self._writer = RequestWriter()

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`; see `ports.Backend`.

        An idempotent request whose reused connection ended before any byte of an answer is sent once more
        (RFC 9112 §9.3.1); `Response.resent` counts that.
        """
        is_vetted = not request.allow_private and request.proxy is None
        connector = (self._guarded if is_vetted else self._open) or self._connector(vetting=is_vetted)
        tls = True if request.target.scheme == "http" else self._tls_context()
        proxy = relayed_for = None
        if request.proxy is not None:
            proxy = self._proxy(request.proxy)
            if request.target.scheme == "http":
                relayed_for = proxy.authorization or ""
        resent = 0
        while True:
            wire = WireRequest(request, body, tls=tls, proxy=proxy)
            try:
                data = self._writer.write(request, relayed_for=relayed_for)
                connection = await connector.connect(wire, [], self._timeout)
                protocol = connection.protocol
                assert isinstance(protocol, Protocol)
                try:
                    body.enter("header")
                    wire.phase = "header"
                    protocol.send(data, expects_body=request.method != "HEAD")
                    if protocol.writing_paused:
                        await protocol.sent()
                    response = await read_answer(wire, protocol, body, resent)
                except BaseException:
                    protocol.abort()
                    connection.close()
                    raise
                if wire.keeps:
                    protocol.is_idle = True
                    connection.release()
                else:
                    protocol.abort()
                    connection.close()
            except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, AssertionError) as cause:
                if not resent and wire.was_idle_too_long(cause) and request.method in _IDEMPOTENT:
                    resent = 1
                    continue
                raise translated(cause, wire) from cause
            return response

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
            self._resolver = Resolver(self._given_resolver or DefaultResolver(), self._resolve)
        connector = Connector(
            vetting=vetting,
            limit=0,  # waiting is the scheduler's (aio-libs/aiohttp#10313)
            keepalive_timeout=self._keepalive_s,
            resolver=self._resolver,
            family=self._family,
            ttl_dns_cache=_DNS_TTL_S,
            dns_cache_max_size=_DNS_NAMES,
        )
        if vetting:
            self._guarded = connector
        else:
            self._open = connector
        return connector

    def _tls_context(self) -> ssl.SSLContext | bool:
        """The context of https connections, made when the first is needed; True is aiohttp's own."""
        if self._tls is None:
            if self._ca_file or self._client_cert:
                self._tls = self._own_context()
            else:
                self._tls = not self._is_insecure
        return self._tls

    def _own_context(self) -> ssl.SSLContext:
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
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _proxy(self, text: str) -> Proxy:
        proxy = self._proxies.get(text)
        if proxy is None:
            url = URL(text)
            authorization = None
            if url.raw_user is not None:
                pair = f"{unquote(url.raw_user)}:{unquote(url.raw_password or '')}"
                authorization = "Basic " + base64.b64encode(pair.encode()).decode()
            proxy = self._proxies[text] = Proxy(url.with_user(None), authorization, self._user_agent)
        return proxy
