"""The failures that backends tell, each made in one place, so that the same one has the same text everywhere.

A backend finds out what happened; which error that is, and in which words, stands here.

Invariants: a text is one printable line that does not end in a colon; it names hosts and addresses, never
credentials or content. The words of libraries are taken only where they say more than we know.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Sequence
from typing import Final

from fetcher.backends.proxy_url import parsed_proxy
from fetcher.errors import (
    ConnectFailed,
    ConnectionLost,
    NameNotResolved,
    Phase,
    ProtocolBroken,
    Refused,
    TimedOut,
    TlsRejected,
)
from fetcher.model import Request
from fetcher.open_files import EXHAUSTED
from fetcher.policy.http import FIELD_BYTES, HEAD_BYTES, MOST_FIELDS, authority
from fetcher.policy.ip_filter import is_local_name

_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
_CARES_NO_SUCH_NAME: Final = frozenset({1, 4, 8})  # ENODATA, ENOTFOUND, EBADNAME
_CLOSED: Final = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ENOTCONN})
_REASONS: Final = {
    errno.ECONNREFUSED: "connection refused by {}",
    errno.ENETUNREACH: "no route to {}",
    errno.EHOSTUNREACH: "no route to {}",
    errno.ETIMEDOUT: "no answer from {}",
    errno.EMFILE: "too many open files to connect to {}",
    errno.ENFILE: "too many open files to connect to {}",
    errno.EADDRNOTAVAIL: "no local address or port to connect to {} from",
}
_VERIFIED: Final = re.compile(
    r"(?:SSL[^:]*: )*(.*?)(?: \([0-9]+\))?"
)  # what libcurl puts around OpenSSL's words
_TOO_EARLY: Final = "certificate is not yet valid"
_OTHER_NAME: Final = re.compile("alternative certificate subject name|does not match|mismatch|not valid for")
_NOT_TLS: Final = re.compile(
    "wrong version number|http request|unknown protocol|packet length too long|record overflow", re.IGNORECASE
)
_ALERT: Final = re.compile(r"(?:sslv3|tlsv1(?:\.?[0-3])?|tlsv13|ssl/tls) alert (.+)", re.IGNORECASE)
_TRUST: Final = "--ca-file names an authority to trust, --insecure accepts any certificate"
_BROKEN: Final = tuple(  # every parser has words of its own for these; the first row that fits counts
    (re.compile(pattern), text)
    for pattern, text in (
        ("line break|interim|switching", ""),
        ("[Tt]oo many headers|more than [0-9]+ header fields", f"more than {MOST_FIELDS} header fields"),
        (
            "[Tt]oo large response headers|[Hh]eader larger than",
            f"header larger than {HEAD_BYTES // 1024} KiB",
        ),
        (
            "Got more than [0-9]+ bytes|header field larger than",
            f"a header field larger than {FIELD_BYTES} bytes",
        ),
        (
            "Content-Length and Transfer-Encoding|present with (?:Content-Length|Transfer-Encoding|chunked)",
            "Content-Length and Transfer-Encoding at once",
        ),
        ("Unsolicited Transfer-Encoding|transfer-coding", "a transfer-coding that nobody asked for"),
        ("Content-Length", "a bad Content-Length"),
        ("[Cc]hunk size|chunk hex|in chunk", "a bad chunk size"),
        ("status line|HTTP/0\\.9|subversion|Expected HTTP|HTTP version", "no valid status line"),
        ("header token|header value|header field|header name", "a bad header field"),
    )
)
_SOCKS_REPLIES: Final = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "kind of address not supported",
    0x5B: "rejected or failed",
    0x5C: "no identd of this machine in reach",
    0x5D: "identd of this machine names another user",
}


def line(text: object) -> str:
    """Make one printable line of what may hold bytes of an answer; it ends in no stop or colon."""
    first = (str(text).strip().splitlines() or [""])[0][:200]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in first).rstrip(" .:")


def peer(request: Request) -> str:
    """Name the address that is connected to: the proxy's, called one, or the target's."""
    if request.proxy is None:
        return authority(request.target.hostname, request.target.port)
    proxy = parsed_proxy(request.proxy)
    return f"proxy {authority(proxy.hostname, proxy.port)}"


def denied(name: str, addresses: Sequence[str]) -> Refused:
    """Policy lets nothing go to any of the `addresses` of `name`."""
    if is_local_name(name):
        text = f"{name} is a name of this machine"
    elif name in addresses:
        text = f"{name} is a private address"
    else:
        text = f"{name} resolves to a private address ({', '.join(addresses[:3])})"
    return Refused("private-address", text)


# Names.


class OtherFamily(socket.gaierror):
    """A name has addresses, but none of the IP version `family`, 4 or 6, which alone is wanted."""

    def __init__(self, family: int) -> None:
        super().__init__(socket.EAI_ADDRFAMILY, f"no IPv{family} address")
        self.family = family


def from_cares(code: object, words: object) -> socket.gaierror:
    """Translate a failure of c-ares: there is no such name, or no answer this time."""
    kind = socket.EAI_NONAME if code in _CARES_NO_SUCH_NAME else socket.EAI_AGAIN
    return socket.gaierror(kind, str(words))


def name_failed(request: Request, name: str, cause: OSError | UnicodeError) -> NameNotResolved:
    """There is no address of `name`, for ever (`gaierror` says so) or for this time."""
    if isinstance(cause, OtherFamily):
        return NameNotResolved(f"name {name} has no IPv{cause.family} address", url=request.url)
    if isinstance(cause, UnicodeError) or cause.errno in _NO_SUCH_NAME:
        return NameNotResolved(f"name {name} does not exist", url=request.url)
    reason = "DNS gave no answer" if cause.errno == socket.EAI_AGAIN else line(cause.strerror or cause)
    failure = NameNotResolved(f"name {name} not resolved: {reason}", url=request.url, temporary=True)
    failure.exhausted = cause.errno in EXHAUSTED
    return failure


# Connections.


def not_connected(request: Request, cause: OSError) -> ConnectFailed:
    """The system made no connection, for the reason that `cause` has as its errno, or else in words."""
    number = cause.errno
    words = line(os.strerror(number) if number else cause.strerror or cause)
    if number in _CLOSED or not words or (not number and isinstance(cause, ConnectionError)):
        return closed_at_connect(request)
    text = _REASONS.get(number or 0, "cannot connect to {}").format(peer(request))
    failure = ConnectFailed(text if number in _REASONS else f"{text}: {words}", url=request.url)
    if number in EXHAUSTED:
        failure.exhausted = True  # our limit, not the host's fault: fewer at once will do
    return failure


def closed_at_connect(request: Request) -> ConnectFailed:
    """The peer closed or reset before there was a connection to talk on."""
    with_tls = request.target.url if request.proxy is None else request.proxy
    if with_tls.startswith("https:"):
        return closed_in_handshake(request)
    return ConnectFailed(f"connection closed by {peer(request)}", url=request.url)


def closed_in_handshake(request: Request) -> ConnectFailed:
    """The peer closed or reset in the midst of the TLS handshake."""
    text = f"connection closed by {peer(request)} during the TLS handshake"
    return ConnectFailed(text, url=request.url, phase="tls")


def no_threads(request: Request) -> ConnectFailed:
    """The system starts no more threads."""
    failure = ConnectFailed(f"too many threads to connect to {peer(request)}", url=request.url)
    failure.exhausted = True
    return failure


def connect_timed_out(request: Request) -> TimedOut:
    """There was no connection within the limit on connecting."""
    return TimedOut(f"no connection to {peer(request)} in time", url=request.url, phase="connect")


# TLS. With `at_proxy` it is the proxy's certificate or handshake, not the target's behind it.


def certificate_rejected(request: Request, words: object, *, at_proxy: bool = False) -> TlsRejected:
    """The certificate is not acceptable; `words` are OpenSSL's."""
    found = _VERIFIED.fullmatch(line(words))
    reason = (found and found[1]) or "no reason given"
    if _OTHER_NAME.search(reason):
        reason = "it is for another name"
    elif reason.startswith(_TOO_EARLY):
        reason = _TOO_EARLY
    text = f"certificate of {_tls_name(request, at_proxy=at_proxy)} not accepted: {reason}; {_TRUST}"
    return TlsRejected(text, url=request.url)


