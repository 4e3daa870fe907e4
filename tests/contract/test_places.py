"""Places that the machines of a cluster share, in a folder and in an object store: the same of both.

And what stands on them: bodies that are staged, and checkpoints whose output fails.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from support.objectstore import Bucket, ObjectServer, Relay

from fetcher.cluster.bucket_place import BucketPlace
from fetcher.cluster.checkpoints import Checkpoints
from fetcher.cluster.lease import Lease, LeaseTimes, acquire, boot_clock
from fetcher.cluster.places import FolderPlace
from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.cluster.staged_objects import StagedObjects
from fetcher.errors import ConfigError, StorageError
from fetcher.policy.object_urls import object_url
from fetcher.run_dir import RunDirectory
from fetcher.stores import object_client

LARGE = b"0123456789abcdef" * (9 * 65536)  # 9 MiB: it goes up in parts


@pytest.fixture
def stored(bucket: Bucket) -> BucketPlace:
    return BucketPlace(object_url(f"{bucket.url}/in/it"))


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> FolderPlace | BucketPlace:
    if request.param == "folder":
        return FolderPlace(tmp_path / "shared")
    found: BucketPlace = request.getfixturevalue("stored")
    return found


def test_files_are_whole_and_are_made_once(place: FolderPlace | BucketPlace, tmp_path: Path) -> None:
    assert place.create("a/b", b"one")
    assert not place.create("a/b", b"two")
    (tmp_path / "local").write_bytes(LARGE)
    place.write("a/d/large", tmp_path / "local")
    place.write("a/é #%41?", iter([b"x", b"", b"yz"]))
    place.write("a/none", iter([]))
    assert (place.read("a/b"), place.read("a/b", 1, 2), place.read("a/b", 1, 1)) == (b"one", b"n", b"")
    assert (place.read("a/é #%41?"), place.read("a/none"), place.read("a/c")) == (b"xyz", b"", None)
    assert place.read("a/d/large", 20, 24) == b"4567"
    place.write("a/b", b"three")
    assert place.fetch("a/b", tmp_path / "copy")
    assert place.fetch("a/d/large", tmp_path / "copy")
    assert not place.fetch("a/c", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"three" + LARGE
    assert place.names("a") == sorted(["b", "d", "none", "é #%41?"])
    assert (place.names("x"), place.exists("a/c"), place.exists("a/b")) == ([], False, True)
    place.remove("a/b")
    place.remove("a/d")
    place.remove("a/d")
    assert place.names("a") == sorted(["none", "é #%41?"])


def test_of_many_that_claim_an_epoch_one_has_it(place: FolderPlace | BucketPlace) -> None:
    log, found = ShardLog(place, 7), []
    start = threading.Barrier(8)

    def pause(_: float) -> None:
        raise TimeoutError

    def claim() -> None:
        start.wait()
        with contextlib.suppress(TimeoutError):
            found.append(acquire(log, LeaseTimes(), pause).epoch)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1]


def test_an_object_whose_answer_was_lost_is_known_by_its_bytes(stored: BucketPlace) -> None:
    assert [stored.create("a", b"mine"), stored.create("a", b"mine"), stored.create("a", b"his")] == [
        True,
        True,
        False,
    ]


def test_a_store_without_conditional_writes_is_refused(
    s3: ObjectServer, stored: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.check()
    with Relay(s3, is_old=True) as relay:
        for name, value in relay.variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match="does not know conditional writes"):
            BucketPlace(stored.url).check()


def test_an_owner_that_wakes_late_copies_nothing_over_what_counts(
    stored: BucketPlace, bucket: Bucket, tmp_path: Path
) -> None:
    def bodies(epoch: int) -> StagedObjects:
        lease = Lease(ShardLog(stored, 7), epoch, LeaseTimes(), boot_clock())
        return StagedObjects(stored, lease, RunDirectory(tmp_path))

    def stage(epoch: int, name: str, text: bytes) -> None:
        bucket.write(f"in/it/0007/.fetcher/staged/E{epoch:02d}/host/{name}", text)

    lines = [b'{"state":"done","path":"host/page","bytes":3}', b'{"state":"failed","path":null}']
    asleep, owner = bodies(1), bodies(2)
    stage(1, "page", b"old")
    stage(1, "cut-off", b"old")
    bucket.server.control.create_multipart_upload(
        Bucket=bucket.name, Key="in/it/0007/.fetcher/staged/E01/host/large"
    )
    owner.publish(1, lines)  # its segment counts, and it had no time to
    assert bucket.read("in/it/0007/host/page") == b"old"
    owner.drop_earlier()
    stage(2, "page", b"new")
    asleep.drop_earlier()
    asleep.drop()  # it woke at its end
    owner.publish(2, lines)
    asleep.publish(1, lines)  # it woke
    owner.publish(2, lines)  # again, as after a failure
    assert bucket.objects().keys() == {"in/it/0007/host/page"}
    assert bucket.read("in/it/0007/host/page") == b"new"
    assert bucket.uploads() == []
    late = bodies(3)
    assert late.has("host/page", 3)
    assert not late.has("host/page", 4)


def test_a_body_too_large_for_one_copy_is_copied_in_parts(
    stored: BucketPlace, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_client, "_MOST_COPIED", 8 * 1024**2)
    key = "in/it/0007/.fetcher/staged/E01/host/large"
    bucket.server.control.put_object(Bucket=bucket.name, Key=key, Body=LARGE, ContentType="image/png")
    lease = Lease(ShardLog(stored, 7), 1, LeaseTimes(), boot_clock())
    bodies = StagedObjects(stored, lease, RunDirectory(tmp_path))
    line = b'{"state":"done","path":"host/large","bytes":%d}' % len(LARGE)
    for _ in range(2):  # the second time it is gone
        bodies.publish(1, [line])
    assert bucket.objects() == {"in/it/0007/host/large": len(LARGE)}
    assert bucket.head("in/it/0007/host/large")["ContentType"] == "image/png"


def test_a_checkpoint_whose_output_failed_is_brought_to_its_end_by_the_next(
    place: FolderPlace | BucketPlace, tmp_path: Path
) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.parts.mkdir(parents=True)
    lines = [b'{"url":"http://a/%d"}\n' % n for n in range(3)]

    def settle(number: int) -> None:
        directory.results.write_bytes(b"".join(lines[:number]))
        with sqlite3.connect(directory.state) as db:
            db.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value)")
            db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('results_length', ?)",
                (directory.results.stat().st_size,),
            )
        db.close()

    published: list[bytes] = []
    is_away = True

    def publish(_epoch: int, found: list[bytes]) -> None:
        if is_away:
            raise StorageError("the output is away")
        published.extend(found)

    def pause(_: float) -> None:
        raise AssertionError("nobody else has it")

    log = ShardLog(place, 7)
    checkpoints = Checkpoints(directory, acquire(log, LeaseTimes(), pause), publish)
    log.settle_counts(1, [])
    settle(2)
    with pytest.raises(StorageError):
        checkpoints.write()
    settle(3)
    with pytest.raises(StorageError):
        checkpoints.write()
    assert log.counting() == [JournalSegment(1, 1)], "one went on before its bodies were there"
    is_away = False
    checkpoints.write()
    assert published == [line.strip() for line in lines]
    assert log.counting() == [JournalSegment(1, 1), JournalSegment(1, 2)]
