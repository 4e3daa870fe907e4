"""A proxy's URL taken apart, for all backends."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from fetcher.policy.http import authority


class HttpProxy(NamedTuple):
    """An HTTP proxy without its userinfo, and the Proxy-Authorization that userinfo becomes, or ""."""

    scheme: str
    hostname: str
    port: int
    authorization: str

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{authority(self.hostname, self.port)}"


class SocksProxy(NamedTuple):
    """A SOCKS proxy; `finds_names` says that it gets the target's name, not an address of it."""

    version: int
    hostname: str
    port: int
    user: str | None
    password: str | None
    finds_names: bool


@lru_cache(maxsize=64)
def parsed_proxy(text: str) -> HttpProxy | SocksProxy:
    """Take a proxy's URL, as policy gives it, apart."""
    url = urlsplit(text)
    hostname, port = url.hostname or "", url.port or 0
    user = None if url.username is None else unquote(url.username)
    password = None if user is None else unquote(url.password or "")
    if not url.scheme.startswith("socks"):
        pair = "" if user is None else base64.b64encode(f"{user}:{password}".encode()).decode()
        return HttpProxy(url.scheme, hostname, port, pair and f"Basic {pair}")
    version = 4 if url.scheme.startswith("socks4") else 5
    return SocksProxy(version, hostname, port, user, password, url.scheme in {"socks4a", "socks5h"})
