"""A body over several connections arrives as one version, whole, or not at all; whatever breaks, on every backend."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.faultserver import Exchange, FaultServer
from support.program import Program
from support.ranged import DATE, MIB, Ranged, assert_whole, holds, pattern, records

from fetcher import Fetcher
from fetcher.download import Download
from fetcher.settings import make
from fetcher.sources.iterables import IterableSource
from fetcher.wiring import BACKENDS

BODY = pattern(8 * MIB + 12_345)
SIZE = len(BODY)
NEWER = pattern(SIZE, 9)
SPLITTING = [name for name in BACKENDS if name != "sync"]
QUICK = {"retries": 3, "min_free": 0, "split": 4, "split_size": 4 * MIB}
SLOW_S = 0.1  # for each MiB, so that further connections begin before the first is done


async def download(server: FaultServer, script: Ranged, out: Path, **settings: object):
    server.route("/file", script)
    return await Fetcher(**{**QUICK, **settings}).download.aio([server.url("/file")], out)


def ranges(script: Ranged) -> list[tuple[int, int]]:
    """What was asked for, each up to the byte after its last."""
    found = []
    for wanted in script.asked:
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            found.append((int(first), int(last) + 1 if last else SIZE))
    return found


@pytest.mark.parametrize("backend", SPLITTING)
async def test_several_connections_fill_one_body(backend: str, server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, pause_s=SLOW_S)
    summary = await download(server, script, tmp_path, backend=backend)
    record = assert_whole(tmp_path, script)
    assert summary.done == 1
    assert script.asked[0] is None
    assert len(script.asked) >= 4
    assert set(script.conditions[1:]) == {'"one"'}
    assert (record["status"], record["attempts"], record["bytes"]) == (200, 1, SIZE)
    assert SIZE <= int(str(record["wire_bytes"])) <= SIZE + 3 * MIB
    assert record["resumed_at"] == []


NOT_SPLIT = {
    "weak": {"fields": [("ETag", 'W/"one"'), DATE]},
    "unsaid": {"ranges": None},
    "none": {"ranges": "none"},
    "chunked": {"is_chunked": True},
    "small": {"body": pattern(3 * MIB)},
}


@pytest.mark.parametrize("kind", NOT_SPLIT)
async def test_a_body_that_may_not_be_split_comes_over_one_connection(
    kind: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(**{"body": BODY, **NOT_SPLIT[kind]})  # type: ignore[arg-type]
    await download(server, script, tmp_path)
    assert_whole(tmp_path, script)
    assert script.asked == [None]


async def test_a_backend_with_one_connection_says_so(server: FaultServer, tmp_path: Path) -> None:
    said: list[str] = []

    class Log:
        def on_event(self, event: object) -> None:
            said.append(str(getattr(event, "text", "")))

    script = Ranged(BODY)
    server.route("/file", script)
    settings = make({**QUICK, "backend": "sync"})
    run = Download(msgspec.structs.replace(settings, output=str(tmp_path)), observers=[Log()])
    await run.run([IterableSource([server.url("/file")])])
    assert_whole(tmp_path, script)
    assert script.asked == [None]
    assert [text for text in said if "one connection" in text] == [
        "the backend sync has one connection: bodies are not split"
    ]


async def test_no_more_connections_than_the_host_may_have(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, pause_s=0.03)
    await download(server, script, tmp_path, split=8, per_host=2)
    assert_whole(tmp_path, script)
    assert script.most_at_once == 2


async def test_ranges_count_for_the_rate(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, pause_s=SLOW_S)
    await download(server, script, tmp_path, rate="1/h")
    assert_whole(tmp_path, script)
    assert script.asked == [None]


def _range(first: int, end: int, total: object, etag: str = '"one"') -> Callable[[Exchange], object]:
    async def answer(x: Exchange) -> None:
        fields = [("ETag", etag), ("Content-Range", f"bytes {first}-{end - 1}/{total}")]
        await x.answer(206, fields, b"x" * (end - first))

    return answer


async def _ignored(x: Exchange) -> None:
    await x.answer(200, [("ETag", '"one"'), ("Accept-Ranges", "bytes")], BODY)


async def _newer(x: Exchange) -> None:
    await x.answer(200, [("ETag", '"two"'), ("Accept-Ranges", "bytes")], NEWER)


async def _unsaid(x: Exchange) -> None:
    await x.answer(206, [("ETag", '"one"')], b"x" * MIB)


async def _gone(x: Exchange) -> None:
    await x.answer(416, [("Content-Range", f"bytes */{SIZE}")])


async def _busy(x: Exchange) -> None:
    await x.answer(503)


async def _refused(x: Exchange) -> None:
    x.reset()


async def _silent(x: Exchange) -> None:
    await x.pause(60)


FALSE = {
    "ignored": _ignored,
    "newer version": _newer,
    "before": _range(1, SIZE, SIZE),
    "total": _range(SIZE // 2, SIZE, SIZE + 1),
    "other validator": _range(SIZE // 2, SIZE, SIZE, '"two"'),
    "no range": _unsaid,
    "416": _gone,
    "503": _busy,
    "reset": _refused,
}


@pytest.mark.parametrize("backend", SPLITTING)
@pytest.mark.parametrize("kind", FALSE)
async def test_where_ranges_are_answered_falsely_the_first_connection_brings_all(
    kind: str, backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, false=FALSE[kind], pause_s=0.05, first_waits_for=2)
    await download(server, script, tmp_path, backend=backend)
    assert_whole(tmp_path, script)
    assert script.asked.count(None) <= 2  # once more, where it was slower than what contradicts it


@pytest.mark.parametrize("backend", SPLITTING)
@pytest.mark.parametrize("kind", ["503", "416", "reset", "ignored", "silence"])
@pytest.mark.parametrize("is_late", [False, True])
async def test_where_every_further_range_is_refused_the_body_costs_no_retry(
    is_late: bool, kind: str, backend: str, server: FaultServer, tmp_path: Path
) -> None:
    is_over = asyncio.Event()

    async def refused(x: Exchange) -> None:
        while is_late and not is_over.is_set():
            await x.pause(0.01)
        await {**FALSE, "silence": _silent}[kind](x)

    async def route(x: Exchange) -> None:
        try:
            await script(x)
        finally:
            if x.hit.header("range") is None:
                is_over.set()

    script = Ranged(BODY, false=refused, pause_s=0.01, first_waits_for=4)
    server.route("/file", route)
    fetcher = Fetcher(**{**QUICK, "retries": 0, "backend": backend})
    async with asyncio.timeout(30):  # the silent ones would have a minute
        await fetcher.download.aio([server.url("/file")], tmp_path)
    record = assert_whole(tmp_path, script)
    assert (record["attempts"], script.asked.count(None)) == (1, 1)


@pytest.mark.parametrize("backend", SPLITTING)
@pytest.mark.parametrize("at", [0, 1, 70_000, MIB, MIB + 500_000])
async def test_connections_that_break_are_made_up_for(
    at: int, backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[SIZE, at, at, at], pause_s=0.02)
    await download(server, script, tmp_path, backend=backend)
    assert_whole(tmp_path, script)
    assert script.asked.count(None) == 1


@pytest.mark.parametrize("backend", SPLITTING)
async def test_what_the_first_connection_leaves_the_others_bring(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[MIB + 70_000], pause_s=SLOW_S)
    await download(server, script, tmp_path, backend=backend)
    record = assert_whole(tmp_path, script)
    assert (record["attempts"], record["resumed_at"]) == (1, [])


@pytest.mark.parametrize("backend", SPLITTING)
async def test_a_version_that_changes_in_the_middle_is_never_mixed(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    newer = Ranged(pattern(SIZE, 7), fields=[("ETag", '"two"'), DATE])

    async def changed(x: Exchange) -> None:
        await newer(x)

    script = Ranged(BODY, cuts=[3 * MIB], answers=[None, None, *[changed] * 20], pause_s=SLOW_S)
    await download(server, script, tmp_path, backend=backend)
    assert_whole(tmp_path, newer)


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_body_with_gaps_is_continued_with_any_number_of_connections(
    connections: int, backend: str, server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(BODY, cuts=[2 * MIB, *[MIB + 5] * 3, *[0] * 30], pause_s=SLOW_S)
    await download(server, script, tmp_path, retries=0)
    assert records(tmp_path)[-1]["state"] == "failed"
    with sqlite3.connect(tmp_path / ".fetcher" / "state.db") as state:
        extents = json.loads(state.execute("SELECT part FROM part").fetchone()[0])["extents"]
    assert len(extents) > 1
    script.cuts, script.pause_s = (), 0
    await download(server, script, tmp_path, backend=backend, split=connections, retry_failed=True)
    record = assert_whole(tmp_path, script)
    assert ranges(script)[-1][0] > 0
    assert int(str(record["wire_bytes"])) <= SIZE + 3 * MIB


def grown(out: Path) -> int:
    """The bytes of the one part that the state vouches for."""
    try:
        with sqlite3.connect(f"file:{out}/.fetcher/state.db?mode=ro", uri=True) as state:
            row = state.execute("SELECT part FROM part").fetchone()
    except sqlite3.Error:
        return 0
    return 0 if row is None else sum(end - begin for begin, end in json.loads(row[0])["extents"])


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_asks_only_for_what_was_not_written_down(
    processes: int, server: FaultServer, tmp_path: Path
) -> None:
    program = Program(tmp_path)
    body = pattern(16 * MIB)
    script = Ranged(body, pause_s=0.5)
    server.route("/file", script)
    command = ("get", server.url("/file"), "-o", "out", "--split", "4", "--split-size", "4M")
    command = (*command, "--processes", str(processes))

    known = 0
    for _ in range(2):
        with program.start(*command) as running:
            assert holds(lambda least=known + 2 * MIB: grown(tmp_path / "out") >= least)
            running.send(signal.SIGKILL)
            running.process.wait(30)
        known = grown(tmp_path / "out")
    assert program.run("verify", "out").code == 0
    script.pause_s = 0
    ended = program.run(*command)
    assert ended.code == 0, ended.err
    record = assert_whole(tmp_path / "out", script)
    assert len(record["resumed_at"]) == 2
    assert int(str(record["wire_bytes"])) <= len(body) + 6 * MIB


def test_a_killed_run_names_the_body_as_its_server_does(server: FaultServer, tmp_path: Path) -> None:
    program = Program(tmp_path)
    named = ("Content-Disposition", 'attachment; filename="report.pdf"')
    script = Ranged(BODY, fields=[("ETag", '"one"'), DATE, named], pause_s=0.2)
    server.route("/file", script)
    command = ("get", server.url("/file"), "-o", "out", "--server-names", "--min-free", "0")
    command = (*command, "--split", "4", "--split-size", "4M")
    with program.start(*command) as running:
        assert holds(lambda: grown(tmp_path / "out") >= 2 * MIB)
        running.send(signal.SIGKILL)
        running.process.wait(30)
    script.pause_s, asked = 0, len(script.asked)
    ended = program.run(*command)
    assert ended.code == 0, ended.err
    record = assert_whole(tmp_path / "out", script)
    assert str(record["path"]).endswith("/report.pdf")
    assert record["resumed_at"]
    assert asked >= 2
    assert None not in script.asked[asked:]


async def test_a_stop_keeps_what_all_connections_brought(server: FaultServer, tmp_path: Path) -> None:
    script = Ranged(BODY, pause_s=0.3)
    server.route("/file", script)
    task = asyncio.create_task(Fetcher(**QUICK).download.aio([server.url("/file")], tmp_path))
    await asyncio.to_thread(server.wait, lambda _: script.sent >= 4 * MIB, 30)
    task.cancel()
    await asyncio.wait([task])
    script.pause_s = 0
    await download(server, script, tmp_path)
    record = assert_whole(tmp_path, script)
    assert record["resumed_at"]
