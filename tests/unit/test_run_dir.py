"""The run directory: where things lie, the lock, and what a killed run left."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fetcher.errors import ConfigError, DirectoryInUse, StorageError
from fetcher.run_dir import RunDirectory, directory_of
from fetcher.settings import Settings

HOLDER = """
import sys
from pathlib import Path
from fetcher.run_dir import RunDirectory
from fetcher.errors import DirectoryInUse
directory = RunDirectory(Path(sys.argv[1]))
try:
    directory.acquire()
except DirectoryInUse as error:
    print(error, flush=True)
    sys.exit(3)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    directory = RunDirectory(tmp_path / "out")
    yield directory
    directory.release()


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Another process that takes the lock and keeps it until its standard input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(root: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.communicate(timeout=30)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


# ---- the place ----


def test_everything_of_the_tool_lies_below_its_own_folder_except_the_records(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.results == tmp_path / "results.jsonl"
    assert directory.state == tmp_path / ".fetcher" / "state.db"
    assert directory.parts == tmp_path / ".fetcher" / "parts"


def test_making_the_object_touches_nothing(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_acquiring_makes_the_folders_closed_to_others(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "deep" / "out")
    directory.acquire()
    assert directory.parts.is_dir()
    assert stat.S_IMODE(directory.own.stat().st_mode) == 0o700
    directory.release()


def test_parts_are_left_alone_while_another_holds_the_lock(
    directory: RunDirectory, start: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = start(directory.root)
    assert said(holder) == "held\n"
    (directory.parts / "1-1.put").write_bytes(b"half")
    with pytest.raises(DirectoryInUse):
        directory.acquire()
    assert (directory.parts / "1-1.put").read_bytes() == b"half"


# ---- the lock ----


def test_a_second_process_is_refused_and_told_who_holds_the_lock(
    directory: RunDirectory, start: Callable[[Path], subprocess.Popen[str]]
) -> None:
    directory.acquire()
    second = start(directory.root)
    assert said(second) == f"{directory.root} is in use by process {os.getpid()}\n"
    assert second.wait(30) == 3


def test_this_process_is_refused_while_another_holds_the_lock(
    directory: RunDirectory, start: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = start(directory.root)
    assert said(holder) == "held\n"
    with pytest.raises(DirectoryInUse, match=rf"in use by process {holder.pid}$") as caught:
        directory.acquire()
    assert caught.value.hint
    assert directory.is_locked()
    assert directory.owner() == holder.pid


def test_two_runs_of_one_process_exclude_each_other_too(directory: RunDirectory) -> None:
    directory.acquire()
    second = RunDirectory(directory.root)
    with pytest.raises(DirectoryInUse, match=str(os.getpid())):
        second.acquire()
    second.release()
    assert directory.is_locked(), "a refused run let go of the other's lock"
    directory.release()
    second.acquire()
    second.release()


def test_the_lock_is_free_after_its_holder_was_killed(
    directory: RunDirectory, start: Callable[[Path], subprocess.Popen[str]]
) -> None:
    holder = start(directory.root)
    assert said(holder) == "held\n"
    holder.send_signal(signal.SIGKILL)
    assert holder.wait(30) == -signal.SIGKILL
    assert not directory.is_locked()
    directory.acquire()
    assert directory.owner() == os.getpid()


def test_of_many_that_start_at_once_one_proceeds(
    directory: RunDirectory, start: Callable[[Path], subprocess.Popen[str]]
) -> None:
    directory.acquire()
    directory.release()
    answers = [said(process) for process in [start(directory.root) for _ in range(8)]]
    assert answers.count("held\n") == 1
    assert sum("is in use by" in answer for answer in answers) == 7


def test_releasing_may_be_repeated_and_asking_for_the_lock_does_not_take_it(directory: RunDirectory) -> None:
    assert not directory.is_locked()
    assert not directory.root.exists()
    directory.acquire()
    directory.release()
    directory.release()
    assert not directory.is_locked()
    directory.acquire()
    assert directory.is_locked()


@pytest.mark.parametrize("content", ["", "no number", "\udcff".encode("utf-8", "surrogateescape")])
def test_an_owner_that_cannot_be_read_is_nobody(directory: RunDirectory, content: str | bytes) -> None:
    directory.acquire()
    (directory.own / "pid").write_bytes(content.encode() if isinstance(content, str) else content)
    assert directory.owner() is None
    assert "another process" in directory.in_use().message


# ---- what can't be used ----


def test_a_file_in_place_of_the_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for root in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(StorageError, match=r"cannot use|is a file, not a folder") as caught:
            RunDirectory(root).acquire()
        assert caught.value.hint
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", [".fetcher", ".fetcher/parts", ".fetcher/lock", ".fetcher/pid"])
def test_something_else_in_place_of_what_the_tool_needs_is_a_storage_error(
    directory: RunDirectory, name: str
) -> None:
    place = directory.root / name
    place.parent.mkdir(parents=True)
    if name.endswith(("lock", "pid")):
        place.mkdir()
    else:
        place.write_text("mine")
    with pytest.raises(StorageError, match="cannot use"):
        directory.acquire()


@pytest.mark.parametrize("name", [".fetcher", ".fetcher/parts"])
def test_a_link_in_place_of_an_own_folder_is_not_followed(
    directory: RunDirectory, tmp_path: Path, name: str
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "parts").mkdir(parents=True)
    theirs.chmod(0o755)
    for file in (theirs / "photo", theirs / "parts" / "photo"):
        file.write_text("precious")
    link = directory.root / name
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    with pytest.raises(StorageError, match="link"):
        directory.acquire()
    assert sorted(path.name for path in theirs.rglob("*")) == ["parts", "photo", "photo"]
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["pid", "lock"])
def test_nothing_is_written_through_a_link_among_the_own_files(
    directory: RunDirectory, tmp_path: Path, name: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("precious")
    directory.own.mkdir(parents=True)
    (directory.own / name).symlink_to(theirs)
    if name == "lock":
        with pytest.raises(StorageError):
            directory.acquire()
    else:
        directory.acquire()
    assert theirs.read_text() == "precious"


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    directory = RunDirectory(tmp_path / "out")
    directory.acquire()
    directory.release()
    assert (tmp_path / "real" / ".fetcher" / "parts").is_dir()


def test_a_place_without_permission_is_a_storage_error(tmp_path: Path, powerless: None) -> None:
    with pytest.raises(StorageError, match="Permission denied"):
        RunDirectory(tmp_path / "out").acquire()


@pytest.fixture
def powerless(tmp_path: Path) -> Iterator[None]:
    """The test's folder belongs to somebody else."""
    tmp_path.chmod(0o500)
    if os.geteuid() != 0:
        yield
        tmp_path.chmod(0o700)
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"output": "s3://b/a"}, "output"),
        ({"output": "s3://b/a", "state": "s3://b/state"}, "output"),
        ({"output": "s3://b/../a", "state": "state"}, "output"),
        ({"output": "http://b/a", "state": "state"}, "output"),
        ({"output": "out", "state": "state"}, "state"),
        ({"output": "s3://b/a", "state": "state", "store": "warc"}, "store"),
        ({"output": "gs://b/a", "state": "state", "store": "parquet"}, "store"),
        ({"output": "az://b/a", "state": "state", "mtime": True}, "mtime"),
        ({"output": "s3://b/a", "state": "state", "reparse": True}, "reparse"),
    ],
)
def test_what_does_not_go_with_an_object_store_is_refused_in_one_line(
    settings: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        directory_of(Settings(**settings))
    assert caught.value.message.startswith(f"{key}: ")
    assert "\n" not in caught.value.message + caught.value.hint


def test_with_an_object_store_the_directory_is_that_of_the_state() -> None:
    directory = directory_of(Settings(output="s3://b/a", state="here", store="none"))
    assert (directory.root, str(directory.url)) == (Path("here"), "s3://b/a")
    assert directory_of(Settings(output="there")).url is None