def handshake_failed(request: Request, words: object, *, at_proxy: bool = False) -> TlsRejected:
    """The two ends could not agree on TLS; `words` are OpenSSL's."""
    reason = line(words).replace("_", " ").lower() or "no reason given"
    alert = _ALERT.search(reason)
    if _NOT_TLS.search(reason):
        reason = "the server does not speak TLS at this port"
    elif alert is not None:
        reason = f"the server sent the alert {alert[1]}"
    text = f"TLS handshake with {_tls_name(request, at_proxy=at_proxy)} failed: {reason}"
    return TlsRejected(text, url=request.url)


# Proxies.


def tunnel_refused(request: Request, status: int) -> ConnectFailed:
    """The proxy answered CONNECT with a status that opens no tunnel."""
    return _refused(request, f"the tunnel with status {status}", status)


def relay_refused(request: Request) -> ConnectFailed:
    """The proxy answered 407 in place of the site (RFC 9110 §15.5.8)."""
    return _refused(request, "the request with status 407", 407)


def tunnel_broken(request: Request) -> ConnectFailed:
    """The proxy's answer to CONNECT is not HTTP."""
    text = f"{peer(request)} gave no valid answer to the request for a tunnel"
    return ConnectFailed(text, url=request.url)


def socks_refused(request: Request, reply: int) -> ConnectFailed:
    """The SOCKS proxy could not, or would not, reach the target (RFC 1928 §6)."""
    reason = _SOCKS_REPLIES.get(reply, f"reply {reply}")
    where = authority(request.target.hostname, request.target.port)
    return ConnectFailed(f"{peer(request)} could not connect to {where}: {reason}", url=request.url)


