"""What is special about the backends that block: their threads, their crossings to the loop, their addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from support.bodies import RecordingBody
from support.faultserver import Exchange, FaultServer, content

import fetcher
from fetcher.backends.blocking import SyncBackend, ThreadsBackend
from fetcher.backends.blocking.dns import DnsCache, Lookup
from fetcher.errors import ConnectFailed, NameNotResolved, Refused, TimedOut
from fetcher.model import Request, Response, Target
from fetcher.ports import ConnectionOptions
from fetcher.settings import make as make_settings
from fetcher.wiring import make_backend

Make = Callable[..., ThreadsBackend]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Backends with options; closed at the end, when no thread of theirs may be left."""
    made: list[ThreadsBackend] = []

    def one(*, lookup: Lookup | None = None, **options: Any) -> ThreadsBackend:
        kind = ThreadsBackend if "concurrency" in options else SyncBackend
        made.append(kind(ConnectionOptions(**options), lookup=lookup))
        return made[-1]

    yield one
    for backend in made:
        await backend.aclose()
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetcher-")]


def hop(url: str, *, allow_private: bool = True, proxy: str | None = None) -> Request:
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    name, _, port = host.rpartition(":")
    target = Target(url=url, scheme=scheme, hostname=name.strip("[]"), port=int(port), host=host)
    return Request(target=target, allow_private=allow_private, proxy=proxy)


async def get(backend: ThreadsBackend, url: str, **options: Any) -> tuple[Response, RecordingBody]:
    body = RecordingBody()
    async with asyncio.timeout(60):
        return await backend.exchange(hop(url, **options), body), body


async def seen(server: FaultServer, holds: Callable[[FaultServer], bool]) -> bool:
    return await asyncio.to_thread(server.wait, holds)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await task


# Threads.


async def test_there_are_as_many_threads_as_exchanges_but_no_more_than_allowed(
    make: Make, server: FaultServer
) -> None:
    backend = make(concurrency=3)
    await get(backend, server.url("/ok/0"))
    assert len(threads()) == 1
    await asyncio.gather(*(get(backend, server.url(f"/slow?delay=0.02&n={n}")) for n in range(20)))
    assert len(threads()) == 3
    assert server.most_active_total == 3
    assert server.connections == 3


async def test_sync_has_one_thread_and_one_exchange_at_a_time(make: Make, server: FaultServer) -> None:
    backend = make()
    await asyncio.gather(*(get(backend, server.url(f"/ok/{n}")) for n in range(20)))
    assert (threads(), server.most_active_total, server.connections) == (["fetcher-sync-1"], 1, 1)


async def test_closing_ends_all_threads(make: Make, server: FaultServer) -> None:
    backend = make(concurrency=8)
    await asyncio.gather(*(get(backend, server.url(f"/ok/{n}")) for n in range(40)))
    await backend.aclose()
    assert threads() == []
    assert await seen(server, lambda s: s.open == 0)


async def test_a_cancelled_exchange_ends_only_with_its_thread_which_then_takes_the_next(
    make: Make, server: FaultServer
) -> None:
    backend = make()
    for path in ("/hang", "/hang-body?at=10", "/drip-head?pause=1", "/endless"):
        seen_so_far = len(server.log)
        task = asyncio.create_task(backend.exchange(hop(server.url(path)), RecordingBody()))
        assert await seen(server, lambda s, n=seen_so_far: len(s.log) > n)
        task.cancel()
        await asyncio.sleep(0)
        await cancelled(task)  # told twice to stop waiting for the thread
        response, _ = await get(backend, server.url("/ok/1"))
        assert (response.status, response.resent) == (200, 0)
    assert threads() == ["fetcher-sync-1"]


async def test_cancelling_while_the_body_drains_frees_the_thread(make: Make, server: FaultServer) -> None:
    backend = make()
    body = RecordingBody(gate=asyncio.Event())
    task = asyncio.create_task(backend.exchange(hop(server.url("/bytes/9000000")), body))
    await body.fed.wait()
    await cancelled(task)
    assert (await get(backend, server.url("/ok/1")))[0].status == 200


