"""What every store must do. Differences are told by `keeps_files`; where files are is `Disk`'s or a bucket's."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from support.bodies import StoredBody
from support.objectstore import Bucket

from fetcher.model import Job, Outcome, Record, Target
from fetcher.policy.object_urls import object_url
from fetcher.ports import Store
from fetcher.stores.files import FilesStore
from fetcher.stores.none import NoneStore
from fetcher.stores.object_client import ObjectClient
from fetcher.stores.objects import ObjectStore
from fetcher.stores.parquet import ParquetStore
from fetcher.stores.warc import WarcStore


def archiving(store: WarcStore | ParquetStore) -> Store:
    """Open a store as the owner of a run directory does."""
    store.recover({})
    return store


STORES: dict[str, Callable[[Path], Store]] = {
    "none": lambda root: NoneStore(),
    "files": lambda root: FilesStore(
        root, parts=root / ".fetcher" / "parts", overwrite=False, mtime=False, fsync=False
    ),
    "warc": lambda root: archiving(WarcStore(root, own=root / ".fetcher", info={}, fsync=True, size=1000)),
    "parquet": lambda root: archiving(ParquetStore(root, own=root / ".fetcher", fsync=True, size=1000)),
    "files, synced": lambda root: FilesStore(
        root, parts=root / ".fetcher" / "parts", overwrite=True, mtime=True, fsync=True
    ),
}


def item(number: int, path: str | None, content: bytes = b"body") -> Outcome:
    url = f"http://h/{number}"
    job = Job(id=number, url=url, target=Target(url, "http", "h", 80, "h:80"), path=path)
    record = Record(url=url, last_modified="Sun, 06 Nov 1994 08:49:37 GMT")
    return Outcome(job=job, record=record, body=StoredBody(content))


def open_descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


async def objects(request: pytest.FixtureRequest, own: Path) -> tuple[Store, Bucket]:
    """Open a store in a bucket of its own."""
    bucket: Bucket = request.getfixturevalue("bucket")
    client = ObjectClient(object_url(f"{bucket.url}/in/it"), own)
    client.connect()
    store = ObjectStore(client, overwrite=False)
    await store.look()
    return store, bucket


class Disk:
    """The files of a store, below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def names(self) -> list[str]:
        return [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]


class Kept:
    """The objects of a store, in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def read(self, path: str) -> bytes:
        return self.bucket.read(f"in/it/{path}")

    def names(self) -> list[str]:
        return [key.removeprefix("in/it/") for key in self.bucket.objects()]


@pytest.fixture
def made() -> dict[str, Disk | Kept]:
    return {}


@pytest.fixture
def kept(store: Store, made: dict[str, Disk | Kept]) -> Disk | Kept:
    return made["kept"]


@pytest.fixture(params=[*STORES, "objects"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, made: dict[str, Disk | Kept]
) -> AsyncIterator[Store]:
    (tmp_path / "out" / ".fetcher").mkdir(parents=True, exist_ok=True)
    made["kept"] = Disk(tmp_path / "out")
    if request.param == "objects":
        store, bucket = await objects(request, tmp_path / "out" / ".fetcher")
        made["kept"] = Kept(bucket)
        threads = set(threading.enumerate())
    else:
        threads = set(threading.enumerate())
        store = STORES[request.param](tmp_path / "out")
    yield store
    await store.aclose()
    assert set(threading.enumerate()) <= threads
    parts = tmp_path / "out" / ".fetcher" / "parts"
    assert not parts.exists() or not list(parts.iterdir())


def stored(store: Store, *paths: str | None) -> list[str | None]:
    return [path if store.keeps_files else None for path in paths]


async def test_an_empty_batch_is_fine(store: Store) -> None:
    assert await store.put([]) == []


async def test_each_of_a_batch_has_its_result_in_order(store: Store, kept: Disk | Kept) -> None:
    batch = [item(1, "h/a", b"A"), item(2, None), item(3, "h/deep/b", b""), item(4, "c", b"C" * 100_000)]
    assert await store.put(batch) == stored(store, "h/a", None, "h/deep/b", "c")
    for _, path, content in [(1, "h/a", b"A"), (3, "h/deep/b", b""), (4, "c", b"C" * 100_000)]:
        if store.keeps_files:
            assert kept.read(path) == content


async def test_putting_again_gives_the_same_place_and_the_newer_content(
    store: Store, kept: Disk | Kept
) -> None:
    for content in (b"first", b"first", b"second, longer"):
        assert await store.put([item(1, "h/a", content)]) == stored(store, "h/a")
        if store.keeps_files:
            assert kept.read("h/a") == content
            assert kept.names() == ["h/a"]


async def test_holds_tells_whether_a_file_of_that_length_is_there(store: Store) -> None:
    assert not store.has_file("h/a", 4)
    await store.put([item(1, "h/a", b"four")])
    assert store.has_file("h/a", 4) is store.keeps_files
    assert not store.has_file("h/a", 5)
    assert not store.has_file("h", 4)
    assert not store.has_file("h/b", 4)


async def test_batches_put_at_once_do_not_disturb_each_other(store: Store, kept: Disk | Kept) -> None:
    batches = [
        [item(n, f"host{n % 7}/{n % 3}/{n}", str(n).encode()) for n in range(k, k + 20)]
        for k in range(0, 400 if isinstance(kept, Disk) else 60, 20)
    ]
    results = await asyncio.gather(*(store.put(batch) for batch in batches))
    for batch, result in zip(batches, results, strict=True):
        assert result == stored(store, *(outcome.job.path for outcome in batch))
        for outcome in batch:
            if store.keeps_files:
                assert kept.read(str(outcome.job.path)) == outcome.body.content


async def test_a_cancelled_put_leaves_whole_files_or_none(store: Store, kept: Disk | Kept) -> None:
    batch = [item(n, f"h/{n}", b"x" * 1000) for n in range(100)]
    putting = asyncio.create_task(store.put(batch))
    await asyncio.sleep(0)
    putting.cancel()
    await asyncio.wait([putting])
    if store.keeps_files:
        assert all(kept.read(name) == b"x" * 1000 for name in kept.names())
    assert await store.put(batch) == stored(store, *(f"h/{n}" for n in range(100)))


async def test_closing_frees_every_descriptor_and_may_be_repeated(store: Store, kept: Disk | Kept) -> None:
    if isinstance(kept, Kept):
        return  # the connections are the client's
    before = open_descriptors()
    await store.put([item(n, f"host{n}/a/b/{n}") for n in range(300)])
    store.has_file("host1/a/b/1", 4)
    await store.aclose()
    await store.aclose()
    assert open_descriptors() == before
