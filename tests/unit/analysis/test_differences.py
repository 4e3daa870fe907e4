"""`fetcher diff`: what changed between two directories, or two generations of one, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.run_dirs import make_run_dir, record

from fetcher.cli.main import _run

OLD = [
    record("http://a/same", sha256="1", final_url="http://a/same"),
    record("http://a/changed", sha256="1", bytes=10),
    record("http://a/moved", sha256="1", final_url="http://a/moved"),
    record("http://a/moved-and-changed", sha256="1", final_url="http://a/moved-and-changed"),
    record("http://a/unlisted", sha256="1"),
    record("http://a/404", sha256="1"),
    record("http://a/broken", sha256="1"),
    record("http://a/mended", "failed", error="http-status", status=500),
    record("http://a/still-broken", "failed", error="http-status", status=500),
    record("http://a/no-digest", digest="none", etag='"1"', bytes=3),
]
NEW = [
    record("http://a/same", "unchanged", sha256="1"),
    record("http://a/changed", sha256="2", bytes=2048),
    record("http://a/moved", sha256="1", final_url="http://a/elsewhere"),
    record("http://a/moved-and-changed", sha256="2", final_url="http://a/elsewhere"),
    record("http://a/404", "failed", error="http-status", status=404),
    record("http://a/broken", "failed", error="connect-failed"),
    record("http://a/mended", sha256="1"),
    record("http://a/still-broken", "failed", error="timeout"),
    record("http://a/no-digest", digest="none", etag='"2"', bytes=3),
    record("http://a/new", sha256="1"),
]
EXPECTED = {
    ("changed", "http://a/changed"),
    ("moved", "http://a/moved"),
    ("moved", "http://a/moved-and-changed"),
    ("changed", "http://a/moved-and-changed"),
    ("gone", "http://a/404"),
    ("newly-failing", "http://a/broken"),
    ("recovered", "http://a/mended"),
    ("changed", "http://a/no-digest"),
}
OF_TWO = EXPECTED | {("gone", "http://a/unlisted"), ("new", "http://a/new")}


def told(capsys: pytest.CaptureFixture[str], *arguments: Path, code: int) -> list[dict[str, Any]]:
    assert _run(["diff", *map(str, arguments), "--json"]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_two_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = make_run_dir(tmp_path / "old", OLD), make_run_dir(tmp_path / "new", NEW)
    found = told(capsys, old, new, code=1)
    assert sorted((one["kind"], one["url"]) for one in found) == sorted(OF_TWO)
    (changed,) = (one for one in found if one["url"] == "http://a/changed")
    assert (changed["old"]["bytes"], changed["new"]["bytes"]) == (10, 2048)


def test_two_generations_of_one_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = [record(one["url"], sha256="of long ago") for one in OLD]
    found = told(capsys, make_run_dir(tmp_path / "out", [*first, *OLD, *NEW]), code=1)
    kinds = {(one["kind"], one["url"]) for one in found}
    assert kinds - {("changed", "http://a/unlisted")} == EXPECTED  # that one was not asked for again


def test_nothing_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = make_run_dir(tmp_path / "old", OLD), make_run_dir(tmp_path / "new", OLD[::-1])
    assert told(capsys, old, new, code=0) == []
    assert _run(["diff", str(old), str(new)]) == 0
    assert capsys.readouterr().out == "nothing changed\n"
    assert _run(["diff", str(old), str(new), "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_lines_for_people_say_what_is_different(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = make_run_dir(tmp_path / "old", OLD), make_run_dir(tmp_path / "new", NEW)
    assert _run(["diff", str(old), str(new)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "changed: http://a/changed (10 B → 2.0 KB)" in lines
    assert "moved: http://a/moved (http://a/moved → http://a/elsewhere)" in lines
    assert "gone: http://a/404 (http-status 404)" in lines
    assert "gone: http://a/unlisted (not listed any more)" in lines
    assert "newly-failing: http://a/broken (connect-failed)" in lines
    assert lines[-1] == "1 new, 3 changed, 2 moved, 2 gone, 1 newly-failing, 1 recovered"


def test_only_the_first_of_a_kind_are_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_run_dir(tmp_path / "old", [])
    new = make_run_dir(tmp_path / "new", [record(f"http://a/{number}") for number in range(25)])
    assert _run(["diff", str(old), str(new)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["new: further ones are only counted here; --json has all", "25 new"]


def test_what_is_no_run_directory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_run_dir(tmp_path / "old", OLD)
    assert _run(["diff", str(old), str(tmp_path / "nothing")]) == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_what_steers_a_terminal_is_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make_run_dir(tmp_path / "old", [])
    new = make_run_dir(tmp_path / "new", [record("http://a/\x1b[2J\x9b")])
    assert _run(["diff", str(old), str(new)]) == 1
    assert _run(["diff", str(old), str(new), "--json"]) == 1
    assert not set(capsys.readouterr().out) & {"\x1b", "\x9b"}
