"""What aiohttp raises, as what happened: one table, the narrower rows first, the first that fits counts.

Messages are one line, printable, and name hosts and addresses but never credentials or content.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from fetcher.backends.aio.connection import WireRequest
from fetcher.errors import (
    ConnectFailed,
    ConnectionLost,
    ExchangeError,
    NameNotResolved,
    ProtocolBroken,
    TimedOut,
    TlsRejected,
)

_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused by {}",
    errno.ECONNRESET: "connection reset by {}",
    errno.ENETUNREACH: "no route to {}",
    errno.EHOSTUNREACH: "no route to {}",
    errno.ETIMEDOUT: "no answer from {}",
    errno.EMFILE: "too many open files to connect to {}",
    errno.ENFILE: "too many open files to connect to {}",
}


def translated(cause: BaseException, wire: WireRequest) -> ExchangeError:
    """The error of this package that `cause` is an instance of."""
    translate = next(translate for kinds, translate in _TABLE if isinstance(cause, kinds))
    error = translate(cause, wire)
    error.url = wire.request.url
    return error


def _line(text: object) -> str:
    """One printable line of what may hold bytes of an answer."""
    first = (str(text).strip().splitlines() or [""])[0][:200]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in first).rstrip(" .:")


def _place(wire: WireRequest) -> str:
    if wire.proxy is not None:
        return f"proxy {wire.proxy.host}:{wire.proxy.port}"
    name, port = wire.request.target.name, wire.request.target.port
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _bad_certificate(cause: aiohttp.ClientConnectorCertificateError, wire: WireRequest) -> ExchangeError:
    inner = cause.certificate_error
    reason = _line(getattr(inner, "verify_message", "") or inner)
    return TlsRejected(f"certificate of {wire.request.target.name} not accepted: {reason}")


def _bad_tls(cause: aiohttp.ClientConnectorSSLError, wire: WireRequest) -> ExchangeError:
    inner = cause.os_error
    if isinstance(inner, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectFailed(f"connection closed by {_place(wire)} during the TLS handshake", phase="tls")
    reason = _line(getattr(inner, "reason", None) or inner).replace("_", " ").lower()
    return TlsRejected(f"TLS handshake with {wire.request.target.name} failed: {reason}")


def _no_name(cause: aiohttp.ClientConnectorDNSError, wire: WireRequest) -> ExchangeError:
    name = wire.proxy.host if wire.proxy is not None else wire.request.target.name
    code, reason = cause.os_error.errno, _line(cause.os_error.strerror)
    if code == socket.EAI_ADDRFAMILY:
        return NameNotResolved(f"name {name} has {reason}")
    if code in _NO_SUCH_NAME:
        return NameNotResolved(f"name {name} does not exist")
    return NameNotResolved(f"name {name} not resolved: {reason}", temporary=True)


def _not_connected(cause: aiohttp.ClientConnectorError, wire: WireRequest) -> ExchangeError:
    number = cause.os_error.errno or 0
    text = _REASONS.get(number, "cannot connect to {}").format(_place(wire))
    if number not in _REASONS:
        text += f": {_line(cause.os_error.strerror or cause.os_error)}"
    failure = ConnectFailed(text)
    if number in _NO_MORE_FILES:
        failure.exhausted = True  # our limit, not the host's fault: fewer at once will do
    return failure


def _proxy_refused(cause: aiohttp.ClientHttpProxyError, wire: WireRequest) -> ExchangeError:
    return ConnectFailed(f"{_place(wire)} refused the tunnel with status {cause.status}")


def _timed_out(_: TimeoutError, wire: WireRequest) -> ExchangeError:
    return TimedOut(f"no connection to {_place(wire)} in time", phase="connect")


def _lost(cause: BaseException, wire: WireRequest) -> ExchangeError:
    if wire.phase == "connect":
        return ConnectFailed(f"connection closed by {_place(wire)}")
    if wire.phase == "body":
        return ConnectionLost("connection ended before the body was complete", phase="body")
    how = "reset" if getattr(cause, "errno", None) == errno.ECONNRESET else "closed"
    where = "within the header" if wire.is_answered else "before an answer"
    return ConnectionLost(f"connection {how} by {_place(wire)} {where}", phase=wire.phase)


def _broken(cause: BaseException, wire: WireRequest) -> ExchangeError:
    text = str(getattr(cause, "message", "") or cause).partition(" when reading")[0]
    return ProtocolBroken(f"not valid HTTP: {_line(text) or type(cause).__name__}", phase=wire.phase)


_Kinds = type[BaseException] | tuple[type[BaseException], ...]

_TABLE: Final[tuple[tuple[_Kinds, Callable[[Any, WireRequest], ExchangeError]], ...]] = (
    (aiohttp.ClientConnectorCertificateError, _bad_certificate),
    (aiohttp.ClientConnectorSSLError, _bad_tls),
    (aiohttp.ClientConnectorDNSError, _no_name),
    (aiohttp.ClientHttpProxyError, _proxy_refused),
    (aiohttp.ClientConnectorError, _not_connected),  # the proxy's too
    (TimeoutError, _timed_out),
    (HttpProcessingError, _broken),
    (aiohttp.ClientPayloadError, _lost),
    ((aiohttp.ClientConnectionError, OSError), _lost),
    (Exception, _broken),  # ClientError, and the ValueError or AssertionError of hostile input
)
