"""Translation of what urllib3, ssl and sockets raise: one table, the first row that fits counts."""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import urllib3.exceptions

from fetcher.backends import failure_texts as texts
from fetcher.backends.socks import SocksFailed
from fetcher.errors import ExchangeError, Phase
from fetcher.model import Request
from fetcher.policy.framing import EndedEarly

_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: ([0-9]{3})")  # http.client's words

FORESEEN: Final = (
    OSError,
    ValueError,
    EndedEarly,
    SocksFailed,
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
)
"""Exceptions that a hostile server, network or URL may raise in a thread; any other is a defect."""


class NoThread(Exception):
    """The system starts no more threads."""


class Peer(NamedTuple):
    """The state of an exchange when it failed.

    `name` is what was sought in DNS last; `is_at_proxy` says that nobody but a proxy was talked with so far.
    """

    request: Request
    name: str
    phase: Phase
    is_answered: bool = False
    is_at_proxy: bool = False


def exchange_error(cause: BaseException, place: Peer) -> ExchangeError:
    """Translate `cause` into an error of this package."""
    rows = _CONNECTING if place.phase == "connect" else _TALKING
    translate = next(translate for kinds, translate in rows if isinstance(cause, kinds))
    return translate(cause, place)


def _bad_certificate(cause: ssl.SSLCertVerificationError, place: Peer) -> ExchangeError:
    words = getattr(cause, "verify_message", "") or cause
    return texts.certificate_rejected(place.request, words, at_proxy=place.is_at_proxy)


def _bad_tls(cause: ssl.SSLError, place: Peer) -> ExchangeError:
    if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return texts.closed_in_handshake(place.request)
    words = getattr(cause, "reason", None) or cause
    return texts.handshake_failed(place.request, words, at_proxy=place.is_at_proxy)


def _no_name(cause: socket.gaierror, place: Peer) -> ExchangeError:
    return texts.name_failed(place.request, place.name, cause)


def _no_thread(_: NoThread, place: Peer) -> ExchangeError:
    return texts.no_threads(place.request)


def _socks_failed(cause: SocksFailed, place: Peer) -> ExchangeError:
    return cause.told(place.request)


def _not_connected(cause: OSError, place: Peer) -> ExchangeError:
    refused = _TUNNEL_REFUSED.match(str(cause))
    if refused is not None:
        return texts.tunnel_refused(place.request, int(refused[1]))
    if place.request.proxy is not None and not place.is_at_proxy:  # a tunnel is open
        return texts.closed_in_handshake(place.request)
    return texts.not_connected(place.request, cause)


def _no_tunnel(_: Exception, place: Peer) -> ExchangeError:
    return texts.tunnel_broken(place.request)


def _not_in_time(_: TimeoutError, place: Peer) -> ExchangeError:
    return texts.connect_timed_out(place.request)


def _silent(_: OSError, place: Peer) -> ExchangeError:
    return texts.silent(place.request, place.phase)


def _lost(cause: BaseException, place: Peer) -> ExchangeError:
    is_reset = getattr(cause, "errno", None) == errno.ECONNRESET
    return texts.lost(place.request, place.phase, is_answered=place.is_answered, is_reset=is_reset)


def _broken(cause: BaseException, place: Peer) -> ExchangeError:
    # A body that breaks its framing was begun; a request that can't be written has met no server.
    return texts.broken(place.request, place.phase, str(cause) or type(cause).__name__)


_Kinds = type[BaseException] | tuple[type[BaseException], ...]
_Rows = tuple[tuple[_Kinds, Callable[[Any, Peer], ExchangeError]], ...]

_CONNECTING: Final[_Rows] = (
    (SocksFailed, _socks_failed),
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
    ((EndedEarly, OSError), _lost),
    (Exception, _broken),
)
