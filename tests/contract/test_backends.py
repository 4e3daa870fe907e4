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
from urllib.parse import urlsplit

import pytest
import trustme
from support.bodies import RecordingBody
from support.faultserver import Exchange, FaultServer, content

from fetcher.backends.aio import AioBackend
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
from fetcher.model import Request, Response, Target
from fetcher.ports import Backend

BACKENDS: dict[str, Callable[..., Backend]] = {
    "asyncio": AioBackend,
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
        made.append(BACKENDS[request.param](**options))
        return made[-1]

    yield one
    for backend in made:
        await backend.aclose()
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


@pytest.fixture
def backend(make: Make) -> Backend:
    return make()


def hop(
    url: str,
    *,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (("User-Agent", "test"),),
    body: bytes | None = None,
    allow_private: bool = True,
    proxy: str | None = None,
) -> Request:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    name = parts.hostname or ""
    target = Target(url=url, scheme=parts.scheme, name=name, port=port, host=parts.netloc)
    return Request(
        target=target, method=method, headers=headers, body=body, allow_private=allow_private, proxy=proxy
    )


async def get(backend: Backend, url: str, **options: Any) -> tuple[Response, RecordingBody]:
    body = RecordingBody()
    async with asyncio.timeout(10):
        response = await backend.exchange(hop(url, **options), body)
    assert body.response is response
    return response, body


async def fails(backend: Backend, url: str, **options: Any) -> Any:
    with pytest.raises((ExchangeError, Refused)) as caught:
        await get(backend, url, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value)
    return caught.value


async def seen(server: FaultServer, holds: Callable[[FaultServer], bool]) -> bool:
    return await asyncio.to_thread(server.wait, holds)


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
        ("/headers?n=300", ProtocolBroken, "protocol-broken", "header"),
        ("/headers?n=1&size=20000", ProtocolBroken, "protocol-broken", "header"),
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
        async with asyncio.timeout(10):
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
        follows = at >= end and stream[at:]  # in a packet of its own
        if kind != "chunked" or follows or backend.traits.sees_fragments:
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


async def test_a_repeat_that_meets_a_stale_connection_again_is_the_last(
    backend: Backend, server: FaultServer
) -> None:
    await asyncio.gather(get(backend, server.url("/stale")), get(backend, server.url("/stale")))
    assert server.connections == 2
    if backend.traits.most_exchanges == 1:  # it keeps one connection to a host, not two
        assert (await get(backend, server.url("/ok/2")))[0].resent == 1
        return
    error = await fails(backend, server.url("/ok/2"))
    assert (type(error), error.phase) == (ConnectionLost, "header")
    assert server.count("/ok/2") == 2


async def test_a_post_is_never_repeated(backend: Backend, server: FaultServer) -> None:
    await get(backend, server.url("/stale"))
    error = await fails(backend, server.url("/ok/2"), method="POST", body=b"pay")
    assert (type(error), error.phase) == (ConnectionLost, "header")
    assert server.count("/ok/2") == 1


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
        refused, _ = await get(backend, origin.url("/echo"), proxy=proxy.url(""))
        assert refused.status == 407


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


# TLS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


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


async def test_a_missing_ca_file_is_a_mistake_of_configuration(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such\.pem"):
        await make(ca_file=str(tmp_path / "no-such.pem")).exchange(
            hop("https://127.0.0.1:1/"), RecordingBody()
        )


async def test_traits_name_the_backend(backend: Backend) -> None:
    assert backend.traits.name in BACKENDS
    assert "1.1" in backend.traits.http_versions
    assert json.dumps(sorted(backend.traits.http_versions))
