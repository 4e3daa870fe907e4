"""Tables in and out: Parquet as a list of URLs, and bodies as Parquet shards (`--store parquet`)."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.program import Program, records
from support.site import Site

MakeSite = Callable[..., Site]

COMMAND = ("get", "-i", "list.jsonl", "-o", "out", "--store", "parquet", "-c", "32", "--per-host", "32")


def listed_with_columns(program: Program, site: Site) -> list[str]:
    urls = [site.url(path) for path in sorted(site.pages)]
    rows = [{"url": url, "caption": f"the {n}", "n": n, "status": "mine"} for n, url in enumerate(urls)]
    (program.folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return urls


def rows_of(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(root / "bodies", format="parquet").to_table().to_pylist()
    return rows


@pytest.mark.parametrize("processes", ["1", "2"])
def test_shards_of_a_run_killed_twice_hold_every_url_once_with_its_body_and_the_lists_columns(
    program: Program, make_site: MakeSite, processes: str
) -> None:
    site = make_site(200)
    urls = listed_with_columns(program, site)
    command = (*COMMAND, "--processes", processes)
    for reached in (40, 110):  # requests seen when the kill comes
        site.hold_after(reached - len(site.log) + 30)
        with program.start(*command) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            run.send(signal.SIGKILL)
            run.end()
        site.release()
    ended = program.run(*command)
    assert ended.code == 0, ended.err

    out = program.folder / "out"
    rows = rows_of(out)
    assert sorted(row["url"] for row in rows) == sorted(urls)
    pages = {site.url(path): body for path, body in site.pages.items()}
    for row in rows:
        assert row["body"] == pages[row["url"]]
        assert row["sha256"] == hashlib.sha256(row["body"]).hexdigest()
        assert (row["status"], row["meta.status"]) == (200, "mine")
        assert (row["caption"], urls[row["n"]]) == (f"the {row['n']}", row["url"])
    assert not any((out / ".fetcher" / "rows").iterdir())
    verified = program.run("verify", "out")
    assert verified.code == 0, verified.out
    next((out / "bodies").iterdir()).unlink()
    assert program.run("verify", "out").code == 1


def test_a_parquet_file_is_a_list_of_urls_with_columns_and_a_shard_can_be_one(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(3)
    urls = [site.url(path) for path in sorted(site.pages)]
    table = pa.table(
        {
            "URL": [*urls, None],
            "sha256": [hashlib.sha256(site.pages[path]).hexdigest() for path in sorted(site.pages)] + [None],
            "width": pa.array([1, None, 3, 4], pa.int32()),
            "seen": pa.array([0, 1, 2, 3], pa.timestamp("s")),
            "body": [b"bytes", b"", None, b"x"],
        }
    )
    pq.write_table(table, program.folder / "in.parquet", row_group_size=2)
    ended = program.run("get", "-i", "in.parquet", "-o", "out", "--url-column", "url", "--name", "{width}")
    assert ended.code == 1, ended.err
    ended_as = {record["line"]: record for record in records(program.folder / "out")}
    assert [ended_as[n]["state"] for n in (1, 2, 3, 4)] == ["done", "done", "done", "refused"]
    assert ended_as[1]["meta"] == {"width": 1, "seen": "1970-01-01T00:00:00"}
    assert (ended_as[3]["source"], ended_as[3]["path"]) == ("in.parquet", "3")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"PAR1 and no more", "cannot read in.parquet"), (None, "it has no column 'url'")],
)
def test_a_parquet_file_that_is_no_list_stops_before_any_request(
    program: Program, content: bytes | None, said: str
) -> None:
    path = program.folder / "in.parquet"
    if content is None:
        pq.write_table(pa.table({"link": ["http://127.0.0.1:1/"]}), path)
    else:
        path.write_bytes(content)
    ended = program.run("get", "-i", "in.parquet", "-o", "out")
    assert (ended.code, said in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("store", ["files", "warc", "parquet"])
def test_bodies_are_exported_as_they_were_served_last_whatever_keeps_them(
    program: Program, make_site: MakeSite, store: str
) -> None:
    site = make_site(3)
    paths = [*site.pages, "/gzip/5000", "/status/404"]
    command = ("get", *map(site.url, paths), "-o", "out", "--store", store)
    program.run(*command)
    site.pages["/p/1"] = b"another body"
    program.run(*command, "--refresh")
    ended = program.run("export", "out", "out.parquet", "--bodies")
    assert ended.code == 0, ended.err
    rows = pq.read_table(program.folder / "out.parquet").to_pylist()
    bodies = {row["url"]: row["body"] for row in rows}
    assert {path: bodies[site.url(path)] for path in site.pages} == site.pages
    assert bodies[site.url("/status/404")] is None
    [packed] = [row for row in rows if "gzip" in row["url"]]
    assert len(packed["body"]) == 5000
    assert hashlib.sha256(packed["body"]).hexdigest() == packed["sha256"]

    for path in [*out_files(program.folder / "out")]:
        path.unlink()
    assert program.run("export", "out", "again.parquet", "--bodies").code == 1


def out_files(out: Path) -> list[Path]:
    """What keeps the bodies."""
    return [
        path
        for path in out.rglob("*")
        if path.is_file() and ".fetcher" not in path.parts and path.suffix not in {".jsonl", ".cdxj"}
    ]
