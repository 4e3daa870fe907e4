"""One exchange on libcurl: a pooled handle, started in a multi handle, awaited, drained when it asks.

Invariants: requests that may reach private addresses and those that may not never share a connection,
because each kind has a multi handle of its own. A handle goes back to its pool only when it is out of the
multi handle, and unless it is spoilt it is freed only after it: the connections that it made know it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pycurl

from fetcher.backends import failure_texts as texts
from fetcher.backends.curl.errors import E_PROXY, SOCKS_UNRESOLVED, exchange_error
from fetcher.backends.curl.multi import Multi
from fetcher.backends.curl.shared_options import SharedOptions, shared_options
from fetcher.backends.curl.transfer import CurlTransfer
from fetcher.backends.proxy_url import parsed_proxy
from fetcher.errors import ConfigError, FetcherError, NameNotResolved, ProtocolBroken
from fetcher.model import Request, Response
from fetcher.policy.http1_writer import UNSENT, ends_connection
from fetcher.ports import BodyWriter, ConnectionOptions, Traits

# Libcurl resolves each name in a thread, with a descriptor of its own and the resolver's; and each of the two
# multi handles keeps idle connections.
_DESCRIPTORS_EACH: Final = 3

Fields = tuple[tuple[str, str], ...]


class _Pool:
    """One multi handle, all easy handles made for it, and those that are idle."""

    __slots__ = ("handles", "idle", "is_vetting", "most_connections", "multi")

    def __init__(self, *, is_vetting: bool) -> None:
        self.is_vetting = is_vetting
        self.most_connections = 0  # 0 is libcurl's own limit
        self.multi = Multi()
        self.handles: list[CurlTransfer] = []
        self.idle: list[CurlTransfer] = []

    def make(self, setup: SharedOptions) -> CurlTransfer:
        transfer = CurlTransfer(self.multi, setup, is_vetting=self.is_vetting)
        self.handles.append(transfer)
        return transfer

    def give_back(self, transfer: CurlTransfer) -> None:
        """Keep a handle for another exchange, unless what it read could spoil that."""
        if transfer.is_spoilt:
            self.handles.remove(transfer)
            transfer.close()
        else:
            self.idle.append(transfer)

    def close(self) -> None:
        self.multi.close()
        for transfer in self.handles:
            transfer.close()


class CurlBackend:
    """The `Backend` port on libcurl, for one event loop at a time.

    Of `http`, `auto` and `2` take HTTP/2 where an https server offers it, `3` tries HTTP/3 first and falls
    back; http URLs are always HTTP/1.1.
    """

    def __init__(self, options: ConnectionOptions | None = None) -> None:
        options = options or ConnectionOptions()
        self.traits = Traits(
            name="curl",
            http_versions=_http_versions(),
            sees_fragments=False,
            descriptors_each=_DESCRIPTORS_EACH,
        )
        self._family = options.family
        self._files = tuple(name for name in (options.ca_file, options.client_cert) if name)
        self._setup = shared_options(options)
        self._open: _Pool | None = None
        self._guarded: _Pool | None = None
        self._headers: Fields | None = None  # the last request's, and what becomes of them
        self._lines: Sequence[bytes] = ()
        self._is_last = False
        self._most_connections = 0

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`; see `ports.Backend`.

        An idempotent request whose kept connection ended before any byte of an answer is sent once more, on a
        new one (RFC 9112 §9.3.1); `Response.resent` counts that. Any other has a connection of its own.
        """
        is_vetting = not request.allow_private and request.proxy is None
        pool = (self._guarded if is_vetting else self._open) or self._pool(request, is_vetting=is_vetting)
        if request.headers is not self._headers:
            self._lines = _header_lines(request)
            self._is_last = ends_connection(request.headers)
            self._headers = request.headers
        if pool.most_connections != self._most_connections:  # set here, since no callback may
            pool.most_connections = self._most_connections
            pool.multi.limit(self._most_connections)
        transfer = pool.idle.pop() if pool.idle else pool.make(self._setup)
        lines, is_last = self._lines, self._is_last
        try:
            transfer.start(request, body, lines, is_last=is_last)
            await _ended(transfer, body)
            if transfer.met_dead_connection:
                transfer.start(request, body, lines, is_last=is_last, resent=1)
                await _ended(transfer, body)
        except BaseException:
            transfer.abandon()
            pool.give_back(transfer)
            raise
        response = transfer.response
        if transfer.opened:
            told = transfer.easy.getinfo
            tls_s = told(pycurl.APPCONNECT_TIME) - told(pycurl.CONNECT_TIME)
            body.connected(told(pycurl.NAMELOOKUP_TIME), max(tls_s, 0.0))
        if transfer.code or transfer.failure is not None or response is None:
            try:
                raise await self._failure(transfer)
            finally:
                pool.give_back(transfer)
        pool.give_back(transfer)
        return response

    def limit_connections(self, most: int) -> None:
        """Have no more than `most` connections of each kind from now on.

        Libcurl closes idle ones one by one, as exchanges end; all at once if none is under way.
        """
        is_less = not self._most_connections or most < self._most_connections
        self._most_connections = most
        if is_less:
            self._open, self._guarded = _in_use(self._open), _in_use(self._guarded)

    async def aclose(self) -> None:
        """Close every connection. No exchange may be under way."""
        pools, self._open, self._guarded = (self._open, self._guarded), None, None
        for pool in pools:
            if pool is not None:
                pool.close()

    def _pool(self, request: Request, *, is_vetting: bool) -> _Pool:
        """Make the pool of one kind, in the running loop."""
        for name in self._files:
            try:
                Path(name).open("rb").close()
            except OSError as cause:
                raise ConfigError(f"cannot use {name}: {cause.strerror}") from cause
        try:
            pool = _Pool(is_vetting=is_vetting)
        except (pycurl.error, OSError) as cause:  # a multi handle has descriptors of its own
            raise texts.not_connected(request, OSError(errno.EMFILE, "")) from cause
        if is_vetting:
            self._guarded = pool
        else:
            self._open = pool
        return pool

    async def _failure(self, transfer: CurlTransfer) -> BaseException:
        """Give the error that a failed transfer is to raise."""
        failure = transfer.failure
        if isinstance(failure, ProtocolBroken):  # told by whoever read the header, which knows no request
            words = failure.message.removeprefix("not valid HTTP: ")
            return texts.broken(transfer.request, failure.phase, words)
        if failure is not None:
            if isinstance(failure, FetcherError) and not getattr(failure, "url", True):
                failure.url = transfer.request.url  # type: ignore[attr-defined]  # an ExchangeError
            return failure
        request = transfer.request
        name, proxy = request.target.hostname, request.proxy or ""
        if transfer.code == pycurl.E_COULDNT_RESOLVE_PROXY:
            return await self._name_failure(request, parsed_proxy(proxy).hostname)
        if transfer.code == pycurl.E_COULDNT_RESOLVE_HOST:
            return await self._name_failure(request, name)
        if transfer.code == E_PROXY and transfer.easy.getinfo(pycurl.PROXY_ERROR) == SOCKS_UNRESOLVED:
            return await self._name_failure(request, name, 4 if proxy.startswith("socks4:") else None)
        if transfer.is_other_family and not transfer.opened:
            return await self._name_failure(request, name)
        return exchange_error(transfer)

    async def _name_failure(self, request: Request, name: str, family: int | None = None) -> NameNotResolved:
        """Find out why a name was not found: libcurl does not tell, so the system is asked once more."""
        try:
            await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as cause:
            return texts.name_failed(request, name, cause)
        family = family or self._family
        if family is not None:
            return texts.name_failed(request, name, texts.OtherFamily(family))
        return texts.name_failed(request, name, socket.gaierror(socket.EAI_AGAIN, "not at first"))


