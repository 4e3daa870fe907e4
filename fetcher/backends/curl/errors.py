"""Translation of libcurl's codes: one table.

Of libcurl's own words only those about TLS and framing are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pycurl

from fetcher.backends import failure_texts as texts
from fetcher.backends.curl.transfer import CurlTransfer
from fetcher.errors import ConfigError, FetcherError

_FRAMING: Final = ("chunk", "Too large", "header", "Nul", "hexadecimal")  # in libcurl's words, code 56

# CURLINFO_PROXY_ERROR, of which pycurl has no names: what SOCKS replied, and why the handshake ended.
_SOCKS_REPLIES: Final = {20: 1, 23: 2, 22: 3, 21: 4, 19: 5, 24: 6, 18: 7, 17: 8, 26: 0x5B, 7: 0x5C, 8: 0x5D}
_SOCKS_CLOSED: Final = frozenset({3, 13, 14, 15, 16, 28, 29, 30})
_SOCKS_UNAUTHORIZED: Final = frozenset({12, 33})
SOCKS_UNRESOLVED: Final = 27
E_PROXY: Final = 97  # CURLE_PROXY


def exchange_error(transfer: CurlTransfer) -> FetcherError:
    """Translate the failure of a transfer into an error of this package."""
    request = transfer.request
    if transfer.denied and not transfer.opened:
        return texts.denied(request.target.hostname, transfer.denied)
    if transfer.is_spent:
        return texts.lost(request, "header", is_answered=False)
    return _TABLE.get(transfer.code, _lost)(transfer)


def _is_at_proxy(transfer: CurlTransfer) -> bool:
    proxy = transfer.request.proxy or ""
    return proxy.startswith("https:") and not transfer.easy.getinfo(pycurl.HTTP_CONNECTCODE)


def _not_connected(transfer: CurlTransfer) -> FetcherError:
    request = transfer.request
    status = transfer.easy.getinfo(pycurl.HTTP_CONNECTCODE)
    if status and not 200 <= status < 300:
        return texts.tunnel_refused(request, status)
    if status:
        return texts.closed_in_handshake(request)
    number = transfer.os_error or transfer.easy.getinfo(pycurl.OS_ERRNO)
    return texts.not_connected(request, OSError(number, "")) if number else texts.closed_at_connect(request)


def _socks_failed(transfer: CurlTransfer) -> FetcherError:
    why = transfer.easy.getinfo(pycurl.PROXY_ERROR)
    if why in _SOCKS_REPLIES:
        return texts.socks_refused(transfer.request, _SOCKS_REPLIES[why])
    if why in _SOCKS_UNAUTHORIZED:
        return texts.socks_unauthorized(transfer.request)
    if why in _SOCKS_CLOSED:
        return texts.closed_at_connect(transfer.request)
    return texts.socks_broken(transfer.request)


def _timed_out(transfer: CurlTransfer) -> FetcherError:
    return texts.connect_timed_out(transfer.request)


def _bad_certificate(transfer: CurlTransfer) -> FetcherError:
    return texts.certificate_rejected(transfer.request, transfer.text, at_proxy=_is_at_proxy(transfer))


def _bad_tls(transfer: CurlTransfer) -> FetcherError:
    text = transfer.text
    if "eof" in text.lower() or "SYSCALL" in text or "reset by peer" in text:
        return texts.closed_in_handshake(transfer.request)
    words = text.rpartition("::")[2] or text
    return texts.handshake_failed(transfer.request, words, at_proxy=_is_at_proxy(transfer))


def _bad_file(transfer: CurlTransfer) -> FetcherError:
    return ConfigError(f"cannot use the files of ca_file or client_cert: {texts.line(transfer.text)}")


def _lost(transfer: CurlTransfer) -> FetcherError:
    request = transfer.request
    if transfer.phase == "connect":
        return _not_connected(transfer) if request.proxy is not None else texts.closed_at_connect(request)
    if transfer.code == pycurl.E_RECV_ERROR and any(word in transfer.text for word in _FRAMING):
        return _broken(transfer)
    is_reset = "reset by peer" in transfer.text
    if transfer.phase == "header" and not is_reset:
        return transfer.head_cut_short()
    return texts.lost(request, transfer.phase, is_answered=transfer.has_begun_head, is_reset=is_reset)


def _broken(transfer: CurlTransfer) -> FetcherError:
    if transfer.phase == "connect" and transfer.request.proxy is not None:
        return texts.tunnel_broken(transfer.request)
    return texts.broken(transfer.request, transfer.phase, transfer.text)


def _too_long(transfer: CurlTransfer) -> FetcherError:
    return texts.broken(
        transfer.request, transfer.phase, transfer.text or "header field larger than it may be"
    )


_TABLE: Final[dict[int, Callable[[CurlTransfer], FetcherError]]] = {
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
    100: _too_long,  # CURLE_TOO_LARGE: a line of the header; it says no more
    E_PROXY: _socks_failed,
}
