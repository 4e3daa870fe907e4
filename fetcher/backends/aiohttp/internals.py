"""aiohttp's insides: all that this backend uses of aiohttp beyond its documentation, under names of its own.

The other modules subclass what stands here, and touch nothing private of aiohttp. `ATTRIBUTES`, `PARAMETERS`,
`READ_OF_REQUEST` and `KEY_FIELDS` list what is relied on; a test holds each to the release that is installed,
and pyproject.toml names the releases that were tested.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from fetcher.model import Target

__all__ = ["HttpProcessingError", "PoolConnector", "PoolProtocol", "PoolRequest"]

_DNS_NAMES: Final = 50_000
_DNS_TTL_S: Final = 120

# Attributes of instances, by class.
ATTRIBUTES: Final[Mapping[type, tuple[str, ...]]] = {
    ResponseHandler: (
        *("transport", "_loop", "_parser", "writing_paused", "_drain_helper"),
        *("_pause_transport_reading", "_resume_transport_reading"),
        *("abort", "data_received", "connection_lost", "should_close", "is_connected"),
    ),
    TCPConnector: ("_loop", "_factory"),
    Connection: ("protocol", "release", "close"),
    HttpProcessingError: ("message",),
}
# Parameters of what is overridden or called.
PARAMETERS: Final[Mapping[Callable[..., Any], tuple[str, ...]]] = {
    ResponseHandler.__init__: ("self", "loop"),
    TCPConnector.connect: ("self", "req", "traces", "timeout"),
    TCPConnector._create_connection: ("self", "req", "traces", "timeout"),
    TCPConnector._get: ("self", "key", "traces"),
    TCPConnector._resolve_host: ("self", "host", "port", "traces"),
    TCPConnector._get_ssl_context: ("self", "req"),
    TCPConnector._wrap_existing_connection: ("self", "args", "req", "timeout", "client_error", "kwargs"),
}
# What aiohttp's connector reads of a request: `PoolRequest` and the properties of `ClientRequest` give it.
READ_OF_REQUEST: Final = frozenset(
    {
        *("connection_key", "headers", "host", "is_ssl", "port", "proxy", "proxy_auth", "proxy_headers"),
        *("request_info", "server_hostname", "ssl", "url"),
    }
)
KEY_FIELDS: Final = (
    *("host", "port", "is_ssl", "ssl", "proxy", "proxy_auth", "proxy_headers_hash", "server_hostname"),
)


class PoolProtocol(ResponseHandler):
    """A connection of aiohttp's pool whose bytes aiohttp parses only while it opens a tunnel."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    @property
    def is_parsing(self) -> bool:
        """True while aiohttp reads a proxy's answer to CONNECT."""
        return self._parser is not None

    def stop_parsing(self) -> None:
        """Take what comes from now on away from aiohttp."""
        self._parser = None

    def pause_receiving(self) -> None:
        """Have the transport read nothing more."""
        self._pause_transport_reading()

    def resume_receiving(self) -> None:
        """Have the transport read again."""
        self._resume_transport_reading()

    def written(self) -> Awaitable[None]:
        """Wait until the transport takes more."""
        return self._drain_helper()


class FreshKey(ConnectionKey):
    """The key of a request that takes no kept connection; it equals the others', so its own can be kept."""

    __slots__ = ()


