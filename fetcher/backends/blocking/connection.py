"""Connections: urllib3's, made to addresses that were judged before, and ended from the loop's thread.

Invariants: no name is looked up here, a connection goes to the addresses that it was given; `abort` makes
whatever call the thread is blocked in return, because there is no moment at which a socket is in use and
not known to it. What is reached through which proxy, and whether private addresses were allowed, is the
`PoolKey`, and connections are shared only between requests of one key.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.util import parse_url

from fetcher.backends.proxy_url import HttpProxy, SocksProxy
from fetcher.backends.socks import open_through_blocking
from fetcher.ports import ConnectionOptions

_AT_ONCE: Final = struct.pack("ii", 1, 0)  # to linger for no time: RST instead of FIN
_OPTIONS: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]

SILENCE_S: Final = 3600
_SILENCE: Final = struct.pack("ll", SILENCE_S, 0)  # a struct timeval


class Aborted(Exception):
    """The loop does not want this exchange any more."""


class PoolKey(NamedTuple):
    """The key of the pool: requests of one key may share a connection."""

    scheme: str
    hostname: str
    port: int
    proxy: HttpProxy | SocksProxy | None
    is_vetted: bool


class Connection:
    """One connection, from before it is made until `close`.

    `connect` is the exchange's thread's; `abort` may come from the loop's at any moment; `close` only while
    no thread is busy with it. `is_reused` is true from its second exchange on. `addresses` are those of whom
    it is made to, the proxy if there is one; `behind` is the target as a SOCKS proxy is to be told of it.
    """

    def __init__(
        self,
        key: PoolKey,
        addresses: Sequence[str],
        tls: ssl.SSLContext | None,
        options: ConnectionOptions,
        behind: str,
    ) -> None:
        self.key = key
        self.is_reused = False
        self.idle_since = 0.0
        self.is_watched = False
        self.is_aborted = False
        self.sock: Any = None  # what to talk on, once connected: plain, TLS, or TLS within TLS
        self.tls_s = 0.0  # what TLS and a tunnel to it took
        self._reached_at = 0.0
        self._addresses = addresses
        self._behind = behind
        self._timeout_s = options.connect_timeout_s
        self.is_through = False  # behind the proxy, where there is a tunnel
        self._reachable: socket.socket | None = None  # what `abort` shuts down
        self._lock = threading.Lock()  # `abort` against the end of `_reachable`
        self._inner = self._made(key, tls, options.user_agent)
        self._is_tls = isinstance(self._inner, _Secure)

    def _made(self, key: PoolKey, tls: ssl.SSLContext | None, agent: str) -> _Plain | _Secure:
        proxy = key.proxy
        options: dict[str, Any] = {"timeout": self._timeout_s, "socket_options": _OPTIONS}
        if isinstance(proxy, SocksProxy):  # for all that follows, the target itself
            proxy = None
        name, port = (key.hostname, key.port) if proxy is None else (proxy.hostname, proxy.port)
        if proxy is not None:
            options["proxy"] = parse_url(proxy.url)
        if key.scheme == "http" and (proxy is None or not proxy.is_tls):
            return _Plain(self, name, port, options)
        options["ssl_context"] = tls
        if proxy is None:
            return _Secure(self, name, port, options)
        if proxy.is_tls:
            options["proxy_config"] = ProxyConfig(tls, False, None, None)
        inner = _Secure(self, name, port, options)
        if key.scheme == "https":
            fields = {"User-Agent": agent}
            if proxy.authorization:
                fields["Proxy-Authorization"] = proxy.authorization
            inner.set_tunnel(key.hostname, key.port, headers=fields, scheme=proxy.scheme)
        return inner

    def connect(self) -> None:
        """Connect, with tunnel and TLS. Raises what urllib3 and `socket` do; then close it."""
        inner = self._inner
        try:
            inner.connect()
        finally:
            with self._lock:
                if self._is_tls and self._reachable is not None:
                    self._reachable.close()  # it was a second descriptor
                sock: Any = inner.sock
                self._reachable = sock if sock is None else getattr(sock, "socket", sock)
        self.sock = inner.sock
        if self._is_tls:
            self.tls_s = time.monotonic() - self._reached_at
        self.check()
        if not self._is_tls:
            # The system's own timeouts need no call before each read and write to wait for it.
            self.sock.settimeout(None)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SILENCE)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SILENCE)
        else:
            self.sock.settimeout(SILENCE_S)

    def make_blocking(self) -> None:
        """Undo what a loop did that watched it: uvloop makes what it watches non-blocking, for good."""
        if not self._is_tls:
            self.sock.settimeout(None)

    def receive_within(self, most: int, seconds: float) -> bytes:
        """Receive as `sock.recv` does, but raise `TimeoutError` if nothing comes soon."""
        sock = self.sock
        if self._is_tls:
            sock.settimeout(seconds)
            try:
                return bytes(sock.recv(most))
            finally:
                sock.settimeout(SILENCE_S)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise TimeoutError
        return bytes(sock.recv(most))

    def check(self) -> None:
        """Raise `Aborted` if it was. A call that `abort` made return may have looked like a success."""
        if self.is_aborted:
            raise Aborted

    def abort(self) -> None:
        """Shut the connection down, so that its thread gets on. Twice does no harm."""
        with self._lock:
            self.is_aborted = True
            if self._reachable is not None:
                with contextlib.suppress(OSError):  # it is not connected, or was never
                    # Not SSLSocket's own: that would forget the TLS its thread is still in.
                    socket.socket.shutdown(self._reachable, socket.SHUT_RDWR)

    def is_quiet(self) -> bool:
        """Tell whether an idle connection is still open, and nothing has come on it."""
        return self._inner.is_connected

    def fileno(self) -> int:
        return int(self.sock.fileno())

    def close(self) -> None:
        """Close it. It is of no use any more."""
        self._inner.close()

    def reset(self) -> None:
        """Close it in the middle of an answer, with RST.

        A peer whose window is full would not see a FIN before its next probe, and keep what it has to send.
        """
        with contextlib.suppress(OSError, AttributeError):  # there was never a socket, or it is closed
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._inner.close()

    @property
    def relays(self) -> bool:
        """True if an HTTP proxy reads the requests, and may answer them itself."""
        return self.key.scheme == "http" and isinstance(self.key.proxy, HttpProxy)

    @property
    def is_at_proxy(self) -> bool:
        """True while only the proxy was reached, and not what is behind it."""
        return self.key.proxy is not None and not self.is_through

    def open_socket(self) -> socket.socket:
        """Connect a socket to the first address that will have us; each is given its share of the time."""
        proxy = self.key.proxy
        if not isinstance(proxy, SocksProxy):
            return self._reached(self._inner.port)
        sock = self._reached(proxy.port)
        try:
            open_through_blocking(sock, proxy, self._behind, self.key.port)
        except BaseException:
            self._forget(sock)
            self.check()
            raise
        self.is_through = True
        return sock

    def _reached(self, port: int) -> socket.socket:
        deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        for left in range(len(self._addresses), 0, -1):
            address = self._addresses[-left]
            share_s = None if deadline is None else max(0.001, (deadline - time.monotonic()) / left)
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            try:
                self._publish(sock)
                for option in _OPTIONS:
                    sock.setsockopt(*option)
                sock.settimeout(share_s)
                sock.connect((address, port))
                self.check()
                self._reached_at = time.monotonic()
                sock.settimeout(self._timeout_s)
            except OSError:
                self._forget(sock)
                self.check()
                if left == 1:
                    raise
            except BaseException:
                self._forget(sock)
                raise
            else:
                return sock
        raise OSError("no address")

    def _publish(self, sock: socket.socket) -> None:
        """Let `abort` reach the socket from now on. TLS takes it from whoever holds it: so, a second one."""
        reachable = socket.socket(fileno=os.dup(sock.fileno())) if self._is_tls else sock
        with self._lock:
            self._reachable = reachable
        self.check()

    def _forget(self, sock: socket.socket) -> None:
        with self._lock:
            if self._reachable is not None:
                self._reachable.close()
                self._reachable = None
        sock.close()


class _Plain(HTTPConnection):
    def __init__(self, owner: Connection, name: str, port: int, options: dict[str, Any]) -> None:
        super().__init__(name, port, **options)
        self._owner = owner

    def _new_conn(self) -> socket.socket:
        return self._owner.open_socket()


class _Secure(HTTPSConnection):
    def __init__(self, owner: Connection, name: str, port: int, options: dict[str, Any]) -> None:
        super().__init__(name, port, **options)
        self._owner = owner

    def _new_conn(self) -> socket.socket:
        return self._owner.open_socket()

    def _tunnel(self) -> None:
        super()._tunnel()
        self._owner.is_through = True
