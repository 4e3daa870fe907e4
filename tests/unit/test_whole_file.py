"""Files that are never there by halves."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fetcher.errors import StorageError
from fetcher.whole_file import own_file, replacing, write_whole


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "a.json"
    place.write_bytes(b"old")
    with own_file(place) as file:
        file.write(b"ne")
        file.flush()
        assert place.read_bytes() == b"old"
        file.write(b"w")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.json", b"new")]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_cuts_it_short_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    place = tmp_path / "a.json"
    place.write_bytes(b"old")

    def cut_short() -> None:
        with own_file(place) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        cut_short()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.json", b"old")]


def test_what_a_kill_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "a.json.new").write_bytes(b"longer than what comes")
    with own_file(tmp_path / "a.json") as file:
        file.write(b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.json", b"new")]


@pytest.mark.parametrize("name", ["a.json", "a.json.new"])
def test_no_link_is_followed_to_anothers_file(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"theirs")
    (tmp_path / name).symlink_to(other)
    with own_file(tmp_path / "a.json") as file:
        file.write(b"new")
    assert other.read_bytes() == b"theirs"
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert not (tmp_path / "a.json").is_symlink()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    place = tmp_path / "nowhere" / "a.json"
    with (
        pytest.raises(StorageError, match=f"^cannot write {place}: No such file or directory$"),
        own_file(place),
    ):
        pass


def test_a_part_elsewhere_is_the_one_that_is_used(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    part = tmp_path / "own" / "part"
    with replacing(tmp_path / "a", part) as file:
        file.write(b"new")
        assert part.exists()
    assert not part.exists()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_users_link_is_written_through_and_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(str(link), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(str(pipe), b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_without_a_reader_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device or address"):
        write_whole(str(tmp_path / "pipe"), b"new")
