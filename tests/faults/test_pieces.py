"""Pieces of a body that have other hashes than a Metalink file says are asked for again, and they alone."""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
from hashlib import new, sha256
from pathlib import Path

import msgspec
import pytest
from support.faultserver import Exchange, FaultServer
from support.program import Program
from support.ranged import DATE, MIB, Ranged, assert_whole, holds, pattern, records

from fetcher.download import Download
from fetcher.settings import make
from fetcher.sources.file_source import FileSource
from fetcher.wiring import BACKENDS

PIECE = MIB // 2
BODY = pattern(6 * MIB + 12_345)
SIZE = len(BODY)
QUICK = {"retries": 0, "min_free": 0, "split_size": 4 * MIB}


def with_wrong(*pieces: int) -> bytes:
    """The body with a byte changed in each of `pieces`."""
    body = bytearray(BODY)
    for piece in pieces:
        body[piece * PIECE + 77] ^= 1
    return bytes(body)


def metalink(folder: Path, urls: list[str], *, whole: bool = True, kind: str = "sha-256") -> str:
    digests = [new(kind.replace("-", ""), BODY[at : at + PIECE]).hexdigest() for at in range(0, SIZE, PIECE)]
    hashes = "".join(f"<hash>{digest}</hash>" for digest in digests)
    of_whole = f'<hash type="sha-256">{sha256(BODY).hexdigest()}</hash>' if whole else ""
    shown = "".join(f'<url priority="{n}">{url}</url>' for n, url in enumerate(urls, 1))
    path = folder / "list.meta4"
    path.write_text(
        f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="it"><size>{SIZE}</size>{of_whole}'
        f'<pieces length="{PIECE}" type="{kind}">{hashes}</pieces>{shown}</file></metalink>'
    )
    return str(path)


async def download(out: Path, path: str, **settings: object):
    chosen = msgspec.structs.replace(make({**QUICK, **settings}), output=str(out))
    return await Download(chosen).run([FileSource(path)])


