"""What urllib3, ssl and sockets raise, as what happened: one table, the first row that fits counts.

Messages are one line, printable, and name hosts and addresses but never credentials or content.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import urllib3.exceptions

from fetcher.backends.blocking.connection import Key
from fetcher.backends.blocking.framing import Ended
from fetcher.errors import (
    ConnectFailed,
    ConnectionLost,
    ExchangeError,
    NameNotResolved,
    Phase,
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
_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: ([0-9]{3})")  # http.client's words

FORESEEN: Final = (OSError, ValueError, Ended, http.client.HTTPException, urllib3.exceptions.HTTPError)
"""What a hostile server, network or URL may raise in a thread. All else is a defect, and stays itself."""


class NoThread(Exception):
    """The system starts no more threads."""


class Place(NamedTuple):
    """Where an exchange stood when it failed."""

    url: str
    key: Key
    phase: Phase
    is_answered: bool = False

    @property
    def peer(self) -> str:
        proxy = self.key.proxy
        name, port = (self.key.name, self.key.port) if proxy is None else (proxy.name, proxy.port)
        address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        return address if proxy is None else f"proxy {address}"


def translated(cause: BaseException, place: Place) -> ExchangeError:
    """The error of this package that `cause` is an instance of."""
    rows = _CONNECTING if place.phase == "connect" else _TALKING
    translate = next(translate for kinds, translate in rows if isinstance(cause, kinds))
    error = translate(cause, place)
    error.url = place.url
    return error


def _line(text: object) -> str:
    """One printable line of what may hold bytes of an answer."""
    first = (str(text).strip().splitlines() or [""])[0][:200]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in first).rstrip(" .:")


def _bad_certificate(cause: ssl.SSLCertVerificationError, place: Place) -> ExchangeError:
    reason = _line(getattr(cause, "verify_message", "") or cause)
    return TlsRejected(f"certificate of {place.key.name} not accepted: {reason}")


def _bad_tls(cause: ssl.SSLError, place: Place) -> ExchangeError:
    if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectFailed(f"connection closed by {place.peer} during the TLS handshake", phase="tls")
    reason = _line(getattr(cause, "reason", None) or cause).replace("_", " ").lower()
    return TlsRejected(f"TLS handshake with {place.key.name} failed: {reason}")


def _no_name(cause: socket.gaierror, place: Place) -> ExchangeError:
    name = place.key.name if place.key.proxy is None else place.key.proxy.name
    code, reason = cause.errno, _line(cause.strerror)
    if code == socket.EAI_ADDRFAMILY:
        return NameNotResolved(f"name {name} has {reason}")
    if code in _NO_SUCH_NAME:
        return NameNotResolved(f"name {name} does not exist")
    return NameNotResolved(f"name {name} not resolved: {reason}", temporary=True)


def _no_thread(_: NoThread, place: Place) -> ExchangeError:
    failure = ConnectFailed(f"too many threads to connect to {place.peer}")
    failure.exhausted = True
    return failure


def _not_connected(cause: OSError, place: Place) -> ExchangeError:
    refused = _TUNNEL_REFUSED.match(str(cause))
    if refused is not None:
        return ConnectFailed(f"{place.peer} refused the tunnel with status {refused[1]}")
    number = cause.errno or 0
    text = _REASONS.get(number, "cannot connect to {}").format(place.peer)
    if number not in _REASONS:
        text += f": {_line(cause.strerror or cause)}"
    failure = ConnectFailed(text)
    if number in _NO_MORE_FILES:
        failure.exhausted = True  # our limit, not the host's fault: fewer at once will do
    return failure


def _no_tunnel(_: Exception, place: Place) -> ExchangeError:
    return ConnectFailed(f"{place.peer} gave no valid answer to the request for a tunnel")


def _not_in_time(_: TimeoutError, place: Place) -> ExchangeError:
    return TimedOut(f"no connection to {place.peer} in time", phase="connect")


def _silent(_: OSError, place: Place) -> ExchangeError:
    return TimedOut(f"{place.peer} was silent for too long", phase=place.phase)


def _lost(cause: BaseException, place: Place) -> ExchangeError:
    if place.phase == "body":
        return ConnectionLost("connection ended before the body was complete", phase="body")
    how = "reset" if getattr(cause, "errno", None) == errno.ECONNRESET else "closed"
    where = "within the header" if place.is_answered else "before an answer"
    return ConnectionLost(f"connection {how} by {place.peer} {where}", phase=place.phase)


def _broken(cause: BaseException, place: Place) -> ExchangeError:
    # A body that breaks its framing was begun; a request that can't be written has met no server.
    return ProtocolBroken(f"not valid HTTP: {_line(cause) or type(cause).__name__}", phase=place.phase)


_Kinds = type[BaseException] | tuple[type[BaseException], ...]
_Rows = tuple[tuple[_Kinds, Callable[[Any, Place], ExchangeError]], ...]

_CONNECTING: Final[_Rows] = (
    (ssl.SSLCertVerificationError, _bad_certificate),
    (socket.gaierror, _no_name),
    (TimeoutError, _not_in_time),
    (ssl.SSLError, _bad_tls),
    (OSError, _not_connected),
    (NoThread, _no_thread),
    ((http.client.HTTPException, urllib3.exceptions.HTTPError), _no_tunnel),
    (Exception, _broken),  # ValueError of a hostile request
)
_TALKING: Final[_Rows] = (
    ((TimeoutError, BlockingIOError), _silent),  # Python's timeout, or the system's
    ((Ended, OSError), _lost),
    (Exception, _broken),
)
