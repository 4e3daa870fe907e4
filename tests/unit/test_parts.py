"""Rows of parts: what a session finds of them, and what outcomes leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetcher.frontiers.sqlite.part_rows import Parts
from fetcher.model import Deferral, Job, Outcome, Part, Record


def part(name: str, end: int = 100) -> Part:
    return Part(name=name, address="http://a.example/x", validator='"v"', total=1000, extents=((0, end),))


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def begun(db: sqlite3.Connection, folder: Path, *, forget: bool = False) -> Parts:
    parts = Parts(folder)
    parts.attach(db, forget=forget)
    return parts


def outcome(number: int, left: Part | None = None) -> Outcome:
    return Outcome(job=Job(id=number, url="u", target=None), record=Record(url="u"), part=left)


def test_what_no_row_names_is_removed_and_nothing_else(db: sqlite3.Connection, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "parts", tmp_path / "elsewhere"
    (folder / "kept").mkdir(parents=True)
    (folder / "1-1.put").write_bytes(b"half")
    elsewhere.write_text("theirs")
    (folder / "link").symlink_to(elsewhere)
    begun(db, folder)
    assert not (folder / "1-1.put").exists()
    assert (folder / "kept").is_dir()
    assert elsewhere.read_text() == "theirs"


def test_a_file_is_cut_to_what_its_row_vouches_for(db: sqlite3.Connection, tmp_path: Path) -> None:
    begun(db, tmp_path).put([(1, part("a", 100))])
    (tmp_path / "a").write_bytes(b"x" * 150)
    assert begun(db, tmp_path).of(1) == part("a", 100)
    assert (tmp_path / "a").read_bytes() == b"x" * 100


@pytest.mark.parametrize("size", [None, 99])
def test_a_row_without_its_bytes_is_dropped(db: sqlite3.Connection, tmp_path: Path, size: int | None) -> None:
    begun(db, tmp_path).put([(1, part("a", 100))])
    if size is not None:
        (tmp_path / "a").write_bytes(b"x" * size)
    parts = begun(db, tmp_path)
    assert parts.of(1) is None
    assert parts.is_empty
    assert list(tmp_path.iterdir()) == []
    assert db.execute("SELECT count(*) FROM part").fetchone() == (0,)


@pytest.mark.parametrize("name", ["../outside", "sub/a", ""])
def test_a_row_that_leads_out_of_the_folder_is_dropped(
    db: sqlite3.Connection, tmp_path: Path, name: str
) -> None:
    folder, outside = tmp_path / "parts", tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    outside.write_bytes(b"x" * 500)
    (folder / "sub" / "a").write_bytes(b"x" * 500)
    begun(db, folder).put([(1, part(name))])
    assert begun(db, folder).of(1) is None
    assert outside.stat().st_size == 500


def test_a_link_in_the_place_of_a_part_is_not_followed(db: sqlite3.Connection, tmp_path: Path) -> None:
    folder, outside = tmp_path / "parts", tmp_path / "outside"
    folder.mkdir()
    outside.write_bytes(b"x" * 500)
    begun(db, folder).put([(1, part("a"))])
    (folder / "a").symlink_to(outside)
    assert begun(db, folder).of(1) is None
    assert outside.stat().st_size == 500


def test_a_row_that_cannot_be_read_is_dropped(db: sqlite3.Connection, tmp_path: Path) -> None:
    begun(db, tmp_path)
    db.execute("INSERT INTO part VALUES (1, '{\"name\":')")
    assert begun(db, tmp_path).of(1) is None


def test_forgetting_leaves_no_row_and_no_file(db: sqlite3.Connection, tmp_path: Path) -> None:
    begun(db, tmp_path).put([(1, part("a"))])
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert begun(db, tmp_path, forget=True).is_empty
    assert list(tmp_path.iterdir()) == []


def test_an_outcome_drops_the_row_unless_it_leaves_a_part(db: sqlite3.Connection, tmp_path: Path) -> None:
    parts = begun(db, tmp_path)
    parts.put([(1, part("a")), (2, part("b")), (3, part("c"))])
    gone = parts.settle([outcome(1), outcome(2, part("b", 200)), outcome(3, part("d")), outcome(4)])
    assert [one.name for one in gone] == ["a", "c"]
    assert (parts.of(1), parts.of(2), parts.of(3)) == (None, part("b", 200), part("d"))
    assert db.execute("SELECT url FROM part ORDER BY url").fetchall() == [(2,), (3,)]


def test_a_deferral_that_is_settled_late_takes_no_file_from_the_attempt_after_it(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    parts = begun(db, tmp_path)
    parts.put([(1, part("a")), (2, part("b"))])
    deferral = Deferral(0.0, 1, 0.0, ())
    late = [
        Outcome(job=Job(id=1, url="u", target=None), deferral=deferral),
        Outcome(job=Job(id=2, url="u", target=None), deferral=deferral, part=part("older")),
    ]
    assert parts.settle(late) == []


def test_a_job_that_was_deferred_and_ended_in_one_batch_leaves_no_row(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    parts = begun(db, tmp_path)
    deferral = Deferral(0.0, 1, 0.0, ())
    cut_off = Outcome(job=Job(id=1, url="u", target=None), deferral=deferral, part=part("a"))
    assert parts.settle([cut_off, outcome(1)]) == []
    assert parts.is_empty
    assert db.execute("SELECT url FROM part").fetchall() == []
    parts.put([(1, part("a", 50))])
    assert [one.name for one in parts.settle([cut_off, outcome(1)])] == ["a"]
    assert db.execute("SELECT url FROM part").fetchall() == []
