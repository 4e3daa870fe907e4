"""How the asyncio backend finds and judges addresses: scripted answers, and a name server on the loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver
from support.bodies import RecordingBody
from support.faultserver import FaultServer

from fetcher.backends.aiohttp import AiohttpBackend
from fetcher.backends.aiohttp.connection import Connector, Resolver
from fetcher.errors import NameNotResolved, Refused
from fetcher.model import Request, Target
from fetcher.ports import ConnectionOptions


def hop(name: str, port: int, *, allow_private: bool) -> Request:
    target = Target(
        url=f"http://{name}:{port}/ok/1", scheme="http", hostname=name, port=port, host=f"{name}:{port}"
    )
    return Request(target=target, allow_private=allow_private)


class Scripted(AbstractResolver):
    """Answers the same addresses every time, or the next list each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None: ...


def connector(resolver: AbstractResolver) -> Connector:
    return Connector(ConnectionOptions(), Resolver(resolver, {}), vetting=True)


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["127.0.0.1", "169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fd00:ec2::254"],
        ["0.0.0.0"],
        ["not an address"],
    ],
)
async def test_a_name_with_only_private_answers_is_refused_without_a_packet(
    server: FaultServer, addresses: list[str]
) -> None:
    backend = AiohttpBackend(resolver=Scripted(addresses))
    with pytest.raises(Refused) as caught:
        await backend.exchange(hop("inner.test", server.port, allow_private=False), RecordingBody())
    assert caught.value.slug == "private-address"
    assert addresses[0] in str(caught.value)
    assert server.connections == 0
    await backend.aclose()


async def test_private_answers_among_public_ones_are_dropped() -> None:
    one = connector(Scripted(["10.0.0.1", "93.184.216.34", "::1", "2606:2800:220:1::1"]))
    found = await one._resolve_host("mixed.test", 80)
    assert [answer["host"] for answer in found] == ["93.184.216.34", "2606:2800:220:1::1"]
    await one.close()


async def test_a_cached_answer_is_judged_again_and_a_rebound_one_is_refused() -> None:
    scripted = Scripted(["93.184.216.34"], ["127.0.0.1"])
    one = connector(scripted)
    await one._resolve_host("rebinding.test", 80)
    assert [answer["host"] for answer in await one._resolve_host("rebinding.test", 80)] == ["93.184.216.34"]
    assert scripted.asked == 1
    one.clear_dns_cache()
    for _ in range(2):  # asked, then cached
        with pytest.raises(Refused):
            await one._resolve_host("rebinding.test", 80)
    assert scripted.asked == 2
    await one.close()


async def test_a_name_of_this_machine_is_refused_without_asking() -> None:
    scripted = Scripted(["93.184.216.34"])
    one = connector(scripted)
    for name in ("localhost", "LOCALHOST.", "a.localhost"):
        with pytest.raises(Refused):
            await one._resolve_host(name, 80)
    assert scripted.asked == 0
    await one.close()


async def test_permission_reaches_a_private_answer(server: FaultServer) -> None:
    backend = AiohttpBackend(resolver=Scripted(["127.0.0.2"]))
    await backend.exchange(hop("inner.test", server.port, allow_private=True), RecordingBody())
    assert server.log[0].address == "127.0.0.2"
    await backend.aclose()


async def test_the_next_address_is_tried_when_one_refuses(server: FaultServer) -> None:
    backend = AiohttpBackend(resolver=Scripted(["127.0.0.9", "127.0.0.3"]))
    await backend.exchange(hop("two.test", server.port, allow_private=True), RecordingBody())
    assert server.log[0].address == "127.0.0.3"
    await backend.aclose()


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with one code (RFC 1035 §4.1.1), or not at all."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.code is not None:
            end = data.index(b"\0", 12) + 5
            self.transport.sendto(
                data[:2] + struct.pack("!HHHHH", 0x8180 | self.code, 1, 0, 0, 0) + data[12:end], addr
            )


@pytest.fixture
async def name_server(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(request.param), local_addr=("127.0.0.1", 0)
    )
    yield transport.get_extra_info("sockname")[1]
    transport.close()


@pytest.mark.parametrize(
    ("name_server", "temporary"),
    [(3, False), (0, False), (2, True), (5, True), (None, True)],
    indirect=["name_server"],
)
async def test_an_unknown_name_is_final_and_a_silent_server_is_temporary(
    name_server: int, *, temporary: bool
) -> None:
    resolver = AsyncResolver(
        nameservers=["127.0.0.1"], udp_port=name_server, tcp_port=name_server, timeout=0.2, tries=1
    )
    backend = AiohttpBackend(resolver=resolver)
    with pytest.raises(NameNotResolved) as caught:
        await backend.exchange(hop("gone.example", 80, allow_private=False), RecordingBody())
    assert (caught.value.temporary, caught.value.phase) == (temporary, "name")
    assert caught.value.url == "http://gone.example:80/ok/1"
    assert str(caught.value).startswith("name gone.example ")
    if not temporary:
        assert str(caught.value) == "name gone.example does not exist"
    await backend.aclose()


async def test_every_waiter_for_a_name_gets_an_error_of_its_own() -> None:
    class Failing(Scripted):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            await asyncio.sleep(0)
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

    backend = AiohttpBackend(resolver=Failing([]))
    exchanges = [backend.exchange(hop("x.test", 80, allow_private=True), RecordingBody()) for _ in range(3)]
    errors = await asyncio.gather(*exchanges, return_exceptions=True)
    assert all(type(error) is NameNotResolved for error in errors)
    assert len({id(error) for error in errors}) == 3
    await backend.aclose()


async def test_cancelling_a_lookup_leaves_no_task() -> None:
    asked = asyncio.Event()

    class Silent(Scripted):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    backend = AiohttpBackend(resolver=Silent([]))
    task = asyncio.create_task(backend.exchange(hop("x.test", 80, allow_private=True), RecordingBody()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await backend.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
