"""What only the curl backend does: HTTP/2, HTTP/3, and what its handles must not remember."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import pycurl
import pytest
import trustme
from support.bodies import RecordingBody
from support.exchanges import get, hop, seen
from support.faultserver import FaultServer, content
from support.http23 import Http23Server

from fetcher import wiring
from fetcher.backends.curl import CurlBackend, multi, transfer
from fetcher.errors import ConfigError, ConnectFailed, ConnectionLost, ExchangeError, NameNotResolved, Refused
from fetcher.policy.ip_filter import is_public
from fetcher.ports import ConnectionOptions
from fetcher.settings import Settings

Make = Callable[..., CurlBackend]
HEADERS = (("User-Agent", "test"),)


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Backends with options; each is closed at the end, and must have left no task."""
    before = asyncio.all_tasks()
    made: list[CurlBackend] = []

    def one(**options: Any) -> CurlBackend:
        made.append(CurlBackend(ConnectionOptions(**options)))
        return made[-1]

    yield one
    for backend in made:
        await backend.aclose()
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


@pytest.fixture
def http2(authority: trustme.CA, tmp_path: Path) -> Iterator[Http23Server]:
    with Http23Server(authority.issue_cert("127.0.0.1"), tmp_path) as running:
        yield running


@pytest.fixture
def http3(authority: trustme.CA, tmp_path: Path) -> Iterator[Http23Server]:
    with Http23Server(authority.issue_cert("127.0.0.1"), tmp_path, quic=True) as running:
        yield running


# Versions.


@pytest.mark.parametrize(("asked", "spoken"), [("auto", "2"), ("2", "2"), ("1.1", "1.1"), ("3", "3")])
async def test_https_is_spoken_in_the_version_that_was_asked_for(
    http3: Http23Server, make: Make, ca_file: str, asked: str, spoken: str
) -> None:
    backend = make(http=asked, ca_file=ca_file)
    response, body = await get(backend, http3.url("/bytes/100000"))
    assert (response.http_version, http3.log[0].version) == (spoken, spoken)
    assert (response.completeness, response.length) == ("length", 100_000)
    assert body.data == content("/bytes/100000", 100_000)
    assert body.phases == ["connect", "header"]


async def test_http3_falls_back_where_it_is_not_offered(
    http2: Http23Server, make: Make, ca_file: str
) -> None:
    response, body = await get(make(http="3", ca_file=ca_file), http2.url("/bytes/10"))
    assert (response.http_version, len(body.data)) == ("2", 10)


async def test_http2_falls_back_where_it_is_not_offered(
    make: Make, authority: trustme.CA, tmp_path: Path, ca_file: str
) -> None:
    with Http23Server(authority.issue_cert("127.0.0.1"), tmp_path, h2=False) as server:
        backend = make(http="2", ca_file=ca_file)
        response, _ = await get(backend, server.url("/bytes/10"))
        assert response.http_version == "1.1"
        await backend.aclose()


@pytest.mark.parametrize("asked", ["auto", "2", "3"])
async def test_plain_http_stays_what_it_is_and_asks_for_no_upgrade(
    make: Make, server: FaultServer, asked: str
) -> None:
    response, _ = await get(make(http=asked), server.url("/ok/1"))
    assert response.http_version == "1.1"
    assert server.log[0].headers == [("Host", f"127.0.0.1:{server.port}"), *HEADERS]


@pytest.mark.parametrize("version", ["2", "3"])
async def test_the_end_of_a_stream_shows_as_that_of_chunks_does(
    http3: Http23Server, make: Make, ca_file: str, version: str
) -> None:
    response, body = await get(make(http=version, ca_file=ca_file), http3.url("/stream/70000"))
    assert (response.completeness, response.length) == ("chunked", None)
    assert body.data == content("/stream/70000", 70_000)
    assert response.headers.get_all("x-a") == ["1", "2"]


async def test_a_stream_that_is_reset_is_lost(http2: Http23Server, make: Make, ca_file: str) -> None:
    with pytest.raises(ConnectionLost) as caught:
        await get(make(ca_file=ca_file), http2.url("/cut/2000"))
    assert caught.value.phase == "body"


