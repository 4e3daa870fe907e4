"""The contract of `ports.Backend`, run over every backend against the fault server.

A new backend is one line in `BACKENDS`; what it can't do it says in its traits.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import json
import os
import pickle
import resource
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.bodies import RecordingBody, RoomyBody
from support.exchanges import fails, get, hop, seen
from support.faultserver import Exchange, FaultServer, content
from support.socks import SocksServer

from fetcher.backends.aiohttp import AiohttpBackend
from fetcher.backends.blocking import SyncBackend, ThreadsBackend
from fetcher.backends.curl import CurlBackend
from fetcher.errors import (
    BodyTooLarge,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    ExchangeError,
    NameNotResolved,
    ProtocolBroken,
    Refused,
    TimedOut,
    TlsRejected,
)
from fetcher.ports import Backend, ConnectionOptions

BACKENDS: dict[str, Callable[..., Backend]] = {
    "asyncio": AiohttpBackend,
    "curl": CurlBackend,
    "threads": ThreadsBackend,
    "sync": SyncBackend,
}

Make = Callable[..., Backend]


@pytest.fixture(params=BACKENDS)
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Backends with options; each is closed at the end, and must have left no task."""
    before = asyncio.all_tasks()
    made: list[Backend] = []

    def one(**options: Any) -> Backend:
        made.append(BACKENDS[request.param](ConnectionOptions(**options)))
        return made[-1]

    yield one
    for backend in made:
        await backend.aclose()
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


@pytest.fixture
def backend(make: Make) -> Backend:
    return make()


async def nothing_is_left(server: FaultServer) -> bool:
    return await seen(server, lambda s: s.open == 0)


# Framing.


@pytest.mark.parametrize(
    ("path", "size", "completeness", "version"),
    [
        ("/bytes/0", 0, "length", "1.1"),
        ("/bytes/1500", 1500, "length", "1.1"),
        ("/bytes/3000000", 3_000_000, "length", "1.1"),
        ("/chunked/1500?pieces=7", 1500, "chunked", "1.1"),
        ("/chunked/0", 0, "chunked", "1.1"),
        ("/chunked/3000000?pieces=40&trailer=2", 3_000_000, "chunked", "1.1"),
        ("/chunked/2000?pieces=2000", 2000, "chunked", "1.1"),
        ("/eof/1500", 1500, "eof-unverified", "1.1"),
        ("/http10/1500", 1500, "length", "1.0"),
    ],
)
async def test_wire_bytes_arrive_equal_and_the_framing_is_named(
    backend: Backend, server: FaultServer, path: str, size: int, completeness: str, version: str
) -> None:
    response, body = await get(backend, server.url(path))
    assert body.data == content(path.partition("?")[0], size)
    assert (response.status, response.completeness, response.http_version) == (200, completeness, version)
    assert response.length == (size if completeness == "length" else None)
    assert response.resent == 0


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
async def test_content_codings_are_left_on(backend: Backend, server: FaultServer, coding: str) -> None:
    response, body = await get(backend, server.url(f"/{coding}/5000"))
    assert response.headers["content-encoding"] == coding
    assert len(body.data) == response.length
    assert body.data != content(f"/{coding}/5000", 5000)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/ok/1", "HEAD", 200), ("/status/204", "GET", 204), ("/status/304", "GET", 304)],
)
async def test_an_answer_without_a_body_keeps_its_connection(
    backend: Backend, server: FaultServer, path: str, method: str, status: int
) -> None:
    for _ in range(2):
        response, body = await get(backend, server.url(path), method=method)
        assert (response.status, response.completeness, body.data) == (status, "none", b"")
    assert server.connections == 1


async def test_any_status_is_an_answer_with_its_body(backend: Backend, server: FaultServer) -> None:
    for status in (200, 206, 301, 404, 429, 500, 599, 999):
        response, body = await get(backend, server.url(f"/status/{status}"))
        assert (response.status, body.data) == (status, f"status {status}\n".encode())


async def test_redirects_and_cookies_are_not_followed(backend: Backend, server: FaultServer) -> None:
    response, _ = await get(backend, server.url("/redirect/3"))
    assert (response.status, response.headers["location"]) == (302, "/redirect/2?")
    await get(backend, server.url("/setcookie"))
    await get(backend, server.url("/ok/1"))
    assert server.log[-1].header("cookie") is None
    assert len(server.log) == 3