class PoolRequest(ClientRequest):
    """A request as aiohttp's connector reads it, `READ_OF_REQUEST` and no more.

    The constructor of `ClientRequest` is not called: it copies the headers three times and adds its own.
    `proxy` is the URL of an HTTP proxy, `connect_fields` the header of its CONNECT; requests that differ in
    `proxy_hash` share no connection. With `fresh`, a new connection is made.
    """

    def __init__(
        self,
        target: Target,
        *,
        tls: ssl.SSLContext | bool,
        proxy: str | None,
        connect_fields: Mapping[str, str] | None,
        proxy_hash: int | None,
        fresh: bool,
    ) -> None:
        self.server_hostname = None
        self.proxy = None if proxy is None else URL(proxy)
        self.proxy_auth = None
        self.proxy_headers = None
        if proxy is not None:
            self.headers = CIMultiDict({"Host": target.host})
            if connect_fields is not None:
                self.proxy_headers = CIMultiDict(connect_fields)  # its own: aiohttp adds to it
        self._ssl = tls
        is_tls = target.scheme == "https"
        make_key = FreshKey if fresh else ConnectionKey
        self._key = make_key(target.hostname, target.port, is_tls, tls, self.proxy, None, proxy_hash, None)

    @property
    def connection_key(self) -> ConnectionKey:
        return self._key

    def is_ssl(self) -> bool:
        return self._key.is_ssl

    def set_url(self, url: str) -> None:
        """Set what is read only where a connection is made."""
        self.url = self.original_url = URL(url, encoded=True)


class PoolConnector(TCPConnector):
    """aiohttp's pool and connector. A subclass may override `make_connection` and `resolve_host`."""

    def __init__(
        self,
        make_protocol: Callable[[asyncio.AbstractEventLoop], PoolProtocol],
        *,
        keepalive_s: float,
        resolver: AbstractResolver,
        family: socket.AddressFamily,
    ) -> None:
        super().__init__(
            limit=0,  # waiting is the scheduler's (aio-libs/aiohttp#10313)
            keepalive_timeout=keepalive_s,
            resolver=resolver,
            family=family,
            ttl_dns_cache=_DNS_TTL_S,
            dns_cache_max_size=_DNS_NAMES,
        )
        self.loop = self._loop
        self._factory = lambda: make_protocol(self._loop)  # type: ignore[assignment]

    def lease(self, request: PoolRequest, timeout: ClientTimeout) -> Awaitable[Connection]:
        """Take a kept connection, or make one. Its `release` keeps it, its `close` does not."""
        return self.connect(request, [], timeout)

    @property
    def number(self) -> int:
        """The number of connections: those in use, that are being made, and idle."""
        return len(self._acquired) + sum(map(len, self._conns.values()))

    def close_idle(self, number: int) -> int:
        """Close so many idle connections, if there are. Returns how many were missing."""
        for key, kept in [*self._conns.items()]:
            while kept and number > 0:
                kept.popleft()[0].abort()
                number -= 1
            if not kept:
                del self._conns[key]
        return number

    async def make_connection(
        self,
        request: PoolRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> PoolProtocol:
        """Make a connection to the target or through its HTTP proxy."""
        protocol = await super()._create_connection(request, [], timeout)
        assert isinstance(protocol, PoolProtocol)
        return protocol

    async def resolve_host(self, host: str, port: int) -> list[ResolveResult]:
        """Find the addresses of a name or a literal. Called for every new connection."""
        return await super()._resolve_host(host, port)

    async def wrap(
        self,
        sock: socket.socket,
        request: PoolRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109
        server_hostname: str | None,
    ) -> PoolProtocol:
        """Make a connection of a connected socket, with TLS if `server_hostname` is given."""
        _, protocol = await self._wrap_existing_connection(
            self._factory,
            timeout=timeout,
            ssl=self._get_ssl_context(request),
            sock=sock,
            server_hostname=server_hostname,
            req=request,
        )
        assert isinstance(protocol, PoolProtocol)
        return protocol

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: Any,  # noqa: ARG002  nobody traces
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> ResponseHandler:
        assert isinstance(req, PoolRequest)
        return await self.make_connection(req, timeout)

    async def _get(self, key: ConnectionKey, traces: Any) -> Connection | None:
        return None if isinstance(key, FreshKey) else await super()._get(key, traces)

    async def _resolve_host(
        self,
        host: str,
        port: int,
        traces: Any = None,  # noqa: ARG002
    ) -> list[ResolveResult]:
        return await self.resolve_host(host, port)
