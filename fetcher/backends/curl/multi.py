"""libcurl's multi interface, driven by the event loop through `socket_action`.

Where there is epoll, all sockets of libcurl are in one epoll object that the loop watches as one
descriptor: a reader and a writer for each socket would cost 6 µs more per exchange. Elsewhere each socket has
its own.

Invariants:

- A socket that libcurl lets go stays in the epoll object, because it is usually wanted again at once. Its
  descriptor may be closed and given out anew meanwhile, so what the kernel knows is never assumed: a change
  that finds nothing becomes a registration.
- An event on a socket that nobody waits for can't be an answer. The socket leaves the epoll object, and if
  it is idle its connection is shut down, so that no later request gets an answer to none.
- Callbacks of libcurl never call back into it; what follows from them is done when they have returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

import pycurl

_IN: Final = pycurl.CSELECT_IN
_OUT: Final = pycurl.CSELECT_OUT
_MOST_EVENTS: Final = 256  # between two turns of the loop


class TransferPort(Protocol):
    """A transfer as `Multi` sees it."""

    easy: Any
    is_paused: bool

    def end(self, code: int, text: str) -> None:
        """It is over, and out of the multi handle."""


class Multi:
    """One multi handle: a pool of connections and the transfers on them, in the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._multi = pycurl.CurlMulti()
        self._tenants: dict[Any, TransferPort] = {}
        self._is_woken = False
        self._deadline: float | None = None  # libcurl's, of the loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.sockets = Sockets(self)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self.sockets.on_change)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self.act: Callable[[int, int], object] = self._multi.socket_action

    def limit(self, most: int) -> None:
        """Keep no more than `most` connections: beyond, an idle one is closed as an exchange ends."""
        self._multi.setopt(pycurl.M_MAXCONNECTS, most)

    def add(self, tenant: TransferPort) -> None:
        """Start a transfer; it begins with the loop's next turn, together with others."""
        self._tenants[tenant.easy] = tenant
        self._multi.add_handle(tenant.easy)

    def remove(self, tenant: TransferPort) -> None:
        """Take a transfer out, if it is in; under way, its connection or stream is closed."""
        if self._tenants.pop(tenant.easy, None) is not None:
            self._multi.remove_handle(tenant.easy)

    def close(self) -> None:
        """Close every connection. No transfer may be under way."""
        if self._timer is not None:
            self._timer.cancel()
        self._deadline = None
        self._is_woken = True  # libcurl's last words are not listened to
        self._tenants.clear()
        self.sockets.close()
        self._multi.close()

    def reap(self) -> None:
        """Take out what has ended."""
        _, done, failed = self._multi.info_read()
        tenants, remove = self._tenants, self._multi.remove_handle
        for easy in done:
            tenant = tenants.pop(easy, None)
            if tenant is not None:
                remove(easy)
                tenant.end(0, "")
        for easy, code, text in failed:
            tenant = tenants.pop(easy, None)
            if tenant is not None:
                remove(easy)
                tenant.end(code, text)

    def is_paused_at(self, descriptor: int) -> bool:
        """Tell whether a paused transfer owns this socket."""
        return any(
            tenant.is_paused and tenant.easy.getinfo(pycurl.ACTIVESOCKET) == descriptor
            for tenant in self._tenants.values()
        )

    def _on_timer(self, timeout_ms: int) -> None:
        if timeout_ms == 0:
            if not self._is_woken:
                self._is_woken = True
                self._loop.call_soon(self._wake)
        elif timeout_ms < 0:
            self._deadline = None
        else:
            # Libcurl moves its deadline with nearly every transfer, and a timer costs 2 µs: one that
            # is due earlier is left to see, when it fires, that it was too early.
            self._deadline = deadline = self._loop.time() + timeout_ms / 1000
            if self._timer is None:
                self._set_timer(deadline)
            elif deadline < self._timer_at:
                self._timer.cancel()
                self._set_timer(deadline)

    def _set_timer(self, deadline: float) -> None:
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        deadline = self._deadline
        if deadline is None:
            return
        if deadline > self._timer_at:
            self._set_timer(deadline)
            return
        self._deadline = None
        self._wake()

    def _wake(self) -> None:
        if self._multi.closed:
            return
        self._is_woken = False
        self.act(pycurl.SOCKET_TIMEOUT, 0)
        self.reap()


