"""No value of an option is a defect of the program: every option of the table, and every odd value.

In this process, so that thousands of runs take a minute. A value that can be used is used; any other is one
line that names the option, with at most one line of what to do, and exit 2 or 5.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetcher.cli import main as program
from fetcher.settings import OPTIONS

CLOSED = "http://127.0.0.1:9/"
USED = {0, 1, 4}  # 1: the URL can't be reached; 4: a limit that was met at once
TEXTS = ("", " ", "x", "0", "-1", "9" * 5000, "\0", "\udcff", "\x1b[2J", "a\nb", "none", "nan", "1e999")
MARKS = ("{", "{nope}", "(", "@", "@gone", "@folder", "@/dev/zero", ":", "http://[", "~", "--")
PATHS = {
    "a name of 300 bytes": "n" * 300,
    "a path of 5000 bytes": "/".join(["p" * 99] * 50),
    "below a file": "file/x",
    "below nothing": "gone/deep",
    "a file": "file",
    "a folder": "folder",
    "a folder by its slash": "folder/",
    "a circle of links": "circle",
    "a FIFO": "fifo",
    "a device": "/dev/null",
    "a full device": "/dev/full",
    "a device without an end": "/dev/zero",
    "not UTF-8": "\udcff/\udcfe",
}
WRITTEN = {"output_file", "log_file", "metrics_file"}
VALUED = [option.key for option in OPTIONS.values() if "cli" in option.where and not option.is_flag]
OF_PATHS = [key for key in VALUED if OPTIONS[key].is_path or key in {"config", "data", "parser"}]


def end(*arguments: str) -> tuple[int, str]:
    """The exit code and standard error of a run in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = program._run(list(arguments))
    err.flush()
    return code, err.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one thing of each sort."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    interval = sys.getswitchinterval()
    Path("folder").mkdir()
    Path("file").write_text(f"{CLOSED}\n")
    Path("circle").symlink_to("circle")
    os.mkfifo("fifo")
    yield tmp_path
    sys.setswitchinterval(interval)


@contextlib.contextmanager
def other_end(*, reads: bool) -> Iterator[None]:
    """Somebody at the other end of the FIFO: a reader that waits, or a writer that says nothing."""
    if reads:
        reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
        yield
        os.close(reader)
        return
    writer = threading.Thread(target=lambda: os.close(os.open("fifo", os.O_WRONLY)))
    writer.start()
    yield
    while writer.is_alive():
        os.close(os.open("fifo", os.O_RDONLY | os.O_NONBLOCK))
        writer.join(0.01)


def assert_told(key: str, value: str, code: int, said: str) -> None:
    """The value was used, or it is told in a line or two what is wrong with which option."""
    if code in USED:
        return
    assert code in {2, 5}, said
    assert len(said.splitlines()) <= 2, said
    names_place = value in said and ":1: " in said  # a file that was read and says nothing of use
    assert OPTIONS[key].flag in said or f"{key}: " in said or names_place, said


def run_with(key: str, value: str, *more: str) -> None:
    given = [OPTIONS[key].only or "get", CLOSED, "--retries", "0", "--grace", "0", "-q", *more]
    assert_told(key, value, *end(*given, f"{OPTIONS[key].flag}={value}"))


@pytest.mark.parametrize("key", VALUED)
def test_no_text_is_a_defect_as_the_value_of_an_option(key: str, place: Path) -> None:
    for value in (*TEXTS, *MARKS):
        run_with(key, value)


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("key", OF_PATHS)
def test_no_path_is_a_defect_as_the_value_of_an_option(key: str, kind: str, place: Path) -> None:
    value = PATHS[kind] if key not in {"data", "parser"} else {"data": "@", "parser": ""}[key] + PATHS[kind]
    if key == "parser":
        value = f"{value}.py:read"
    for more in ((), ("--dry-run",)):
        waits = other_end(reads=key in WRITTEN) if kind == "a FIFO" else contextlib.nullcontext()
        with waits:
            run_with(key, value, *more)
    assert stat.S_ISFIFO(Path("fifo").stat().st_mode)  # what is no file is never replaced
    assert Path("circle").is_symlink()


@pytest.mark.parametrize("kind", [kind for kind in PATHS if kind != "a file"])
@pytest.mark.parametrize(
    "command", [("status",), ("run",), ("compare", "urls", "-i"), ("compare", "http", "-n", "1", "--plot")]
)
def test_no_path_is_a_defect_as_an_argument(command: tuple[str, ...], kind: str, place: Path) -> None:
    waits = other_end(reads="--plot" in command) if kind == "a FIFO" else contextlib.nullcontext()
    with waits:
        code, said = end(*command, PATHS[kind])
    assert code in {0, 1, 2, 5}, said
    assert len(said.splitlines()) <= 3 or code == 0, said


@pytest.mark.parametrize("key", VALUED)
def test_config_shows_or_refuses_every_value(key: str, place: Path) -> None:
    for value in (*TEXTS, *MARKS):
        code, said = end("config", f"{OPTIONS[key].flag}={value}")
        assert_told(key, value, code, said)


def test_a_log_is_not_waited_for_where_nobody_reads_the_fifo(place: Path) -> None:
    code, said = end("get", CLOSED, "--log-file", "fifo")
    assert code == 2
    assert said.startswith("fetcher: --log-file: cannot write fifo: ")


def test_an_output_that_is_a_file_is_said_to_be_one(place: Path) -> None:
    for more in ((), ("--dry-run",)):
        code, said = end("get", CLOSED, "-o", "file", *more)
        assert code == 5
        assert "file is a file, not a folder" in said