def _in_use(pool: _Pool | None) -> _Pool | None:
    """Return the pool; it is closed instead if no exchange is under way in it."""
    if pool is None or len(pool.idle) < len(pool.handles):
        return pool
    pool.close()
    return None


async def _ended(transfer: CurlTransfer, body: BodyWriter) -> None:
    """Wait for the end of a transfer, and drain the body when it asks."""
    while True:
        await transfer.changed
        if not transfer.must_drain:
            return
        await body.drain()
        if transfer.has_ended:
            return
        transfer.go_on()


def _http_versions() -> frozenset[str]:
    features = pycurl.version_info()[4]
    versions = {"1.0", "1.1"}
    if features & pycurl.VERSION_HTTP2:
        versions.add("2")
    if features & pycurl.VERSION_HTTP3:
        versions.add("3")
    return frozenset(versions)


def _header_lines(request: Request) -> Sequence[bytes]:
    """Write the request's fields as libcurl takes them, and leave out those that it would add."""
    lines: list[bytes] = []
    unnamed = {"accept": b"Accept:", "expect": b"Expect:", "content-type": b"Content-Type:"}
    unnamed["proxy-connection"] = b"Proxy-Connection:"
    for name, value in request.headers:
        unnamed.pop(name.lower(), None)
        line = f"{name}: {value}" if value else f"{name};"  # a colon and nothing would leave it out
        if any(mark in line for mark in UNSENT):
            raise texts.broken(request, "connect", "a line break in a header field")
        try:
            lines.append(line.encode("latin-1"))  # as an answer's field was read (RFC 9110 §5.5)
        except UnicodeEncodeError:
            lines.append(line.encode())
    return [*lines, *unnamed.values()]
