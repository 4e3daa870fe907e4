"""The room on the disk: what is about to be written never reaches the floor."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.engine.room import DiskRoom, NoRoom, SharedClaims, blocks


class Disk:
    """A disk of so many free bytes that counts how often it was looked at."""

    def __init__(self, free: int) -> None:
        self.left = free
        self.looks = 0

    def free(self) -> int:
        self.looks += 1
        return self.left


def test_the_disk_is_looked_at_only_when_a_charge_could_reach_the_floor() -> None:
    disk = Disk(1_000_000)
    room = DiskRoom(disk.free, 100_000)
    for _ in range(90):
        room.take(10_000)
        disk.left -= 10_000
        room.written(10_000)
    assert disk.looks == 1
    with pytest.raises(NoRoom, match="less than 100,000 bytes"):
        room.take(10_000)
    disk.left += 50_000  # somebody has freed some
    room.take(10_000)


def test_what_is_charged_and_not_written_yet_is_not_free() -> None:
    disk = Disk(1000)
    room = DiskRoom(disk.free, 100)
    room.take(500)
    with pytest.raises(NoRoom):
        room.take(401)
    room.written(500)  # it failed: its room is there again
    room.take(900)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 300)), max_size=60),
)
@example(2, [(0, 26), (0, 300), (1, 298), (0, 300), (0, 288), (1, 289)])
def test_no_number_of_processes_writes_past_the_floor(processes: int, writes: list[tuple[int, int]]) -> None:
    disk = Disk(2000)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder, "room")
        SharedClaims.create(path, processes)
        all_claims = [SharedClaims(path, index) for index in range(processes)]
        for claims in all_claims:
            stack.callback(claims.close)
        rooms = [DiskRoom(disk.free, 500, claims=claims) for claims in all_claims]
        for number, size in writes:
            room = rooms[number % processes]
            try:
                room.take(size)
            except NoRoom:
                continue
            disk.left -= size
            room.written(size)
            assert disk.left >= 500


def test_what_a_dead_process_had_set_aside_is_given_up_by_the_one_that_replaces_it(tmp_path: Path) -> None:
    disk = Disk(1000)
    SharedClaims.create(tmp_path / "room", 2)
    dead, other = (SharedClaims(tmp_path / "room", index) for index in range(2))
    DiskRoom(disk.free, 100, claims=dead).take(800)
    room = DiskRoom(disk.free, 100, claims=other)
    with pytest.raises(NoRoom):
        room.take(200)
    heir = SharedClaims(tmp_path / "room", 0)
    room.take(900)
    for claims in (dead, other, heir):
        claims.close()


def test_the_error_crosses_processes_as_itself() -> None:
    error = pickle.loads(pickle.dumps(NoRoom("full", hint="free some")))
    assert type(error) is NoRoom
    assert (error.message, error.hint, error.systemic) == ("full", "free some", True)


def test_a_file_takes_whole_blocks() -> None:
    assert blocks(0) == 4096
    assert blocks(4097) == 8192
