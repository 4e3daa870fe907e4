"""Connections: what aiohttp's pool is told of a request, which addresses it may reach, how names are found.

Invariant: `Connector._resolve_host` runs for every new direct connection, with names, literals and cached
answers alike, and what it returns is what is connected to; so a name can't be rebound in between.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from fetcher.errors import Phase, Refused
from fetcher.model import Request
from fetcher.policy.addresses import is_local_name, permitted
from fetcher.ports import BodyWriter

BUFFER: Final = 64 * 1024  # of unread body for each connection; the last block read may add to it
HEAD_BYTES: Final = 1024 * 1024  # of all that arrives before a final header is complete
_MOST_FIELDS: Final = 256
_FIELD_BYTES: Final = 16 * 1024
_ARES_NO_SUCH_NAME: Final = frozenset({1, 4, 8})  # c-ares: ENODATA, ENOTFOUND, EBADNAME


class Proxy(NamedTuple):
    """A proxy without its userinfo, what it is told of us, and the header that userinfo becomes."""

    url: URL
    authorization: str | None
    user_agent: str


class WireRequest(ClientRequest):
    """What the connector has to know of a request, and where its exchange stands.

    The constructor of `ClientRequest` is not called: it copies the headers three times and adds its own.
    `keeps` becomes true when the connection can be used again.
    """

    def __init__(
        self, request: Request, body: BodyWriter, *, tls: ssl.SSLContext | bool, proxy: Proxy | None
    ) -> None:
        target = request.target
        self.request = request
        self.phase: Phase = "connect"
        self.is_reused = True
        self.is_answered = False  # a byte of an answer arrived
        self.keeps = False
        self.server_hostname = None
        self.proxy: URL | None = None
        self.proxy_auth = None
        self.proxy_headers = None
        self._ssl = tls
        self._body_writer = body
        is_tls = target.scheme == "https"
        proxy_hash = None
        if proxy is not None:
            self.proxy = proxy.url
            self.headers = CIMultiDict({"Host": target.host})
            proxy_hash = hash(proxy)
            if is_tls:  # the CONNECT's own fields; a dict of its own, as aiohttp adds to it
                self.proxy_headers = CIMultiDict({"User-Agent": proxy.user_agent})
                if proxy.authorization:
                    self.proxy_headers["Proxy-Authorization"] = proxy.authorization
        self._key = ConnectionKey(target.name, target.port, is_tls, tls, self.proxy, None, proxy_hash, None)

    @property
    def connection_key(self) -> ConnectionKey:
        return self._key

    def is_ssl(self) -> bool:
        return self._key.is_ssl

    def begin_connecting(self) -> None:
        """No connection can be reused: tell the body, and give the connector the URL it reads."""
        self.is_reused = False
        self.url = self.original_url = URL(self.request.target.url, encoded=True)
        self._body_writer.enter("connect")

    def was_idle_too_long(self, cause: BaseException) -> bool:
        """Whether `cause` says no more than that a kept connection had ended meanwhile."""
        return (
            self.is_reused
            and self.phase == "header"
            and not self.is_answered
            and isinstance(cause, (aiohttp.ServerDisconnectedError, OSError))
        )


class Protocol(ResponseHandler):
    """aiohttp's protocol, with what arrived before a header was complete, and no surprises while idle."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.early: bytearray | None = None
        self.is_idle = False
        self.lost_by: BaseException | None = None

    def send(self, data: bytes, *, expects_body: bool) -> None:
        """Write a request, ready for its answer."""
        self.is_idle = False
        self.expect(has_body=expects_body)
        transport = self.transport
        if transport is None or transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        transport.write(data)

    async def sent(self) -> None:
        """Wait until a large request has left."""
        await self._drain_helper()

    def expect(self, *, has_body: bool, read_bufsize: int = BUFFER) -> None:
        """Parse what comes as an answer."""
        self.early = bytearray()
        self.set_response_params(
            skip_payload=not has_body,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=read_bufsize,
            max_line_size=_FIELD_BYTES,
            max_field_size=_FIELD_BYTES,
            max_headers=_MOST_FIELDS,
        )

    def data_received(self, data: bytes) -> None:
        if self.early is not None:
            self.early += data
            if len(self.early) > HEAD_BYTES:
                self.set_exception(HttpProcessingError(message="header larger than 1 MiB"))
                return
        elif self.is_idle:
            self.abort()  # an answer to no question must not become that of the next one
            return
        super().data_received(data)

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  aiohttp's signature
        if self._reading_paused:  # else there is nothing to resume, which aiohttp does at length
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost_by = exc
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        payload = self._payload
        super().set_exception(exc, exc_cause or exc)
        if payload is not None and not payload.is_eof():
            set_exception(payload, exc)  # else a broken chunk would leave the reader waiting


class Connector(TCPConnector):
    """aiohttp's pool; if `vetting`, only public addresses are ever connected to."""

    def __init__(self, *, vetting: bool, **options: Any) -> None:
        super().__init__(**options)
        self._is_vetting = vetting
        self._factory = lambda: Protocol(self._loop)  # type: ignore[assignment]

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: Any,
        timeout: ClientTimeout,  # noqa: ASYNC109  aiohttp's signature
    ) -> ResponseHandler:
        assert isinstance(req, WireRequest)
        req.begin_connecting()
        return await super()._create_connection(req, traces, timeout)

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        if self._is_vetting and is_local_name(host):
            raise Refused("private-address", f"{host} is a name of this machine")
        found = await super()._resolve_host(host, port, traces=traces)
        if self._family:
            is_6 = self._family == socket.AF_INET6
            found = [one for one in found if (":" in one["host"]) == is_6]
            if not found:
                raise socket.gaierror(socket.EAI_ADDRFAMILY, f"no IPv{6 if is_6 else 4} address")
        if self._is_vetting:
            addresses = [one["host"] for one in found]
            public = set(permitted(addresses))
            if not public:
                raise Refused("private-address", _denial(host, addresses))
            found = [one for one in found if one["host"] in public]
        return found


def _denial(host: str, addresses: list[str]) -> str:
    if host in addresses:
        return f"{host} is a private address"
    return f"{host} resolves to a private address ({', '.join(addresses[:3])})"


class Resolver(AbstractResolver):
    """Names to addresses: the user's own first, then `inner`. Failures are `gaierror`, whoever was asked."""

    def __init__(self, inner: AbstractResolver, given: Mapping[tuple[str, int], str]) -> None:
        self._inner = inner
        self._given = given

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        given = self._given.get((host.lower(), port))
        if given is not None:
            address = given.strip("[]")
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]
        try:
            return await self._inner.resolve(host, port, family)
        except socket.gaierror:
            raise
        except UnicodeError as cause:
            raise socket.gaierror(socket.EAI_NONAME, "not a name of DNS") from cause
        except OSError as cause:  # aiohttp hides the code of c-ares in the cause of a plain OSError
            args = getattr(cause.__cause__, "args", ())
            code = socket.EAI_NONAME if args and args[0] in _ARES_NO_SUCH_NAME else socket.EAI_AGAIN
            raise socket.gaierror(code, str(cause.strerror or cause)) from cause

    async def close(self) -> None:
        await self._inner.close()
