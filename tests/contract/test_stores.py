"""What every store must do. Differences are told by `keeps_files`."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fetcher.model import Job, Record, Target
from fetcher.ports import Store
from fetcher.stores.files import FilesStore
from fetcher.stores.none import NoneStore

STORES: dict[str, Callable[[Path], Store]] = {
    "none": lambda root: NoneStore(),
    "files": lambda root: FilesStore(
        root, parts=root / ".fetcher" / "parts", overwrite=False, mtime=False, fsync=False
    ),
    "files, synced": lambda root: FilesStore(
        root, parts=root / ".fetcher" / "parts", overwrite=True, mtime=True, fsync=True
    ),
}


class Bytes:
    """A body in memory."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()

    def data(self) -> bytes | None:
        return self.content

    def part(self) -> str | None:
        return None


def item(number: int, path: str | None, content: bytes = b"body") -> tuple[Job, Record, Bytes]:
    url = f"http://h/{number}"
    job = Job(id=number, url=url, target=Target(url, "http", "h", 80, "h:80"), path=path)
    return job, Record(url=url, last_modified="Sun, 06 Nov 1994 08:49:37 GMT"), Bytes(content)


def open_descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
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


async def test_each_of_a_batch_has_its_result_in_order(store: Store, tmp_path: Path) -> None:
    batch = [item(1, "h/a", b"A"), item(2, None), item(3, "h/deep/b", b""), item(4, "c", b"C" * 100_000)]
    assert await store.put(batch) == stored(store, "h/a", None, "h/deep/b", "c")
    for _, path, content in [(1, "h/a", b"A"), (3, "h/deep/b", b""), (4, "c", b"C" * 100_000)]:
        if store.keeps_files:
            assert (tmp_path / "out" / path).read_bytes() == content


async def test_putting_again_gives_the_same_place_and_the_newer_content(store: Store, tmp_path: Path) -> None:
    for content in (b"first", b"first", b"second, longer"):
        assert await store.put([item(1, "h/a", content)]) == stored(store, "h/a")
        if store.keeps_files:
            assert (tmp_path / "out/h/a").read_bytes() == content
            assert os.listdir(tmp_path / "out/h") == ["a"]


async def test_holds_tells_whether_a_file_of_that_length_is_there(store: Store) -> None:
    assert not store.holds("h/a", 4)
    await store.put([item(1, "h/a", b"four")])
    assert store.holds("h/a", 4) is store.keeps_files
    assert not store.holds("h/a", 5)
    assert not store.holds("h", 4)
    assert not store.holds("h/b", 4)


async def test_batches_put_at_once_do_not_disturb_each_other(store: Store, tmp_path: Path) -> None:
    batches = [
        [item(n, f"host{n % 7}/{n % 3}/{n}", str(n).encode()) for n in range(k, k + 20)]
        for k in range(0, 400, 20)
    ]
    results = await asyncio.gather(*(store.put(batch) for batch in batches))
    for batch, result in zip(batches, results, strict=True):
        assert result == stored(store, *(job.path for job, _, _ in batch))
        for job, _, body in batch:
            if store.keeps_files:
                assert (tmp_path / "out" / str(job.path)).read_bytes() == body.content


async def test_a_cancelled_put_leaves_whole_files_or_none(store: Store, tmp_path: Path) -> None:
    batch = [item(n, f"h/{n}", b"x" * 1000) for n in range(100)]
    putting = asyncio.create_task(store.put(batch))
    await asyncio.sleep(0)
    putting.cancel()
    await asyncio.wait([putting])
    left = list((tmp_path / "out" / "h").glob("*")) if (tmp_path / "out").exists() else []
    assert all(path.stat().st_size == 1000 for path in left)
    assert await store.put(batch) == stored(store, *(f"h/{n}" for n in range(100)))


async def test_closing_frees_every_descriptor_and_may_be_repeated(store: Store) -> None:
    before = open_descriptors()
    await store.put([item(n, f"host{n}/a/b/{n}") for n in range(300)])
    store.holds("host1/a/b/1", 4)
    await store.aclose()
    await store.aclose()
    assert open_descriptors() == before
