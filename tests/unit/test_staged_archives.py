"""Archives come under their names only as what counts, whoever is killed or sleeps between two steps."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.bodies import StoredBody
from support.warcs import kept

from fetcher.analysis.stored_bodies import StoredBodies
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.cluster.staged_archives import StagedArchives
from fetcher.cluster.staged_bodies import StagedBodies
from fetcher.errors import StorageError
from fetcher.model import Exchange, Headers, Job, Outcome, Record, Request, Response, Target
from fetcher.ports import Store
from fetcher.settings import make
from fetcher.verification.records import record_of

pytestmark = pytest.mark.parametrize("kind", ["warc", "parquet"])
FINAL = {"warc": "archive/*.warc.gz", "parquet": "bodies/*.parquet"}


class Owner:
    """The owner of an epoch of a shard, whose archives are small, and what of them is settled."""

    def __init__(self, root: Path, epoch: int, kind: str) -> None:
        self.root = root / "0003"
        self.epoch = epoch
        log = ShardLog(FolderPlace(root), 3)
        self.bodies = StagedBodies(self.root, epoch)
        self.archives = StagedArchives(log, self.bodies)
        self.archives.make()
        self.settled: dict[str, int] = {}
        self.store: Store
        self._kind = kind

    def open(self) -> None:
        self.store = self.archives.open(make({"store": self._kind}), size=6_000)
        self.store.recover(self.settled)

    async def put(self, *numbers: int) -> None:
        batch = [outcome(number) for number in numbers]
        assert await self.store.put(batch) == [None] * len(numbers)
        self.settled |= dict(one.archived for one in batch if one.archived is not None)

    def secure(self, number: int) -> None:
        self.archives.secure(JournalSegment(self.epoch, number), self.settled)


def content(number: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d %d" % (number, n)).digest() for n in range(32))


def outcome(number: int) -> Outcome:
    url = f"http://h/{number}"
    target = Target(url, "http", "h", 80, "h:80")
    job = Job(id=number, url=url, target=target)
    response = Response(
        status=200, headers=Headers([(b"Content-Length", b"1024")]), head=b"HTTP/1.1 200 OK\r\n\r\n"
    )
    made = Outcome(job=job, record=Record(url=url), body=StoredBody(content(number)))
    made.exchanges = [
        Exchange(request=Request(target=target), started_at=0.0, elapsed_s=0.0, response=response)
    ]
    return made


def held(root: Path, kind: str) -> list[int]:
    """The numbers of the URLs that are published, in order."""
    if kind == "parquet":
        urls = [
            url for path in sorted(root.glob(FINAL[kind])) for url in pq.read_table(path)["url"].to_pylist()
        ]
    else:
        urls = [one.url for one in kept(root, "response")] if (root / "archive").exists() else []
    return sorted(int(url.rpartition("/")[2]) for url in urls)


def published(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and "staged" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def has_body(root: Path, number: int) -> bool:
    """Whether the commands that read bodies find that of a URL."""
    stored = StoredBodies(root)
    try:
        line = record_of(b'{"url":"http://h/%d","state":"done","bytes":1024}' % number)
        assert line is not None
        return stored.of(line) == content(number)
    finally:
        stored.close()


async def test_a_full_archive_is_published_once_all_of_it_counts(tmp_path: Path, kind: str) -> None:
    owner = Owner(tmp_path, 1, kind)
    owner.open()
    await owner.put(1, 2)
    owner.secure(1)
    for number in range(3, 12):
        await owner.put(number)
    owner.archives.publish_whole()
    assert held(owner.root, kind) == [], "the segment knows of two alone"
    owner.secure(2)
    owner.archives.publish_whole()
    first = held(owner.root, kind)
    assert first[:4] == [1, 2, 3, 4]
    assert len(first) < 11, "the last one grows still"
    await owner.put(12)  # and the transaction of this one never came
    await owner.store.aclose()
    owner.archives.finish()
    assert held(owner.root, kind) == [*range(1, 12)]
    assert all("-0003-00001-0000" in path.name for path in owner.root.glob(FINAL[kind]))
    assert all(has_body(owner.root, number) for number in range(1, 12))
    owner.bodies.drop()
    assert not [*owner.root.glob(".fetcher/*/*")]


async def test_a_takeover_keeps_what_counts_and_who_wakes_changes_nothing(tmp_path: Path, kind: str) -> None:
    asleep, owner = Owner(tmp_path, 1, kind), Owner(tmp_path, 2, kind)
    asleep.open()
    await asleep.put(*range(9))  # a full one
    await asleep.put(9)  # and one that grows
    asleep.secure(1)
    await asleep.put(10)
    asleep.secure(2)  # and it sleeps: this segment was never written
    last = JournalSegment(1, 1)
    owner.archives.take_over(last)
    before = published(owner.root)
    Owner(tmp_path, 2, kind).archives.take_over(last)  # again, as after a kill
    assert published(owner.root) == before
    owner.bodies.drop_earlier()
    owner.archives.index()
    assert held(owner.root, kind) == [*range(10)]
    assert all(has_body(owner.root, number) for number in range(10))
    owner.archives.forget_earlier()
    owner.archives.take_over(last)  # there is nothing left to do
    owner.open()
    await owner.put(10, 11, 12)
    owner.secure(1)
    before = published(owner.root)

    with pytest.raises(StorageError):  # there is nothing that it could rename
        asleep.archives.finish()
    with pytest.raises(StorageError):
        asleep.secure(3)
    await asleep.put(13)  # to a file that has no name any more
    asleep.archives.publish_whole()
    asleep.bodies.drop_earlier()
    asleep.bodies.drop()
    await asleep.store.aclose()
    assert published(owner.root) == before

    await owner.store.aclose()
    owner.archives.finish()
    owner.bodies.drop()
    assert held(owner.root, kind) == [*range(13)]
    assert all(has_body(owner.root, number) for number in range(13))
    assert not [*owner.root.glob(".fetcher/*/*")]
    owner.archives.forget_earlier()
    assert [path.name for path in tmp_path.glob("journal/0003/*")] == ["E02.archives"]


async def test_an_owner_that_died_between_two_renames_is_taken_over(tmp_path: Path, kind: str) -> None:
    dead, owner = Owner(tmp_path, 1, kind), Owner(tmp_path, 2, kind)
    dead.open()
    await dead.put(1, 2)
    dead.secure(1)
    if kind == "warc":
        (captures,) = dead.bodies.of(1).glob("archives/.fetcher/captures/*")
        moved = owner.root / ".fetcher" / "captures" / captures.name
        moved.parent.mkdir(parents=True)
        captures.rename(moved)
    owner.archives.take_over(JournalSegment(1, 1))
    owner.bodies.drop_earlier()
    owner.archives.index()
    assert held(owner.root, kind) == [1, 2]
    assert has_body(owner.root, 1)
    assert has_body(owner.root, 2)
    await dead.store.aclose()


async def test_bytes_that_a_segment_needs_and_are_lost_are_told(tmp_path: Path, kind: str) -> None:
    dead, owner = Owner(tmp_path, 1, kind), Owner(tmp_path, 2, kind)
    dead.open()
    await dead.put(1, 2)
    dead.secure(1)
    (grown,) = dead.bodies.of(1).glob("archives/**/*.open")
    os.truncate(grown, grown.stat().st_size - 1)
    with pytest.raises(StorageError, match="are lost: less of them is there than the records need"):
        owner.archives.take_over(JournalSegment(1, 1))
    grown.unlink()
    with pytest.raises(StorageError, match="are lost"):
        owner.archives.take_over(JournalSegment(1, 1))
    assert held(owner.root, kind) == []
    await dead.store.aclose()


async def test_archives_are_on_the_disk_before_their_segment_is(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(tmp_path, 1, kind)
    owner.open()
    await owner.put(1)
    (grown,) = owner.bodies.of(1).glob("archives/**/*.open")
    synced: dict[str, int] = {}
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced[os.path.realpath(f"/dev/fd/{descriptor}")] = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fsync", noted)
    owner.secure(1)
    assert synced[str(grown)] == next(iter(owner.settled.values())) == grown.stat().st_size
    assert str(grown.parent) in synced
    await owner.store.aclose()
