"""Every fault of the catalogue that a server can commit, in one list with good pages, on each backend.

The server's own log is the oracle; the whole program is real but for its command line.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.faultserver import FaultServer, content

from fetcher import Fetcher
from fetcher.model import Record
from fetcher.wiring import BACKENDS

# path: how the URL must end
FAULTS = {
    "/cut?at=10&of=100": ("failed", "connection-lost"),
    "/cut-chunked?at=10": ("failed", "connection-lost"),
    "/close-at-once": ("failed", "connection-lost"),
    "/loop": ("failed", "redirect-loop"),
    "/redirect/20?to=/ok/never": ("failed", "too-many-redirects"),
    "/location?raw=file%3A%2F%2F%2Fetc%2Fpasswd": ("failed", "bad-redirect"),
    "/location?raw=": ("failed", "bad-redirect"),
    "/bomb": ("failed", "too-large"),
    "/endless": ("failed", "too-large"),
    "/1xx?n=1000": ("failed", "protocol-broken"),
    "/cl-te": ("failed", "protocol-broken"),
    "/cl-twice": ("failed", "protocol-broken"),
    "/cl-negative": ("failed", "protocol-broken"),
    "/bad-chunk": ("failed", "protocol-broken"),
    "/noise": ("failed", "protocol-broken"),
    "/http09": ("failed", "protocol-broken"),
    "/status/404": ("failed", "http-status"),
    "/status/999": ("failed", "http-status"),
    "/hang": ("failed", "timed-out"),
    "/hang-body?at=5": ("failed", "timed-out"),
    "/redirect/3?to=/ok/moved": ("done", None),
    "/gzip/2000": ("done", None),
    "/chunked/2000": ("done", None),
    "/eof/2000": ("done", None),
    "/204-body": ("done", None),
}
GOOD = [f"/ok/{number}" for number in range(40)]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_each_fault_costs_its_own_url_and_no_other(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    paths = [*GOOD[:20], *FAULTS, *GOOD[20:]]
    settings = {"retries": 1, "header_timeout": 1.0, "read_timeout": 1.0, "max_size": "4M", "min_free": 0}
    async with Fetcher(backend=backend, concurrency=32, per_host=32, **settings) as fetcher:
        summary = await fetcher.download([server.url(path) for path in paths], tmp_path / "out")

    lines = (tmp_path / "out" / "results.jsonl").read_bytes().splitlines()
    records = [msgspec.json.decode(line, type=Record) for line in lines]
    ended = {record.url.removeprefix(server.url("")): (record.state, record.error) for record in records}
    assert len(records) == len(paths)
    assert ended == {**dict.fromkeys(GOOD, ("done", None)), **FAULTS}
    assert summary.done + summary.failed == len(paths)
    for record in records:
        if record.state == "done" and "/ok/" in record.final_url:
            assert record.path is not None
            body = (tmp_path / "out" / record.path).read_bytes()
            assert len(body) > 0
            assert body == content(record.final_url.removeprefix(server.url("")), len(body))
        elif record.state == "failed":
            assert record.path is None
    assert list((tmp_path / "out" / ".fetcher" / "parts").iterdir()) == []
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and ".fetcher" not in path.parts]
    assert len(kept) == 1 + sum(record.path is not None for record in records)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_failed_once_is_whole_in_the_end(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    paths = [f"/fail/1/once-{number}" for number in range(5)] + [f"/once/503/page-{n}" for n in range(3)]
    async with Fetcher(backend=backend, retries=3, min_free=0) as fetcher:
        summary = await fetcher.download([server.url(path) for path in paths], tmp_path / "out")
    assert (summary.done, summary.failed) == (len(paths), 0)
    assert all(server.count(path) == 2 for path in paths)


@pytest.mark.parametrize("flag", ["retry_failed", "refresh"])
async def test_a_file_put_in_the_place_of_a_failed_one_is_not_overwritten(
    flag: str, server: FaultServer, tmp_path: Path
) -> None:
    url = server.url("/once/404/page")
    out = tmp_path / "out"
    first = await Fetcher(min_free=0).download.aio([url], out)
    assert first.failed == 1
    mine = out / f"127.0.0.1_{server.port}" / "once" / "404" / "page"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    second = await Fetcher(min_free=0, **{flag: True}).download.aio([url], out)
    assert second.done == 1
    assert mine.read_bytes() == b"mine"
    assert [path.name[:5] for path in mine.parent.glob("page~*")] == ["page~"]
