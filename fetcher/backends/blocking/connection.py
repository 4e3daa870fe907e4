"""Connections: urllib3's, made to addresses that were judged before, and ended from the loop's thread.

Invariants: no name is looked up here, a connection goes to the addresses that it was given; `abort` makes
whatever call the thread is blocked in return, because there is no moment at which a socket is in use and
not known to it. What is reached through which proxy, and whether private addresses were allowed, is the
`Key`, and connections are shared only between requests of one key.
"""

from __future__ import annotations

import base64
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
from urllib.parse import unquote

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.util import Url, parse_url

_AT_ONCE: Final = struct.pack("ii", 1, 0)  # to linger for no time: RST instead of FIN
_OPTIONS: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]

SILENCE_S: Final = 3600
_SILENCE: Final = struct.pack("ll", SILENCE_S, 0)  # a struct timeval


class Aborted(Exception):
    """The loop does not want this exchange any more."""


class Proxy(NamedTuple):
    """A proxy without its userinfo, and the header that userinfo becomes (or nothing)."""

    url: Url
    name: str
    port: int
    authorization: str

    @property
    def is_tls(self) -> bool:
        return self.url.scheme == "https"


class Key(NamedTuple):
    """What a connection is good for."""

    scheme: str
    name: str
    port: int
    proxy: Proxy | None
    is_vetted: bool


def parsed_proxy(text: str) -> Proxy:
    """Take a proxy's URL apart."""
    url = parse_url(text)
    authorization = ""
    if url.auth is not None:
        user, _, password = url.auth.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    bare = Url(scheme=url.scheme, host=url.host, port=url.port)
    port = url.port or (443 if url.scheme == "https" else 80)
    return Proxy(bare, (url.host or "").strip("[]"), port, authorization)


class Connection:
    """One connection, from before it is made until `close`.

    `connect` is the exchange's thread's; `abort` may come from the loop's at any moment; `close` only while
    no thread is busy with it. `is_reused` is true from its second exchange on.
    """

    def __init__(
        self,
        key: Key,
        addresses: Sequence[str],
        tls: ssl.SSLContext | None,
        timeout_s: float | None,
        agent: str,
    ) -> None:
        self.key = key
        self.is_reused = False
        self.idle_since = 0.0
        self.is_watched = False
        self.is_aborted = False
        self.sock: Any = None  # what to talk on, once connected: plain, TLS, or TLS within TLS
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._reachable: socket.socket | None = None  # what `abort` shuts down
        self._lock = threading.Lock()  # `abort` against the end of `_reachable`
        self._inner = self._made(key, tls, timeout_s, agent)
        self._is_tls = isinstance(self._inner, _Secure)

    def _made(
        self, key: Key, tls: ssl.SSLContext | None, timeout_s: float | None, agent: str
    ) -> _Plain | _Secure:
        proxy = key.proxy
        name, port = (key.name, key.port) if proxy is None else (proxy.name, proxy.port)
        options: dict[str, Any] = {"timeout": timeout_s, "socket_options": _OPTIONS}
        if proxy is not None:
            options["proxy"] = proxy.url
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
            inner.set_tunnel(key.name, key.port, headers=fields, scheme=proxy.url.scheme or "http")
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
        """Like `sock.recv`, but raises `TimeoutError` if nothing comes soon."""
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
        """Whether an idle connection is still there, and nothing has come on it."""
        return self._inner.is_connected

    def fileno(self) -> int:
        return int(self.sock.fileno())

    def close(self) -> None:
        """Close it. It is of no use any more."""
        self._inner.close()

    def drop(self) -> None:
        """Close it in the middle of an answer, with RST.

        A peer whose window is full would not see a FIN before its next probe, and keep what it has to send.
        """
        with contextlib.suppress(OSError, AttributeError):  # there was never a socket, or it is closed
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._inner.close()

    def reach(self) -> socket.socket:
        """A socket connected to the first address that will have us; each is given its share of the time."""
        deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        port = self._inner.port
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
        return self._owner.reach()


class _Secure(HTTPSConnection):
    def __init__(self, owner: Connection, name: str, port: int, options: dict[str, Any]) -> None:
        super().__init__(name, port, **options)
        self._owner = owner

    def _new_conn(self) -> socket.socket:
        return self._owner.reach()
