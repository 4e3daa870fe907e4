"""One exchange on libcurl: a pooled handle, started in a multi handle, awaited, drained when it asks.

Invariants: requests that may reach private addresses and those that may not never share a connection,
because each kind has a multi handle of its own. A handle goes back to its pool only when it is out of the
multi handle, and is freed only after it: the connections that it made know it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pycurl

from fetcher.backends.curl.failures import failure_of, place_of
from fetcher.backends.curl.multi import Multi
from fetcher.backends.curl.transfer import Options, Setup, Transfer
from fetcher.errors import ConfigError, ConnectFailed, FetcherError, NameNotResolved, ProtocolBroken
from fetcher.model import Request, Response
from fetcher.ports import BodyWriter, Traits

_DNS_TTL_S: Final = 120
_BUFFER: Final = 64 * 1024
_UNSENT: Final = ("\r", "\n", "\0")
_UNRESOLVED: Final = frozenset({pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY})
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
_VERSIONS: Final = {
    "auto": pycurl.CURL_HTTP_VERSION_2TLS,
    "1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "2": pycurl.CURL_HTTP_VERSION_2TLS,
    "3": pycurl.CURL_HTTP_VERSION_3,
}
_BUNDLES: Final = (  # where OpenSSL's own place is empty
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

Fields = tuple[tuple[str, str], ...]


class _Pool:
    """One multi handle, all easy handles made for it, and those that are idle."""

    __slots__ = ("handles", "idle", "is_vetting", "multi")

    def __init__(self, *, is_vetting: bool) -> None:
        self.is_vetting = is_vetting
        self.multi = Multi()
        self.handles: list[Transfer] = []
        self.idle: list[Transfer] = []

    def make(self, setup: Setup) -> Transfer:
        transfer = Transfer(self.multi, setup, is_vetting=self.is_vetting)
        self.handles.append(transfer)
        return transfer

    def close(self) -> None:
        self.multi.close()
        for transfer in self.handles:
            transfer.close()


class CurlBackend:
    """The `Backend` port on libcurl, for one event loop at a time.

    `http` is the version to prefer on https: `auto` and `2` take HTTP/2 where the server offers it, `3` tries
    HTTP/3 first and falls back; http URLs are always HTTP/1.1. `resolve` gives addresses for (host, port)
    without asking DNS. `ca_file` replaces the system's trust store, `client_cert` is a PEM file with
    certificate and key.
    """

    def __init__(
        self,
        *,
        http: str = "auto",
        connect_timeout_s: float | None = 10.0,
        user_agent: str = "fetcher",
        family: int | None = None,
        resolve: Mapping[tuple[str, int], str] | None = None,
        ca_file: str | None = None,
        client_cert: str | None = None,
        insecure: bool = False,
        keepalive_s: float = 15.0,
    ) -> None:
        self.traits = Traits(name="curl", http_versions=_http_versions(), sees_fragments=False)
        self._family = family
        self._files = tuple(name for name in (ca_file, client_cert) if name)
        self._setup = Setup(
            always=[
                *_fixed(),
                (pycurl.CONNECTTIMEOUT_MS, max(1, int(connect_timeout_s * 1000)) if connect_timeout_s else 0),
                (pycurl.MAXAGE_CONN, max(1, int(keepalive_s))),
                (
                    pycurl.IPRESOLVE,
                    {None: pycurl.IPRESOLVE_WHATEVER, 4: pycurl.IPRESOLVE_V4, 6: pycurl.IPRESOLVE_V6}[family],
                ),
                *_trust(ca_file, client_cert, insecure=insecure),
                *(((pycurl.RESOLVE, _resolve_lines(resolve)),) if resolve else ()),
            ],
            by_scheme={
                "http": ((pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1), (pycurl.PIPEWAIT, 0)),
                "https": (
                    (pycurl.HTTP_VERSION, _VERSIONS[http]),
                    (pycurl.PIPEWAIT, int(http != "1.1")),  # one connection for many streams
                ),
            },
            proxy=(
                (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),
                (pycurl.PROXYHEADER, [f"User-Agent: {user_agent}".encode("latin-1", "replace")]),
            ),
            family={None: 0, 4: socket.AF_INET, 6: socket.AF_INET6}[family],
        )
        self._open: _Pool | None = None
        self._guarded: _Pool | None = None
        self._headers: Fields | None = None  # the last request's, and what becomes of them
        self._lines: Sequence[bytes] = ()

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        """Send one request and stream the reply's wire bytes into `body`; see `ports.Backend`.

        Libcurl sends a request again whose kept connection had ended; that is allowed once, to an idempotent
        one (RFC 9112 §9.3.1), and `Response.resent` counts it.
        """
        is_vetting = not request.allow_private and request.proxy is None
        pool = (self._guarded if is_vetting else self._open) or self._pool(is_vetting=is_vetting)
        if request.headers is not self._headers:
            self._lines = _header_lines(request)
            self._headers = request.headers
        transfer = pool.idle.pop() if pool.idle else pool.make(self._setup)
        try:
            transfer.start(request, body, self._lines)
            while True:
                await transfer.changed
                if not transfer.must_drain:
                    break
                await body.drain()
                if transfer.has_ended:
                    break
                transfer.go_on()
        except BaseException:
            transfer.abandon()
            pool.idle.append(transfer)
            raise
        response = transfer.response
        if transfer.code or transfer.failure is not None or response is None:
            try:
                raise await self._failure(transfer)
            finally:
                pool.idle.append(transfer)
        pool.idle.append(transfer)
        return response

    async def aclose(self) -> None:
        """Close every connection. No exchange may be under way."""
        pools, self._open, self._guarded = (self._open, self._guarded), None, None
        for pool in pools:
            if pool is not None:
                pool.close()

    def _pool(self, *, is_vetting: bool) -> _Pool:
        """Make the pool of one kind, in the running loop."""
        for name in self._files:
            try:
                Path(name).open("rb").close()
            except OSError as cause:
                raise ConfigError(f"cannot use {name}: {cause.strerror}") from cause
        try:
            pool = _Pool(is_vetting=is_vetting)
        except (pycurl.error, OSError) as cause:  # a multi handle has descriptors of its own
            failure = ConnectFailed(f"too many open files to begin: {cause}")
            failure.exhausted = True
            raise failure from cause
        if is_vetting:
            self._guarded = pool
        else:
            self._open = pool
        return pool

    async def _failure(self, transfer: Transfer) -> BaseException:
        """Why a transfer failed."""
        failure = transfer.failure
        if failure is not None:
            if isinstance(failure, FetcherError) and not getattr(failure, "url", True):
                failure.url = transfer.request.url  # type: ignore[attr-defined]  # an ExchangeError
            return failure
        if transfer.code in _UNRESOLVED or (transfer.is_other_family and not transfer.opened):
            return await self._name_failure(transfer)
        return failure_of(transfer)

    async def _name_failure(self, transfer: Transfer) -> NameNotResolved:
        """Why a name was not found; libcurl does not tell, so the system is asked once more."""
        request = transfer.request
        name = request.target.name
        if transfer.code == pycurl.E_COULDNT_RESOLVE_PROXY:
            name = place_of(transfer).removeprefix("proxy ").rpartition(":")[0].strip("[]")
        try:
            await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as cause:
            if isinstance(cause, UnicodeError) or cause.errno in _NO_SUCH_NAME:
                return NameNotResolved(f"name {name} does not exist", url=request.url)
            reason = cause.strerror or "no answer"
            return NameNotResolved(f"name {name} not resolved: {reason}", url=request.url, temporary=True)
        if self._family is not None:
            return NameNotResolved(f"name {name} has no IPv{self._family} address", url=request.url)
        return NameNotResolved(f"name {name} not resolved at first", url=request.url, temporary=True)


def _http_versions() -> frozenset[str]:
    features = pycurl.version_info()[4]
    versions = {"1.0", "1.1"}
    if features & pycurl.VERSION_HTTP2:
        versions.add("2")
    if features & pycurl.VERSION_HTTP3:
        versions.add("3")
    return frozenset(versions)


def _fixed() -> Options:
    """What libcurl would do that is the engine's, or nobody's, to do."""
    return (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.HTTP_CONTENT_DECODING, 0),
        (pycurl.HTTP09_ALLOWED, 0),
        (pycurl.NETRC, 0),
        (pycurl.USERAGENT, ""),  # pycurl has one of its own
        (pycurl.PATH_AS_IS, 1),
        (pycurl.PROXY, ""),  # the environment's are the engine's to read
        (pycurl.NOPROXY, ""),
        (pycurl.NOPROGRESS, 1),
        (pycurl.BUFFERSIZE, _BUFFER),
        (pycurl.DNS_CACHE_TIMEOUT, _DNS_TTL_S),
    )


def _trust(ca_file: str | None, client_cert: str | None, *, insecure: bool) -> Options:
    options: list[tuple[int, object]] = []
    if ca_file:
        options += [(pycurl.CAINFO, ca_file), (pycurl.PROXY_CAINFO, ca_file)]
    else:
        paths = ssl.get_default_verify_paths()
        bundle = paths.cafile or next((one for one in _BUNDLES if Path(one).is_file()), None)
        if bundle:
            options += [(pycurl.CAINFO, bundle), (pycurl.PROXY_CAINFO, bundle)]
        if paths.capath:
            options += [(pycurl.CAPATH, paths.capath), (pycurl.PROXY_CAPATH, paths.capath)]
    if insecure:
        for option in (
            pycurl.SSL_VERIFYPEER,
            pycurl.SSL_VERIFYHOST,
            pycurl.PROXY_SSL_VERIFYPEER,
            pycurl.PROXY_SSL_VERIFYHOST,
        ):
            options.append((option, 0))
    if client_cert:
        options += [(pycurl.SSLCERT, client_cert), (pycurl.SSLKEY, client_cert)]
    return options


def _resolve_lines(resolve: Mapping[tuple[str, int], str]) -> list[str]:
    return [f"{host.lower()}:{port}:{address}" for (host, port), address in resolve.items()]


def _header_lines(request: Request) -> Sequence[bytes]:
    """The request's fields as libcurl takes them, with those that it would add left out."""
    lines: list[bytes] = []
    unnamed = {"accept": b"Accept:", "expect": b"Expect:", "content-type": b"Content-Type:"}
    unnamed["proxy-connection"] = b"Proxy-Connection:"
    for name, value in request.headers:
        unnamed.pop(name.lower(), None)
        line = f"{name}: {value}" if value else f"{name};"  # a colon and nothing would leave it out
        if any(mark in line for mark in _UNSENT):
            raise ProtocolBroken("a line break in a header field", url=request.url, phase="header")
        try:
            lines.append(line.encode("latin-1"))  # as an answer's field was read (RFC 9110 §5.5)
        except UnicodeEncodeError:
            lines.append(line.encode())
    return [*lines, *unnamed.values()]