def socks_unauthorized(request: Request) -> ConnectFailed:
    """The SOCKS proxy took none of our ways to say who we are (RFC 1929)."""
    failure = ConnectFailed(f"{peer(request)} {_credentials(request)}", url=request.url)
    failure.temporary = False
    return failure


def socks_broken(request: Request) -> ConnectFailed:
    """The proxy's answer is not SOCKS of the version that it was asked in."""
    return ConnectFailed(f"{peer(request)} gave no valid answer of SOCKS", url=request.url)


# Exchanges.


def silent(request: Request, phase: Phase) -> TimedOut:
    """The socket's own timeout, below the limits of the engine."""
    return TimedOut(f"{peer(request)} was silent for too long", url=request.url, phase=phase)


def lost(request: Request, phase: Phase, *, is_answered: bool, is_reset: bool = False) -> ConnectionLost:
    """The connection ended, in an orderly way or by a reset, before the answer did."""
    if phase == "body":
        return ConnectionLost("connection ended before the body was complete", url=request.url, phase="body")
    how = "reset" if is_reset else "closed"
    where = "within the header" if is_answered else "before an answer"
    return ConnectionLost(f"connection {how} by {peer(request)} {where}", url=request.url, phase=phase)


def broken(request: Request, phase: Phase, words: object) -> ProtocolBroken:
    """The answer is not HTTP or breaks its framing, or the request can't be written."""
    reason = line(words)
    known = next((text for pattern, text in _BROKEN if pattern.search(reason)), "")
    text = f"not valid HTTP: {known or reason or 'no reason given'}"
    return ProtocolBroken(text, url=request.url, phase=phase)


def _refused(request: Request, what: str, status: int) -> ConnectFailed:
    text = f"{peer(request)} refused {what}"
    if status != 407:
        return ConnectFailed(text, url=request.url)
    failure = ConnectFailed(f"{text}: it {_credentials(request)}", url=request.url)
    failure.temporary = False  # it will say so again
    return failure


def _credentials(request: Request) -> str:
    if "@" in (request.proxy or ""):
        return "did not accept the user and password of its URL"
    return "wants a user and a password in its URL"


def _tls_name(request: Request, *, at_proxy: bool) -> str:
    return peer(request) if at_proxy else request.target.hostname