def asked_bytes(script: Ranged) -> int:
    """The bytes of the ranges that were asked for."""
    return sum(
        (int(last) + 1 if last else SIZE) - int(first)
        for first, _, last in (each.removeprefix("bytes=").partition("-") for each in script.asked if each)
    )


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
async def test_only_the_wrong_pieces_are_asked_of_the_next_mirror(
    backend: str, whole: bool, server: FaultServer, tmp_path: Path
) -> None:
    good = Ranged(BODY, fields=[DATE])
    server.route("/false", Ranged(with_wrong(0, 5, 6, 12)))
    server.route("/good", good)
    listed = metalink(tmp_path, [server.url("/false"), server.url("/good")], whole=whole)
    await download(tmp_path / "out", listed, backend=backend)
    record = assert_whole(tmp_path / "out", good)
    assert record["final_url"] == server.url("/good")
    assert asked_bytes(good) == 3 * PIECE + 12_345
    assert None not in good.asked
    assert set(good.conditions) == {None}


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "sync"])
async def test_a_mirror_that_lies_in_one_piece_of_a_mixture_costs_one_piece(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    first = Ranged(BODY, pause_s=0.1, first_waits_for=1)
    other = Ranged(with_wrong(*range(4, 13)), pause_s=0.01)
    server.route("/first", first)
    server.route("/other", other)
    listed = metalink(tmp_path, [server.url("/first"), server.url("/other")], whole=False)
    await download(tmp_path / "out", listed, backend=backend, split=2)
    record = assert_whole(tmp_path / "out", first)
    assert other.asked
    assert record["final_url"] == server.url("/first")
    assert first.asked.count(None) == 1


@pytest.mark.parametrize("split", [1, 3])
async def test_a_transfer_that_was_spoilt_is_mended_at_the_one_server(
    split: int, server: FaultServer, tmp_path: Path
) -> None:
    spoilt = Ranged(with_wrong(3, 8))
    script = Ranged(BODY, answers=[spoilt])
    server.route("/file", script)
    await download(tmp_path / "out", metalink(tmp_path, [server.url("/file")]), split=split, retries=1)
    record = assert_whole(tmp_path / "out", script)
    assert record["attempts"] == 2
    assert SIZE < int(str(record["wire_bytes"])) <= SIZE + 2 * PIECE + (split - 1) * MIB


async def test_pieces_that_nobody_has_right_fail_and_are_mended_by_another_run(
    server: FaultServer, tmp_path: Path
) -> None:
    script = Ranged(with_wrong(2))
    server.route("/file", script)
    listed = metalink(tmp_path, [server.url("/file")], kind="sha-1", whole=False)
    await download(tmp_path / "out", listed, retries=1)
    record = records(tmp_path / "out")[-1]
    assert (record["state"], record["error"], record["path"]) == ("failed", "checksum", None)
    assert script.asked == [None, f"bytes={2 * PIECE}-{3 * PIECE - 1}"]
    script.body = BODY
    await download(tmp_path / "out", listed, retry_failed=True)
    assert_whole(tmp_path / "out", script)
    assert script.asked[2:] == [f"bytes={2 * PIECE}-{3 * PIECE - 1}"]


async def test_a_body_without_a_right_piece_is_asked_for_whole_elsewhere(
    server: FaultServer, tmp_path: Path
) -> None:
    good = Ranged(BODY)
    server.route("/other", Ranged(pattern(SIZE, 4)))
    server.route("/good", good)
    await download(
        tmp_path / "out", metalink(tmp_path, [server.url("/other"), server.url("/good")], whole=False)
    )
    assert_whole(tmp_path / "out", good)
    assert good.asked == [None]


async def test_a_mirror_that_is_gone_costs_none_of_the_right_pieces(
    server: FaultServer, tmp_path: Path
) -> None:
    async def gone(x: Exchange) -> None:
        await x.answer(404)

    good = Ranged(BODY)
    server.route("/false", Ranged(with_wrong(1)))
    server.route("/gone", gone)
    server.route("/good", good)
    urls = [server.url(path) for path in ("/false", "/gone", "/good")]
    await download(tmp_path / "out", metalink(tmp_path, urls))
    assert_whole(tmp_path / "out", good)
    assert good.asked == [f"bytes={PIECE}-{2 * PIECE - 1}"]


async def test_a_server_without_ranges_sends_the_whole_again(server: FaultServer, tmp_path: Path) -> None:
    good = Ranged(BODY, is_deaf=True)
    server.route("/false", Ranged(with_wrong(1)))
    server.route("/good", good)
    await download(tmp_path / "out", metalink(tmp_path, [server.url("/false"), server.url("/good")]))
    assert_whole(tmp_path / "out", good)
    assert len(good.asked) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_kill_while_pieces_are_mended_keeps_the_right_ones(
    processes: int, server: FaultServer, tmp_path: Path
) -> None:
    program = Program(tmp_path)
    false, good = Ranged(with_wrong(3)), Ranged(BODY)
    waits: list[Exchange] = []

    async def first_waits(x: Exchange) -> None:
        waits.append(x)
        if len(waits) == 1:
            await x.pause(60)
        await good(x)

    def extents() -> list[list[int]]:
        with sqlite3.connect(f"file:{tmp_path}/out/.fetcher/state.db?mode=ro", uri=True) as state:
            row = state.execute("SELECT part FROM part").fetchone()
        return [] if row is None else json.loads(row[0])["extents"]

    server.route("/false", false)
    server.route("/good", first_waits)
    listed = metalink(tmp_path, [server.url("/false"), server.url("/good")])
    command = ("get", "-i", listed, "-o", "out", "--min-free", "0", "--processes", str(processes))
    command = (*command, "--retries", "0")
    with program.start(*command) as running:
        assert holds(lambda: waits != [] and len(extents()) == 2)
        running.send(signal.SIGKILL)
        running.process.wait(30)
    with sqlite3.connect(tmp_path / "out" / ".fetcher" / "state.db") as state:
        (text,) = state.execute("SELECT extra FROM url").fetchone()
    kept = json.loads(text)["pieces"]
    assert len(base64.b64decode(kept["digests"])) == 32 * 13
    ended = program.run(*command)
    assert ended.code == 0, ended.err
    assert_whole(tmp_path / "out", good)
    assert {*false.asked[1:], *good.asked} == {f"bytes={3 * PIECE}-{4 * PIECE - 1}"}
