"""Files on a real file system: section H of what must be survived, numbers 78 to 87."""

import contextlib
import errno
import os
import resource
import shutil
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support.bodies import StoredBody

from fetcher.errors import StorageError
from fetcher.model import CacheEntry, Job, Outcome, Record, Target
from fetcher.policy import filenames
from fetcher.stores.files import FilesStore

URL = "http://h/a"


class Spooled(StoredBody):
    """A body in a part file."""

    def __init__(self, part: Path, content: bytes) -> None:
        super().__init__(content)
        self.path = part
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)

    def data(self) -> bytes | None:
        return None

    def part(self) -> str | None:
        return str(self.path)


def a_job(
    path: str, *, url: str = URL, is_foreign: bool = False, known: str | None = None, number: int = 1
) -> Job:
    was = None if known is None else CacheEntry(known, 1, "0" * 64, None, None)
    target = Target(url, "http", "h", 80, "h:80")
    return Job(id=number, url=url, target=target, path=path, is_foreign=is_foreign, cached=was)


def outcome(job: Job, body: object, *, record: Record | None = None) -> Outcome:
    return Outcome(job=job, record=record or Record(url=job.url), body=body)


def tree(root: Path) -> dict[str, object]:
    """Everything below `root`, links not followed."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        content: object = None
        if stat.S_ISREG(kind):
            content = path.read_bytes()
        elif stat.S_ISLNK(kind):
            content = os.readlink(path)
        found[str(path.relative_to(root))] = (kind, content)
    return found


class Place:
    """A store with its output folder, and a folder outside it that must never change."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "out"
        self.parts = self.root / ".fetcher" / "parts"
        self.outside = base / "outside"
        self.outside.mkdir()
        (self.outside / "precious").write_bytes(b"precious")
        self.root.mkdir()
        self.stores: list[FilesStore] = []

    def store(self, *, overwrite: bool = False, mtime: bool = False, fsync: bool = False) -> FilesStore:
        store = FilesStore(self.root, parts=self.parts, overwrite=overwrite, mtime=mtime, fsync=fsync)
        self.stores.append(store)
        return store

    def left_parts(self) -> list[str]:
        return os.listdir(self.parts) if self.parts.exists() else []

    def files(self) -> dict[str, object]:
        return {name: content for name, (_, content) in tree(self.root).items() if content is not None}  # type: ignore[misc]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    for store in place.stores:
        await store.aclose()
    assert tree(place.outside) == {"precious": (stat.S_IFREG, b"precious")}


async def put(
    store: FilesStore, job: Job, content: bytes = b"new", **record: str
) -> str | StorageError | None:
    [result] = await store.put([outcome(job, StoredBody(content), record=Record(url=job.url, **record))])
    return result


