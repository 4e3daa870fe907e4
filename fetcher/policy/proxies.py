"""Choice of the proxy for a target, the same for every backend.

The rules are curl's; the environment is read by whoever composes the run, and passed in. Invariant: a
proxy that comes out of here has a scheme that was allowed, a host and a port, so that backends, which
have different defaults for the port, all reach the same one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import quote

from fetcher.errors import ConfigError
from fetcher.model import Target
from fetcher.policy.http import DEFAULT_PORTS

SCHEMES = frozenset({"http", "https"})
SOCKS_SCHEMES = frozenset(
    {"socks4", "socks4a", "socks5", "socks5h"}
)  # with a or h, the proxy finds the names

_OTHER_PORT = 1080  # curl's, for http too
_MOST_CACHED = 4096
_HINT = "write http://host:port, and percent-encode special characters of a password"
_PROXY = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:(?P<userinfo>[^\s\x00-\x20\x7f/?#\\]*)@)?"  # up to the last @
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
_PLAIN = "%:!$&'()*+,;=~"  # in userinfo, beside letters and digits (RFC 3986 §3.2.1)
_WITH_PORT = re.compile(r"(?P<name>\[[^\]]*\]|[^:]+):(?P<port>[0-9]{1,5})")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NoProxy:
    """The hosts that are reached directly: names with their subdomains, addresses, networks, or `*`.

    Written as in `no_proxy`, with commas or spaces between; `name:port` is for that port only.
    """

    __slots__ = ("_is_all", "_names", "_networks")

    def __init__(self, text: str = "") -> None:
        self._is_all = False
        self._names: dict[str, set[int | None]] = {}
        self._networks: list[tuple[_Network, int | None]] = []
        for entry in text.replace(",", " ").split():
            self._add(entry.lower())

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._is_all = True
            return
        port: int | None = None
        found = _WITH_PORT.fullmatch(entry)
        if found:
            entry, port = found["name"], int(found["port"])
        network = _network(entry)
        if network is not None:
            self._networks.append((network, port))
        else:
            name = entry.removeprefix("*").strip(".")
            self._names.setdefault(name, set()).add(port)

    def covers(self, target: Target) -> bool:
        """Return True if `target` is reached directly."""
        if self._is_all:
            return True
        address = _address(target.hostname)
        if address is not None:
            return any(address in network and port in {None, target.port} for network, port in self._networks)
        return any(
            None in ports or target.port in ports
            for ports in map(self._names.get, _suffixes(target.hostname.rstrip(".")))
            if ports
        )


class ProxyRules:
    """The proxies of a run. Without any, `proxy_for` answers None at once."""

    __slots__ = ("_direct", "_for_scheme", "_known")

    def __init__(
        self, *, http: str | None = None, https: str | None = None, no_proxy: NoProxy | None = None
    ) -> None:
        self._for_scheme = {
            scheme: proxy for scheme, proxy in (("http", http), ("https", https)) if proxy is not None
        }
        self._direct = no_proxy or NoProxy()
        self._known: dict[tuple[str, str], str | None] = {}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, schemes: Collection[str] = SCHEMES) -> ProxyRules:
        """Return the rules of `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.

        Either case will do, the lower one first; an empty variable is none. `HTTP_PROXY` is ignored in
        a CGI program, where it is a header of the client (CVE-2016-5385).
        """
        # `all_proxy` is judged only where it is used: many desktops set it to a socks proxy as well.
        return cls(
            http=_variable(environ, "http_proxy", schemes) or _variable(environ, "all_proxy", schemes),
            https=_variable(environ, "https_proxy", schemes) or _variable(environ, "all_proxy", schemes),
            no_proxy=NoProxy(environ.get("no_proxy") or environ.get("NO_PROXY") or ""),
        )

    @classmethod
    def explicit(cls, proxy: str, *, no_proxy: str = "", schemes: Collection[str] = SCHEMES) -> ProxyRules:
        """Return one proxy for every scheme, as `--proxy` gives it."""
        url = parse_proxy(proxy, "--proxy", schemes=schemes)
        return cls(http=url, https=url, no_proxy=NoProxy(no_proxy))

    @property
    def is_empty(self) -> bool:
        return not self._for_scheme

    def proxy_for(self, target: Target) -> str | None:
        """Return the URL of the proxy for `target`, or None if it is reached directly."""
        if not self._for_scheme:
            return None
        key = (target.scheme, target.host)
        if key in self._known:
            return self._known[key]
        proxy = self._for_scheme.get(target.scheme)
        if proxy is not None and self._direct.covers(target):
            proxy = None
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        self._known[key] = proxy
        return proxy


def parse_proxy(text: str, source: str, *, schemes: Collection[str] = SCHEMES) -> str:
    """Return a proxy's URL as `scheme://[userinfo@]host:port`; http and curl's port unless it says otherwise.

    Raises `ConfigError`, which never shows the URL: it may hold a password.
    """
    found = _PROXY.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{source}: not the URL of a proxy", hint=_HINT)
    scheme = (found["scheme"] or "http").lower()
    if scheme not in schemes:
        raise ConfigError(
            f"{source}: a proxy of the kind {scheme[:20]}:// is not supported here",
            hint=("install fetcher[socks], or choose the curl backend" if scheme in SOCKS_SCHEMES else _HINT),
        )
    usual = DEFAULT_PORTS["https"] if scheme == "https" else _OTHER_PORT
    port = int(found["port"]) if found["port"] else usual
    if not 1 <= port <= 65535:
        raise ConfigError(f"{source}: {port} is not a port", hint=_HINT)
    host = found["host"].lower()
    if host.startswith("[") and _address(host[1:-1]) is None:
        raise ConfigError(f"{source}: not an IPv6 address between the brackets")
    userinfo = f"{quote(found['userinfo'], safe=_PLAIN)}@" if found["userinfo"] else ""
    return f"{scheme}://{userinfo}{host}:{port}"


def _variable(environ: Mapping[str, str], name: str, schemes: Collection[str]) -> str | None:
    spellings = [name, name.upper()]
    if name == "http_proxy" and "REQUEST_METHOD" in environ:
        spellings.pop()
    for spelling in spellings:
        if text := environ.get(spelling, "").strip():
            return parse_proxy(text, spelling, schemes=schemes)
    return None


def _suffixes(name: str) -> list[str]:
    """Return the name itself and each domain above it."""
    labels = name.split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


def _address(name: str) -> _Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _network(entry: str) -> _Network | None:
    """Return an address or a network, with or without brackets around an IPv6 address."""
    try:
        return ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None