async def test_who_waits_for_a_thread_and_is_cancelled_takes_none(make: Make, server: FaultServer) -> None:
    backend = make()
    first = asyncio.create_task(backend.exchange(hop(server.url("/hang")), RecordingBody()))
    assert await seen(server, lambda s: len(s.log) == 1)
    waiting = [asyncio.create_task(get(backend, server.url(f"/ok/{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    await cancelled(waiting[0])
    await cancelled(first)
    for task in waiting[1:]:
        assert (await task)[0].status == 200
    assert server.count("/ok/0") == 0


async def test_waiting_for_a_thread_is_not_counted_as_connecting(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.backends.blocking.backend._HEARTBEAT_S", 0.01)
    backend = make()
    first = asyncio.create_task(backend.exchange(hop(server.url("/hang")), RecordingBody()))
    assert await seen(server, lambda s: len(s.log) == 1)
    body = RecordingBody()
    waiting = asyncio.create_task(backend.exchange(hop(server.url("/ok/1")), body))
    async with asyncio.timeout(60):
        while len(body.phases) < 5:
            await asyncio.sleep(0.005)
    assert set(body.phases) == {"connect"}  # begun again and again
    await cancelled(first)
    assert (await waiting).status == 200


async def test_a_thread_that_cannot_be_started_is_a_want_of_means(make: Make, server: FaultServer) -> None:
    backend = make()
    usual = threading.stack_size(1 << 46)
    try:
        with pytest.raises(ConnectFailed) as caught:
            await get(backend, server.url("/ok/1"))
    finally:
        threading.stack_size(usual)
    assert caught.value.exhausted
    assert (await get(backend, server.url("/ok/1")))[0].status == 200


@contextlib.contextmanager
def black_hole() -> Any:
    """A port of the loopback whose queue is full: who connects gets no answer."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def is_connecting(port: int, more_than: int) -> bool:
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(1 for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "02") > more_than


async def test_cancelling_ends_a_connection_that_is_being_made(make: Make) -> None:
    backend = make(connect_timeout_s=60)
    with black_hole() as port:
        others = 0
        while is_connecting(port, others):
            others += 1
        for waits in (True, False):
            task = asyncio.create_task(backend.exchange(hop(f"http://127.0.0.1:{port}/"), RecordingBody()))
            while waits and not is_connecting(port, others):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            await cancelled(task)
            assert not is_connecting(port, others)


async def test_cancelling_ends_a_handshake_that_has_stalled(make: Make, server: FaultServer) -> None:
    url = server.url("/", scheme="https")
    task = asyncio.create_task(make(connect_timeout_s=60).exchange(hop(url), RecordingBody()))
    assert await seen(server, lambda s: s.connections == 1)
    await cancelled(task)
    assert await seen(server, lambda s: s.open == 0)


async def test_an_exchange_lasts_as_long_as_its_thread_however_often_it_is_cancelled(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def deaf(*_: object) -> None:  # a call of the system that nothing can end
        begun.set()
        gate.wait(60)

    backend = make()
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", deaf)
        task = asyncio.create_task(backend.exchange(hop(server.url("/ok/1")), RecordingBody()))
        assert await asyncio.to_thread(begun.wait, 60)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.15)  # longer than the thread is left in peace
        assert not task.done()
    gate.set()
    await cancelled(task)
    assert (await get(backend, server.url("/ok/1")))[0].status == 200


async def test_a_connection_that_is_not_made_in_time_times_out(make: Make) -> None:
    with black_hole() as port, pytest.raises(TimedOut) as caught:
        await get(make(connect_timeout_s=0.2), f"http://127.0.0.1:{port}/")
    assert caught.value.phase == "connect"


async def test_a_defect_is_not_taken_for_the_servers_fault(make: Make, server: FaultServer) -> None:
    class Odd(RecordingBody):
        def begin(self, response: Response) -> bool:
            raise KeyError("ours")

    backend = make()
    with pytest.raises(KeyError):
        await backend.exchange(hop(server.url("/bytes/9000000")), Odd())
    assert await seen(server, lambda s: s.open == 0)


# Crossings.


def crossings_of(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every call from another thread to the loop, from now on."""
    calls: list[object] = []
    original = loop.call_soon_threadsafe

    def counted(callback: Any, *args: Any, **options: Any) -> Any:
        calls.append(callback)
        return original(callback, *args, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    return calls


async def test_a_small_answer_costs_one_crossing_however_it_is_framed(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make()
    await get(backend, server.url("/ok/1"))
    calls = crossings_of(asyncio.get_running_loop(), monkeypatch)
    for path in ("/bytes/1500", "/bytes/60000", "/chunked/1500?pieces=3", "/status/404", "/status/204"):
        calls.clear()
        await get(backend, server.url(path))
        assert len(calls) == 1
    calls.clear()
    await get(backend, server.url("/bytes/3000000"))
    assert 2 <= len(calls) <= 60  # blocks, and not what a packet holds
    assert server.connections == 1


async def test_a_head_is_told_though_its_small_body_does_not_come(make: Make, server: FaultServer) -> None:
    body = RecordingBody()
    task = asyncio.create_task(make().exchange(hop(server.url("/hang-body?at=10&of=100")), body))
    async with asyncio.timeout(60):
        await body.fed.wait()
    assert body.data == content("/hang-body", 100)[:10]
    await cancelled(task)


async def test_the_body_is_touched_by_the_loops_thread_alone(make: Make, server: FaultServer) -> None:
    names: set[str] = set()

    class Watching(RecordingBody):
        def set_phase(self, phase: Any) -> None:
            names.add(threading.current_thread().name)
            super().set_phase(phase)

        def begin(self, response: Response) -> bool:
            names.add(threading.current_thread().name)
            return super().begin(response)

        def feed(self, data: bytes) -> bool:
            names.add(threading.current_thread().name)
            return super().feed(data)

    for path in ("/bytes/100", "/bytes/3000000"):
        await make(concurrency=2).exchange(hop(server.url(path)), Watching())
    assert names == {threading.current_thread().name}


# What is sent.


@pytest.mark.parametrize("target", ['/echo/a|b{c}[d]^e`"<>\\?q=|{}[]^`&%zz=%', "/echo/../%2e%2E/x?y=ä"])
async def test_no_byte_of_a_url_is_rewritten(make: Make, server: FaultServer, target: str) -> None:
    if target.isascii():
        await get(make(), server.url(target))
        assert server.log[0].target == target
    else:  # not what a URL is made of: refused, not repaired
        with pytest.raises(fetcher.FetcherError):
            await get(make(), server.url(target))
        assert server.connections == 0


# Idle connections.


async def test_idle_connections_are_bounded_over_all_hosts(make: Make) -> None:
    with FaultServer(hosts=[f"127.0.1.{n}" for n in range(1, 61)]) as server:
        backend = make(keepalive_s=1000)
        for host in server.hosts:
            await get(backend, server.url("/ok/1", host=host))
        assert await seen(server, lambda s: s.open <= 32)
        await get(backend, server.url("/ok/2", host=server.hosts[-1]))
        assert server.connections == 61
        await get(backend, server.url("/ok/2", host=server.hosts[0]))
        assert server.connections == 62


async def test_idle_connections_make_room_for_busy_ones(make: Make) -> None:
    with FaultServer(hosts=[f"127.0.1.{n}" for n in range(1, 41)]) as server:
        backend = make(concurrency=8)
        for host in server.hosts[:32]:
            await get(backend, server.url("/ok/1", host=host))
        tasks = [
            asyncio.create_task(backend.exchange(hop(server.url("/hang", host=host)), RecordingBody()))
            for host in server.hosts[32:40]
        ]
        assert await seen(server, lambda s: s.count("/hang") == 8)
        assert await seen(server, lambda s: s.open == 32)
        for task in tasks:
            await cancelled(task)


async def test_an_idle_connection_is_closed_after_its_time(make: Make, server: FaultServer) -> None:
    backend = make(keepalive_s=0.1)
    await get(backend, server.url("/ok/1"))
    assert await seen(server, lambda s: s.open == 0)


async def test_an_idle_connection_that_the_server_ended_is_not_used(make: Make, server: FaultServer) -> None:
    async def once(x: Exchange) -> None:
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    server.route("/once", once)
    backend = make()
    await get(backend, server.url("/once"))
    assert await seen(server, lambda s: s.open == 0)
    response, _ = await get(backend, server.url("/ok/1"))
    assert (response.resent, server.connections) == (0, 2)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_watched_connection_works_on_afterwards(
    server: FaultServer, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scene() -> None:
        backend = SyncBackend()
        await get(backend, server.url("/ok/1"))
        idle = backend._parts.pool  # type: ignore[union-attr]
        idle._tend()
        assert [connection.is_watched for connection in idle._all] == [True]
        response, body = await get(backend, server.url("/slow?delay=0.1"))
        assert (response.resent, server.connections) == (0, 1)
        assert body.data == content("/slow", 100)
        await backend.aclose()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scene())


# Names and addresses.


def scripted(*answers: list[str]) -> tuple[Any, list[str]]:
    """A lookup that gives these answers in turn, the last one for ever, and who was asked for."""
    asked: list[str] = []

    async def lookup(name: str) -> list[str]:
        asked.append(name)
        return answers[min(len(asked), len(answers)) - 1]

    return lookup, asked


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["127.0.0.1", "169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fd00:ec2::254"],
        ["not an address"],
    ],
)
async def test_a_name_with_only_private_answers_is_refused_without_a_packet(
    make: Make, server: FaultServer, addresses: list[str]
) -> None:
    backend = make(lookup=scripted(addresses)[0])
    with pytest.raises(Refused) as caught:
        await get(backend, f"http://inner.test:{server.port}/ok/1", allow_private=False)
    assert caught.value.slug == "private-address"
    assert addresses[0] in str(caught.value)
    assert server.connections == 0


async def test_private_answers_among_public_ones_are_dropped_and_cached_ones_judged_again() -> None:
    lookup, asked = scripted(["10.0.0.1", "93.184.216.34", "::1", "2606:2800:220:1::1"])
    names = DnsCache(ConnectionOptions(), lookup)
    for _ in range(2):
        found = await names.addresses("mixed.test", 80, is_vetted=True)
        assert found == ["93.184.216.34", "2606:2800:220:1::1"]
    assert len(await names.addresses("mixed.test", 80, is_vetted=False)) == 4
    assert asked == ["mixed.test"]
    await names.aclose()


async def test_a_name_that_is_rebound_is_judged_at_its_next_connection(
    make: Make, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.backends.blocking.dns._KNOWN_FOR_S", 0.0)
    lookup, asked = scripted(["93.184.216.34"], ["127.0.0.1"])
    names = DnsCache(ConnectionOptions(), lookup)
    assert await names.addresses("rebinding.test", 80, is_vetted=True) == ["93.184.216.34"]
    with pytest.raises(Refused):
        await names.addresses("rebinding.test", 80, is_vetted=True)
    assert len(asked) == 2
    await names.aclose()


async def test_many_who_want_to_know_a_name_ask_once_and_a_failure_is_not_remembered() -> None:
    asked: list[str] = []
    gate = asyncio.Event()

    async def lookup(name: str) -> list[str]:
        asked.append(name)
        await gate.wait()
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        return ["93.184.216.34"]

    names = DnsCache(ConnectionOptions(), lookup)
    waiting = [asyncio.create_task(names.addresses("many.test", 80, is_vetted=True)) for _ in range(9)]
    await asyncio.sleep(0)
    await cancelled(waiting.pop(0))  # the one that asked
    gate.set()
    assert {type(e) for e in await asyncio.gather(*waiting, return_exceptions=True)} == {socket.gaierror}
    assert await names.addresses("many.test", 80, is_vetted=True) == ["93.184.216.34"]
    assert len(asked) == 2
    await names.aclose()


async def test_a_lookup_that_hangs_is_cancelled_at_once_and_holds_no_thread(make: Make) -> None:
    begun = asyncio.Event()

    async def lookup(_: str) -> list[str]:
        begun.set()
        await asyncio.Event().wait()
        return []

    backend = make(lookup=lookup)
    body = RecordingBody()
    task = asyncio.create_task(backend.exchange(hop("http://slow.test:80/"), body))
    await begun.wait()
    assert (body.phases, threads()) == (["connect"], [])
    await cancelled(task)


async def test_a_name_without_an_answer_is_not_resolved(make: Make) -> None:
    for answer, temporary in (([], False), (socket.gaierror(socket.EAI_AGAIN, "later"), True)):

        async def lookup(_: str, answer: Any = answer) -> list[str]:
            if isinstance(answer, list):
                return answer
            raise answer

        with pytest.raises(NameNotResolved) as caught:
            await get(make(lookup=lookup), "http://none.test:80/")
        assert caught.value.temporary is temporary


async def test_an_address_is_not_looked_up(make: Make, server: FaultServer) -> None:
    lookup, asked = scripted(["127.0.0.3"])
    await get(make(lookup=lookup), server.url("/ok/1"))
    assert (asked, server.log[0].address) == ([], "127.0.0.1")


async def test_the_next_address_is_tried_when_one_refuses(make: Make, server: FaultServer) -> None:
    backend = make(lookup=scripted(["127.0.0.9", "127.0.0.3"])[0])
    await get(backend, f"http://two.test:{server.port}/ok/1")
    assert server.log[0].address == "127.0.0.3"


async def test_the_next_address_has_its_share_of_the_time_when_one_is_silent(make: Make) -> None:
    with black_hole() as port, FaultServer("127.0.0.3", port=port) as server:
        backend = make(lookup=scripted(["127.0.0.1", *["127.0.0.3"] * 999])[0], connect_timeout_s=100)
        response, _ = await get(backend, server.url("/ok/1", host="half-silent.test"))
        assert response.status == 200


# TLS.


async def test_a_slow_body_over_tls_has_all_the_time_it_needs(make: Make, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    backend = make(ca_file=str(tmp_path / "ca.pem"))
    with FaultServer(ssl=context) as server:
        _, body = await get(backend, server.url("/drip?n=4&pause=0.1"))
        assert body.data == content("/drip", 4)
        await backend.aclose()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_may_be_spoken_to_over_tls(make: Make, tmp_path: Path, scheme: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "example.test").configure_cert(context)
    backend = make(ca_file=str(tmp_path / "ca.pem"))
    with (
        FaultServer(ssl=context, proxy_auth="me:secret") as proxy,
        FaultServer(ssl=context if scheme == "https" else None) as origin,
    ):
        url = f"{scheme}://example.test:{origin.port}/ok/1?size=300000"
        for _ in range(2):
            _, body = await get(backend, url, proxy=f"https://me:secret@127.0.0.1:{proxy.port}")
            assert body.data == content("/ok/1", 300_000)
        assert [hit.header("proxy-authorization") for hit in origin.log] == [None, None]
        task = asyncio.create_task(
            backend.exchange(
                hop(
                    f"{scheme}://example.test:{origin.port}/hang",
                    proxy=f"https://me:secret@127.0.0.1:{proxy.port}",
                ),
                RecordingBody(),
            )
        )
        assert await seen(origin, lambda s: s.count("/hang") == 1)
        await cancelled(task)
        with pytest.raises(ConnectFailed, match="407"):
            await get(backend, url, proxy=proxy.url(""))
        await backend.aclose()


# In the engine.


@pytest.mark.parametrize(("name", "most"), [("threads", 3), ("sync", 1)])
async def test_the_engine_has_no_more_exchanges_than_the_backend_can_do(
    server: FaultServer, name: str, most: int
) -> None:
    concurrency = 3 if name == "threads" else 20
    urls = [server.url(f"/slow?delay=0.02&n={n}") for n in range(30)]
    results = await fetcher.fetch_all(urls, backend=name, concurrency=concurrency, per_host=20)
    assert [result.state for result in results] == ["done"] * 30
    assert server.most_active_total == most
    assert threads() == []


async def test_a_deadline_and_limits_on_time_work_as_with_any_backend(server: FaultServer) -> None:
    paths = ["/ok/1", "/hang", "/hang-body?at=10", "/drip?n=1000&pause=0.01"]
    results = await fetcher.fetch_all(
        [server.url(path) for path in paths],
        backend="sync",
        retries=0,
        header_timeout="1s",
        read_timeout="1s",
        timeout="3s",
    )
    assert [(result.state, result.error) for result in results] == [
        ("done", None),
        ("failed", "timed-out"),
        ("failed", "timed-out"),
        ("failed", "timed-out"),
    ]


def test_the_settings_concurrency_is_the_number_of_threads() -> None:
    assert make_backend(make_settings({"backend": "threads", "concurrency": 7})).traits.most_exchanges == 7
    assert make_backend(make_settings({"backend": "sync", "concurrency": 7})).traits.most_exchanges == 1
