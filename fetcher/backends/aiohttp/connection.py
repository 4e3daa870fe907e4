"""Connections: requests as aiohttp's pool sees them, the addresses it may reach, and the lookup of names.

Invariant: `Connector.resolve_host` runs for every new direct connection, with names, literals and cached
answers alike, and what it returns is what is connected to; so a name can't be rebound in between.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar

import aiohttp
from aiohttp import ClientTimeout
from aiohttp.abc import AbstractResolver, ResolveResult

from fetcher.backends import failure_texts as texts
from fetcher.backends.aiohttp.internals import PoolConnector, PoolProtocol, PoolRequest
from fetcher.backends.aiohttp.protocol import Protocol
from fetcher.backends.proxy_url import HttpProxy, SocksProxy
from fetcher.backends.socks import open_through
from fetcher.errors import Phase
from fetcher.model import Request
from fetcher.policy.ip_filter import is_local_name, permitted_addresses
from fetcher.ports import BodyWriter, ConnectionOptions


class WireRequest(PoolRequest):
    """A request as the connector sees it, with the state of its exchange.

    `keeps` becomes true when the connection can be used again. With `fresh`, a new connection is made.
    """

    def __init__(
        self,
        request: Request,
        body: BodyWriter,
        options: ConnectionOptions,
        *,
        tls: ssl.SSLContext | bool,
        proxy: HttpProxy | SocksProxy | None,
        fresh: bool,
    ) -> None:
        target = request.target
        self.request = request
        self.name_sought = target.hostname
        self.is_proxied = proxy is not None
        self.phase: Phase = "connect"
        self.is_reused = True
        self.is_answered = False  # a byte of an answer arrived
        self.keeps = False
        self.name_s = 0.0  # of a new connection: what DNS took
        self.reached_at = 0.0  # the loop's time; TLS followed
        self._body_writer = body
        self.is_tunnelled = proxy is not None and target.scheme == "https"
        self.socks = proxy if isinstance(proxy, SocksProxy) else None
        url = connect_fields = None
        if isinstance(proxy, HttpProxy):
            url = proxy.url
            self.name_sought = proxy.hostname
            if self.is_tunnelled:
                connect_fields = {"User-Agent": options.user_agent}
                if proxy.authorization:
                    connect_fields["Proxy-Authorization"] = proxy.authorization
        super().__init__(
            target,
            tls=tls,
            proxy=url,
            connect_fields=connect_fields,
            proxy_hash=None if proxy is None else hash(proxy),
            fresh=fresh,
        )

    def begin_connecting(self) -> None:
        """Prepare for a new connection: tell the body, and give the connector the URL it reads."""
        self.is_reused = False
        self.set_url(self.request.target.url)
        self._body_writer.set_phase("connect")

    def tell_connected(self, now: float) -> None:
        """Tell the body what a new connection took, or how far it came."""
        is_tls = self.is_ssl() and self.reached_at
        self._body_writer.connected(self.name_s, now - self.reached_at if is_tls else 0.0)

    def was_idle_too_long(self, cause: BaseException) -> bool:
        """Tell whether `cause` means no more than that a kept connection had ended meanwhile."""
        return (
            self.is_reused
            and self.phase != "body"
            and not self.is_answered
            and isinstance(cause, (aiohttp.ServerDisconnectedError, OSError))
        )


# aiohttp finds names and makes protocols without a word of whom for.
_connecting: ContextVar[WireRequest | None] = ContextVar("_connecting", default=None)


def _protocol(loop: asyncio.AbstractEventLoop) -> Protocol:
    """Make the protocol of a connection that has reached its peer: aiohttp does so just before TLS."""
    if (request := _connecting.get()) is not None:
        request.reached_at = loop.time()
    return Protocol(loop)


class Connector(PoolConnector):
    """aiohttp's pool; if `vetting`, only public addresses are ever connected to.

    `make_room` is called before each new connection, and says whether room is short.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        resolver: AbstractResolver,
        *,
        vetting: bool,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        family = options.address_family
        super().__init__(_protocol, keepalive_s=options.keepalive_s, resolver=resolver, family=family)
        self._wanted = options.family
        self._is_vetting = vetting
        self._make_room = make_room

    async def make_connection(
        self,
        request: PoolRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> PoolProtocol:
        assert isinstance(request, WireRequest)
        if self._make_room():
            await asyncio.sleep(0)  # a transport closes its socket in the loop's next turn
        request.begin_connecting()
        _connecting.set(request)
        try:
            if request.socks is not None:
                return await self._through_socks(request, request.socks, timeout)
            return await super().make_connection(request, timeout)
        finally:
            request.tell_connected(self.loop.time())

    async def _through_socks(
        self,
        req: WireRequest,
        proxy: SocksProxy,
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> PoolProtocol:
        """Connect to the proxy, have it connect to the target, and shake hands with that."""
        target = req.request.target
        async with asyncio.timeout(timeout.sock_connect):
            host = target.hostname
            if not proxy.finds_names:
                found = await self._found(req, host, target.port)
                if proxy.version == 4:
                    found = [address for address in found if ":" not in address]
                if not found:
                    cause = texts.OtherFamily(4)
                    raise aiohttp.ClientConnectorDNSError(req.connection_key, cause)
                host = found[0]
            sock = await self._reached(req, proxy)
            try:
                await open_through(sock, proxy, host, target.port)
                server_hostname = target.hostname.rstrip(".") if req.is_ssl() else None
                return await self.wrap(sock, req, timeout, server_hostname)
            except BaseException:
                sock.close()
                raise

    async def _found(self, req: WireRequest, name: str, port: int) -> list[str]:
        req.name_sought = name
        try:
            return [one["host"] for one in await self.resolve_host(name, port)]
        except OSError as cause:
            raise aiohttp.ClientConnectorDNSError(req.connection_key, cause) from cause

    async def _reached(self, req: WireRequest, proxy: SocksProxy) -> socket.socket:
        """Connect a socket to the first address of the proxy that will have us."""
        problem = OSError("no address")
        for address in await self._found(req, proxy.hostname, proxy.port):
            try:
                sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            except OSError as cause:
                problem = cause
                continue
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self.loop.sock_connect(sock, (address, proxy.port))
            except OSError as cause:
                sock.close()
                problem = cause
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        key = req.connection_key._replace(host=proxy.hostname, port=proxy.port)
        raise aiohttp.ClientConnectorError(key, problem) from problem

    async def resolve_host(self, host: str, port: int) -> list[ResolveResult]:
        if self._is_vetting and is_local_name(host):
            raise texts.denied(host, [])
        started = self.loop.time()
        try:
            found = await super().resolve_host(host, port)
        finally:
            if (request := _connecting.get()) is not None:
                request.name_s += self.loop.time() - started
        if self._wanted is not None:
            found = [one for one in found if (":" in one["host"]) == (self._wanted == 6)]
            if not found:
                raise texts.OtherFamily(self._wanted)
        if self._is_vetting:
            addresses = [one["host"] for one in found]
            public = set(permitted_addresses(addresses))
            if not public:
                raise texts.denied(host, addresses)
            found = [one for one in found if one["host"] in public]
        return found


class Resolver(AbstractResolver):
    """A resolver: the user's own addresses first, then `inner`. Each failure is a `gaierror`."""

    def __init__(self, inner: AbstractResolver, given: Mapping[tuple[str, int], str]) -> None:
        self._inner = inner
        self._given = given

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._given.get((host, port))
        if address is not None:
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]
        try:
            return await self._inner.resolve(host, port, family)
        except socket.gaierror:
            raise
        except UnicodeError as cause:
            raise socket.gaierror(socket.EAI_NONAME, "not a name of DNS") from cause
        except OSError as cause:  # aiohttp hides the code of c-ares in the cause of a plain OSError
            code = (*getattr(cause.__cause__, "args", ()), None)[0]
            raise texts.from_cares(code, cause.strerror or cause) from cause

    async def close(self) -> None:
        await self._inner.close()