async def test_answer_headers_keep_order_spelling_and_duplicates(
    backend: Backend, server: FaultServer
) -> None:
    async def script(x: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nset-Cookie: a=1\r\nX-B: \xe9t\xe9\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
        await x.send(head)

    server.route("/mixed", script)
    response, _ = await get(backend, server.url("/mixed"))
    assert list(response.headers.raw) == [
        (b"set-Cookie", b"a=1"),
        (b"X-B", b"\xe9t\xe9"),
        (b"Set-Cookie", b"b=2"),
        (b"Content-Length", b"0"),
    ]


async def test_interim_answers_are_passed_over(backend: Backend, server: FaultServer) -> None:
    for path in ("/1xx?n=1", "/1xx?n=32", "/1xx?n=2&status=100"):
        response, body = await get(backend, server.url(path))
        assert (response.status, body.data) == (200, b"after all\n")


# What is sent.


@pytest.mark.parametrize(
    "target",
    [
        "/echo/%7e~%2F+/%C3%A9;v=1",
        "/echo?a=%2F&b=%7E+~&c=%20&d=&sig=a%2Bb==&x=[1]",
        "/echo?",
        "/echo//a/../b/./c",
    ],
)
async def test_the_url_reaches_the_wire_as_given(backend: Backend, server: FaultServer, target: str) -> None:
    await get(backend, server.url(target))
    assert server.log[0].target == target


async def test_headers_are_sent_as_given_and_no_others_are(backend: Backend, server: FaultServer) -> None:
    headers = (
        ("user-agent", "x/1"),
        ("X-B", "2"),
        ("Accept", "a/b"),
        ("x-b", "1"),
        ("If-None-Match", '"\xe9"'),
    )
    await get(backend, server.url("/echo"), headers=headers)
    assert server.log[0].headers == [("Host", f"127.0.0.1:{server.port}"), *headers]


async def test_a_host_header_of_the_user_is_the_only_one(backend: Backend, server: FaultServer) -> None:
    await get(backend, server.url("/echo"), headers=(("Host", "other.test"),))
    assert server.log[0].headers == [("Host", "other.test")]


async def test_a_header_with_a_line_break_never_leaves(backend: Backend, server: FaultServer) -> None:
    error = await fails(backend, server.url("/ok/1"), headers=(("X", "a\r\nEvil: 1"),))
    assert isinstance(error, ProtocolBroken)
    assert server.connections == 0


@pytest.mark.parametrize("size", [0, 3, 5_000_000])
async def test_a_request_body_is_sent_whole(backend: Backend, server: FaultServer, size: int) -> None:
    sent = content("body", size)
    await get(backend, server.url("/ok/1"), method="POST", body=sent)
    assert server.log[0].body == sent
    assert server.log[0].header("content-length") == str(size)
    assert server.log[0].header("content-type") is None


async def test_phases_are_told_and_a_kept_connection_needs_no_connecting(
    backend: Backend, server: FaultServer
) -> None:
    _, first = await get(backend, server.url("/ok/1"))
    _, second = await get(backend, server.url("/ok/2"))
    assert first.phases == ["connect", "header"]
    assert second.phases == ["header"]
    assert server.connections == 1


async def test_what_dns_and_tls_took_of_a_new_connection_is_told(
    make: Make, authority: trustme.CA, ca_file: str, server: FaultServer
) -> None:
    backend = make(ca_file=ca_file)
    _, plain = await get(backend, server.url("/ok/1"))
    assert plain.connection is not None
    assert plain.connection[1] == 0
    with tls_server(authority, "localhost") as secure:
        _, first = await get(backend, secure.url("/ok/1", host="localhost"))
        _, second = await get(backend, secure.url("/ok/2", host="localhost"))
        await backend.aclose()
    assert first.connection is not None
    name_s, tls_s = first.connection
    assert 0 <= name_s < 10
    assert 0 < tls_s < 10
    assert second.connection is None


async def test_many_exchanges_at_once_each_get_their_own_answer(
    backend: Backend, server: FaultServer
) -> None:
    async def one(number: int) -> None:
        _, body = await get(backend, server.url(f"/ok/{number}?size=2000"))
        assert body.data == content(f"/ok/{number}", 2000)

    await asyncio.gather(*(one(number) for number in range(200)))
    assert len(server.log) == 200


# Faults.


@pytest.mark.parametrize(
    ("path", "error", "slug", "phase"),
    [
        ("/close-at-once", ConnectionLost, "connection-lost", "header"),
        ("/reset", ConnectionLost, "connection-lost", "header"),
        ("/cut-head?at=1", ConnectionLost, "connection-lost", "header"),
        ("/cut-head?at=30", ConnectionLost, "connection-lost", "header"),
        ("/cut?at=0&of=100", ConnectionLost, "connection-lost", "body"),
        ("/cut?at=99&of=100", ConnectionLost, "connection-lost", "body"),
        ("/cut-chunked?at=50", ConnectionLost, "connection-lost", "body"),
        ("/reset?at=100", ConnectionLost, "connection-lost", "body"),
        ("/cl-te", ProtocolBroken, "protocol-broken", "header"),
        ("/te-gzip", ProtocolBroken, "protocol-broken", "header"),
        ("/cl-twice", ProtocolBroken, "protocol-broken", "header"),
        ("/cl-negative", ProtocolBroken, "protocol-broken", "header"),
        ("/cl-plus", ProtocolBroken, "protocol-broken", "header"),
        ("/cl-letters", ProtocolBroken, "protocol-broken", "header"),
        ("/bad-status", ProtocolBroken, "protocol-broken", "header"),
        ("/bad-header", ProtocolBroken, "protocol-broken", "header"),
        ("/noise", ProtocolBroken, "protocol-broken", "header"),
        ("/http09", ProtocolBroken, "protocol-broken", "header"),
        ("/headers?n=600", ProtocolBroken, "protocol-broken", "header"),
        ("/headers?n=1&size=110000", ProtocolBroken, "protocol-broken", "header"),
        ("/headers?n=250&size=15000", ProtocolBroken, "protocol-broken", "header"),
        ("/1xx?n=33", ProtocolBroken, "protocol-broken", "header"),
        ("/1xx?n=1000000", ProtocolBroken, "protocol-broken", "header"),
        ("/1xx?status=101", ProtocolBroken, "protocol-broken", "header"),
    ],
)
async def test_a_fault_is_named_by_what_happened_and_leaves_nothing(
    backend: Backend, server: FaultServer, path: str, error: type[ExchangeError], slug: str, phase: str
) -> None:
    caught = await fails(backend, server.url(path))
    assert (type(caught), caught.slug, caught.phase) == (error, slug, phase)
    assert caught.url == server.url(path)
    assert str(pickle.loads(pickle.dumps(caught))) == str(caught)
    assert await nothing_is_left(server)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "chunks", [b"xyz\r\nhello\r\n", b"f" * 30 + b"\r\nhello", b"5\r\nhelloworld\r\n", b"-5\r\nhello\r\n"]
)
async def test_a_broken_chunk_fails_however_the_packets_fall(
    backend: Backend, server: FaultServer, chunks: bytes, together: bool
) -> None:
    async def script(x: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        await x.send(head + chunks if together else head)
        if not together:
            await asyncio.to_thread(x.server.state["begun"].wait, 5)
            await x.send(chunks)
        await x.hang()

    server.state["begun"] = threading.Event()
    server.route("/broken", script)

    class Telling(RecordingBody):
        def feed(self, data: bytes) -> bool:
            server.state["begun"].set()
            return super().feed(data)

    with pytest.raises(ProtocolBroken):
        async with asyncio.timeout(60):
            await backend.exchange(hop(server.url("/broken")), Telling())
    assert await nothing_is_left(server)


async def test_every_cut_of_a_counted_body_shows_and_what_came_is_fed(
    backend: Backend, server: FaultServer
) -> None:
    for at in range(40):
        body = RecordingBody()
        with pytest.raises(ConnectionLost) as caught:
            await backend.exchange(hop(server.url(f"/cut?at={at}&of=40")), body)
        assert (caught.value.phase, body.data) == ("body", content("/cut", 40)[:at])
    assert (await get(backend, server.url("/cut?at=40&of=40")))[1].data == content("/cut", 40)


async def test_what_came_before_a_cut_is_fed_though_the_cut_came_first(
    backend: Backend, server: FaultServer
) -> None:
    async def script(x: Exchange) -> None:
        await x.head(200, [("Content-Length", "100")])
        await x.send(b"first")
        await fed.wait()
        await x.send(b"second")

    fed, gate = asyncio.Event(), asyncio.Event()
    server.route("/two", script)
    body = RecordingBody(gate=gate)
    running = asyncio.create_task(backend.exchange(hop(server.url("/two")), body))
    await body.fed.wait()  # and now it drains
    server._loop.call_soon_threadsafe(fed.set)
    assert await nothing_is_left(server)
    for _ in range(10):
        await asyncio.sleep(0)  # the loop sees the end that has arrived
    gate.set()
    with pytest.raises(ConnectionLost):
        await running
    assert body.data == b"firstsecond"


async def test_every_cut_of_a_chunked_body_shows(backend: Backend, server: FaultServer) -> None:
    whole = 2 + 2 + 40 + 2 + 3 + 2
    for at in range(whole):
        error = await fails(backend, server.url(f"/cut-chunked?at={at}&of=40"))
        assert (type(error), error.phase) == (ConnectionLost, "body")
    assert (await get(backend, server.url(f"/cut-chunked?at={whole}&of=40")))[1].data == content(
        "/cut-chunked", 40
    )


async def test_every_cut_of_a_header_shows(backend: Backend, server: FaultServer) -> None:
    for at in range(len(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")):
        error = await fails(backend, server.url(f"/cut-head?at={at}"))
        assert (type(error), error.phase) == (ConnectionLost, "header")


@pytest.mark.parametrize("ends", [b"A: b\r\n ", b"\0\r\n\t", b"A: b\r\nB"])
async def test_a_header_that_ends_within_a_field_spoils_no_later_answer(
    backend: Backend, server: FaultServer, ends: bytes
) -> None:
    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\n" + ends)

    server.route("/cut", script)
    for number in range(3):
        error = await fails(backend, server.url("/cut"))
        assert (type(error), error.phase) == (ConnectionLost, "header")
        response, body = await get(backend, server.url(f"/ok/{number}", host="127.0.0.2"))
        assert (response.status, body.data) == (200, content(f"/ok/{number}", len(body.data)))


async def test_a_reset_is_no_end_of_a_body_without_length(backend: Backend, server: FaultServer) -> None:
    async def script(x: Exchange) -> None:
        await x.head(200)
        await x.send(b"some")
        await seen_by_client.wait()
        x.reset()

    seen_by_client = asyncio.Event()
    server.route("/reset-eof", script)
    body = RecordingBody()
    running = asyncio.create_task(backend.exchange(hop(server.url("/reset-eof")), body))
    await body.fed.wait()
    server._loop.call_soon_threadsafe(seen_by_client.set)
    with pytest.raises(ConnectionLost):
        await running


SURPLUS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello", b"hello"),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", b""),
}


@pytest.mark.parametrize("kind", SURPLUS)
@pytest.mark.parametrize(
    "extra", [b"x", b"more than said", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"]
)
async def test_bytes_after_the_end_close_the_connection_wherever_packets_end(
    backend: Backend, server: FaultServer, kind: str, extra: bytes
) -> None:
    head, coded, data = SURPLUS[kind]
    stream = head + coded + extra
    end = len(head) + len(coded)

    async def script(x: Exchange) -> None:
        at = x.number("at", 0)
        await x.send(stream[:at])
        await asyncio.sleep(0.01)  # another packet
        await x.send(stream[at:])
        x.keep = True

    server.route("/split", script)
    for at in (0, 7, len(head), len(head) + 2, end, end + 1):
        _, body = await get(backend, server.url(f"/split?at={at}"))
        assert body.data == data
        assert await nothing_is_left(server)
        assert (await get(backend, server.url("/bytes/3")))[1].data == content("/bytes/3", 3)


async def test_a_refused_connection_is_told_with_its_address(backend: Backend) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = await fails(backend, f"http://127.0.0.1:{port}/")
    assert (type(error), error.phase) == (ConnectFailed, "connect")
    assert str(error) == f"connection refused by 127.0.0.1:{port}"


async def test_running_out_of_descriptors_is_marked(backend: Backend, server: FaultServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    gc.collect()  # descriptors of earlier tests would come free in between
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        error = await fails(backend, server.url("/ok/1"))
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(error, ConnectFailed)
    assert error.__dict__.get("exhausted") is True
    assert "too many open files" in str(error)
    assert (await get(backend, server.url("/ok/1")))[0].status == 200


# Keeping, repeating, leaving early.


async def test_a_stale_kept_connection_is_repeated_once_and_counted(
    backend: Backend, server: FaultServer
) -> None:
    first, _ = await get(backend, server.url("/stale"))
    second, body = await get(backend, server.url("/ok/2"))
    assert (first.resent, second.resent) == (0, 1)
    assert body.data == content("/ok/2", 100)
    assert server.connections == 2
    assert server.count("/ok/2") == 2


async def test_the_repeat_of_a_request_takes_a_new_connection_though_others_are_kept(
    backend: Backend, server: FaultServer
) -> None:
    await asyncio.gather(*(get(backend, server.url("/stale")) for _ in range(5)))
    kept = server.connections
    response, body = await get(backend, server.url("/ok/2"))
    assert (response.resent, body.data) == (1, content("/ok/2", 100))
    assert server.count("/ok/2") == 2
    assert server.connections == kept + 1


async def test_a_repeat_that_gets_no_answer_either_is_the_last(backend: Backend, server: FaultServer) -> None:
    await asyncio.gather(*(get(backend, server.url("/ok/1")) for _ in range(3)))
    error = await fails(backend, server.url("/close-at-once"))
    assert (type(error), error.phase) == (ConnectionLost, "header")
    assert server.count("/close-at-once") == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_request_that_may_not_be_repeated_goes_out_once_and_on_a_new_connection(
    backend: Backend, server: FaultServer, method: str
) -> None:
    await asyncio.gather(*(get(backend, server.url("/stale")) for _ in range(3)))
    kept = server.connections
    response, body = await get(backend, server.url("/ok/2"), method=method, body=b"pay")
    assert (response.resent, body.data) == (0, content("/ok/2", 100))
    assert (server.count("/ok/2"), server.connections) == (1, kept + 1)


async def test_a_request_that_may_not_be_repeated_is_not_repeated(
    backend: Backend, server: FaultServer
) -> None:
    await get(backend, server.url("/ok/1"))
    error = await fails(backend, server.url("/close-at-once"), method="POST", body=b"pay")
    assert (type(error), error.phase) == (ConnectionLost, "header")
    assert server.count("/close-at-once") == 1


async def test_posts_leave_no_connections_behind(backend: Backend, server: FaultServer) -> None:
    for _ in range(30):
        await get(backend, server.url("/ok/1"), method="POST", body=b"x")
    assert server.connections == 30
    assert await nothing_is_left(server)


async def test_a_server_that_closes_a_moment_after_each_answer_loses_no_request(
    backend: Backend, server: FaultServer
) -> None:
    async def script(x: Exchange) -> None:
        await x.head(200, [("Content-Length", "2")])
        await x.send(b"ok")
        await asyncio.sleep(0.02)  # what comes meanwhile gets no answer

    server.route("/closes", script)
    for number in range(20):
        for method in ("POST", "GET"):
            sent = b"x" if method == "POST" else None
            response, body = await get(backend, server.url("/closes"), method=method, body=sent)
            assert (response.status, body.data) == (200, b"ok")
        await asyncio.sleep(0.002 * number)  # on both sides of the moment
    assert sum(hit.method == "POST" for hit in server.log) == 20


async def test_no_request_follows_one_that_asked_for_the_end_of_its_connection(
    backend: Backend, server: FaultServer
) -> None:
    async def heedless(x: Exchange) -> None:
        await x.answer(200, body=b"still here")
        x.keep = True

    server.route("/heedless", heedless)
    for sent in (("Connection", "close"), ("connection", "foo, Close")):
        before = server.connections
        await get(backend, server.url("/ok/1"))
        await get(backend, server.url("/heedless"), headers=(sent,))
        assert await nothing_is_left(server)
        await get(backend, server.url("/ok/2"))
        assert server.connections > before
        assert server.log[-1].connection_id != server.log[-2].connection_id


async def test_a_fresh_connection_that_ends_is_not_repeated(backend: Backend, server: FaultServer) -> None:
    await fails(backend, server.url("/close-at-once"))
    assert server.count("/close-at-once") == 1


async def test_a_kept_connection_that_ends_within_the_header_is_not_repeated(
    backend: Backend, server: FaultServer
) -> None:
    await get(backend, server.url("/ok/1"))
    at = 12 if backend.traits.sees_fragments else 20
    await fails(backend, server.url(f"/cut-head?at={at}"))
    assert server.count("/cut-head") == 1


async def test_a_small_unwanted_body_keeps_the_connection_and_a_large_one_does_not(
    backend: Backend, server: FaultServer
) -> None:
    for path, connections in [("/bytes/30000", 1), ("/bytes/30000", 1), ("/bytes/9000000", 1), ("/ok/1", 2)]:
        body = RecordingBody(wanted=False)
        response = await backend.exchange(hop(server.url(path)), body)
        assert (response.status, body.data) == (200, b"")
        assert server.connections == connections


async def test_an_unwanted_body_that_never_comes_holds_nothing(backend: Backend, server: FaultServer) -> None:
    response = await backend.exchange(
        hop(server.url("/hang-body?at=10&of=1000")), RecordingBody(wanted=False)
    )
    assert response.status == 200
    assert await nothing_is_left(server)


async def test_a_body_that_refuses_more_ends_the_exchange(backend: Backend, server: FaultServer) -> None:
    body = RecordingBody(limit=100_000)
    with pytest.raises(BodyTooLarge):
        await backend.exchange(hop(server.url("/endless")), body)
    assert len(body.data) < 2_000_000
    assert await nothing_is_left(server)


@pytest.mark.parametrize(
    "path", ["/hang", "/hang-body?at=10", "/endless", "/slow?delay=30", "/drip-head?pause=1"]
)
async def test_cancelling_closes_the_connection(backend: Backend, server: FaultServer, path: str) -> None:
    task = asyncio.create_task(backend.exchange(hop(server.url(path)), RecordingBody()))
    assert await seen(server, lambda s: len(s.log) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await nothing_is_left(server)


async def test_cancelling_a_stalled_handshake_closes_the_connection(
    backend: Backend, server: FaultServer
) -> None:
    task = asyncio.create_task(backend.exchange(hop(server.url("/", scheme="https")), RecordingBody()))
    assert await seen(server, lambda s: s.connections == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await nothing_is_left(server)


async def test_a_stalled_handshake_times_out(make: Make, server: FaultServer) -> None:
    error = await fails(make(connect_timeout_s=0.2), server.url("/", scheme="https"))
    assert isinstance(error, TimedOut)
    assert error.phase in {"connect", "tls"}
    assert await nothing_is_left(server)


async def test_reading_stops_while_the_body_drains(backend: Backend, server: FaultServer) -> None:
    gate = asyncio.Event()
    body = RecordingBody(gate=gate)
    size = 60_000_000
    task = asyncio.create_task(backend.exchange(hop(server.url(f"/bytes/{size}")), body))
    await body.fed.wait()
    before = -1
    while before != (before := server.log[0].sent):
        await asyncio.sleep(0.1)  # until the server's socket takes no more
    assert before < size / 2
    assert len(body.data) < 2_000_000
    gate.set()
    await task
    assert body.data == content(f"/bytes/{size}", size)
    assert body.drains > 1


async def test_closing_ends_kept_connections_and_a_closed_backend_opens_again(
    backend: Backend, server: FaultServer
) -> None:
    await get(backend, server.url("/ok/1"))
    await backend.aclose()
    assert await nothing_is_left(server)
    await get(backend, server.url("/ok/1"))
    assert server.connections == 2


# Addresses.


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "localhost", "a.localhost", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_a_private_address_gets_no_packet(backend: Backend, server: FaultServer, host: str) -> None:
    error = await fails(backend, f"http://{host}:{server.port}/ok/1", allow_private=False)
    assert (type(error), error.slug) == (Refused, "private-address")
    assert (server.connections, server.log) == (0, [])


async def test_a_name_of_a_private_address_gets_no_packet(make: Make, server: FaultServer) -> None:
    backend = make(resolve={("site.test", server.port): "127.0.0.1"})
    error = await fails(backend, f"http://site.test:{server.port}/ok/1", allow_private=False)
    assert error.slug == "private-address"
    assert "127.0.0.1" in str(error)
    assert server.connections == 0


async def test_a_connection_made_with_permission_serves_no_request_without(
    make: Make, server: FaultServer
) -> None:
    backend = make(resolve={("site.test", server.port): "127.0.0.1"})
    url = f"http://site.test:{server.port}/ok/1"
    response, _ = await get(backend, url)
    assert response.status == 200
    assert (await fails(backend, url, allow_private=False)).slug == "private-address"
    assert len(server.log) == 1


async def test_a_given_address_is_used_with_the_name_in_the_request(make: Make, server: FaultServer) -> None:
    backend = make(resolve={("site.test", server.port): "127.0.0.3"})
    await get(backend, f"http://site.test:{server.port}/ok/1")
    assert (server.log[0].address, server.log[0].host_header) == ("127.0.0.3", f"site.test:{server.port}")


async def test_localhost_is_reached_with_permission(backend: Backend, server: FaultServer) -> None:
    response, _ = await get(backend, f"http://localhost:{server.port}/ok/1")
    assert response.status == 200


async def test_only_the_wanted_family_is_used(make: Make, server: FaultServer) -> None:
    assert (await get(make(family=4), server.url("/ok/1")))[0].status == 200
    error = await fails(make(family=6), server.url("/ok/1"))
    assert (type(error), error.temporary) == (NameNotResolved, False)
    assert str(error) == "name 127.0.0.1 has no IPv6 address"


# Proxies.


@pytest.fixture
def origin() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


async def test_a_proxy_gets_the_absolute_form_and_finds_the_name(
    backend: Backend, server: FaultServer, origin: FaultServer
) -> None:
    url = f"http://example.test:{origin.port}/ok/1?a=%2F+~%7e"
    _, body = await get(backend, url, proxy=server.url(), allow_private=False)
    assert body.data == content("/ok/1", 100)
    assert (server.log[0].method, server.log[0].target) == ("GET", url)
    assert origin.log[0].host_header == f"example.test:{origin.port}"


async def test_proxy_credentials_go_to_the_proxy_only(backend: Backend, origin: FaultServer) -> None:
    with FaultServer(proxy_auth="u s:p@ss") as proxy:
        address = f"http://u%20s:p%40ss@127.0.0.1:{proxy.port}"
        response, _ = await get(backend, origin.url("/echo"), proxy=address)
        assert response.status == 200
        assert origin.log[0].header("proxy-authorization") is None
        error = await fails(backend, origin.url("/echo"), proxy=proxy.url(""))
        assert (type(error), error.temporary) == (ConnectFailed, False)
        assert str(error) == (
            f"proxy 127.0.0.1:{proxy.port} refused the request with status 407: "
            "it wants a user and a password in its URL"
        )
        wrong = await fails(backend, origin.url("/echo"), proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert str(wrong).endswith(": it did not accept the user and password of its URL")
        assert await nothing_is_left(proxy)


async def test_a_sites_own_407_is_an_answer(backend: Backend, server: FaultServer) -> None:
    assert (await get(backend, server.url("/status/407")))[0].status == 407


async def test_a_proxy_that_is_not_there_fails_without_its_password(
    backend: Backend, origin: FaultServer
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await fails(
            backend, origin.url("/ok/1"), proxy=f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}"
        )
    assert isinstance(error, ConnectFailed)
    assert "proxy 127.0.0.1" in str(error)
    assert "secret" not in repr(error) + str(error.__cause__)
    assert origin.connections == 0


@pytest.fixture
def socks() -> Iterator[SocksServer]:
    with SocksServer() as running:
        yield running


@pytest.mark.parametrize(("scheme", "asked"), [("socks5h", (5, "site.test")), ("socks4a", (4, "site.test"))])
async def test_a_socks_proxy_that_finds_names_is_told_the_name(
    backend: Backend, server: FaultServer, socks: SocksServer, scheme: str, asked: tuple[int, str]
) -> None:
    url = f"http://site.test:{server.port}/ok/%7e1"
    for _ in range(2):
        _, body = await get(backend, url, proxy=socks.url(scheme), allow_private=False)
        assert body.data == content("/ok/%7e1", 100)
    assert socks.asked == [(*asked, server.port)]  # and the connection was kept
    assert [(hit.target, hit.host_header) for hit in server.log] == [
        ("/ok/%7e1", f"site.test:{server.port}")
    ] * 2


@pytest.mark.parametrize(("scheme", "version"), [("socks5", 5), ("socks4", 4)])
async def test_a_socks_proxy_that_finds_no_names_is_told_the_address(
    make: Make, server: FaultServer, socks: SocksServer, scheme: str, version: int
) -> None:
    backend = make(resolve={("site.test", server.port): "127.0.0.3"})
    url = f"http://site.test:{server.port}/ok/1"
    assert (await get(backend, url, proxy=socks.url(scheme)))[1].data == content("/ok/1", 100)
    assert (await get(backend, server.url("/ok/2"), proxy=socks.url(scheme)))[0].status == 200
    assert socks.asked == [(version, "127.0.0.3", server.port), (version, "127.0.0.1", server.port)]


async def test_a_socks_proxy_gets_user_and_password(backend: Backend, server: FaultServer) -> None:
    with SocksServer(user="u s", password="p@ss") as locked:
        for scheme in ("socks5", "socks5h"):
            proxy = locked.url(scheme, "u%20s:p%40ss")
            assert (await get(backend, server.url("/ok/1"), proxy=proxy))[0].status == 200
        assert set(locked.users) == {"u s"}
        await backend.aclose()
    with SocksServer() as open_to_all:
        await get(backend, server.url("/ok/1"), proxy=open_to_all.url("socks4", "me"))
        assert open_to_all.users == ["me"]
        await backend.aclose()


async def test_connections_through_a_proxy_and_without_are_never_shared(
    backend: Backend, server: FaultServer, socks: SocksServer
) -> None:
    for proxy in (None, socks.url("socks5h"), socks.url("socks4a"), None):
        await get(backend, server.url("/ok/1"), proxy=proxy)
    assert server.connections == 3
    assert len(socks.asked) == 2
    assert (await fails(backend, server.url("/ok/1"), allow_private=False)).slug == "private-address"


async def test_a_407_through_a_socks_proxy_is_the_sites(
    backend: Backend, server: FaultServer, socks: SocksServer
) -> None:
    response, _ = await get(backend, server.url("/status/407"), proxy=socks.url("socks5h"))
    assert response.status == 407


@pytest.mark.parametrize("silent", ["socks", "site"])
async def test_cancelling_ends_what_is_made_through_a_socks_proxy(
    backend: Backend, server: FaultServer, socks: SocksServer, silent: str
) -> None:
    mute = FaultServer()
    with mute:
        port, scheme = (mute.port, "http") if silent == "socks" else (socks.port, "https")
        mute_one = mute if silent == "socks" else server
        url = mute_one.url("/", scheme=scheme)
        task = asyncio.create_task(
            backend.exchange(hop(url, proxy=f"socks5h://127.0.0.1:{port}"), RecordingBody())
        )
        assert await seen(mute_one, lambda s: s.connections == 1)
        task.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await nothing_is_left(mute_one)


# TLS.


def tls_server(issuer: trustme.CA, name: str, **options: Any) -> FaultServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name, **options).configure_cert(context)
    return FaultServer(ssl=context)


async def test_a_trusted_certificate_is_accepted_and_its_connection_kept(
    make: Make, authority: trustme.CA, ca_file: str
) -> None:
    backend = make(ca_file=ca_file)
    with tls_server(authority, "127.0.0.1") as server:
        for _ in range(2):
            response, body = await get(backend, server.url("/ok/1?size=300000"))
            assert (response.completeness, body.data) == ("length", content("/ok/1", 300_000))
        assert server.connections == 1
        await backend.aclose()
        assert await nothing_is_left(server)


@pytest.mark.parametrize("fault", ["expired", "other-host", "untrusted"])
async def test_a_bad_certificate_is_rejected_before_any_request(
    make: Make, authority: trustme.CA, ca_file: str, fault: str
) -> None:
    issuer = trustme.CA() if fault == "untrusted" else authority
    name = "other.test" if fault == "other-host" else "127.0.0.1"
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    options = {"not_before": past, "not_after": past + dt.timedelta(1)} if fault == "expired" else {}
    with tls_server(issuer, name, **options) as server:
        error = await fails(make(ca_file=ca_file), server.url("/ok/1"))
        assert (type(error), error.slug, error.phase) == (TlsRejected, "tls-rejected", "tls")
        assert str(error).startswith("certificate of 127.0.0.1 not accepted: ")
        assert server.log == []
        response, _ = await get(make(insecure=True), server.url("/ok/1"))
        assert response.status == 200


class AbruptServer:
    """A server of TLS that sends one answer, and closes without saying so in TLS (no close_notify)."""

    def __init__(self, issuer: trustme.CA, answer: bytes) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert("127.0.0.1").configure_cert(self._context)
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}/"

    def serve(self, times: int) -> None:
        with self._socket:
            for _ in range(times):
                with self._context.wrap_socket(self._socket.accept()[0], server_side=True) as tls:
                    tls.recv(9999)
                    tls.sendall(self._answer)


@pytest.mark.parametrize(
    ("answer", "completeness"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "eof-unverified"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
    ],
)
async def test_tls_that_ends_without_saying_so_verifies_no_end(
    make: Make, authority: trustme.CA, ca_file: str, answer: bytes, completeness: str | None
) -> None:
    server = AbruptServer(authority, answer)
    serving = asyncio.create_task(asyncio.to_thread(server.serve, 1))
    backend = make(ca_file=ca_file)
    if completeness is None:
        assert isinstance(await fails(backend, server.url), ConnectionLost)
    else:
        response, body = await get(backend, server.url)
        assert (response.completeness, body.data) == (completeness, b"hello")
    await serving


async def test_a_chain_of_certificates_that_is_not_complete_is_rejected(
    make: Make, authority: trustme.CA, ca_file: str
) -> None:
    issued = authority.create_child_ca().issue_cert("127.0.0.1")
    for pems, error in ((issued.cert_chain_pems, None), (issued.cert_chain_pems[:1], TlsRejected)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with trustme.Blob(
            b"".join(pem.bytes() for pem in (issued.private_key_pem, *pems))
        ).tempfile() as chain:
            context.load_cert_chain(chain)
        with FaultServer(ssl=context) as server:
            backend = make(ca_file=ca_file)
            if error is None:
                assert (await get(backend, server.url("/ok/1")))[0].status == 200
            else:
                assert isinstance(await fails(backend, server.url("/ok/1")), error)
                assert server.log == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
async def test_versions_of_tls_before_1_2_are_not_spoken(
    make: Make, authority: trustme.CA, ca_file: str, version: ssl.TLSVersion
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultServer(ssl=context) as server:
        backend = make(ca_file=ca_file)
        if version is ssl.TLSVersion.TLSv1_2:
            assert (await get(backend, server.url("/ok/1")))[0].status == 200
        else:
            error = await fails(backend, server.url("/ok/1"))
            assert error.phase == "tls"
            assert server.log == []


async def test_the_systems_trust_does_not_know_a_private_authority(
    backend: Backend, authority: trustme.CA
) -> None:
    with tls_server(authority, "127.0.0.1") as server:
        assert isinstance(await fails(backend, server.url("/ok/1")), TlsRejected)


async def test_plain_http_on_a_tls_port_and_tls_on_a_plain_port_fail(
    backend: Backend, authority: trustme.CA, server: FaultServer
) -> None:
    async def plain(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with tls_server(authority, "127.0.0.1") as secure:
        error = await fails(backend, secure.url("/ok/1", scheme="http"))
        assert isinstance(error, (ConnectionLost, ProtocolBroken))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(fails(backend, f"https://127.0.0.1:{listener.getsockname()[1]}/"))
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(listener)
        await loop.sock_sendall(connection, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert isinstance(await task, TlsRejected)
        connection.close()


async def test_https_goes_through_a_tunnel_with_the_certificate_of_the_target(
    make: Make, server: FaultServer, authority: trustme.CA, ca_file: str
) -> None:
    backend = make(ca_file=ca_file, user_agent="fetcher/test")
    with tls_server(authority, "example.test") as origin:
        url = f"https://example.test:{origin.port}/ok/1"
        for _ in range(2):
            _, body = await get(backend, url, proxy=server.url(), allow_private=False)
            assert body.data == content("/ok/1", 100)
        assert [(hit.method, hit.target) for hit in server.log] == [
            ("CONNECT", f"example.test:{origin.port}")
        ]
        assert server.log[0].header("user-agent") == "fetcher/test"
        assert [hit.target for hit in origin.log] == ["/ok/1", "/ok/1"]
        assert origin.log[0].headers == [("Host", f"example.test:{origin.port}"), ("User-Agent", "test")]
        await backend.aclose()


async def test_a_tunnel_needs_the_proxys_credentials(make: Make, authority: trustme.CA, ca_file: str) -> None:
    backend = make(ca_file=ca_file)
    with FaultServer(proxy_auth="me:secret") as proxy, tls_server(authority, "example.test") as origin:
        url = f"https://example.test:{origin.port}/ok/1"
        error = await fails(backend, url, proxy=proxy.url(""))
        assert isinstance(error, ConnectFailed)
        assert "407" in str(error)
        assert origin.connections == 0
        response, _ = await get(backend, url, proxy=f"http://me:secret@127.0.0.1:{proxy.port}")
        assert response.status == 200
        assert origin.log[0].header("proxy-authorization") is None
        await backend.aclose()


async def test_https_goes_through_a_socks_proxy_with_the_certificate_of_the_target(
    make: Make, socks: SocksServer, authority: trustme.CA, ca_file: str
) -> None:
    backend = make(ca_file=ca_file)
    with tls_server(authority, "example.test") as origin:
        for scheme in ("socks5h", "socks4a"):
            url = f"https://example.test:{origin.port}/ok/1?size=300000"
            for _ in range(2):
                _, body = await get(backend, url, proxy=socks.url(scheme), allow_private=False)
                assert body.data == content("/ok/1", 300_000)
        assert [name for _, name, _ in socks.asked] == ["example.test"] * 2
        await backend.aclose()


async def test_a_missing_ca_file_is_a_mistake_of_configuration(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such\.pem"):
        await make(ca_file=str(tmp_path / "no-such.pem")).exchange(
            hop("https://127.0.0.1:1/"), RecordingBody()
        )


async def test_traits_name_the_backend(backend: Backend) -> None:
    assert backend.traits.name in BACKENDS
    assert "1.1" in backend.traits.http_versions
    assert json.dumps(sorted(backend.traits.http_versions))


# --- bodies with room of their own ----------------------------------------------------------------------


def counted(declared: int, sent: bytes) -> Callable[[Exchange], Any]:
    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % declared)
        await x.send(sent)

    return script


async def test_a_large_body_comes_whole_into_the_room_that_is_given(
    backend: Backend, server: FaultServer
) -> None:
    for _ in range(2):
        body = RoomyBody()
        await backend.exchange(hop(server.url("/bytes/3000000")), body)
        assert body.data == content("/bytes/3000000", 3_000_000)
        if backend.traits.name == "asyncio":
            assert body.received > 2_000_000
            assert body.drains >= 6
    assert server.connections == 1


async def test_a_body_with_room_that_is_cut_is_a_lost_connection(
    backend: Backend, server: FaultServer
) -> None:
    server.route("/cut", counted(2_000_000, bytes(1_500_000)))
    body = RoomyBody()
    with pytest.raises(ConnectionLost):
        await backend.exchange(hop(server.url("/cut")), body)
    assert len(body.data) == 1_500_000
    assert await nothing_is_left(server)


async def test_what_follows_a_body_with_room_is_no_part_of_it_nor_of_the_next(
    backend: Backend, server: FaultServer
) -> None:
    async def script(x: Exchange) -> None:
        await x.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1_000_000 + b"HTTP/1.1 200 OK\r\n"
        )
        await x.hang()

    server.route("/more", script)
    body = RoomyBody()
    await backend.exchange(hop(server.url("/more")), body)
    assert body.data == b"a" * 1_000_000
    after = RecordingBody()
    await backend.exchange(hop(server.url("/ok/1")), after)
    assert server.connections == 2


async def test_cancelling_a_body_with_room_closes_the_connection(
    backend: Backend, server: FaultServer
) -> None:
    async def script(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 1_000_000)
        await x.hang()

    server.route("/stuck", script)
    body = RoomyBody()
    task = asyncio.create_task(backend.exchange(hop(server.url("/stuck")), body))
    assert await seen(server, lambda _: len(body.data) > 500_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await nothing_is_left(server)
