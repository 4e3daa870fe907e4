"""The state file and the journal of records: opened without ever harming them."""

import contextlib
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetcher.errors import ConfigError, StorageError
from fetcher.frontiers.sqlite.journal import Journal
from fetcher.frontiers.sqlite.schema import APPLICATION_ID, SCHEMA, open_state, read_state, storage_error


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run" / ".fetcher").mkdir(parents=True)
    return tmp_path / "run" / ".fetcher" / "state.db"


def make(state: Path) -> None:
    open_state(state, fsync=False).close()


def tables(state: Path) -> set[str]:
    with contextlib.closing(open_state(state, fsync=False)) as db:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run_and_kill(code: str) -> None:
    """Another process runs `code` and is killed right after it, with everything still open."""
    code = textwrap.dedent(code) + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == -signal.SIGKILL


# ---- opening ----


def test_a_new_state_has_its_tables_and_says_whose_it_is(state: Path) -> None:
    with contextlib.closing(open_state(state, fsync=False)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA mmap_size").fetchone() in {(0,), None}
    assert tables(state) == {"meta", "host", "source", "url", "name", "request_key"}


@pytest.mark.parametrize(("fsync", "level"), [(False, 1), (True, 2)])
def test_every_commit_is_synced_only_if_that_was_asked_for(state: Path, fsync: bool, level: int) -> None:
    with contextlib.closing(open_state(state, fsync=fsync)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (level,)


def test_the_state_and_its_log_are_closed_to_others_whatever_the_umask(state: Path) -> None:
    before = os.umask(0)
    try:
        with contextlib.closing(open_state(state, fsync=False)) as db:
            db.execute("INSERT INTO meta VALUES ('a', 1)")
            files = list(state.parent.iterdir())
            assert len(files) == 3
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_what_was_written_is_there_again(state: Path) -> None:
    with contextlib.closing(open_state(state, fsync=False)) as db:
        db.execute("INSERT INTO meta VALUES ('a', 1)")
    with contextlib.closing(open_state(state, fsync=False)) as db:
        assert db.execute("SELECT value FROM meta").fetchall() == [(1,)]


def test_an_empty_file_is_taken_for_a_new_state(state: Path) -> None:
    state.touch()
    assert "url" in tables(state)


@pytest.mark.parametrize("pages", [1, 300])
def test_what_a_kill_in_the_middle_of_creating_it_left_becomes_a_new_state(state: Path, pages: int) -> None:
    run_and_kill(
        f"""
        import sqlite3
        db = sqlite3.connect({str(state)!r}, isolation_level=None)
        db.execute("PRAGMA cache_size = 1")  # so that pages are written before the commit
        db.execute("BEGIN")
        db.execute("CREATE TABLE meta (name TEXT)")
        for _ in range({pages}):
            db.execute("INSERT INTO meta VALUES (?)", ("x" * 4000,))
        """
    )
    assert state.with_name("state.db-journal").exists()
    assert "url" in tables(state)


def test_a_state_that_is_killed_keeps_what_was_committed(state: Path) -> None:
    run_and_kill(
        f"""
        from pathlib import Path
        from fetcher.frontiers.sqlite.schema import open_state
        db = open_state(Path({str(state)!r}), fsync=False)
        db.execute("INSERT INTO meta VALUES ('committed', 1)")
        db.execute("BEGIN")
        db.execute("INSERT INTO meta VALUES ('open', 1)")
        """
    )
    with contextlib.closing(open_state(state, fsync=False)) as db:
        assert db.execute("SELECT name FROM meta").fetchall() == [("committed",)]


# ---- what is refused, and left as it was ----


def corrupt(state: Path) -> None:
    make(state)
    state.write_bytes(b"\x01" * state.stat().st_size)


def random_bytes(state: Path) -> None:
    state.write_bytes(os.urandom(10_000))


def a_few_bytes(state: Path) -> None:
    state.write_bytes(b"SQLite")


def text(state: Path) -> None:
    state.write_text("# my notes\n" * 1000)


def truncated(state: Path) -> None:
    make(state)
    os.truncate(state, state.stat().st_size // 2)


def truncated_within_a_page(state: Path) -> None:
    make(state)
    os.truncate(state, 150)


def foreign(state: Path) -> None:
    with contextlib.closing(sqlite3.connect(state)) as db:
        db.execute("CREATE TABLE photos (name)")
        db.commit()


def foreign_with_an_id(state: Path) -> None:
    with contextlib.closing(sqlite3.connect(state)) as db:
        db.executescript("CREATE TABLE url (id); PRAGMA application_id = 1; PRAGMA user_version = 1;")


def newer(state: Path) -> None:
    make(state)
    with contextlib.closing(sqlite3.connect(state)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")


def emptied_beside_its_log(state: Path) -> None:
    state.touch()
    state.with_name("state.db-wal").write_bytes(b"\x37\x7f\x06\x82" + b"log" * 1000)


UNUSABLE = [
    corrupt, random_bytes, a_few_bytes, text, truncated, truncated_within_a_page, foreign, foreign_with_an_id,
    newer, emptied_beside_its_log,
]  # fmt: skip


@pytest.mark.parametrize("harm", UNUSABLE, ids=lambda harm: harm.__name__)
def test_an_unusable_state_is_refused_with_advice_and_left_as_it_was(state: Path, harm) -> None:  # type: ignore[no-untyped-def]
    harm(state)
    before = contents(state.parent)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"state\.db") as caught:
            open_state(state, fsync=False)
        assert caught.value.hint
    assert contents(state.parent) == before


@pytest.mark.parametrize("harm", UNUSABLE, ids=lambda harm: harm.__name__)
def test_an_unusable_state_cannot_be_read_either_and_stays(state: Path, harm) -> None:  # type: ignore[no-untyped-def]
    harm(state)
    before = contents(state.parent)
    with pytest.raises(StorageError, match=r"state\.db"):
        read_state(state)
    assert contents(state.parent) == before


def test_a_newer_state_asks_for_a_newer_program(state: Path) -> None:
    newer(state)
    with pytest.raises(StorageError, match="newer version") as caught:
        open_state(state, fsync=False)
    assert "upgrade" in caught.value.hint


def test_a_foreign_database_is_said_to_be_one(state: Path) -> None:
    foreign(state)
    with pytest.raises(StorageError, match="not a state of this program"):
        open_state(state, fsync=False)


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "fifo", "folder missing"])
def test_something_else_in_its_place_is_refused(state: Path, tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    match kind:
        case "directory":
            state.mkdir()
        case "link":
            make(elsewhere)
            state.symlink_to(elsewhere)
        case "dangling link":
            state.symlink_to(elsewhere)
        case "fifo":
            os.mkfifo(state)
        case _:
            state.parent.rmdir()
    before = elsewhere.read_bytes() if kind == "link" else None
    with pytest.raises(StorageError):
        open_state(state, fsync=False)
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == before


@pytest.fixture
def powerless() -> Iterator[None]:
    """Another user, if this is root: the test's folders are closed."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_state_of_somebody_else_is_a_storage_error_for_writing_and_reading(
    state: Path, powerless: None
) -> None:
    with pytest.raises(StorageError, match="Permission denied"):
        open_state(state, fsync=False)
    with pytest.raises(StorageError, match="Permission denied"):
        read_state(state)


def test_a_refused_state_leaves_no_descriptor_open(state: Path) -> None:
    foreign(state)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(StorageError):
            open_state(state, fsync=False)
        with pytest.raises(StorageError):
            read_state(state)
    assert len(os.listdir("/dev/fd")) == before


# ---- reading ----


def test_reading_where_there_is_no_state_is_wrong_usage(state: Path) -> None:
    for path in (state, state.parent / "missing" / "state.db"):
        with pytest.raises(ConfigError, match="not a run directory"):
            read_state(path)
    state.write_text("")
    with pytest.raises(ConfigError, match="not a run directory"):
        read_state(state / "below" / "a file")


def test_reading_changes_nothing_and_cannot(state: Path) -> None:
    make(state)
    before = contents(state.parent)
    with contextlib.closing(read_state(state)) as db:
        assert db.execute("SELECT count(*) FROM url").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("INSERT INTO meta VALUES ('a', 1)")
    assert contents(state.parent) == before


def test_a_state_in_use_and_one_that_was_killed_can_be_read(state: Path, tmp_path: Path) -> None:
    with contextlib.closing(open_state(state, fsync=False)) as db:
        db.execute("INSERT INTO meta VALUES ('a', 1)")
        with contextlib.closing(read_state(state)) as reader:
            assert reader.execute("SELECT name FROM meta").fetchall() == [("a",)]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("INSERT INTO meta VALUES ('b', 1)")
        killed = tmp_path / "killed"
        killed.mkdir()
        for name in ("state.db", "state.db-wal"):
            (killed / name).write_bytes(state.with_name(name).read_bytes())
    with contextlib.closing(read_state(killed / "state.db")) as reader:
        assert reader.execute("SELECT name FROM meta").fetchall() == [("a",)]


def test_a_path_with_any_character_can_be_read(tmp_path: Path) -> None:
    state = tmp_path / "50% ?mode=rwc#\udcff" / "state.db"
    state.parent.mkdir()
    make(state)
    with contextlib.closing(read_state(state)) as db:
        assert db.execute("SELECT count(*) FROM url").fetchone() == (0,)


# ---- what a failed statement means ----


def test_a_full_disk_asks_for_space_and_other_errors_for_a_look() -> None:
    full = storage_error(sqlite3.OperationalError("database or disk is full"), "settling")
    assert full.message.startswith("settling: no space left")
    assert "space" in full.hint
    other = storage_error(sqlite3.OperationalError("disk I/O error"), "claiming")
    assert other.message.startswith("claiming: ")
    assert "disk I/O error" in other.message
    assert other.systemic
    assert full.systemic


# ---- the journal ----


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "results.jsonl")
    yield journal
    journal.close()


def test_lines_are_appended_and_counted(journal: Journal) -> None:
    journal.open(0)
    journal.append([b"{}", b"[1]"])
    journal.append([])
    journal.append([b"3"])
    assert journal.path.read_bytes() == b"{}\n[1]\n3\n"
    assert journal.length == 9


def test_what_lies_beyond_the_settled_length_is_cut(journal: Journal) -> None:
    journal.path.write_bytes(b"settled\nnot settled\nhal")
    journal.open(8)
    journal.append([b"more"])
    assert journal.path.read_bytes() == b"settled\nmore\n"


def test_a_file_that_is_shorter_than_settled_is_continued(journal: Journal) -> None:
    journal.path.write_bytes(b"left\n")
    journal.open(1000)
    assert journal.length == 5
    journal.append([b"more"])
    assert journal.path.read_bytes() == b"left\nmore\n"


def test_a_missing_file_is_begun(journal: Journal) -> None:
    journal.open(1000)
    journal.append([b"more"])
    assert journal.path.read_bytes() == b"more\n"
    assert journal.length == 5


@pytest.mark.parametrize(
    ("there", "then"),
    [(b"", b""), (b"theirs\n", b"theirs\n"), (b"theirs\nno end", b"theirs\nno end\n")],
)
def test_a_file_that_the_state_does_not_know_of_stays_whole(
    journal: Journal, there: bytes, then: bytes
) -> None:
    journal.path.write_bytes(there)
    journal.open(None)
    assert journal.length == len(then)
    journal.append([b"ours"])
    assert journal.path.read_bytes() == then + b"ours\n"


def test_what_was_appended_can_be_taken_back(journal: Journal) -> None:
    journal.open(0)
    journal.append([b"one"])
    length = journal.length
    journal.append([b"two", b"three"])
    journal.cut(length)
    journal.append([b"four"])
    assert journal.path.read_bytes() == b"one\nfour\n"


def test_a_write_that_fails_half_way_leaves_whole_lines_only(journal: Journal) -> None:
    journal.open(0)
    journal.append([b"one"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large") as caught:
            journal.append([b"x" * 60, b"y" * 60])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.hint
    assert journal.path.read_bytes() == b"one\n"
    journal.append([b"two"])
    assert journal.path.read_bytes() == b"one\ntwo\n"
    assert journal.length == 8


def test_setting_aside_moves_the_file_over_an_older_one(journal: Journal) -> None:
    journal.set_aside()
    for content in (b"first\n", b"second\n"):
        journal.path.write_bytes(content)
        journal.set_aside()
        assert not journal.path.exists()
        assert journal.path.with_name("results.jsonl.1").read_bytes() == content


def test_setting_aside_what_cannot_be_moved_is_a_storage_error(journal: Journal) -> None:
    journal.path.write_bytes(b"first\n")
    journal.path.with_name("results.jsonl.1").mkdir()
    with pytest.raises(StorageError, match="cannot move"):
        journal.set_aside()
    assert journal.path.read_bytes() == b"first\n"


@pytest.mark.parametrize("kind", ["directory", "link", "fifo", "fifo with a reader", "folder missing"])
def test_something_else_in_place_of_the_records_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out" / "results.jsonl"
    path.parent.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    reader = -1
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(elsewhere)
        case "folder missing":
            path.parent.rmdir()
        case _:
            os.mkfifo(path)
            if kind == "fifo with a reader":
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(path)
    try:
        with pytest.raises(StorageError, match="cannot open"):
            journal.open(0)
    finally:
        journal.close()
        if reader >= 0:
            os.close(reader)
    assert elsewhere.read_text() == "theirs"


def test_closing_frees_the_descriptor_and_may_be_repeated(journal: Journal) -> None:
    before = len(os.listdir("/dev/fd"))
    journal.close()
    journal.open(0)
    journal.close()
    journal.close()
    assert len(os.listdir("/dev/fd")) == before


def test_synced_lines_are_written_all_the_same(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "results.jsonl", fsync=True)
    journal.open(0)
    journal.append([b"one"])
    journal.close()
    assert journal.path.read_bytes() == b"one\n"
