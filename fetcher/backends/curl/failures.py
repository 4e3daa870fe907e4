"""What libcurl's codes mean, as what happened: one table.

Messages are one line, printable, and name hosts and addresses but never credentials or content: of libcurl's
own words only those about TLS and framing are taken.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import pycurl

from fetcher.backends.curl.transfer import Transfer
from fetcher.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    FetcherError,
    ProtocolBroken,
    Refused,
    TimedOut,
    TlsRejected,
)

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
_UNPROVEN: Final = ("SSL certificate problem: ", "SSL: ", "SSL certificate verification failed: ")
_FRAMING: Final = ("chunk", "Too large", "header", "Nul", "hexadecimal")  # in libcurl's words, code 56


def failure_of(transfer: Transfer) -> FetcherError:
    """The error of this package that a failed transfer ended with."""
    request = transfer.request
    if transfer.denied and not transfer.opened:
        return Refused("private-address", _denial(request.target.name, transfer.denied))
    if transfer.is_spent:
        where = f"connection closed by {place_of(transfer)} before an answer"
        return ConnectionLost(where, url=request.url, phase="header")
    error = _TABLE.get(transfer.code, _lost)(transfer)
    if not isinstance(error, ConfigError):
        error.url = request.url  # type: ignore[attr-defined]  # an ExchangeError
    return error


def place_of(transfer: Transfer) -> str:
    """What was connected to, for messages."""
    proxy, target = transfer.request.proxy, transfer.request.target
    if proxy is not None:
        parts = urlsplit(proxy)
        name = parts.hostname or ""
        return f"proxy [{name}]:{parts.port}" if ":" in name else f"proxy {name}:{parts.port}"
    return f"[{target.name}]:{target.port}" if ":" in target.name else f"{target.name}:{target.port}"


def _line(text: str) -> str:
    """One printable line."""
    first = (text.strip().splitlines() or [""])[0][:200]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in first).rstrip(" .:")


def _denial(host: str, addresses: list[str]) -> str:
    if host in addresses:
        return f"{host} is a private address"
    return f"{host} resolves to a private address ({', '.join(addresses[:3])})"


def _not_connected(transfer: Transfer) -> FetcherError:
    status = transfer.easy.getinfo(pycurl.HTTP_CONNECTCODE)
    if status and not 200 <= status < 300:
        return ConnectFailed(f"{place_of(transfer)} refused the tunnel with status {status}")
    number = transfer.os_error or transfer.easy.getinfo(pycurl.OS_ERRNO)
    failure = ConnectFailed(_REASONS.get(number, "cannot connect to {}").format(place_of(transfer)))
    if number in _NO_MORE_FILES:
        failure.exhausted = True  # our limit, not the host's fault: fewer at once will do
    return failure


def _proxy_failed(transfer: Transfer) -> FetcherError:
    return ConnectFailed(f"{place_of(transfer)} refused the tunnel")


def _timed_out(transfer: Transfer) -> FetcherError:
    return TimedOut(f"no connection to {place_of(transfer)} in time", phase="connect")


def _bad_certificate(transfer: Transfer) -> FetcherError:
    reason = transfer.text
    for start in _UNPROVEN:
        reason = reason.removeprefix(start)
    return TlsRejected(f"certificate of {transfer.request.target.name} not accepted: {_line(reason)}")


def _bad_tls(transfer: Transfer) -> FetcherError:
    text = transfer.text
    if "eof" in text.lower() or "SYSCALL" in text or "reset by peer" in text:
        return ConnectFailed(
            f"connection closed by {place_of(transfer)} during the TLS handshake", phase="tls"
        )
    reason = _line(text.rpartition("::")[2] or text)
    return TlsRejected(f"TLS handshake with {transfer.request.target.name} failed: {reason}")


def _bad_file(transfer: Transfer) -> FetcherError:
    return ConfigError(f"cannot use the files of ca_file or client_cert: {_line(transfer.text)}")


def _lost(transfer: Transfer) -> FetcherError:
    phase = transfer.phase
    if phase == "connect":
        if transfer.request.proxy is not None:
            return _not_connected(transfer)
        return ConnectFailed(f"connection closed by {place_of(transfer)}")
    if transfer.code == pycurl.E_RECV_ERROR and any(word in transfer.text for word in _FRAMING):
        return _broken(transfer)
    if phase == "body":
        return ConnectionLost("connection ended before the body was complete", phase="body")
    where = "within the header" if transfer.has_begun_head else "before an answer"
    return ConnectionLost(f"connection closed by {place_of(transfer)} {where}", phase=phase)


def _broken(transfer: Transfer) -> FetcherError:
    return ProtocolBroken(f"not valid HTTP: {_line(transfer.text)}", phase=transfer.phase)


_TABLE: Final[dict[int, Callable[[Transfer], FetcherError]]] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: _broken,  # HTTP/0.9, and versions yet unknown
    pycurl.E_URL_MALFORMAT: _broken,
    pycurl.E_COULDNT_CONNECT: _not_connected,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: _broken,
    pycurl.E_WRITE_ERROR: _broken,
    pycurl.E_OPERATION_TIMEDOUT: _timed_out,
    pycurl.E_SSL_CONNECT_ERROR: _bad_tls,
    pycurl.E_SSL_CIPHER: _bad_tls,
    pycurl.E_PEER_FAILED_VERIFICATION: _bad_certificate,
    pycurl.E_SSL_CERTPROBLEM: _bad_file,
    pycurl.E_SSL_CACERT_BADFILE: _bad_file,
    pycurl.E_BAD_CONTENT_ENCODING: _broken,
    97: _proxy_failed,  # CURLE_PROXY, which pycurl has no name for: the handshake of SOCKS
}