@pytest.mark.parametrize("version", ["2", "3"])
async def test_many_exchanges_share_one_connection(
    http3: Http23Server, make: Make, ca_file: str, version: str
) -> None:
    backend = make(http=version, ca_file=ca_file)

    async def one(number: int) -> list[str]:
        _, body = await get(backend, http3.url(f"/bytes/{1000 + number}"))
        assert body.data == content(f"/bytes/{1000 + number}", 1000 + number)
        return body.phases

    phases = await asyncio.gather(*(one(number) for number in range(40)))
    assert len({hit.peer for hit in http3.log}) == 1
    assert [each[-1] for each in phases] == ["header"] * 40


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("path", ["/hang", "/hang-body"])
async def test_cancelling_ends_its_stream_and_leaves_the_others(
    http3: Http23Server, make: Make, ca_file: str, version: str, path: str
) -> None:
    backend = make(http=version, ca_file=ca_file)
    await get(backend, http3.url("/bytes/1"))
    task = asyncio.create_task(backend.exchange(hop(http3.url(path)), RecordingBody()))
    assert await seen(http3, lambda s: s.active == 1)
    await get(backend, http3.url("/bytes/2"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if version == "2":  # the server does not heed the end of a stream of HTTP/3
        assert await seen(http3, lambda s: s.active == 0)
    assert (await get(backend, http3.url("/bytes/3")))[1].phases == ["header"]
    assert len({hit.peer for hit in http3.log}) == 1


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_stream_that_drains_does_not_hold_the_others(
    http3: Http23Server, make: Make, ca_file: str, version: str
) -> None:
    backend = make(http=version, ca_file=ca_file)
    gate = asyncio.Event()
    held = RecordingBody(gate=gate)
    size = 30_000_000
    task = asyncio.create_task(backend.exchange(hop(http3.url(f"/bytes/{size}")), held))
    await held.fed.wait()
    for number in range(20):
        assert len((await get(backend, http3.url(f"/bytes/{number}")))[1].data) == number
    assert len(held.data) < 2_000_000
    gate.set()
    async with asyncio.timeout(20):
        await task
    assert held.data == content(f"/bytes/{size}", size)


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_private_address_gets_no_packet_in_any_version(
    http3: Http23Server, make: Make, ca_file: str, version: str
) -> None:
    backend = make(http=version, ca_file=ca_file)
    await get(backend, http3.url("/bytes/1"))
    with pytest.raises(Refused) as caught:
        await get(backend, http3.url("/bytes/2"), allow_private=False)
    assert caught.value.slug == "private-address"
    assert len(http3.log) == 1


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_post_is_sent_whole_in_any_version(
    http3: Http23Server, make: Make, ca_file: str, version: str
) -> None:
    sent = content("post", 300_000)
    await get(make(http=version, ca_file=ca_file), http3.url("/bytes/1"), method="POST", body=sent)
    assert http3.log[0].body == sent
    names = [name for name, _ in http3.log[0].headers]
    assert not {b"content-type", b"expect", b"accept"} & set(names)


@contextlib.contextmanager
def refusing_http2(authority: trustme.CA, refused: int, code: h2.errors.ErrorCodes) -> Iterator[Any]:
    """A server of HTTP/2 that resets its first `refused` requests with `code` and answers all others.

    Yields its URL and a list of the bodies and connections that came.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    came: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(number: int, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
            speech = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            speech.initiate_connection()
            secure.sendall(speech.data_to_send())
            while data := secure.recv(65536):
                for event in speech.receive_data(data):
                    if not isinstance(event, h2.events.StreamEnded):
                        continue
                    came.append(number)
                    if len(came) <= refused:
                        speech.reset_stream(event.stream_id, code)
                        continue
                    speech.send_headers(event.stream_id, [(":status", "200"), ("content-length", "2")])
                    speech.send_data(event.stream_id, b"ok", end_stream=True)
                secure.sendall(speech.data_to_send())

    def run() -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count():
                threading.Thread(target=serve, args=(number, listener.accept()[0]), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/", came
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


async def test_a_post_that_a_server_of_http2_refused_unread_goes_out_once_more(
    make: Make, authority: trustme.CA, ca_file: str
) -> None:
    refused = h2.errors.ErrorCodes.REFUSED_STREAM
    with refusing_http2(authority, 1, refused) as (url, came):
        backend = make(ca_file=ca_file)
        response, body = await get(backend, url, method="POST", body=b"pay")
        assert (response.status, response.resent, body.data) == (200, 1, b"ok")
        assert len(came) == 2
        await backend.aclose()
    with refusing_http2(authority, 9, refused) as (url, came):
        backend = make(ca_file=ca_file)
        with pytest.raises(ExchangeError):
            await get(backend, url, method="POST", body=b"pay")
        assert len(came) == 2
        await backend.aclose()


async def test_a_post_that_a_server_of_http2_may_have_read_goes_out_once(
    make: Make, authority: trustme.CA, ca_file: str
) -> None:
    with refusing_http2(authority, 1, h2.errors.ErrorCodes.INTERNAL_ERROR) as (url, came):
        backend = make(ca_file=ca_file)
        with pytest.raises(ExchangeError):
            await get(backend, url, method="POST", body=b"pay")
        assert len(came) == 1
        await backend.aclose()


async def test_posts_over_http2_have_connections_of_their_own(
    make: Make, authority: trustme.CA, ca_file: str
) -> None:
    with refusing_http2(authority, 0, h2.errors.ErrorCodes.NO_ERROR) as (url, came):
        backend = make(ca_file=ca_file)
        for method in ("GET", "POST", "GET", "PATCH", "GET"):
            await get(backend, url, method=method, body=None if method == "GET" else b"x")
        assert came == [0, 1, 0, 2, 0]
        await backend.aclose()


# Handles that are used again.


async def test_a_handle_remembers_nothing_of_an_odd_request(make: Make, server: FaultServer) -> None:
    backend = make()
    await get(backend, server.url("/echo"), method="POST", body=b"x", headers=(("X-A", "1"),))
    await get(backend, server.url("/echo?%7e"), method="HEAD")
    with FaultServer() as proxy:
        await get(backend, server.url("/echo"), proxy=proxy.url(""))
    for path in ("/echo?a", "/echo?%7e", "/echo?b"):
        _, body = await get(backend, server.url(path))
        hit = server.log[-1]
        assert (hit.method, hit.target, hit.body) == ("GET", path, b"")
        assert hit.headers == [("Host", f"127.0.0.1:{server.port}"), *HEADERS]
        assert body.data


async def test_a_header_without_a_value_is_sent(make: Make, server: FaultServer) -> None:
    await get(make(), server.url("/echo"), headers=(("X-Empty", ""), ("Accept", "")))
    assert server.log[0].headers[1:] == [("X-Empty", ""), ("Accept", "")]


async def test_no_expectation_is_sent_with_a_large_body(make: Make, server: FaultServer) -> None:
    await get(make(), server.url("/ok/1"), method="PUT", body=bytes(3_000_000))
    assert [name for name, _ in server.log[0].headers] == ["Host", "User-Agent", "Content-Length"]


async def test_proxies_of_the_environment_and_netrc_are_not_read(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    await get(make(), server.url("/ok/1"))
    assert server.log[0].header("authorization") is None


async def test_the_exception_for_a_proxy_of_the_environment_is_not_read(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with FaultServer() as proxy:
        await get(make(), server.url("/ok/1"), proxy=proxy.url(""))
        assert len(proxy.log) == 1


# Addresses and proxies.


async def test_private_answers_of_a_name_are_dropped_and_public_ones_used(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "is_public", lambda host: host == "127.0.0.3" or is_public(host))
    backend = make(resolve={("mixed.test", server.port): "127.0.0.2,127.0.0.3,127.0.0.4"})
    response, _ = await get(backend, f"http://mixed.test:{server.port}/ok/1", allow_private=False)
    assert response.status == 200
    assert (server.log[0].address, server.connections) == ("127.0.0.3", 1)


async def test_a_name_that_is_rebound_is_judged_at_its_next_connection(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "is_public", lambda host: host == "127.0.0.3" or is_public(host))
    name = f"rebound.test:{server.port}"
    backend = make(resolve={("rebound.test", server.port): "127.0.0.3"})
    alone = (("Connection", "close"),)
    await get(backend, f"http://{name}/ok/1", allow_private=False, headers=alone)
    other = (pycurl.RESOLVE, [f"-{name}", f"{name}:127.0.0.2"])  # what libcurl has found meanwhile
    assert backend._guarded is not None
    (idle,) = backend._guarded.idle
    idle._setup = idle._setup._replace(always=[*idle._setup.always, other])
    with pytest.raises(Refused, match=r"127\.0\.0\.2"):
        await get(backend, f"http://{name}/ok/2", allow_private=False, headers=alone)
    assert (server.connections, [hit.address for hit in server.log]) == (1, ["127.0.0.3"])


async def test_an_unknown_name_is_not_resolved(make: Make) -> None:
    with pytest.raises(NameNotResolved) as caught:
        await get(make(), "http://no-such-name.invalid/")
    assert "no-such-name.invalid" in str(caught.value)
    assert caught.value.phase == "name"


async def test_a_client_certificate_is_shown(
    make: Make, authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    own = tmp_path / "me.pem"
    authority.issue_cert("me.test").private_key_and_cert_chain_pem.write_to_path(str(own))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with FaultServer(ssl=context) as server:
        response, _ = await get(make(ca_file=ca_file, client_cert=str(own)), server.url("/ok/1"))
        assert response.status == 200
        with pytest.raises((ConnectionLost, ConnectFailed)):
            await get(make(ca_file=ca_file), server.url("/ok/1"))


@pytest.mark.parametrize("key", ["ca_file", "client_cert"])
async def test_a_file_that_is_no_certificate_is_a_mistake_of_configuration(
    http2: Http23Server, make: Make, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "not.pem"
    path.write_text("no certificate\n")
    with pytest.raises(ConfigError, match=r"not\.pem"):
        await get(make(**{key: str(path)}), http2.url("/bytes/1"))


# Driving libcurl.


async def test_it_works_where_there_is_no_epoll(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi, "Sockets", multi.LoopSockets)
    backend = make()

    async def one(number: int) -> None:
        _, body = await get(backend, server.url(f"/bytes/{number * 5000}"))
        assert len(body.data) == number * 5000

    await asyncio.gather(*(one(number) for number in range(50)))
    gate = asyncio.Event()
    held = RecordingBody(gate=gate)
    task = asyncio.create_task(backend.exchange(hop(server.url("/bytes/9000000")), held))
    await held.fed.wait()
    gate.set()
    await task
    assert len(held.data) == 9_000_000
    task = asyncio.create_task(backend.exchange(hop(server.url("/hang")), RecordingBody()))
    assert await seen(server, lambda s: s.count("/hang") == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await backend.aclose()
    assert await seen(server, lambda s: s.open == 0)


async def test_no_descriptor_is_left_when_it_is_closed(make: Make, server: FaultServer) -> None:
    def descriptors() -> set[str]:
        return {str(path.resolve()) for path in Path("/proc/self/fd").iterdir() if path.exists()}

    before = descriptors()
    backend = make()
    await asyncio.gather(*(get(backend, server.url(f"/ok/{number}")) for number in range(20)))
    await backend.aclose()
    assert await seen(server, lambda s: s.open == 0)
    assert {one for one in descriptors() - before if "epoll" in one} == set()


async def test_an_idle_connection_that_the_server_ends_is_let_go(make: Make, server: FaultServer) -> None:
    backend = make()
    await get(backend, server.url("/http10/5"))
    await get(backend, server.url("/eof/5"))
    await get(backend, server.url("/surplus?n=5"))
    assert await seen(server, lambda s: s.open == 0)
    assert (await get(backend, server.url("/ok/1")))[0].status == 200


# What it needs.


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_it_does_without_aiohttp() -> None:
    ended = python(
        "import sys, fetcher.backends.curl\n"
        "print([name for name in ('aiohttp', 'urllib3', 'yarl.x') if name in sys.modules])"
    )
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")


def test_without_pycurl_it_says_what_to_install() -> None:
    ended = python(
        "import sys; sys.modules['pycurl'] = None\n"
        "from fetcher import wiring, settings, errors\n"
        "try: wiring.make_backend(settings.Settings(backend='curl'))\n"
        "except errors.ConfigError as error: print(error, '/', error.hint)"
    )
    assert ended.stdout.strip() == "the curl backend needs pycurl / install fetcher[curl]", ended.stderr


@pytest.mark.parametrize("version", ["2", "3"])
def test_settings_choose_the_version(version: str) -> None:
    backend = wiring.make_backend(Settings(backend="curl", http=version))
    assert version in backend.traits.http_versions
    with pytest.raises(ConfigError, match=f"HTTP/{version}"):
        wiring.make_backend(Settings(backend="asyncio", http=version))
