"""`fetcher export`: every record once, its last word, in every format; whole or not at all."""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.ipc
import pyarrow.parquet
import pytest
from support.run_dirs import make_run_dir, record

from fetcher.cli.main import _run

RECORDS = [
    record("http://a/1", status=200, bytes=3, path="a/1", meta={"label": "cat", "n": 1, "x": [1]},
           started_at="2026-11-29T10:00:00.250Z", redirects=["http://a/0"]),
    record("http://a/2", "failed", status=500, error="http-status", meta={"label": None, "n": 2.5}),
    record("http://a/3", status=200, bytes=5, path="a/3"),
    record("http://a/2", status=200, bytes=4, path="a/2", meta={"n": 3, "x": "text"}),
]  # fmt: skip
FILES = {"a/1": b"one", "a/2": b"\0two", "a/3": b"three"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    root = make_run_dir(tmp_path / "out", RECORDS, FILES)
    with (root / "results.jsonl").open("a") as file:
        file.write('{"url": "http://a/4", "sta')  # torn, as a kill leaves it
    return root


def from_parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def from_arrow(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.ipc.open_file(path).read_all().to_pylist()
    return rows


def from_csv(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def from_sqlite(path: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM records")]


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".parquet": from_parquet,
    ".arrow": from_arrow,
    ".feather": from_arrow,
    ".csv": from_csv,
    ".csv.gz": from_csv,
    ".sqlite": from_sqlite,
    ".db": from_sqlite,
}


@pytest.mark.parametrize("ending", READERS)
def test_the_last_record_of_each_url_is_a_row(
    out: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / f"table{ending}"
    assert _run(["export", str(out), str(table)]) == 0
    rows = READERS[ending](table)
    assert [row["url"] for row in rows] == ["http://a/1", "http://a/3", "http://a/2"]
    assert [row["state"] for row in rows] == ["done"] * 3
    assert [str(row["status"]) for row in rows] == ["200"] * 3
    assert [row["meta.label"] or None for row in rows] == ["cat", None, None]
    assert [float(row["meta.n"] or 0) for row in rows] == [1, 0, 3]
    assert [row["meta.x"] or None for row in rows] == ["[1]", None, '"text"']
    started = rows[0]["started_at"]
    assert (started if isinstance(started, str) else started.isoformat(timespec="milliseconds")).startswith(
        "2026-11-29T10:00:00.250"
    )
    redirects = rows[0]["redirects"]
    assert (json.loads(redirects) if isinstance(redirects, str) else redirects) == ["http://a/0"]
    assert "1 line is no record" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", table.name]


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".sqlite"])
def test_bodies_are_the_bytes_that_were_stored(out: Path, tmp_path: Path, ending: str) -> None:
    table = tmp_path / f"table{ending}"
    assert _run(["export", str(out), str(table), "--bodies", "-q"]) == 0
    assert [row["body"] for row in READERS[ending](table)] == [b"one", b"three", b"\0two"]


def test_a_body_that_is_not_there_whole_is_null_and_told(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "a/1").unlink()
    (out / "a/3").write_bytes(b"longer than it was")
    table = tmp_path / "table.parquet"
    assert _run(["export", str(out), str(table), "--bodies"]) == 1
    assert [row["body"] for row in from_parquet(table)] == [None, None, b"\0two"]
    assert "2 bodies: they are not there as stored" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "link", "folder/secret", ".fetcher/state.db"])
def test_no_record_reads_a_file_outside_the_directory(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    out = make_run_dir(tmp_path / "out", [record("http://a/", path=path, bytes=6)])
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder").symlink_to(tmp_path)
    (out / ".fetcher" / "state.db").write_bytes(b"secret")
    assert _run(["export", str(out), str(tmp_path / "t.parquet"), "--bodies"]) == 1
    assert from_parquet(tmp_path / "t.parquet")[0]["body"] is None


def test_names_that_sql_takes_for_one_are_told_apart(tmp_path: Path) -> None:
    out = make_run_dir(tmp_path / "out", [record("http://a/", meta={"id": 1, "ID": 2, 'q"': 3})])
    assert _run(["export", str(out), str(tmp_path / "t.sqlite"), "-q"]) == 0
    (row,) = from_sqlite(tmp_path / "t.sqlite")
    assert (row["meta.id"], row["meta.ID_2"], row['meta.q"']) == (1, 2, 3)


def test_more_columns_than_a_table_should_have_stay_one(tmp_path: Path) -> None:
    meta = {f"column{number}": number for number in range(501)}
    out = make_run_dir(tmp_path / "out", [record("http://a/", meta=meta)])
    assert _run(["export", str(out), str(tmp_path / "t.parquet"), "-q"]) == 0
    assert json.loads(from_parquet(tmp_path / "t.parquet")[0]["meta"]) == meta


def test_an_integer_beyond_64_bits_is_kept(tmp_path: Path) -> None:
    out = make_run_dir(tmp_path / "out", [record("http://a/", meta={"n": 2**64})])
    assert _run(["export", str(out), str(tmp_path / "t.parquet"), "-q"]) == 0
    assert from_parquet(tmp_path / "t.parquet")[0]["meta.n"] == str(2**64)


def test_data_of_the_parser_has_a_column_for_each_key(out: Path, tmp_path: Path) -> None:
    (out / "data.jsonl").write_text('{"title": "A", "links": ["x"]}\n{"title": "B", "price": 2}\n"plain"\n')
    assert _run(["export", str(out), str(tmp_path / "t.parquet"), "--data", "-q"]) == 0
    assert from_parquet(tmp_path / "t.parquet") == [
        {"title": "A", "links": '["x"]', "price": None, "value": None},
        {"title": "B", "links": None, "price": 2, "value": None},
        {"title": None, "links": None, "price": None, "value": "plain"},
    ]


def test_an_empty_directory_is_a_table_without_rows(tmp_path: Path) -> None:
    out = make_run_dir(tmp_path / "out", [])
    assert _run(["export", str(out), str(tmp_path / "t.parquet"), "-q"]) == 0
    assert from_parquet(tmp_path / "t.parquet") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out", "t.xlsx"], "the ending says no format"),
        (["out", "there.csv"], "there.csv is there already"),
        (["out", "t.csv", "--bodies"], "CSV holds no bodies"),
        (["out", "t.parquet", "--data"], "has no data.jsonl"),
        (["out", "t.parquet", "--data", "--bodies"], "--bodies: --data has none"),
        (["nothing", "t.parquet"], "nothing is not a run directory"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    out: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(out.parent)
    Path("there.csv").write_text("mine")
    assert _run(["export", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["out", "there.csv"]
    assert Path("there.csv").read_text() == "mine"


def test_a_table_that_cannot_be_written_is_not_there(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = out.parent / "t.csv"
    (out.parent / ".t.csv.part").mkdir()  # nothing can be written there
    assert _run(["export", str(out), str(table)]) == 5
    assert "cannot write" in capsys.readouterr().err
    assert not table.exists()
