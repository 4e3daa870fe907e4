"""SOCKS for the backends that have none of their own: python-socks's handshake on a connection that we made.

The proxy's name is found and its address connected to by the backend, with its limits and its way to cancel;
python-socks, the extra `socks`, speaks the protocol (RFC 1928, RFC 1929, SOCKS 4 and 4a) and no more.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from fetcher.backends import failure_texts as texts
from fetcher.backends.proxy_url import SocksProxy
from fetcher.errors import ConfigError, ConnectFailed
from fetcher.model import Request

if TYPE_CHECKING:
    from python_socks import ProxyError

_NO_LIMIT_S: Final = 3600.0  # python-socks has one of its own where none is given


class SocksFailed(Exception):
    """The refusal of a SOCKS proxy. `told` translates it."""

    def __init__(self, cause: ProxyError) -> None:
        super().__init__(str(cause))
        self._reply = cause.error_code

    def told(self, request: Request) -> ConnectFailed:
        """Translate it into an error of this package."""
        text = str(self)
        if self._reply:
            return texts.socks_refused(request, int(self._reply))
        if "closed" in text:
            return texts.closed_at_connect(request)
        if "uthentication" in text and not text.startswith(("Malformed", "Invalid")):
            return texts.socks_unauthorized(request)
        return texts.socks_broken(request)


async def open_through(sock: socket.socket, proxy: SocksProxy, host: str, port: int) -> None:
    """Have the proxy at the other end of the non-blocking `sock` connect it to `host`.

    Raises `SocksFailed`, `OSError`, and `ConfigError` if python-socks is not installed. Cancelling closes the
    socket.
    """
    _check_installed()
    from python_socks import ProxyError  # noqa: PLC0415
    from python_socks.async_.asyncio import Proxy  # noqa: PLC0415

    class Reached(Proxy):
        async def connect(self, *_: Any, **__: Any) -> socket.socket:
            return sock

    try:
        await Proxy(**_options(proxy), forward=Reached(**_options(proxy))).connect(host, port, _NO_LIMIT_S)
    except ProxyError as cause:
        raise SocksFailed(cause) from cause


def open_through_blocking(sock: socket.socket, proxy: SocksProxy, host: str, port: int) -> None:
    """Do the same with a blocking socket, whose timeout is for each step."""
    _check_installed()
    from python_socks import ProxyError  # noqa: PLC0415
    from python_socks.sync import Proxy  # noqa: PLC0415

    class Reached(Proxy):
        def connect(self, *_: Any, **__: Any) -> socket.socket:
            return sock

    try:
        Proxy(**_options(proxy), forward=Reached(**_options(proxy))).connect(host, port, _NO_LIMIT_S)
    except ProxyError as cause:
        raise SocksFailed(cause) from cause


def _check_installed() -> None:
    try:
        import python_socks  # noqa: F401, PLC0415
    except ModuleNotFoundError as cause:
        raise ConfigError("a SOCKS proxy needs python-socks", hint="install fetcher[socks]") from cause


def _options(proxy: SocksProxy) -> dict[str, Any]:
    from python_socks import ProxyType  # noqa: PLC0415

    return {
        "proxy_type": ProxyType.SOCKS4 if proxy.version == 4 else ProxyType.SOCKS5,
        "host": proxy.hostname,
        "port": proxy.port,
        "username": proxy.user,
        "password": proxy.password,
        "rdns": True,  # what is to be found here was found by the backend
    }
