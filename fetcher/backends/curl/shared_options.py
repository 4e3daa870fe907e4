"""Options of libcurl that all handles of a backend share, and those that only some requests need."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pycurl

from fetcher.model import Request
from fetcher.policy.http import BODY_METHODS
from fetcher.ports import ConnectionOptions

_DNS_TTL_S: Final = 120
_BUFFER: Final = 512 * 1024
_VERSIONS: Final = {
    "auto": pycurl.CURL_HTTP_VERSION_2TLS,
    "1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "2": pycurl.CURL_HTTP_VERSION_2TLS,
    "3": pycurl.CURL_HTTP_VERSION_3,
}
_IP_VERSIONS: Final = {None: pycurl.IPRESOLVE_WHATEVER, 4: pycurl.IPRESOLVE_V4, 6: pycurl.IPRESOLVE_V6}
_BUNDLES: Final = (  # where OpenSSL's own place is empty
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

Options = Sequence[tuple[int, Any]]


class SharedOptions(NamedTuple):
    """Options of every handle of a backend, and those for one scheme or a proxy."""

    always: Options
    by_scheme: dict[str, Options]
    proxy: Options
    family: int

    def set_up_odd(self, easy: pycurl.Curl, request: Request) -> None:
        """Set what no ordinary request has; it is forgotten by a reset."""
        set_option = easy.setopt
        if request.method == "HEAD":
            set_option(pycurl.NOBODY, 1)
        elif request.body is not None or request.method in BODY_METHODS:
            set_option(pycurl.POST, 1)
            set_option(pycurl.POSTFIELDS, request.body or b"")
            set_option(pycurl.CUSTOMREQUEST, request.method)
        elif request.method != "GET":
            set_option(pycurl.CUSTOMREQUEST, request.method)
        if request.proxy is not None:
            set_option(pycurl.PROXY, request.proxy)
            if request.target.scheme == "https":
                for option, value in self.proxy:
                    set_option(option, value)


def shared_options(given: ConnectionOptions) -> SharedOptions:
    """Make the options of a backend."""
    timeout_s = given.connect_timeout_s
    resolve = [f"{host}:{port}:{address}" for (host, port), address in given.resolve.items()]
    return SharedOptions(
        always=[
            *_fixed(),
            (pycurl.CONNECTTIMEOUT_MS, max(1, int(timeout_s * 1000)) if timeout_s else 0),
            (pycurl.MAXAGE_CONN, max(1, int(given.keepalive_s))),
            (pycurl.IPRESOLVE, _IP_VERSIONS[given.family]),
            *_trust(given),
            *(((pycurl.RESOLVE, resolve),) if resolve else ()),
        ],
        by_scheme={
            "http": ((pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1), (pycurl.PIPEWAIT, 0)),
            "https": (
                (pycurl.HTTP_VERSION, _VERSIONS[given.http]),
                (pycurl.PIPEWAIT, int(given.http != "1.1")),  # one connection for many streams
            ),
        },
        proxy=(
            (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),
            (pycurl.PROXYHEADER, [f"User-Agent: {given.user_agent}".encode("latin-1", "replace")]),
        ),
        family=given.address_family,
    )


def _fixed() -> Options:
    """Switch off what is the engine's, or nobody's, to do."""
    return (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.HTTP_CONTENT_DECODING, 0),
        (pycurl.HTTP_TRANSFER_DECODING, 0),  # libcurl forgives what could hide a part of a body
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


def _trust(given: ConnectionOptions) -> Options:
    ca_file, client_cert = given.ca_file, given.client_cert
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
    if given.insecure:
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