@pytest.fixture(params=[False, True], ids=["not synced", "synced"])
def fsync(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# ---- 78 to 83: names ----


@pytest.mark.parametrize(
    "path", ["../x", "h/../../x", "../outside/precious", "/h/x", "h//x", "h/./x", "h/..", "..", "h/a\0b"]
)
async def test_a_path_that_leads_out_is_refused_and_nothing_is_written(
    place: Place, fsync: bool, path: str
) -> None:
    (place.root / "h").mkdir()
    before = {name: entry for name, entry in tree(place.base).items() if ".fetcher" not in name}
    result = await put(place.store(fsync=fsync), a_job(path))
    assert isinstance(result, StorageError)
    assert not result.systemic
    assert result.slug == "storage-failed"
    assert {name: entry for name, entry in tree(place.base).items() if ".fetcher" not in name} == before
    assert place.left_parts() == []


@pytest.mark.parametrize(
    "hostile",
    [
        "../../etc/passwd",
        "..\\..\\x",
        "h/CON",
        "h/a:b",
        "h/end. ",
        "h/" + "é" * 300,
        "h/" + "a/" * 2000,
        "h/\x00\x1b[2J",
        ".fetcher/state.db",
        "results.jsonl",
        "h/" + "😀" * 90 + ".html",
    ],
)
async def test_portable_names_can_really_be_written(place: Place, hostile: str) -> None:
    path = filenames.sanitized(hostile)
    store = place.store()
    assert await put(store, a_job(path), b"here") == path
    assert store.has_file(path, 4)
    assert place.files() == {path: b"here"}


async def test_a_file_where_a_folder_is_needed_fails_that_url_only(place: Place, fsync: bool) -> None:
    store = place.store(fsync=fsync)
    batch = [outcome(a_job(path), StoredBody(b"x")) for path in ("foo", "foo/bar", "baz")]
    first, clash, last = await store.put(batch)
    assert (first, last) == ("foo", "baz")
    assert isinstance(clash, StorageError)
    assert not clash.systemic
    assert str(clash) == f"cannot write {place.root}/foo/bar: {place.root}/foo: is not a folder"
    assert place.files() == {"foo": b"x", "baz": b"x"}


async def test_a_folder_where_a_file_is_needed_fails_that_url_only(place: Place, fsync: bool) -> None:
    store = place.store(fsync=fsync)
    await put(store, a_job("foo/bar"), b"x")
    clash = await put(store, a_job("foo"))
    assert isinstance(clash, StorageError)
    assert not clash.systemic
    assert place.files() == {"foo/bar": b"x"}
    assert place.left_parts() == []


# ---- foreign files ----


async def test_a_foreign_file_is_never_overwritten_the_new_one_gets_the_suffix(
    place: Place, fsync: bool
) -> None:
    (place.root / "a.html").write_bytes(b"old")
    path = filenames.deduplicated("a.html", URL)
    assert await put(place.store(fsync=fsync), a_job("a.html", is_foreign=True)) == path
    assert place.files() == {"a.html": b"old", path: b"new"}


async def test_a_foreign_file_of_the_same_content_is_adopted_and_not_written(
    place: Place, fsync: bool
) -> None:
    (place.root / "a.html").write_bytes(b"new")
    before = (place.root / "a.html").stat()
    store = place.store(fsync=fsync)
    assert await put(store, a_job("a.html", is_foreign=True)) == "a.html"
    after = (place.root / "a.html").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert place.files() == {"a.html": b"new"}


async def test_with_overwrite_a_foreign_file_is_replaced(place: Place, fsync: bool) -> None:
    (place.root / "a.html").write_bytes(b"old")
    assert await put(place.store(overwrite=True, fsync=fsync), a_job("a.html", is_foreign=True)) == "a.html"
    assert place.files() == {"a.html": b"new"}


async def test_where_the_suffixed_name_is_foreign_too_another_is_found(place: Place) -> None:
    second = filenames.deduplicated("a.html", URL)
    (place.root / "a.html").write_bytes(b"old")
    (place.root / second).write_bytes(b"older")
    third = await put(place.store(), a_job("a.html", is_foreign=True))
    assert isinstance(third, str)
    assert place.files() == {"a.html": b"old", second: b"older", third: b"new"}
    assert await put(place.store(), a_job("a.html", is_foreign=True)) == third  # identical by now


async def test_a_foreign_name_that_is_free_by_now_is_used(place: Place) -> None:
    assert await put(place.store(), a_job("gone/a.html", is_foreign=True)) == "gone/a.html"


async def test_a_name_that_the_state_knows_is_renewed_where_it_stands(place: Place) -> None:
    suffixed = filenames.deduplicated("a.html", URL)
    (place.root / "a.html").write_bytes(b"foreign")
    (place.root / suffixed).write_bytes(b"ours")
    job = a_job("a.html", is_foreign=True, known=suffixed)
    assert await put(place.store(), job) == suffixed
    assert place.files() == {"a.html": b"foreign", suffixed: b"new"}


async def test_a_spooled_body_that_was_adopted_stays_its_owners(place: Place) -> None:
    (place.root / "a").write_bytes(b"large")
    body = Spooled(place.parts / "spool-1", b"large")
    assert await place.store().put([outcome(a_job("a", is_foreign=True), body)]) == ["a"]
    assert place.left_parts() == ["spool-1"]


def a_link(path: Path, place: Place) -> None:
    path.symlink_to(place.outside / "precious")


def a_dangling_link(path: Path, place: Place) -> None:
    path.symlink_to(place.outside / "missing")


def a_fifo(path: Path, place: Place) -> None:
    os.mkfifo(path)


def a_folder(path: Path, place: Place) -> None:
    path.mkdir()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("make", [a_link, a_dangling_link, a_fifo, a_folder])
async def test_what_is_no_regular_file_is_never_adopted_replaced_or_opened(
    place: Place, make: Callable[[Path, Place], None], overwrite: bool
) -> None:
    make(place.root / "a", place)
    before = tree(place.root)
    store = place.store(overwrite=overwrite)
    assert store.existing(["a"]) == {"a"}
    assert not store.has_file("a", len(b"precious"))
    path = await put(store, a_job("a", is_foreign=True), b"precious")
    assert path == filenames.deduplicated("a", URL)
    after = tree(place.root)
    assert after.pop(path) == (stat.S_IFREG, b"precious")
    assert {name: entry for name, entry in after.items() if ".fetcher" not in name} == before


@pytest.mark.parametrize("is_foreign", [False, True])
async def test_a_link_on_the_way_is_not_followed(place: Place, fsync: bool, is_foreign: bool) -> None:
    (place.root / "h").symlink_to(place.outside, target_is_directory=True)
    store = place.store(fsync=fsync, overwrite=True)
    for path in ("h/new", "h/precious", "h/deep/new"):
        result = await put(store, a_job(path, is_foreign=is_foreign))
        assert isinstance(result, StorageError)
        assert not result.systemic
        assert str(result) == (
            f"cannot write {place.root}/{path}: {place.root}/h: is a link, and links are not followed"
        )
    assert not store.has_file("h/precious", len(b"precious"))
    assert place.left_parts() == []


async def test_a_fifo_on_the_way_does_not_hang(place: Place) -> None:
    os.mkfifo(place.root / "h")
    assert isinstance(await put(place.store(), a_job("h/new")), StorageError)


async def test_the_output_folder_itself_may_be_a_link(place: Place) -> None:
    (place.base / "link").symlink_to(place.root, target_is_directory=True)
    root = place.base / "link"
    store = FilesStore(root, parts=root / ".fetcher/parts", overwrite=False, mtime=False, fsync=False)
    place.stores.append(store)
    assert await put(store, a_job("h/a")) == "h/a"
    assert place.files() == {"h/a": b"new"}


# ---- looking ----


async def test_occupied_tells_whether_anything_stands_there(place: Place) -> None:
    store = place.store()
    assert not store.existing(["h/a"])
    await put(store, a_job("h/a"))
    assert store.existing(["h/a"]) == {"h/a"}
    assert store.existing(["h"]) == {"h"}
    assert not store.existing(["h/b"])
    assert not store.existing(["h/a/b"])
    assert not store.existing(["x/y/z"])


async def test_nothing_is_occupied_where_there_is_no_folder_yet_and_looking_makes_none(
    tmp_path: Path,
) -> None:
    store = FilesStore(tmp_path / "o", parts=tmp_path / "o/parts", overwrite=False, mtime=False, fsync=False)
    assert not store.existing(["a"])
    assert not store.has_file("a", 0)
    assert not (tmp_path / "o").exists()
    await put(store, a_job("a"))
    assert store.existing(["a"]) == {"a"}
    await store.aclose()


# ---- bodies ----


async def test_a_spooled_body_is_moved_not_copied(place: Place, fsync: bool) -> None:
    body = Spooled(place.parts / "spool-1", b"large")
    inode = body.path.stat().st_ino
    store = place.store(fsync=fsync)
    assert await store.put([outcome(a_job("h/a"), body)]) == ["h/a"]
    assert (place.root / "h/a").stat().st_ino == inode
    assert place.left_parts() == []


async def test_a_spooled_body_whose_part_is_gone_fails_that_url_only(place: Place, fsync: bool) -> None:
    body = Spooled(place.parts / "spool-1", b"large")
    body.path.unlink()
    batch = [outcome(a_job("a"), body), outcome(a_job("b", number=2), StoredBody(b"B"))]
    gone, kept = await place.store(fsync=fsync).put(batch)
    assert isinstance(gone, StorageError)
    assert kept == "b"
    assert place.files() == {"b": b"B"}


async def test_short_writes_are_continued(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write
    monkeypatch.setattr("os.write", lambda fd, data: real_write(fd, data[:100]))
    result = await put(place.store(), a_job("a"), bytes(range(256)) * 5)
    monkeypatch.undo()
    assert result == "a"
    assert place.files() == {"a": bytes(range(256)) * 5}


async def test_files_obey_the_umask(place: Place) -> None:
    old = os.umask(0o027)
    try:
        await put(place.store(), a_job("h/a"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((place.root / "h/a").stat().st_mode) == 0o640
    assert stat.S_IMODE((place.root / "h").stat().st_mode) == 0o750


@pytest.mark.parametrize("spooled", [False, True])
async def test_mtime_comes_from_last_modified(place: Place, spooled: bool) -> None:
    body = Spooled(place.parts / "s", b"x") if spooled else StoredBody(b"x")
    record = Record(url=URL, last_modified="Sun, 06 Nov 1994 08:49:37 GMT")
    await place.store(mtime=True).put([outcome(a_job("a"), body, record=record)])
    assert (place.root / "a").stat().st_mtime == 784111777


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "yesterday",
        "Sun, 99 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999999 08:49:37 GMT",
        "0",
        "-1",
        "\x00",
    ],
)
async def test_a_bad_last_modified_is_ignored(place: Place, bad: str) -> None:
    assert await put(place.store(mtime=True), a_job("a"), last_modified=bad) == "a"
    assert (place.root / "a").stat().st_mtime > 1_500_000_000


async def test_with_fsync_parts_are_synced_before_they_are_renamed_and_each_folder_once_after(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        steps.append(("fsync", os.fstat(fd).st_ino))
        real_fsync(fd)

    def rename(source: str, name: str, **folders: int) -> None:
        real_rename(source, name, **folders)
        steps.append(("rename", os.stat(name, dir_fd=folders["dst_dir_fd"]).st_ino))

    store = place.store(fsync=True)
    spooled = Spooled(place.parts / "s", b"large")
    batch = [
        outcome(a_job(path, number=n), StoredBody(b"x")) for n, path in enumerate(["h/1", "h/2", "h/d/3"])
    ]
    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.rename", rename)
    await store.put([*batch, outcome(a_job("h/4", number=9), spooled)])
    monkeypatch.undo()

    def inodes(*paths: str) -> list[int]:
        return sorted((place.root / path).stat().st_ino for path in paths)

    files = inodes("h/1", "h/2", "h/d/3", "h/4")
    assert [kind for kind, _ in steps] == ["fsync"] * 4 + ["rename"] * 4 + ["fsync"] * 3
    assert sorted(inode for _, inode in steps[:4]) == files
    assert sorted(inode for _, inode in steps[8:]) == inodes(".", "h", "h/d")


async def test_without_fsync_nothing_is_synced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: pytest.fail("synced"))
    assert await put(place.store(), a_job("h/a")) == "h/a"


# ---- folders come and go ----


async def test_a_folder_removed_under_us_is_made_again(place: Place, fsync: bool) -> None:
    store = place.store(fsync=fsync)
    await put(store, a_job("h/deep/a"))
    shutil.rmtree(place.root / "h")
    assert await put(store, a_job("h/deep/b")) == "h/deep/b"
    assert place.files() == {"h/deep/b": b"new"}
    shutil.rmtree(place.parts)
    assert await put(store, a_job("h/deep/c")) == "h/deep/c"


async def test_more_folders_than_may_be_open_at_once(place: Place) -> None:
    before = len(os.listdir("/dev/fd"))
    store = place.store()
    for _ in range(2):
        batch = [outcome(a_job(f"{n}/x/{n}", number=n), StoredBody(b"x")) for n in range(600)]
        assert all(isinstance(path, str) for path in await store.put(batch))
        assert len(os.listdir("/dev/fd")) < before + 300
    assert len(place.files()) == 600


async def test_a_path_deeper_than_may_be_open_at_once(place: Place) -> None:
    path = "d/" * 600 + "a"
    assert await put(place.store(), a_job(path)) == path
    assert (place.root / path).read_bytes() == b"new"


# ---- 85 and 86: the system says no ----


@contextlib.contextmanager
def limit(what: int, soft: int) -> Iterator[None]:
    old = resource.getrlimit(what)
    resource.setrlimit(what, (soft, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, old)


async def test_a_write_that_stops_in_the_middle_leaves_no_part_and_costs_that_url(
    place: Place, fsync: bool
) -> None:
    store = place.store(fsync=fsync)
    batch = [outcome(a_job(f"h/{n}", number=n), StoredBody(b"x" * n)) for n in (10, 5000, 20)]
    with limit(resource.RLIMIT_FSIZE, 4096):
        first, large, last = await store.put(batch)
    assert (first, last) == ("h/10", "h/20")
    assert isinstance(large, StorageError)
    assert not large.systemic
    assert os.strerror(errno.EFBIG) in str(large)
    assert place.files() == {"h/10": b"x" * 10, "h/20": b"x" * 20}
    assert place.left_parts() == []


def next_descriptor() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd


async def test_without_descriptors_the_cached_folders_are_given_up_first(place: Place, fsync: bool) -> None:
    store = place.store(fsync=fsync)
    for _ in range(4):  # the lane's thread has started
        await store.put([outcome(a_job(f"{n}/a", number=n), StoredBody(b"x")) for n in range(30)])
    with limit(resource.RLIMIT_NOFILE, next_descriptor()):
        assert await put(store, a_job("new/a")) == "new/a"
    assert place.left_parts() == []


async def test_without_any_descriptor_the_run_stops_and_no_part_is_left(place: Place, fsync: bool) -> None:
    store = place.store(fsync=fsync)
    for _ in range(4):
        await put(store, a_job("a"))
    lowest = min(int(fd) for fd in os.listdir("/dev/fd") if int(fd) > 2)
    with pytest.raises(StorageError) as caught, limit(resource.RLIMIT_NOFILE, lowest):
        await put(store, a_job("h/b"))
    assert caught.value.systemic
    assert "ulimit -n" in caught.value.hint
    assert place.left_parts() == []
    assert await put(store, a_job("h/b")) == "h/b"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB, already mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(options, capture_output=True).returncode
    ):
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_stops_the_run_keeps_what_was_put_and_goes_on_when_there_is_room(
    small_disk: Path, fsync: bool
) -> None:
    store = FilesStore(
        small_disk, parts=small_disk / ".fetcher/parts", overwrite=False, mtime=False, fsync=fsync
    )
    await store.put([outcome(a_job("h/0"), StoredBody(b"0" * 8000))])
    batch = [outcome(a_job(f"h/{n}", number=n), StoredBody(b"x" * 20000)) for n in (1, 2, 3, 4, 5)]
    with pytest.raises(StorageError) as caught:
        await store.put(batch)
    assert caught.value.systemic
    assert str(caught.value).startswith(f"cannot write {small_disk}/h/")
    assert os.strerror(errno.ENOSPC) in str(caught.value)
    assert "free some space" in caught.value.hint
    assert os.listdir(small_disk / ".fetcher/parts") == []
    sizes = {path.name: path.stat().st_size for path in (small_disk / "h").iterdir()}
    assert sizes == ({"0": 8000} if fsync else {"0": 8000, "1": 20000, "2": 20000})
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert await store.put(batch) == ["h/1", "h/2", "h/3", "h/4", "h/5"]
    await store.aclose()


async def test_a_read_only_file_system_stops_the_run(small_disk: Path) -> None:
    store = FilesStore(
        small_disk, parts=small_disk / ".fetcher/parts", overwrite=False, mtime=False, fsync=False
    )
    await put(store, a_job("a"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError) as caught:
        await put(store, a_job("b"))
    assert caught.value.systemic
    assert "read-only" in caught.value.hint
    await store.aclose()


@pytest.fixture
async def denied_place() -> AsyncIterator[Place]:
    """A place that an ordinary user owns, as that user: root is denied nothing."""
    base = Path(tempfile.mkdtemp(prefix="fetcher-test-"))
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(base, 65534, 65534)
        os.seteuid(65534)
    try:
        place = Place(base)
        yield place
        for store in place.stores:
            await store.aclose()
    finally:
        if was_root:
            os.seteuid(0)
        subprocess.run(["chmod", "-R", "u+rwx", str(base)], check=True)
        shutil.rmtree(base)


@pytest.mark.parametrize("path", ["shut/a", "shut/b/c"])
async def test_a_denial_at_a_folder_stops_the_run_before_all_its_urls_have_failed(
    denied_place: Place, fsync: bool, path: str
) -> None:
    place = denied_place
    (place.root / "shut").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=os.strerror(errno.EACCES)) as caught:
        await put(place.store(fsync=fsync), a_job(path))
    assert caught.value.systemic
    assert "permissions" in caught.value.hint
    assert place.left_parts() == []


@pytest.mark.parametrize("path", ["a", "h/a"])
async def test_a_denial_at_the_output_folder_stops_the_run(
    denied_place: Place, fsync: bool, path: str
) -> None:
    place = denied_place
    place.parts.mkdir(parents=True)
    place.root.chmod(0o500)
    with pytest.raises(StorageError) as caught:
        await put(place.store(fsync=fsync), a_job(path))
    assert caught.value.systemic
    assert place.left_parts() == []


async def test_a_denial_at_the_parts_stops_the_run(denied_place: Place, fsync: bool) -> None:
    place = denied_place
    place.parts.mkdir(parents=True, mode=0o500)
    with pytest.raises(StorageError) as caught:
        await put(place.store(fsync=fsync), a_job("a"))
    assert caught.value.systemic
    assert "a" not in place.files()


async def test_an_output_folder_that_is_a_file_stops_the_run(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_bytes(b"x")
    store = FilesStore(root, parts=tmp_path / "parts", overwrite=False, mtime=False, fsync=False)
    with pytest.raises(StorageError) as caught:
        await put(store, a_job("a"))
    assert caught.value.systemic
    assert str(root) in str(caught.value)
    assert root.read_bytes() == b"x"
    await store.aclose()


# ---- 87: only our own parts ----


async def test_parts_that_others_left_are_neither_used_nor_removed(place: Place) -> None:
    place.parts.mkdir(parents=True)
    for n in range(1, 5):
        (place.parts / f"1-{n}.put").write_bytes(b"another's")
    (place.parts / "1-5.put").symlink_to(place.outside / "precious")
    assert await put(place.store(), a_job("a")) == "a"
    assert sorted(place.left_parts()) == [f"1-{n}.put" for n in range(1, 6)]
    assert place.files()["a"] == b"new"
    assert (place.parts / "1-1.put").read_bytes() == b"another's"


async def test_a_second_failing_batch_leaves_the_first_ones_files(place: Place, fsync: bool) -> None:
    store = place.store(fsync=fsync)
    await put(store, a_job("h/a"), b"first")
    with limit(resource.RLIMIT_FSIZE, 1):
        assert isinstance(await put(store, a_job("h/a"), b"second"), StorageError)
    assert place.files() == {"h/a": b"first"}
