"""Translation of what aiohttp raises: one table, narrower rows first, the first that fits counts."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from fetcher.backends import failure_texts as texts
from fetcher.backends.aiohttp.connection import WireRequest
from fetcher.backends.aiohttp.internals import HttpProcessingError
from fetcher.backends.socks import SocksFailed
from fetcher.errors import ExchangeError


def exchange_error(cause: BaseException, wire: WireRequest) -> ExchangeError:
    """Translate `cause` into an error of this package."""
    translate = next(translate for kinds, translate in _TABLE if isinstance(cause, kinds))
    return translate(cause, wire)


def _is_at_proxy(cause: aiohttp.ClientConnectorError, wire: WireRequest) -> bool:
    """Tell which of two handshakes failed: that of a tunnel is the target's."""
    target = wire.request.target
    return wire.is_proxied and (cause.host, cause.port) != (target.hostname, target.port)


def _bad_certificate(cause: aiohttp.ClientConnectorCertificateError, wire: WireRequest) -> ExchangeError:
    inner = cause.certificate_error
    words = getattr(inner, "verify_message", "") or inner
    return texts.certificate_rejected(wire.request, words, at_proxy=_is_at_proxy(cause, wire))


def _bad_tls(cause: aiohttp.ClientConnectorSSLError, wire: WireRequest) -> ExchangeError:
    inner = cause.os_error
    if isinstance(inner, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return texts.closed_in_handshake(wire.request)
    words = getattr(inner, "reason", None) or inner
    return texts.handshake_failed(wire.request, words, at_proxy=_is_at_proxy(cause, wire))


def _no_name(cause: aiohttp.ClientConnectorDNSError, wire: WireRequest) -> ExchangeError:
    return texts.name_failed(wire.request, wire.name_sought, cause.os_error)


def _not_connected(cause: aiohttp.ClientConnectorError, wire: WireRequest) -> ExchangeError:
    inner = cause.os_error
    if wire.is_tunnelled and not _is_at_proxy(cause, wire):
        return texts.closed_in_handshake(wire.request)
    return texts.not_connected(wire.request, inner)


def _tunnel_refused(cause: aiohttp.ClientHttpProxyError, wire: WireRequest) -> ExchangeError:
    return texts.tunnel_refused(wire.request, cause.status)


def _socks_failed(cause: SocksFailed, wire: WireRequest) -> ExchangeError:
    return cause.told(wire.request)


def _timed_out(_: TimeoutError, wire: WireRequest) -> ExchangeError:
    return texts.connect_timed_out(wire.request)


def _lost(cause: BaseException, wire: WireRequest) -> ExchangeError:
    if wire.phase == "connect":
        return texts.closed_at_connect(wire.request)
    is_reset = getattr(cause, "errno", None) == errno.ECONNRESET
    return texts.lost(wire.request, wire.phase, is_answered=wire.is_answered, is_reset=is_reset)


def _broken(cause: BaseException, wire: WireRequest) -> ExchangeError:
    if wire.is_tunnelled and wire.phase == "connect":
        return texts.tunnel_broken(wire.request)
    words = str(getattr(cause, "message", "") or cause).partition(" when reading")[0]
    return texts.broken(wire.request, wire.phase, words or type(cause).__name__)


_Kinds = type[BaseException] | tuple[type[BaseException], ...]

_TABLE: Final[tuple[tuple[_Kinds, Callable[[Any, WireRequest], ExchangeError]], ...]] = (
    (SocksFailed, _socks_failed),
    (aiohttp.ClientConnectorCertificateError, _bad_certificate),
    (aiohttp.ClientConnectorSSLError, _bad_tls),
    (aiohttp.ClientConnectorDNSError, _no_name),
    (aiohttp.ClientHttpProxyError, _tunnel_refused),
    (aiohttp.ClientConnectorError, _not_connected),  # the proxy's too
    (TimeoutError, _timed_out),
    (HttpProcessingError, _broken),
    (aiohttp.ClientPayloadError, _lost),
    ((aiohttp.ClientConnectionError, OSError), _lost),
    (Exception, _broken),  # ClientError, and the ValueError or AssertionError of hostile input
)
