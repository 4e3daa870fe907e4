"""Mirrors are turned to when the one before has failed, and bytes of several are never a body unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.faultserver import Exchange, FaultServer
from support.ranged import DATE, MIB, Ranged, assert_whole, pattern, records

from fetcher import Fetcher
from fetcher.wiring import BACKENDS

BODY = pattern(6 * MIB + 12_345)
QUICK = {"retries": 0, "min_free": 0, "split_size": 4 * MIB}


async def _gone(x: Exchange) -> None:
    await x.answer(404)


async def download(server: FaultServer, out: Path, columns: dict[str, Any], **settings: object):
    return await Fetcher(**{**QUICK, **settings}).download.aio([columns], out)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_next_mirror_is_turned_to_when_one_fails_for_good(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    good = Ranged(b"good" * 100)
    server.route("/one", _gone)
    server.route("/two", Ranged(b"good" * 100, cuts=[7] * 9))
    server.route("/three", good)
    listed = {"url": server.url("/one"), "mirrors": [server.url("/two"), server.url("/three")]}
    summary = await download(server, tmp_path, listed, backend=backend)
    record = assert_whole(tmp_path, good)
    assert summary.done == 1
    assert (record["url"], record["final_url"]) == (server.url("/one"), server.url("/three"))
    assert record["attempts"] == 3


async def test_a_mirror_with_other_bytes_fails_and_the_next_has_its_turn(
    server: FaultServer, tmp_path: Path
) -> None:
    good = Ranged(BODY)
    server.route("/other", Ranged(pattern(len(BODY), 5)))
    server.route("/short", Ranged(BODY[:-1]))
    server.route("/good", good)
    listed = {
        "url": server.url("/other"),
        "mirrors": [server.url("/short"), server.url("/good")],
        "sha256": good.sha256,
    }
    await download(server, tmp_path, listed)
    assert assert_whole(tmp_path, good)["final_url"] == server.url("/good")


async def test_when_the_last_mirror_has_failed_the_url_has(server: FaultServer, tmp_path: Path) -> None:
    for path in ("/one", "/two"):
        server.route(path, _gone)
    listed = {"url": server.url("/one"), "mirrors": [server.url("/two")]}
    summary = await download(server, tmp_path, listed)
    (record,) = records(tmp_path)
    assert (summary.failed, record["final_url"], record["status"]) == (1, server.url("/two"), 404)


async def test_ranges_come_from_mirrors_where_the_hash_of_the_whole_is_known(
    server: FaultServer, tmp_path: Path
) -> None:
    first = Ranged(BODY, pause_s=0.1, first_waits_for=1)
    other = Ranged(BODY, fields=[("ETag", '"another"'), DATE], pause_s=0.1)
    server.route("/first", first)
    server.route("/other", other)
    listed = {"url": server.url("/first"), "mirrors": [server.url("/other")]}
    await download(server, tmp_path / "unknown", listed, split=3)
    assert_whole(tmp_path / "unknown", first)
    assert other.asked == []
    await download(server, tmp_path / "known", {**listed, "sha256": first.sha256}, split=3)
    assert_whole(tmp_path / "known", first)
    assert other.asked
    assert other.conditions[0] is None  # a validator is its own server's


async def test_a_mixture_of_mirrors_is_seen_and_the_body_comes_from_one(
    server: FaultServer, tmp_path: Path
) -> None:
    first = Ranged(BODY, pause_s=0.1)
    server.route("/first", first)
    server.route("/other", Ranged(pattern(len(BODY), 3)))
    listed = {"url": server.url("/first"), "mirrors": [server.url("/other")], "sha256": first.sha256}
    await download(server, tmp_path, listed, split=3, retries=1)
    record = assert_whole(tmp_path, first)
    assert (record["final_url"], record["attempts"]) == (server.url("/first"), 2)


async def test_a_mirror_of_another_length_gives_no_range(server: FaultServer, tmp_path: Path) -> None:
    first = Ranged(BODY, pause_s=0.1)
    server.route("/first", first)
    server.route("/other", Ranged(BODY + b"x"))
    listed = {"url": server.url("/first"), "mirrors": [server.url("/other")], "sha256": first.sha256}
    await download(server, tmp_path, listed, split=3)
    assert assert_whole(tmp_path, first)["attempts"] == 1


async def test_credentials_stay_with_the_listed_host(server: FaultServer, tmp_path: Path) -> None:
    server.route("/one", _gone)
    seen: list[str | None] = []

    async def mirror(x: Exchange) -> None:
        seen.append(x.hit.header("authorization"))
        await x.answer(200, body=b"it")

    server.route("/two", mirror)
    elsewhere = server.url("/two", host="127.0.0.2")
    listed = {"url": server.url("/one"), "mirrors": [elsewhere]}
    await download(server, tmp_path, listed, user="me:secret", resolve=[])
    assert seen == [None]


@pytest.mark.parametrize("mirror", ["nonsense://x", "http://me:secret@a.example/"])
async def test_a_mirror_that_may_not_be_one_refuses_the_entry(
    mirror: str, server: FaultServer, tmp_path: Path
) -> None:
    summary = await download(server, tmp_path, {"url": server.url("/one"), "mirrors": [mirror]})
    (record,) = records(tmp_path)
    assert (summary.refused, record["error"]) == (1, "bad-entry")
    assert "secret" not in str(record)
