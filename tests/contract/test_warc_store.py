"""What a web archive holds of each kind of exchange, on every backend, read back by warcio."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest
from support.warcs import Kept, is_sound, kept, replayed

import fetcher
from fetcher.run_dir import RunDirectory
from fetcher.verification.rebuild_archives import lengths_of_archives

BIG = b"a large body, " * 40_000  # spooled to a part
CODED = gzip.compress(BIG, 0)  # and so is this
ANSWERS = {
    "/plain": b"HTTP/1.1 200 Very  well\r\nX-Odd: 1\r\nx-odd:   \xe9\r\nContent-Length: 2\r\n\r\nok",
    "/coded": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
    % (len(CODED), CODED),
    "/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /plain\r\nContent-Length: 5\r\n\r\nmoved",
    "/gone": b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nno page",
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\nno more",
    "/big": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BIG), BIG),
}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWERS[head.split(b" ")[1].decode()])
    await writer.drain()
    writer.close()


@pytest.fixture(params=["asyncio", "curl", "threads", "sync"])
async def archived(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        site = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with fetcher.Fetcher(
            store="warc", backend=request.param, retries=0, user="me:secret", headers={"X-Key": "k"}
        ) as f:
            await f.download([site + path for path in ANSWERS], tmp_path / "out")
    return tmp_path / "out"


async def test_every_whole_exchange_is_archived_as_it_came(archived: Path) -> None:
    assert is_sound(archived)
    answers: dict[str, list[Kept]] = {}
    for one in kept(archived, "response"):
        answers.setdefault("/" + one.url.rpartition("/")[2], []).append(one)
    assert {path: [one.status for one in found] for path, found in answers.items()} == {
        "/plain": ["200", "200"],
        "/coded": ["200"],
        "/chunked": ["200"],
        "/moved": ["302"],
        "/gone": ["404"],
        "/big": ["200"],
    }
    for path in ("/plain", "/coded", "/moved", "/gone", "/big"):
        head, _, body = ANSWERS[path].partition(b"\r\n\r\n")
        assert answers[path][0].raw_head == head + b"\r\n\r\n"
        assert answers[path][0].wire == body
    (chunked,) = answers["/chunked"]
    assert (chunked.wire, chunked.head["X-Crawler-Transfer-Encoding"]) == (b"abcde", "chunked")
    assert chunked.head["Content-Length"] == "5"
    assert answers["/coded"][0].body == BIG
    requests = kept(archived, "request")
    assert len(requests) == 7
    assert {one.head["Authorization"] for one in requests} == {"***"}
    assert {one.head["X-Key"] for one in requests} == {"***"}
    assert all(one.fields["WARC-Concurrent-To"] for one in requests)
    lines = (archived / "indexes" / "index.cdxj").read_bytes().splitlines()
    assert sorted(replayed(archived, line).url for line in lines) == sorted(
        one.url for found in answers.values() for one in found
    )
    assert not list((archived / ".fetcher" / "parts").iterdir())


async def test_of_an_archive_that_was_growing_when_the_state_was_lost_the_whole_records_count(
    archived: Path,
) -> None:
    (archive,) = (archived / "archive").iterdir()
    whole = archive.stat().st_size
    with archive.open("ab") as file:
        file.write(gzip.compress(b"torn")[:-3])
    archive.rename(archive.with_name(f"{archive.name}.open"))
    assert lengths_of_archives(RunDirectory(archived)) == {f"archive/{archive.name}": whole}