class LoopSockets:
    """The sockets of a multi handle, each watched by the loop itself: where there is no epoll."""

    def __init__(self, multi: Multi) -> None:
        self._multi = multi
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[int, int] = {}
        self._is_closed = False

    def on_change(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        """Note what libcurl waits for at a socket from now on."""
        if self._is_closed:
            return
        before = self._wanted.pop(descriptor, 0)
        wanted = 0 if what == pycurl.POLL_REMOVE else what
        if wanted:
            self._wanted[descriptor] = wanted
        for bit, add, remove in (
            (_IN, self._loop.add_reader, self._loop.remove_reader),
            (_OUT, self._loop.add_writer, self._loop.remove_writer),
        ):
            if wanted & bit and not before & bit:
                add(descriptor, self._on_ready, descriptor, bit)
            elif before & bit and not wanted & bit:
                remove(descriptor)

    def note(self, descriptor: int, *, is_plain: bool) -> None:
        """A socket is about to be connected."""

    def close(self) -> None:
        for descriptor in list(self._wanted):
            self.on_change(pycurl.POLL_REMOVE, descriptor, None, None)
        self._is_closed = True

    def _on_ready(self, descriptor: int, bits: int) -> None:
        self._multi.act(descriptor, bits)
        self._multi.reap()


if hasattr(select, "epoll"):
    _POLLED: Final = {
        pycurl.POLL_NONE: 0,
        pycurl.POLL_IN: select.EPOLLIN,
        pycurl.POLL_OUT: select.EPOLLOUT,
        pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
    }
    _ACTION: Final = {
        events: (_IN if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) else 0)
        | (_OUT if events & select.EPOLLOUT else 0)
        | (pycurl.CSELECT_ERR if events & (select.EPOLLHUP | select.EPOLLERR) else 0)
        for events in range(32)
    }

    class EpollSockets:
        """The sockets of a multi handle, all in one epoll object."""

        def __init__(self, multi: Multi) -> None:
            self._multi = multi
            self._loop = asyncio.get_running_loop()
            self._epoll = select.epoll()
            self._wanted: dict[int, int] = {}  # 0: libcurl let it go
            self._plain: set[int] = set()
            self._loop.add_reader(self._epoll.fileno(), self._on_ready)

        def on_change(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
            """Note what libcurl waits for at a socket from now on."""
            if what == pycurl.POLL_REMOVE:
                self._wanted[descriptor] = 0
                return
            if self._epoll.closed:  # libcurl says good-bye on connections with TLS
                return
            wanted = _POLLED[what]
            try:
                if descriptor in self._wanted:
                    self._epoll.modify(descriptor, wanted)
                else:
                    self._epoll.register(descriptor, wanted)
            except FileNotFoundError:
                self._epoll.register(descriptor, wanted)
            except FileExistsError:
                self._epoll.modify(descriptor, wanted)
            self._wanted[descriptor] = wanted

        def note(self, descriptor: int, *, is_plain: bool) -> None:
            """A socket is about to be connected; `is_plain` says that there will be no TLS on it."""
            if is_plain:
                self._plain.add(descriptor)
            else:
                self._plain.discard(descriptor)

        def close(self) -> None:
            if not self._epoll.closed:
                self._loop.remove_reader(self._epoll.fileno())
                self._epoll.close()
            self._wanted.clear()

        def _on_ready(self) -> None:
            wanted, act = self._wanted, self._multi.act
            for descriptor, events in self._epoll.poll(0, _MOST_EVENTS):
                if wanted.get(descriptor):
                    act(descriptor, _ACTION[events & 31])
                else:
                    self._let_go(descriptor)
            self._multi.reap()

        def _let_go(self, descriptor: int) -> None:
            """Something happened at a socket that nobody waits for."""
            with contextlib.suppress(OSError):
                if self._multi.is_paused_at(descriptor) or _is_over(
                    descriptor, is_plain=descriptor in self._plain
                ):
                    del self._wanted[descriptor]
                    self._epoll.unregister(descriptor)
                else:  # it could be written to
                    self._epoll.modify(descriptor, select.EPOLLIN)

    Sockets: Callable[[Multi], Any] = EpollSockets
else:  # pragma: no cover
    Sockets = LoopSockets


def _is_over(descriptor: int, *, is_plain: bool) -> bool:
    """Tell whether an idle connection has something to read: its end, or what nobody asked for.

    Then the connection is ended here, and libcurl finds it dead. But what came on a TLS connection may be a
    ticket or a frame of HTTP/2, which libcurl deals with in its time.
    """
    with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as twin:
        try:
            seen = twin.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        if is_plain or not seen:
            with contextlib.suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)
        return True
