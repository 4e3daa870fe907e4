"""Epochs, leases and segments in a shared folder: one owner at a time, and only what counts is read."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.bodies import RecordingBody
from support.faultserver import FaultServer

from fetcher import wiring
from fetcher.cluster.lease import (
    EpochOwner,
    KeptLease,
    Lease,
    LeaseLost,
    LeaseTimes,
    ShardEnd,
    acquire,
    read_end,
)
from fetcher.cluster.leased_backend import LeasedBackend
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.cluster.staged_bodies import StagedBodies
from fetcher.errors import StorageError
from fetcher.model import Request, Summary
from fetcher.policy.urls import admit
from fetcher.settings import make

TIMES = LeaseTimes(lease_s=30, takeover_s=45, renew_s=8, look_s=5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def log(tmp_path: Path) -> ShardLog:
    return ShardLog(FolderPlace(tmp_path), 7)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(log: ShardLog, clock: Clock, pause: Callable[[float], None] | None = None) -> Lease:
    lease = acquire(log, TIMES, pause or clock.pause, clock)
    log.settle_counts(lease.epoch, log.counting())
    return lease


def write(log: ShardLog, segment: JournalSegment, text: bytes = b"{}\n") -> None:
    assert log.place.create(log.path(f"{segment.name}.jsonl"), text)


def test_a_second_owner_waits_until_the_first_is_out_of_its_lease(log: ShardLog, clock: Clock) -> None:
    first = taken(log, clock)
    first.renew()
    begun = clock.now
    second = taken(log, clock)
    assert second.epoch == 2
    assert clock.now - begun >= 45
    assert not first.is_held
    with pytest.raises(LeaseLost):
        first.renew()
    assert second.is_held


def test_who_renews_keeps_it_however_long_another_waits(log: ShardLog, clock: Clock) -> None:
    first = taken(log, clock)
    waited = 0

    class Enough(Exception):
        pass

    def pause(seconds: float) -> None:
        nonlocal waited
        waited += 1
        clock.pause(seconds)
        first.renew()
        if waited > 100:
            raise Enough

    with pytest.raises(Enough):
        acquire(log, TIMES, pause, clock)
    assert first.is_held


def test_nobody_waits_for_what_was_given_back_or_for_a_process_that_is_gone(
    log: ShardLog, clock: Clock
) -> None:
    end = ShardEnd(is_complete=True, list_number=3, summary=Summary(done=5))
    first = taken(log, clock)
    first.release(end)
    assert read_end(log) == (1, end)
    second = taken(log, clock)
    assert (second.epoch, second.is_handed_on, clock.now) == (2, True, 1000.0)
    owner = msgspec.json.decode(log.place.read(log.path("E02")) or b"", type=EpochOwner)
    if not owner.machine:
        pytest.skip("processes are not seen here")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    dead = msgspec.structs.replace(owner, process=int(gone.stdout))
    log.place.write(log.path("E02"), msgspec.json.encode(dead))
    third = taken(log, clock)
    assert (third.epoch, third.is_handed_on, clock.now) == (3, False, 1000.0)
    elsewhere = msgspec.structs.replace(dead, machine="another")
    log.place.write(log.path("E03"), msgspec.json.encode(elsewhere))
    taken(log, clock)
    assert clock.now >= 1045


def test_the_owner_counts_from_before_it_wrote_and_never_comes_back(log: ShardLog, clock: Clock) -> None:
    lease = taken(log, clock)
    clock.now += 29
    lease.renew()
    clock.now += 29.9
    assert lease.is_held
    clock.now += 0.2
    assert not lease.is_held
    clock.now -= 20
    assert not lease.is_held
    raw = log.place.read(log.path("E01.lease")) or b""
    assert msgspec.json.decode(raw, type=KeptLease) == KeptLease(1)


def test_only_one_of_many_takes_an_epoch(log: ShardLog, clock: Clock) -> None:
    assert [log.claim(1, b"a"), log.claim(1, b"b")] == [True, False]
    assert log.place.read(log.path("E01")) == b"a"


def test_a_segment_that_comes_after_the_next_epoch_has_counted_never_counts(
    log: ShardLog, clock: Clock
) -> None:
    first = taken(log, clock)
    write(log, JournalSegment(1, 1))
    write(log, JournalSegment(1, 2))
    second = taken(log, clock)
    write(log, JournalSegment(1, 3))
    with pytest.raises(LeaseLost):
        first.confirm()
    assert log.counting() == [(1, 1), (1, 2)]
    write(log, JournalSegment(2, 1))
    assert log.counting() == [(1, 1), (1, 2), (2, 1)]
    third = acquire(log, TIMES, clock.pause, clock)
    write(log, JournalSegment(2, 2))
    assert third.epoch == second.epoch + 1
    log.settle_counts(third.epoch, log.counting())
    write(log, JournalSegment(2, 3))
    assert log.counting() == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_segment_that_counts_and_is_lost_is_told(log: ShardLog, clock: Clock) -> None:
    taken(log, clock)
    write(log, JournalSegment(1, 1))
    taken(log, clock)
    log.place.remove(log.path("E01-000001.jsonl"))
    with pytest.raises(StorageError, match=r"E01-000001\.jsonl is lost"):
        log.counting()


def test_links_count_with_their_segment(log: ShardLog, clock: Clock) -> None:
    taken(log, clock)
    for name in ("E01-000001.to-3", "E01-000002.to-3", "E01-000001.to-4"):
        log.place.write(log.path(f"{name}.jsonl"), b"")
    write(log, JournalSegment(1, 1))
    assert log.posted(log.counting()) == {3: ["E01-000001.to-3.jsonl"], 4: ["E01-000001.to-4.jsonl"]}


def test_bodies_come_under_their_names_only_as_what_counts(tmp_path: Path) -> None:
    def stage(bodies: StagedBodies, epoch: int, text: bytes) -> None:
        path = bodies.root / f".fetcher/staged/E{epoch:02d}/files/host/page"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)

    line = [b'{"state":"done","path":"host/page"}']
    asleep, owner = StagedBodies(tmp_path, 1), StagedBodies(tmp_path, 2)
    stage(asleep, 1, b"old")
    owner.drop_earlier()
    stage(owner, 2, b"new")
    owner.publish(2, line)
    stage(asleep, 1, b"old")  # it woke, and nobody told it
    owner.publish(2, line)  # again, as after a kill
    assert (tmp_path / "host/page").read_bytes() == b"new"
    assert owner.has("host/page", 3)
    assert not owner.has("host/page", 4)


async def test_no_request_is_sent_once_the_lease_is_over(
    server: FaultServer, log: ShardLog, clock: Clock
) -> None:
    """Neither by an exchange that begins, nor by one that was connecting when it ended."""
    lease = taken(log, clock)
    is_asked = 0

    def may_send() -> None:
        nonlocal is_asked
        is_asked += 1
        clock.now += 31  # the process slept, between connecting and sending
        lease.require()

    backend = LeasedBackend(wiring.make_backend(make({}), may_send=may_send), lease)
    request = Request(target=admit(server.url("/ok")), allow_private=True)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            await backend.exchange(request, RecordingBody())
    await backend.aclose()
    assert is_asked == 1
    assert await asyncio.to_thread(server.wait, lambda s: s.connections == 1)
    assert not server.log


def test_a_place_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path, fsync=True)
    assert place.create("a/b", b"one")
    assert not place.create("a/b", b"two")
    assert (place.read("a/b"), place.read("a/b", 1, 2), place.read("a/c")) == (b"one", b"n", None)
    place.write("a/b", b"three")
    assert place.fetch("a/b", tmp_path / "copy")
    assert not place.fetch("a/c", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"three"
    assert (place.names("a"), place.names("none"), place.exists("a/c")) == (["b"], [], False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    place.remove("a")
    place.remove("a")
    assert place.names("a") == []
