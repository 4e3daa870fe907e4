"""`Fetcher.fetch`: one URL over the open connections, what its arguments send, and the limits that calls share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.faultserver import FaultServer
from yarl import URL

from fetcher import ConfigError, Fetcher, Result

BACKENDS = ("asyncio", "curl", "threads", "sync")


@pytest.fixture
async def client() -> AsyncIterator[Fetcher]:
    async with Fetcher(concurrency=4, per_host=2, retries=0, headers={"X-Own": "1"}) as fetcher:
        yield fetcher


def sent(result: Result) -> tuple[str, str, dict[str, str], str]:
    """What the server got: method, target, fields, body."""
    assert result.ok, result.message
    seen = result.json()
    return seen["method"], seen["target"], dict(seen["headers"]), seen["body"]


async def test_a_call_sends_what_its_arguments_say(client: Fetcher, server: FaultServer) -> None:
    url = server.url("/echo?a=1#part")
    method, target, fields, body = sent(
        await client.fetch(url, json={"ü": [1, None]}, params={"b": [2, True]})
    )
    assert (method, target) == ("POST", "/echo?a=1&b=2&b=true")
    assert (fields["Content-Type"], fields["X-Own"]) == ("application/json", "1")
    assert body.encode("latin-1") == '{"ü":[1,null]}'.encode()
    method, target, fields, body = sent(await client.fetch(URL(url), data={"q": "a b", "n": 3}, params="c"))
    assert (method, target, body) == ("POST", "/echo?a=1&c", "q=a+b&n=3")
    assert fields["Content-Type"] == "application/x-www-form-urlencoded"
    pairs = [("Accept", "text/html"), ("accept", "text/plain"), ("X-Own", None)]
    method, _, fields, body = sent(await client.fetch(url, headers=pairs, method="put", data=b"\xff"))
    assert (method, body) == ("PUT", "\xff")
    assert "X-Own" not in fields
    assert fields["accept"] == "text/html, text/plain"
    typed = {"content-type": "application/vnd.api+json"}
    assert sent(await client.fetch(url, headers=typed, json={}))[2]["content-type"] == typed["content-type"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"json": {1, 2}}, "json: Object of type set is not JSON serializable"),
        ({"json": float("nan")}, "json: Out of range float values are not JSON compliant"),
        ({"json": 1, "data": "x"}, "json: cannot stand together with data"),
        ({"data": 5}, "data: expected a mapping, pairs, or text, got 5"),
        ({"data": [("a", "b", "c")]}, "data: expected pairs of a name and a value"),
        ({"params": {"a": object}}, "params: expected text or a number as value"),
        ({"headers": {"A": "b\nc"}}, "headers: expected 'Name: value' on one line"),
        ({"method": "GET IT"}, "method: expected an HTTP method"),
        ({"timeout": -1}, "timeout: expected seconds"),
    ],
)
async def test_arguments_that_cannot_be_used_are_an_error_before_anything_is_sent(
    client: Fetcher, server: FaultServer, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        await client.fetch(server.url("/echo"), **arguments)
    assert server.log == []


@pytest.mark.parametrize("backend", BACKENDS)
async def test_calls_share_connections(backend: str, server: FaultServer) -> None:
    async with Fetcher(backend=backend) as client:
        for number in range(5):
            assert (await client.fetch(server.url(f"/ok/{number}"))).ok
    assert len({hit.connection_id for hit in server.log}) == 1


async def test_calls_share_the_limits_of_their_host(client: Fetcher, server: FaultServer) -> None:
    results = await asyncio.gather(*(client.fetch(server.url(f"/ok/{n}")) for n in range(20)))
    assert all(result.ok for result in results)
    assert len({hit.connection_id for hit in server.log}) <= 2  # per_host


async def test_a_timeout_is_the_call_s_own(client: Fetcher, server: FaultServer) -> None:
    slow = asyncio.create_task(client.fetch(server.url("/hang")))
    result = await client.fetch(server.url("/hang/2"), timeout=0.1)
    assert (result.error, result.message) == ("timed-out", "not complete within 0.1 s")
    assert not slow.done()
    slow.cancel()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_call_that_is_cancelled_ends_its_exchange_and_no_other(
    backend: str, server: FaultServer
) -> None:
    async with Fetcher(backend=backend, per_host=2, retries=5) as client:
        call = asyncio.create_task(client.fetch(server.url("/hang")))
        waiting = [asyncio.create_task(client.fetch(server.url(f"/hang/{n}"))) for n in range(3)]
        await asyncio.to_thread(server.wait, lambda it: it.count("/hang") == 1)
        for task in (call, *waiting):
            task.cancel()
        await asyncio.wait((call, *waiting))
        assert call.cancelled()
        # Its slot is free again, though the server would have answered never.
        assert (await client.fetch(server.url("/ok/1"))).ok
    assert await asyncio.to_thread(server.wait, lambda it: all(hit.ended is not None for hit in it.log))


async def test_a_fetcher_that_is_closed_ends_its_calls_with_an_error(server: FaultServer) -> None:
    async with Fetcher() as client:
        call = asyncio.create_task(client.fetch(server.url("/hang")))
        await asyncio.to_thread(server.wait, lambda it: it.count("/hang") == 1)
    with pytest.raises(RuntimeError, match="was closed while"):
        await call
    async with client:  # it may be opened again
        assert (await client.fetch(server.url("/ok/1"))).ok


async def test_plain_code_in_a_thread_uses_the_open_connections(client: Fetcher, server: FaultServer) -> None:
    assert (await client.fetch(server.url("/ok/1"))).ok
    assert (await asyncio.to_thread(client.fetch.sync, server.url("/ok/2"))).ok
    assert len({hit.connection_id for hit in server.log}) == 1
    with pytest.raises(RuntimeError, match="await fetch"):
        client.fetch.sync(server.url("/ok/3"))


def test_plain_code_needs_no_open_fetcher(server: FaultServer) -> None:
    client = Fetcher(headers={"X-Own": "1"})
    assert sent(client.fetch(server.url("/echo"), json=[1]))[3] == "[1]"
    assert sent(client.fetch.sync(server.url("/echo"), headers={"X-Own": ""}))[2].get("X-Own") is None


async def test_a_url_that_is_none_is_a_result(client: Fetcher) -> None:
    result = await client.fetch("not a url")
    assert (result.ok, result.error) == (False, "bad-url")
