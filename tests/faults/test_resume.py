"""A large body that is cut off is continued, never mixed, and arrives: within a run, after a stop, after a kill."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from pathlib import Path

import pytest
from support.faultserver import Exchange, FaultServer
from support.program import Program
from support.ranged import DATE, MIB, Ranged, assert_whole, holds, pattern, records

from fetcher import Fetcher
from fetcher.wiring import BACKENDS

BODY = pattern(5 * MIB + 12_345)
QUICK = {"retries": 3, "min_free": 0}


async def download(server: FaultServer, script: Ranged, out: Path, path: str = "/file", **settings: object):
    server.route("/file", script)
    return await Fetcher(**{**QUICK, **settings}).download.aio([server.url(path)], out)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_body_that_is_cut_off_is_continued_where_it_ended(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB, MIB + MIB // 2])
    summary = await download(server, script, tmp_path, backend=backend)
    record = assert_whole(tmp_path, script)
    assert summary.done == 1
    assert script.asked[0] is None
    offsets = [int(str(wanted)[6:-1]) for wanted in script.asked[1:]]
    assert record["resumed_at"] == offsets
    assert offsets == [2 * MIB, 3 * MIB + MIB // 2]
    assert script.conditions[1:] == ['"one"', '"one"']
    assert record["wire_bytes"] == len(BODY)
    assert (record["status"], record["bytes"], record["completeness"]) == (206, len(BODY), "length")


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_chunked_body_is_continued_too(backend: str, server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, cuts=[3 * MIB], is_chunked=True)
    await download(server, script, tmp_path, backend=backend)
    assert assert_whole(tmp_path, script)["resumed_at"] == [3 * MIB]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_more_breaks_than_retries_are_survived_as_long_as_the_body_grows(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[MIB + 1] * 4)
    await download(server, script, tmp_path, backend=backend, retries=1)
    assert len(assert_whole(tmp_path, script)["resumed_at"]) == 4


@pytest.mark.parametrize("backend", BACKENDS)
async def test_breaks_without_progress_use_the_retries_up_and_the_next_run_continues(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB, 0, 0])
    summary = await download(server, script, tmp_path, backend=backend, retries=1)
    assert (summary.failed, len(script.asked)) == (1, 3)
    assert records(tmp_path)[-1]["error"] == "connection-lost"
    await download(server, script, tmp_path, backend=backend, retry_failed=True)
    assert assert_whole(tmp_path, script)["resumed_at"] == [2 * MIB]
    assert script.sent == len(BODY)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_another_version_is_fetched_whole_in_the_same_exchange(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    newer = Ranged(pattern(3 * MIB, 7), fields=[("ETag", '"two"'), DATE])

    async def changed(x: Exchange) -> None:
        await newer(x)

    script = Ranged(BODY, cuts=[2 * MIB], answers=[None, changed])
    await download(server, script, tmp_path, backend=backend)
    assert assert_whole(tmp_path, newer)["resumed_at"] == []
    assert (script.asked[1], len(script.asked)) == (f"bytes={2 * MIB}-", 2)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_server_that_knows_no_ranges_begins_anew(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB], is_deaf=True)
    await download(server, script, tmp_path, backend=backend)
    record = assert_whole(tmp_path, script)
    assert (record["resumed_at"], record["wire_bytes"]) == ([], len(BODY) + 2 * MIB)


def _range(first: int, last: int, total: object, etag: str = '"one"') -> Ranged:
    async def answer(x: Exchange) -> None:
        fields = [("ETag", etag), ("Content-Range", f"bytes {first}-{last}/{total}")]
        await x.answer(206, fields, b"x" * (last - first + 1))

    return answer  # type: ignore[return-value]


async def _gone(x: Exchange) -> None:
    await x.answer(416, [("Content-Range", f"bytes */{len(BODY)}")])


async def _unsaid(x: Exchange) -> None:
    await x.answer(206, [("ETag", '"one"')], b"x" * 100)


async def _in_parts(x: Exchange) -> None:
    await x.answer(206, [("Content-Type", "multipart/byteranges; boundary=b")], b"--b\r\n\r\nx\r\n--b--")


async def _mixed_up(x: Exchange) -> None:
    await x.answer(
        200, [("ETag", '"one"'), ("Content-Range", f"bytes {2 * MIB}-{SIZE - 1}/{SIZE}")], b"x" * 100
    )


SIZE = len(BODY)
FALSE = {
    "before": _range(2 * MIB - 1, SIZE - 1, SIZE),
    "behind": _range(2 * MIB + 1, SIZE - 1, SIZE),
    "total": _range(2 * MIB, SIZE, SIZE + 1),
    "short": _range(2 * MIB, SIZE - 2, SIZE),
    "version": _range(2 * MIB, SIZE - 1, SIZE, '"two"'),
    "no range": _unsaid,
    "multipart": _in_parts,
    "416": _gone,
    "200 of a range": _mixed_up,
    "whole unknown": _range(2 * MIB, SIZE - 2, "*"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", FALSE)
async def test_an_answer_that_does_not_fit_costs_the_part_and_not_the_file(
    kind: str, backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB], answers=[None, FALSE[kind]])  # type: ignore[list-item]
    await download(server, script, tmp_path, backend=backend)
    assert assert_whole(tmp_path, script)["resumed_at"] == []
    assert [wanted is None for wanted in script.asked] == [True, False, True]


async def test_a_part_that_is_gone_when_its_rest_comes_costs_the_part_and_not_the_run(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB])

    async def tidied(x: Exchange) -> None:
        for part in (tmp_path / ".fetcher" / "parts").iterdir():
            part.unlink()
        await x.answer(
            206,
            [("ETag", '"one"'), ("Content-Range", f"bytes {2 * MIB}-{SIZE - 1}/{SIZE}")],
            BODY[2 * MIB :],
        )

    script.answers = [None, tidied]
    await download(server, script, tmp_path)
    assert assert_whole(tmp_path, script)["resumed_at"] == []
    assert [wanted is None for wanted in script.asked] == [True, False, True]


async def test_a_body_that_breaks_at_one_place_for_ever_uses_the_retries_up(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB] * 20, answers=[None, _gone] * 10)
    summary = await download(server, script, tmp_path, retries=1)
    assert (summary.failed, len(script.asked)) == (1, 5)


async def test_offsets_of_a_version_that_was_given_up_are_not_told(
    server: FaultServer, tmp_path: Path
) -> None:
    newer = Ranged(pattern(3 * MIB, 7), fields=[("ETag", '"two"'), DATE])

    async def changed(x: Exchange) -> None:
        await newer(x)

    script = Ranged(BODY, cuts=[2 * MIB, MIB], answers=[None, None, changed])
    await download(server, script, tmp_path)
    assert len(script.asked) == 3
    assert assert_whole(tmp_path, newer)["resumed_at"] == []


async def test_no_resume_leaves_a_part_of_an_earlier_run_alone_too(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB])
    await download(server, script, tmp_path, retries=0)
    await download(server, script, tmp_path, retry_failed=True, no_resume=True)
    assert_whole(tmp_path, script)
    assert script.asked == [None, None]


WEAK = {
    "weak tag": [("ETag", 'W/"one"'), DATE],
    "no validator": [DATE],
    "same second": [("Last-Modified", DATE[1]), DATE],
    "no date": [("Last-Modified", DATE[1])],
    "says none": [("ETag", '"one"'), ("Accept-Ranges", "none")],
}


@pytest.mark.parametrize("kind", WEAK)
async def test_without_a_strong_validator_a_body_begins_anew(
    kind: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB], fields=WEAK[kind])
    await download(server, script, tmp_path)
    assert_whole(tmp_path, script)
    assert script.asked == [None, None]


async def test_a_date_a_second_before_the_answer_is_a_strong_validator(
    server: FaultServer, tmp_path: Path
) -> None:
    modified = "Sun, 29 Nov 2026 09:59:59 GMT"
    script = Ranged(BODY, cuts=[2 * MIB], fields=[("Last-Modified", modified), DATE])
    await download(server, script, tmp_path)
    assert_whole(tmp_path, script)
    assert script.conditions == [None, modified]


async def test_less_than_a_mebibyte_and_no_resume_begin_anew(server: FaultServer, tmp_path: Path) -> None:
    small = Ranged(BODY, cuts=[MIB - 1])
    await download(server, small, tmp_path / "small")
    assert small.asked == [None, None]
    off = Ranged(BODY, cuts=[2 * MIB])
    await download(server, off, tmp_path / "off", no_resume=True)
    assert off.asked == [None, None]


async def test_the_rest_is_asked_of_the_address_that_answered(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, cuts=[2 * MIB])
    server.route("/file", script)
    asked = []

    async def signed(x: Exchange) -> None:
        asked.append(x.hit.header("range"))
        await x.answer(302, [("Location", f"/file?signature={len(asked)}")])

    server.route("/to-file", signed)
    await Fetcher(**QUICK).download.aio([server.url("/to-file")], tmp_path)
    assert_whole(tmp_path, script)
    assert asked == [None]  # a retry repeats the hop that failed
    assert script.asked == [None, f"bytes={2 * MIB}-"]


async def test_a_later_run_finds_the_address_that_answered_through_the_redirect(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB])
    server.route("/file", script)
    asked = []

    async def signed(x: Exchange) -> None:
        asked.append(x.hit.header("range"))
        await x.answer(302, [("Location", f"/file?signature={len(asked)}")])

    server.route("/to-file", signed)
    for again in (False, True):
        await Fetcher(retries=0, min_free=0, retry_failed=again).download.aio(
            [server.url("/to-file")], tmp_path
        )
    assert_whole(tmp_path, script)
    assert asked == [None, None]
    assert script.asked == [None, f"bytes={2 * MIB}-"]


async def test_a_hold_of_the_host_keeps_the_part(server: FaultServer, tmp_path: Path) -> None:
    async def busy(x: Exchange) -> None:
        await x.answer(503, [("Retry-After", "0")])

    script = Ranged(BODY, cuts=[2 * MIB], answers=[None, busy])
    await download(server, script, tmp_path)
    assert assert_whole(tmp_path, script)["resumed_at"] == [2 * MIB]


async def test_a_page_that_is_gone_takes_its_part_along(server: FaultServer, tmp_path: Path) -> None:
    async def gone(x: Exchange) -> None:
        await x.answer(404)

    script = Ranged(BODY, cuts=[2 * MIB], answers=[None, gone])
    summary = await download(server, script, tmp_path)
    assert summary.failed == 1
    assert list((tmp_path / ".fetcher" / "parts").iterdir()) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stopped_run_is_continued_by_the_same_command(
    processes: int, server: FaultServer, tmp_path: Path
) -> None:
    program = Program(tmp_path)
    script = Ranged(BODY, pause_s=0.2)
    server.route("/file", script)
    command = ("get", server.url("/file"), "-o", "out", "--grace", "0", "--processes", str(processes))
    with program.start(*command) as running:
        assert server.wait(lambda _: script.sent >= 3 * MIB, 30)
        running.send(signal.SIGINT)
        assert running.process.wait(30) == 130
    script.pause_s = 0
    ended = program.run(*command)
    assert ended.code == 0, ended.err
    record = assert_whole(tmp_path / "out", script)
    assert record["resumed_at"]
    assert record["resumed_at"][0] >= MIB


@pytest.mark.parametrize(
    ("backend", "processes"), [*((backend, 1) for backend in BACKENDS), ("asyncio", 2), ("sync", 2)]
)
def test_a_body_killed_again_and_again_arrives_and_only_the_last_moment_is_asked_again(
    backend: str, processes: int, server: FaultServer, tmp_path: Path
) -> None:
    program = Program(tmp_path)
    script = Ranged(pattern(8 * MIB))
    server.route("/file", script)
    command = ("get", server.url("/file"), "-o", "out", "--backend", backend, "--processes", str(processes))
    kills = 3
    parts = tmp_path / "out" / ".fetcher" / "state.db"

    def grown() -> int:
        """What the state vouches for, looked at without disturbing it."""
        try:
            with sqlite3.connect(f"file:{parts}?mode=ro", uri=True) as state:
                row = state.execute("SELECT part FROM part").fetchone()
        except sqlite3.Error:
            return 0
        return 0 if row is None else int(json.loads(row[0])["extents"][0][1])

    for number in range(kills):
        script.held_at = (2 * number + 2) * MIB + MIB // 2  # nothing vouches for the next kill's bytes yet
        with program.start(*command) as running:
            assert holds(lambda least=(2 * number + 1) * MIB: grown() >= least)
            running.send(signal.SIGKILL)
            running.process.wait(30)
    script.held_at = None
    ended = program.run(*command)
    assert ended.code == 0, ended.err
    record = assert_whole(tmp_path / "out", script)
    assert len(record["resumed_at"]) == kills
    assert all(int(str(wanted)[6:-1]) >= (2 * n + 1) * MIB for n, wanted in enumerate(script.asked[1:]))


async def test_what_the_state_does_not_vouch_for_is_cut_off(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, cuts=[2 * MIB, 0])
    await download(server, script, tmp_path, retries=0)
    (part,) = (tmp_path / ".fetcher" / "parts").iterdir()
    with part.open("ab") as file:
        file.write(b"what came after the last row" * 1000)
    (part.parent / "99-1.part").write_bytes(b"nobody's")
    await download(server, script, tmp_path, retry_failed=True)
    assert_whole(tmp_path, script)


async def test_a_part_that_was_removed_or_shortened_begins_anew(server: FaultServer, tmp_path: Path) -> None:
    for harm in (Path.unlink, lambda part: part.write_bytes(b"short")):
        out = tmp_path / harm.__name__
        script = Ranged(BODY, cuts=[2 * MIB])
        await download(server, script, out, retries=0)
        (part,) = (out / ".fetcher" / "parts").iterdir()
        harm(part)
        await download(server, script, out, retry_failed=True)
        assert_whole(out, script)
        assert script.asked == [None, None]


async def test_a_part_that_was_whole_before_the_kill_is_confirmed_by_one_byte(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[len(BODY) - 1])
    await download(server, script, tmp_path, retries=0)
    (part,) = (tmp_path / ".fetcher" / "parts").iterdir()
    with sqlite3.connect(tmp_path / ".fetcher" / "state.db") as state:
        (text,) = state.execute("SELECT part FROM part").fetchone()
        row = {**json.loads(text), "extents": [[0, len(BODY)]]}
        state.execute("UPDATE part SET part = ?", (json.dumps(row),))
    part.write_bytes(BODY)
    await download(server, script, tmp_path, retry_failed=True)
    assert_whole(tmp_path, script)
    assert script.asked == [None, f"bytes={len(BODY) - 1}-"]


async def test_restart_forgets_the_part(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, cuts=[2 * MIB])
    await download(server, script, tmp_path, retries=0)
    await download(server, script, tmp_path, restart=True)
    assert_whole(tmp_path, script)
    assert script.asked == [None, None]


async def test_a_range_of_the_users_own_is_left_alone(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, cuts=[2 * MIB], is_deaf=True)
    await download(server, script, tmp_path, header=["Range: bytes=0-"])
    assert script.asked == ["bytes=0-", "bytes=0-"]
    assert script.conditions == [None, None]


async def test_cancelling_leaves_a_part_for_the_next_run(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, pause_s=0.2)
    server.route("/file", script)
    task = asyncio.create_task(Fetcher(**QUICK).download.aio([server.url("/file")], tmp_path))
    await asyncio.to_thread(server.wait, lambda _: script.sent >= 4 * MIB, 30)
    task.cancel()
    await asyncio.wait([task])
    script.pause_s = 0
    await download(server, script, tmp_path)
    record = assert_whole(tmp_path, script)
    assert record["resumed_at"]
    assert record["resumed_at"][0] >= MIB


async def test_a_download_that_is_cancelled_keeps_all_that_has_come(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, held_at=4 * MIB)
    server.route("/file", script)
    url = server.url("/file")
    call = asyncio.create_task(Fetcher(**QUICK).download.aio([url], tmp_path))
    part = tmp_path / ".fetcher" / "parts"

    def size() -> int:
        return sum(file.stat().st_size for file in part.iterdir()) if part.is_dir() else 0

    while size() < 3 * MIB:  # a file shows bytes before the writing of their block has ended
        await asyncio.sleep(0.005)
    call.cancel()  # sooner than the row of the part is written by itself
    await asyncio.wait([call])
    script.held_at = None
    await Fetcher(**QUICK).download.aio([url], tmp_path)
    assert script.asked[1] is not None
    assert_whole(tmp_path, script)
