"""One easy handle and the exchange that it performs: options in, callbacks out.

A handle is set up once and used for many exchanges; between two ordinary ones only the URL changes. Its
callbacks are bound to the transfer once, so an exchange costs no closures.

Invariants: nothing raised by a body leaves a callback (it is kept in `failure`, and the transfer aborted); a
request goes out at most twice, the second time on a new connection. Twice goes only what is idempotent, if a
kept connection had ended, and what a server of HTTP/2 refused unread (RFC 9113 §8.7): the one case in which
libcurl repeats what went out on a new connection, as all that is not idempotent does.

Over 400 lines, because the callbacks of a handle share the state of its one exchange.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any, Final

import pycurl

from fetcher.backends import failure_texts
from fetcher.backends.curl.multi import Multi
from fetcher.backends.curl.shared_options import SharedOptions
from fetcher.errors import ConnectionLost, FetcherError, Phase, ProtocolBroken
from fetcher.model import Request, Response
from fetcher.policy.framing import EndedEarly, Framing, check_beginning, frame_of, framing_of, response_of
from fetcher.policy.head import Beginning, broken, may_be_status_line, parse_head, parse_status, passes_over
from fetcher.policy.http import IDEMPOTENT, MOST_FIELDS, REST_TIME_S, SMALL_REST
from fetcher.policy.ip_filter import is_local_name, is_public
from fetcher.policy.urls import path_start
from fetcher.ports import BodyWriter

_LOST: Final = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR, pycurl.E_HTTP2})
_NO_SOCKET: Final[int] = pycurl.SOCKET_BAD
_SEND: Final[int] = pycurl.PREREQFUNC_OK
_SEND_NOT: Final[int] = pycurl.PREREQFUNC_ABORT
_PAUSE: Final[int] = pycurl.WRITEFUNC_PAUSE
_EMPTY: Final = (b"\r\n", b"\n")
_UNSAID: Final = ("unexpected eof", "non-properly terminated")  # in the words of OpenSSL and GnuTLS
_STREAMS: Final = (b"HTTP/2", b"HTTP/3")
_ABORT: Final = 0  # from a callback that is given bytes: fewer taken than came


class CurlTransfer:
    """An easy handle in a pool, or under way.

    Under way, `changed` is done when the exchange has something to do: it `has_ended`, with `code` and
    `text` of libcurl, or `must_drain`.
    """

    __slots__ = (
        "_body",
        "_fields",
        "_framing",
        "_has_target",
        "_interim",
        "_is_dropped",
        "_is_ordinary",
        "_is_vetting",
        "_is_wanted",
        "_lines",
        "_loop",
        "_multi",
        "_opened_before",
        "_resent",
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
        "is_other_family",
        "is_paused",
        "is_spent",
        "meets_kept",
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

    def __init__(self, multi: Multi, setup: SharedOptions, *, is_vetting: bool) -> None:
        self.easy = pycurl.Curl()
        self._multi = multi
        self._loop = asyncio.get_running_loop()
        self._setup = setup
        self._is_vetting = is_vetting
        self._lines: list[bytes] = []
        self._twin: socket.socket | None = None
        self._configure()

    def _configure(self) -> None:
        """Set what holds for every request. Callbacks first: the handle is never without its guard."""
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

    def start(
        self,
        request: Request,
        body: BodyWriter,
        fields: Sequence[bytes],
        *,
        is_last: bool = False,
        resent: int = 0,
    ) -> None:
        """Begin. `fields` are the header lines; the same object means the same lines.

        `is_last` says that the connection is to end with it, `resent` how often it went out before.
        """
        if not self._is_ordinary:
            self.easy.reset()
            self._configure()
        self.request = request
        self._body = body
        self.phase: Phase = "connect"
        self.response: Response | None = None
        self.failure: BaseException | None = None
        self.code = self.sent = self.opened = self._interim = self.trailers = self._rest = self.os_error = 0
        self._framing: Framing | None = None
        self.text = ""
        self.denied: list[str] | None = None
        self.has_ended = self.must_drain = self.is_paused = self._is_dropped = False
        self.is_spent = self.is_other_family = self._is_wanted = self.meets_kept = False
        self._resent = resent
        self._opened_before = 0
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
            self._is_ordinary = False
            self._setup.set_up_odd(self.easy, request)
        if resent or request.method not in IDEMPOTENT:
            self._is_ordinary = False
            set_option(pycurl.FRESH_CONNECT, 1)
        if is_last or request.method not in IDEMPOTENT:
            self._is_ordinary = False
            set_option(pycurl.FORBID_REUSE, 1)
        self.changed = self._loop.create_future()
        self._multi.add(self)

    def _set_target(self, request: Request) -> None:
        """Say what stands in the request line; it can't be unsaid, so it is said from then on."""
        target = request.target
        url = target.url
        is_relayed = target.scheme == "http" and (request.proxy or "").startswith("http")
        self.easy.setopt(pycurl.REQUEST_TARGET, url if is_relayed else url[path_start(url) :] or "/")
        self._has_target = True

    def go_on(self) -> None:
        """Take more: what `must_drain` asked for is done."""
        self.must_drain = False
        self.changed = self._loop.create_future()
        if self.is_paused:
            self.is_paused = False
            try:
                self.easy.pause(pycurl.PAUSE_CONT)
            except pycurl.error as cause:  # what was held back is delivered inside, and may be refused
                if self.failure is None:
                    text = f"the transfer could not go on: {failure_texts.line(cause.args[-1])}"
                    self.failure = ConnectionLost(text, phase="body")
                self.abandon()

    def abandon(self) -> None:
        """Take the transfer out: its connection, or its stream of HTTP/2, ends."""
        self._multi.remove(self)
        self._forget()

    def end(self, code: int, text: str) -> None:
        """Take the result: libcurl says that it is over."""
        is_unwanted = self.response is not None and not self._is_wanted  # then nothing is wrong with the body
        if not self._is_dropped and not is_unwanted:
            self.code = code = self._code_of_end(code, text)
            self.text = text
            if not code and self.failure is None and self._framing is not None:
                try:
                    self._framing.end()
                except EndedEarly:
                    self.failure = ConnectionLost(
                        "connection ended before the body was complete", phase="body"
                    )
        self._forget()

    def _code_of_end(self, code: int, text: str) -> int:
        """Take the end of a body that only its connection ends for one, said in TLS or not."""
        is_endless = self.response is not None and self.response.completeness == "eof-unverified"
        is_unsaid = code == pycurl.E_RECV_ERROR and any(words in text for words in _UNSAID)
        return 0 if is_endless and is_unsaid else code

    @property
    def has_begun_head(self) -> bool:
        """True if a part of a header came."""
        return bool(self._lines or self._interim)

    @property
    def is_spoilt(self) -> bool:
        """True if it ended within a header: libcurl may go on there, and misread the next answer."""
        return self.response is None and self.has_begun_head and not self._is_stream

    @property
    def _is_stream(self) -> bool:
        """True if the header that has begun is that of a stream, of HTTP/2 or 3."""
        return self._scheme == "https" and any(line.startswith(_STREAMS) for line in self._lines[:1])

    def head_cut_short(self, rest: bytes = b"") -> FetcherError:
        """Return the error of a header that has not ended, `rest` of a line behind the others."""
        if not self._lines and not may_be_status_line(rest):
            return broken("no valid status line")
        try:
            if not self._is_stream:
                check_beginning(Beginning(_without_ends(self._lines), self._interim), self.request.method)
        except ProtocolBroken as failure:
            failure.url = self.request.url
            return failure
        return failure_texts.lost(self.request, "header", is_answered=self.has_begun_head)

    @property
    def met_dead_connection(self) -> bool:
        """True if it failed because a kept connection had ended meanwhile, and may go out again."""
        return (
            self.request.method in IDEMPOTENT
            and not self._resent
            and self.failure is None
            and self.response is None
            and not self.has_begun_head
            and (self.meets_kept or (self.code in _LOST and self.sent == 1 and not self.opened))
        )

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
        """Judge the address of a connection that is to be made, and give its socket."""
        family, kind, protocol, where = address
        host = where[0]
        setup = self._setup
        if setup.family and family != setup.family:
            self.is_other_family = True
            return _NO_SOCKET
        if self.sent and not self._may_repeat():
            self.is_spent = True
            return _NO_SOCKET
        if self._is_vetting and (not is_public(host) or is_local_name(self.request.target.hostname)):
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
            self._body.set_phase("connect")
        return opened

    def _on_socket(self, descriptor: int, _purpose: int) -> int:
        if self._twin is not None:  # pycurl gave libcurl a duplicate
            self._twin.close()
            self._twin = None
        self._multi.sockets.note(descriptor, is_plain=self._scheme == "http" and self._is_ordinary)
        return 0  # CURL_SOCKOPT_OK

    def _on_connected(self, *_: object) -> int:
        """Permit the request to be sent on a connection that is ready, new or kept, or not."""
        if self.sent:
            if not self._may_repeat():
                self.is_spent = True
                return _SEND_NOT
            if self.opened == self._opened_before:  # another kept one, maybe as dead as the first
                self.meets_kept = True
                return _SEND_NOT
        self._opened_before = self.opened
        self.sent += 1
        self.phase = "header"
        self._body.set_phase("header")
        return _SEND

    def _may_repeat(self) -> bool:
        """Tell whether libcurl may send once more on its own what went out."""
        if self.sent + self._resent > 1:
            return False
        return self.request.method in IDEMPOTENT or self._scheme == "https"  # else see the module

    def _on_header(self, line: bytes) -> int | None:
        if self.response is None:
            if line[-1:] != b"\n":  # libcurl would call it a success, and keep the connection
                return self._fail(self.head_cut_short(line))
            if line not in _EMPTY:
                self._lines.append(line)
                return None
        else:
            self.trailers += 1
            if self.trailers > MOST_FIELDS:
                return self._fail(broken("trailer too large", in_body=True))
            return None
        lines, self._lines = self._lines, []
        if self.phase == "connect":  # the answer of a proxy to CONNECT
            return None
        try:
            return self._on_head(lines, line)
        except BaseException as failure:  # noqa: BLE001  (raised again by the exchange)
            return self._fail(failure)

    def _on_head(self, wire: list[bytes], end: bytes) -> int | None:
        if not wire:
            raise broken("no valid status line")
        lines = _without_ends(wire)
        if passes_over(parse_status(lines[0])[1], self._interim):
            self._interim += 1
            parse_head(lines)
            return None
        head = parse_head(lines)._replace(wire=b"".join(wire) + end)
        if self._scheme == "http" and head.version[0] != "1":
            raise broken("another version than was spoken")
        request = self.request
        if head.status == 407 and self._scheme == "http" and (request.proxy or "").startswith("http"):
            raise failure_texts.relay_refused(request)
        frame = frame_of(head, request.method)
        response = response_of(head, frame, resent=self._resent + self.sent - 1)
        if head.version[0] == "1" and head.headers.find(b"transfer-encoding") is not None:
            self._framing = framing_of(frame)  # what libcurl makes of a coding is not what is decided here
        self.response = response
        self.phase = "body"
        self._is_wanted = self._body.begin(response)
        if not self._is_wanted and response.completeness != "none":
            return self._skip_rest(response.length)
        return None

    def _skip_rest(self, length: int | None) -> int | None:
        """Read a small body that nobody wants, for the connection's sake, but not for long."""
        if length is not None and length > SMALL_REST:
            self._is_dropped = True
            return _ABORT
        self._rest_timer = self._loop.call_later(REST_TIME_S if length is not None else 0, self._drop)
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
            if self._framing is not None:
                data = self._framing.feed(data)
            if data and self._body.feed(data):
                self.must_drain = True
                self._tell()
        except BaseException as failure:  # noqa: BLE001  (raised again by the exchange)
            return self._fail(failure)
        if self._framing is not None and self._framing.has_surplus:
            self._is_dropped = True  # the answer is whole; what follows it belongs to none
            return _ABORT
        return None

    def _fail(self, failure: BaseException) -> int:
        self.failure = failure
        return _ABORT


def _without_ends(lines: Sequence[bytes]) -> list[bytes]:
    return [line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n") for line in lines]
