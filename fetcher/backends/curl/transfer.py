"""One easy handle and the exchange that it performs: options in, callbacks out.

A handle is set up once and used for many exchanges; between two ordinary ones only the URL changes. Its
callbacks are bound to the transfer once, so an exchange costs no closures.

Invariants: nothing raised by a body leaves a callback (it is kept in `failure`, and the transfer aborted); a
request goes out at most twice, and twice only if it is idempotent and a kept connection had ended.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

import pycurl

from fetcher.backends.curl.head import parse_head, parse_status
from fetcher.backends.curl.multi import Multi
from fetcher.errors import ConnectionLost, Phase, ProtocolBroken
from fetcher.model import Request, Response
from fetcher.policy.addresses import is_local_name, is_public
from fetcher.ports import BodyWriter

SMALL_REST: Final = 64 * 1024  # an unwanted body that is cheaper to read than a new connection
_REST_TIME_S: Final = 1.0
_MOST_INTERIM: Final = 32  # 1xx answers before the final one
_MOST_TRAILERS: Final = 256
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 §9.2.2
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
_NO_SOCKET: Final[int] = pycurl.SOCKET_BAD
_SEND: Final[int] = pycurl.PREREQFUNC_OK
_SEND_NOT: Final[int] = pycurl.PREREQFUNC_ABORT
_PAUSE: Final[int] = pycurl.WRITEFUNC_PAUSE
_ABORT: Final = 0  # from a callback that is given bytes: fewer taken than came

Options = Sequence[tuple[int, Any]]


class Setup:
    """What every handle of a backend is set to, and what it does for one scheme or a proxy."""

    __slots__ = ("always", "by_scheme", "family", "proxy")

    def __init__(
        self, *, always: Options, by_scheme: dict[str, Options], proxy: Options, family: int
    ) -> None:
        self.always = always
        self.by_scheme = by_scheme
        self.proxy = proxy
        self.family = family


class Transfer:
    """An easy handle in a pool, or under way.

    Under way, `changed` is done when the exchange has something to do: it `has_ended`, with `code` and
    `text` of libcurl, or `must_drain`.
    """

    __slots__ = (
        "_body",
        "_fields",
        "_has_target",
        "_is_dropped",
        "_is_ordinary",
        "_is_vetting",
        "_is_wanted",
        "_lines",
        "_loop",
        "_multi",
        "_rest",
        "_rest_timer",
        "_scheme",
        "_setup",
        "_twin",
        "changed",
        "code",
        "denied",
        "easy",
        "failure",
        "has_ended",
        "interim",
        "is_other_family",
        "is_paused",
        "is_spent",
        "must_drain",
        "opened",
        "os_error",
        "phase",
        "request",
        "response",
        "sent",
        "text",
        "trailers",
    )

    request: Request
    changed: asyncio.Future[None]
    _body: BodyWriter

    def __init__(self, multi: Multi, setup: Setup, *, is_vetting: bool) -> None:
        self.easy = pycurl.Curl()
        self._multi = multi
        self._loop = asyncio.get_running_loop()
        self._setup = setup
        self._is_vetting = is_vetting
        self._lines: list[bytes] = []
        self._twin: socket.socket | None = None
        self._configure()

    def _configure(self) -> None:
        """What holds for every request. Callbacks first: the handle is never without its guard."""
        set_option = self.easy.setopt
        set_option(pycurl.OPENSOCKETFUNCTION, self._on_open_socket)
        set_option(pycurl.SOCKOPTFUNCTION, self._on_socket)
        set_option(pycurl.PREREQFUNCTION, self._on_connected)
        set_option(pycurl.HEADERFUNCTION, self._on_header)
        set_option(pycurl.WRITEFUNCTION, self._on_data)
        for option, value in self._setup.always:
            set_option(option, value)
        self._scheme = ""
        self._fields: Sequence[bytes] | None = None
        self._is_ordinary = True
        self._has_target = False

    def start(self, request: Request, body: BodyWriter, fields: Sequence[bytes]) -> None:
        """Begin. `fields` are the header lines; the same object means the same lines."""
        if not self._is_ordinary:
            self.easy.reset()
            self._configure()
        self.request = request
        self._body = body
        self.phase: Phase = "connect"
        self.response: Response | None = None
        self.failure: BaseException | None = None
        self.code = self.sent = self.opened = self.interim = self.trailers = self._rest = self.os_error = 0
        self.text = ""
        self.denied: list[str] | None = None
        self.has_ended = self.must_drain = self.is_paused = self._is_dropped = False
        self.is_spent = self.is_other_family = self._is_wanted = False
        self._rest_timer: asyncio.TimerHandle | None = None
        if self._lines:
            self._lines = []
        target = request.target
        set_option = self.easy.setopt
        url = target.url
        set_option(pycurl.URL, url)
        if self._has_target or "%" in url:  # libcurl would write its hex digits in capitals
            self._set_target(request)
        if target.scheme != self._scheme:
            for option, value in self._setup.by_scheme[target.scheme]:
                set_option(option, value)
            self._scheme = target.scheme
        if fields is not self._fields:
            set_option(pycurl.HTTPHEADER, fields)
            self._fields = fields
        if request.method != "GET" or request.body is not None or request.proxy is not None:
            self._set_up_odd(request)
        self.changed = self._loop.create_future()
        self._multi.add(self)

    def _set_target(self, request: Request) -> None:
        """Say what stands in the request line; it can't be unsaid, so it is said from then on."""
        target = request.target
        url = target.url
        path_at = url.find("/", len(target.scheme) + 3)
        is_relayed = target.scheme == "http" and (request.proxy or "").startswith("http")
        path = url[path_at:] if path_at >= 0 else "/"
        self.easy.setopt(pycurl.REQUEST_TARGET, url if is_relayed else path)
        self._has_target = True

    def _set_up_odd(self, request: Request) -> None:
        """What no ordinary request has; it is forgotten by a reset."""
        self._is_ordinary = False
        set_option = self.easy.setopt
        if request.method == "HEAD":
            set_option(pycurl.NOBODY, 1)
        elif request.body is not None or request.method in _BODY_METHODS:
            set_option(pycurl.POST, 1)
            set_option(pycurl.POSTFIELDS, request.body or b"")
            set_option(pycurl.CUSTOMREQUEST, request.method)
        elif request.method != "GET":
            set_option(pycurl.CUSTOMREQUEST, request.method)
        if request.proxy is not None:
            set_option(pycurl.PROXY, request.proxy)
            if request.target.scheme == "https":
                for option, value in self._setup.proxy:
                    set_option(option, value)

    def go_on(self) -> None:
        """What `must_drain` asked for is done: take more."""
        self.must_drain = False
        self.changed = self._loop.create_future()
        if self.is_paused:
            self.is_paused = False
            try:
                self.easy.pause(pycurl.PAUSE_CONT)
            except pycurl.error as cause:  # what was held back is delivered inside, and may be refused
                if self.failure is None:
                    self.failure = ConnectionLost(
                        f"the transfer could not go on: {cause.args[-1]}", phase="body"
                    )
                self.abandon()

    def abandon(self) -> None:
        """Take the transfer out: its connection, or its stream of HTTP/2, ends."""
        self._multi.remove(self)
        self._forget()

    def end(self, code: int, text: str) -> None:
        """Libcurl says that it is over."""
        if not self._is_dropped:
            self.code = code
            self.text = text
        self._forget()

    @property
    def has_begun_head(self) -> bool:
        """Whether a part of a header came."""
        return bool(self._lines or self.interim)

    def close(self) -> None:
        """Free the handle; after its multi handle, whose connections know it."""
        self.easy.close()

    def _forget(self) -> None:
        self.has_ended = True
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        self._tell()

    def _tell(self) -> None:
        if not self.changed.done():
            self.changed.set_result(None)

    # -- callbacks of libcurl, in the order of an exchange ------------------------------------------------

    def _on_open_socket(self, _purpose: int, address: Any) -> socket.socket | int:
        """A connection is to be made to this address: the place where policy looks."""
        family, kind, protocol, where = address
        host = where[0]
        setup = self._setup
        if setup.family and family != setup.family:
            self.is_other_family = True
            return _NO_SOCKET
        if self.sent and (self.sent > 1 or self.request.method not in _IDEMPOTENT):
            self.is_spent = True  # libcurl would repeat it
            return _NO_SOCKET
        if self._is_vetting and (not is_public(host) or is_local_name(self.request.target.name)):
            if self.denied is None:
                self.denied = []
            self.denied.append(host)
            return _NO_SOCKET
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError as cause:
            self.os_error = cause.errno or 0
            return _NO_SOCKET
        self._twin = opened
        self.opened += 1
        if self.opened == 1 or self.phase != "connect":
            self.phase = "connect"
            self._body.enter("connect")
        return opened

    def _on_socket(self, descriptor: int, _purpose: int) -> int:
        if self._twin is not None:  # pycurl gave libcurl a duplicate
            self._twin.close()
            self._twin = None
        self._multi.sockets.note(descriptor, is_plain=self._scheme == "http" and self._is_ordinary)
        return 0  # CURL_SOCKOPT_OK

    def _on_connected(self, *_: object) -> int:
        """A connection is ready, new or kept: the request is about to be sent."""
        if self.sent and (self.sent > 1 or self.request.method not in _IDEMPOTENT):
            self.is_spent = True
            return _SEND_NOT
        self.sent += 1
        self.phase = "header"
        self._body.enter("header")
        return _SEND

    def _on_header(self, line: bytes) -> int | None:
        if self.response is None:
            if line[-1] != 10 and len(line) > 2:  # libcurl would call it a success, and keep the connection
                text = f"connection closed by {self.request.target.host} within the header"
                return self._fail(ConnectionLost(text, phase="header"))
            if len(line) > 2 or line[-1] != 10:  # not the empty one, or only its CR before the end
                self._lines.append(line)
                return None
        else:
            self.trailers += 1
            if self.trailers > _MOST_TRAILERS:
                return self._fail(ProtocolBroken("not valid HTTP: too many trailers", phase="body"))
            return None
        lines, self._lines = self._lines, []
        if self.phase == "connect":  # the answer of a proxy to CONNECT
            return None
        try:
            return self._on_head(lines)
        except BaseException as failure:  # noqa: BLE001  (raised again by the exchange)
            return self._fail(failure)

    def _on_head(self, lines: list[bytes]) -> int | None:
        status = parse_status(lines[0])[1] if lines else 0
        if status < 200:
            self.interim += 1
            if status == 101:
                raise ProtocolBroken("not valid HTTP: switching protocols unasked", phase="header")
            if self.interim > _MOST_INTERIM:
                raise ProtocolBroken(
                    f"not valid HTTP: more than {_MOST_INTERIM} interim answers", phase="header"
                )
            return None
        response = parse_head(lines, self.request.method)
        response.resent = self.sent - 1
        self.response = response
        self.phase = "body"
        self._is_wanted = self._body.begin(response)
        if not self._is_wanted and response.completeness != "none":
            return self._skip_rest(response.length)
        return None

    def _skip_rest(self, length: int | None) -> int | None:
        """Nobody wants this body: read a small one, for the connection's sake, but not for long."""
        if length is not None and length > SMALL_REST:
            self._is_dropped = True
            return _ABORT
        self._rest_timer = self._loop.call_later(_REST_TIME_S if length is not None else 0, self._drop)
        return None

    def _drop(self) -> None:
        self._rest_timer = None
        self._is_dropped = True
        self.abandon()

    def _on_data(self, data: bytes) -> int | None:
        if not self._is_wanted:
            self._rest += len(data)
            if self._rest > SMALL_REST:
                self._is_dropped = True
                return _ABORT
            return None
        if self.must_drain:
            self.is_paused = True
            return _PAUSE
        try:
            if self._body.feed(data):
                self.must_drain = True
                self._tell()
        except BaseException as failure:  # noqa: BLE001  (raised again by the exchange)
            return self._fail(failure)
        return None

    def _fail(self, failure: BaseException) -> int:
        self.failure = failure
        return _ABORT
