"""What the shell is told: every exit code of the contract, each from a natural cause."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.program import COMMAND, Program, by_url, eventually, records, stored, write_list
from support.site import Site

MakeSite = Callable[..., Site]


def test_0_every_url_is_done(program: Program, site: Site) -> None:
    ended = program.run("get", *map(site.url, site.pages), "-o", "out")
    assert ended.code == 0
    assert len(by_url(program.folder / "out")) == 10


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_0_an_input_file_without_urls(program: Program, text: str) -> None:
    (program.folder / "empty.txt").write_text(text)
    ended = program.run("get", "-i", "empty.txt", "-o", "out")
    assert ended.code == 0
    assert records(program.folder / "out") == []


@pytest.mark.parametrize("url", ["/gone", "nonsense"])
def test_1_a_url_failed_or_was_refused(program: Program, site: Site, url: str) -> None:
    bad = site.url(url) if url.startswith("/") else url
    assert program.run("get", site.url("/p/0"), bad, "-o", "out").code == 1
    assert by_url(program.folder / "out")[site.url("/p/0")]["state"] == "done"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get"], "nothing to fetch"),
        (["get", "-i", "no such file"], "no such file"),
        (["get", "-i", "."], "it is a directory"),
        (["get", "URL", "--concurrency", "many"], "--concurrency: expected a whole number"),
        (["get", "URL", "--rate", "fast"], "--rate: expected a rate"),
        (["get", "URL", "--max-size", "-1"], "--max-size: expected a size"),
        (["get", "URL", "--deadline", "25:00"], "--deadline: expected a duration"),
        (["get", "URL", "--backend", "carrier-pigeon"], "carrier-pigeon"),
        (["get", "URL", "--store", "ftp"], "--store: expected"),
        (["get", "URL", "--name", "{nope"], "nope"),
        (["get", "URL", "--http", "3"], "HTTP/3"),
        (["get", "URL", "-4", "-6"], "ipv4"),
        (["get", "URL", "-q", "-v"], "quiet"),
        (["get", "URL", "-H", "no colon"], "header"),
        (["get", "URL", "-H", "Content-Length: 5"], "Content-Length"),
        (["get", "URL", "--cookies", "no such jar"], "no such jar"),
        (["get", "URL", "--ca-file", "no such pem"], "no such pem"),
        (["get", "URL", "URL", "-O", "-"], "exactly one URL"),
        (["get", "URL", "-O", "-", "--refresh"], "--refresh"),
        (["get", "URL", "--log-file", "no/such/folder/log"], "no/such/folder/log"),
        (["get", "URL", "--config", "no.toml"], "no.toml"),
        (["get", "URL", "--concurency", "5"], "--concurrency"),
        (["gte", "URL"], "gte"),
        (["status", "nowhere"], "not a run directory"),
        (["run", "no job.toml"], "no job.toml"),
    ],
    ids=lambda value: " ".join(value).removeprefix("get ")[:40] if isinstance(value, list) else "",
)
def test_2_wrong_usage_is_said_in_words_before_any_request(
    program: Program, site: Site, arguments: list[str], said: str
) -> None:
    url = site.url("/p/0")
    ended = program.run(*[url if argument == "URL" else argument for argument in arguments])
    assert ended.code == 2, ended
    assert said in ended.err
    assert ended.stdout == b""
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= 3
    assert site.log == []
    assert not (program.folder / "downloads" / "results.jsonl").exists()


def test_2_a_csv_without_a_url_column(program: Program) -> None:
    (program.folder / "list.csv").write_text("name,size\na,1\n")
    ended = program.run("get", "-i", "list.csv")
    assert ended.code == 2
    assert "list.csv: not a usable CSV header" in ended.err


def test_4_the_deadline_stops_the_run_and_the_rest_can_be_resumed(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(20)
    urls = [site.url(path) for path in site.pages]
    site.hold_after(5)
    ended = program.run("get", *urls, "-o", "out", "-c", "2", "--deadline", "0.5", "--grace", "0")
    assert ended.code == 4
    assert re.search(r"the deadline was reached; \d+ URLs left", ended.err)
    site.release()
    assert program.run("get", *urls, "-o", "out").code == 0
    assert len(records(program.folder / "out")) == 20


def test_4_max_failures_stops_the_run_and_wins_over_1(program: Program, make_site: MakeSite) -> None:
    site = make_site(300)
    urls = [*(site.url(f"/gone/{n}") for n in range(5)), *map(site.url, site.pages)]
    write_list(program.folder / "urls.txt", urls)
    command = ("get", "-i", "urls.txt", "-o", "out", "-c", "1")
    ended = program.run(*command, "--max-failures", "3")
    assert ended.code == 4
    assert "--max-failures" in ended.err
    failed = [record for record in records(program.folder / "out") if record["state"] == "failed"]
    assert len(failed) >= 3
    assert len(site.log) < 305, "it went on to the end"
    assert program.run(*command).code == 1
    assert len(by_url(program.folder / "out")) == 305


def test_5_the_output_is_a_file(program: Program, site: Site) -> None:
    (program.folder / "out").write_text("mine")
    ended = program.run("get", site.url("/p/0"), "-o", "out")
    assert ended.code == 5
    assert "out" in ended.err
    assert "choose another --output" in ended.err
    assert site.log == []
    assert (program.folder / "out").read_text() == "mine"


def state_of(program: Program, site: Site) -> Path:
    assert program.run("get", site.url("/p/0"), "-o", "out", "--name", "first").code == 0
    site.log.clear()
    return program.folder / "out" / ".fetcher" / "state.db"


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:4096] = b"garbage!" * 512
    path.write_bytes(data)


def corrupt_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9999")
    db.close()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [corrupt, corrupt_inside, foreign, newer, folder])
@pytest.mark.parametrize("command", ["get", "status"])
def test_5_a_state_that_cannot_be_used_is_left_as_it_is(
    program: Program, site: Site, harm: Callable[[Path], None], command: str
) -> None:
    state = state_of(program, site)
    harm(state)
    before = state.read_bytes() if state.is_file() else None
    arguments = ["get", site.url("/p/1"), "-o", "out"] if command == "get" else ["status", "out"]
    ended = program.run(*arguments)
    assert ended.code == 5, ended
    assert "state" in ended.err
    assert "Traceback" not in ended.err
    assert site.log == []
    assert (state.read_bytes() if state.is_file() else None) == before
    assert (program.folder / "out" / "first").read_bytes() == site.pages["/p/0"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_5_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(
    program: Program, make_site: MakeSite, small_disk: Path
) -> None:
    site = make_site(0)
    site.pages = {f"/big/{n}": bytes([n]) * 400_000 for n in range(12)}
    urls = [site.url(path) for path in site.pages]
    command = ("get", *urls, "-o", small_disk / "out", "-c", "2", "--min-free", "0")
    ended = program.run(*command)
    assert ended.code == 5, ended
    assert "No space left" in ended.err
    assert "the disk or the state failed" in ended.err
    assert "to continue:" in ended.err
    assert "Traceback" not in ended.err
    for record in records(small_disk / "out"):
        assert (small_disk / "out" / record["path"]).stat().st_size == 400_000
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    again = program.run(*command)
    assert again.code == 0, again
    assert sorted(record["url"] for record in records(small_disk / "out")) == sorted(urls)
    for path, record in zip(site.pages, map(by_url(small_disk / "out").get, urls), strict=True):
        assert record is not None
        assert (small_disk / "out" / record["path"]).read_bytes() == site.pages[path]


@pytest.mark.parametrize("size", [400_000, 60_000])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_5_nothing_is_written_past_min_free_however_quickly_it_comes(
    program: Program, make_site: MakeSite, small_disk: Path, size: int, processes: str
) -> None:
    site = make_site(0)
    site.pages = {f"/big/{n}": bytes([n]) * size for n in range(4_000_000 // size)}
    urls = [site.url(path) for path in site.pages]
    command = ("get", *urls, "-o", small_disk / "out", "--min-free", "800K", "--processes", processes)
    ended = program.run(*command)
    assert ended.code == 5, ended
    assert "stopped: the disk has less room than --min-free keeps" in ended.err
    assert "to continue:" in ended.err
    # The state and its log are no bodies.
    own = sum(file.stat().st_size for file in (small_disk / "out" / ".fetcher").rglob("*") if file.is_file())
    assert shutil.disk_usage(small_disk).free >= 800 * 1024 - own - 200_000
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    again = program.run(*command)
    assert again.code == 0, again
    assert sorted(by_url(small_disk / "out")) == sorted(urls)


def test_5_the_disk_has_less_room_than_min_free_keeps(program: Program, make_site: MakeSite) -> None:
    site = make_site(20)
    free = shutil.disk_usage(program.folder).total * 2
    site.hold_after(2)  # so that the run is still there when the disk is looked at
    ended = program.run(
        "get", *map(site.url, site.pages), "-o", "out", "--min-free", str(free), "--grace", "0"
    )
    assert ended.code == 5
    assert "--min-free" in ended.err


@pytest.fixture
def broken(program: Program) -> Path:
    """A folder before all others on the path, in which a library is not what it should be."""
    library = program.folder / "broken" / "aiohttp"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise LookupError('http://me:hunter2@h/ is not there')\n")
    return library.parent


def test_70_a_defect_is_told_in_two_lines_and_a_report_that_hold_no_secret(
    program: Program, site: Site, broken: Path
) -> None:
    ended = program.run("get", site.url("/p/0"), "-o", "out", variables={"PYTHONPATH": str(broken)})
    assert ended.code == 70
    what, hint = ended.err.splitlines()
    assert what == "fetcher: this is a defect of the program: LookupError: http://me:***@h/ is not there"
    (report,) = (program.folder / "home").glob("fetcher-defect-*.txt")
    assert str(report) in hint
    assert "Traceback" in report.read_text()
    assert "hunter2" not in ended.err + report.read_text()


def test_70_a_defect_is_told_where_no_report_can_be_written(
    program: Program, site: Site, broken: Path
) -> None:
    shell = f"ulimit -f 0; exec {sys.executable} -m fetcher get {site.url('/p/0')} -o out --store none"
    environment = {**program.environment, "PYTHONPATH": str(broken)}
    done = subprocess.run(
        ["sh", "-c", shell], cwd=program.folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 70, done.stderr
    assert "LookupError" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_141_whoever_read_the_records_is_gone(program: Program, make_site: MakeSite) -> None:
    site = make_site(200)
    write_list(program.folder / "urls.txt", list(map(site.url, site.pages)))
    site.hold_after(50)
    with program.start("get", "-i", "urls.txt", "-o", "out", "--json", "-c", "8") as run:
        assert run.process.stdout is not None
        assert run.process.stdout.readline().startswith(b'{"url":')
        run.process.stdout.close()
        site.release()
        run.process.wait(30)
        said = run.said()
    assert run.process.returncode == 141
    assert said == ""
    again = program.run("get", "-i", "urls.txt", "-o", "out")
    assert again.code == 0
    assert len(records(program.folder / "out")) == 200


@pytest.mark.parametrize(
    "arguments",
    [("get", "URL", "-O", "-"), ("get", "URL", "--dry-run"), ("config",), ("get", "--help")],
    ids=" ".join,
)
def test_141_whoever_read_the_output_is_gone(
    program: Program, site: Site, arguments: tuple[str, ...]
) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [site.url("/p/0") if word == "URL" else word for word in arguments]
    with program.start(*words, stdout=write) as run:
        os.close(write)
        ended = run.end()
    assert ended.code == 141
    assert ended.err.removeprefix("dry run: 1 to fetch\n") == ""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_single_fetch_with_its_code_and_leaves_no_file(
    program: Program, site: Site, name: str, code: int
) -> None:
    with program.start("get", site.url("/hang-body?at=500000&of=900000"), "-O", "one", "--grace", "0") as run:
        assert site.wait(lambda s: len(s.log) == 1 and s.log[0].sent > 400_000, 30)
        run.send(signal.Signals[name])
        ended = run.end()
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert {path.name for path in program.folder.iterdir()} == {"home"}


@pytest.mark.parametrize("options", [[], ["--processes", "2"], ["--store", "none"]])
def test_5_the_output_folder_was_removed_in_the_middle_of_the_run(
    program: Program, make_site: MakeSite, options: list[str]
) -> None:
    site = make_site(80)
    listed = write_list(program.folder / "urls.txt", [site.url(path) for path in site.pages])
    out = program.folder / "out"
    site.hold_after(40)
    with program.start("get", "-i", listed, "-o", "out", "-c", "4", *options) as run:
        assert site.wait(lambda _: len(site.log) >= 41)
        assert eventually(lambda: (out / "results.jsonl").exists() and bool(records(out)))
        shutil.rmtree(out)
        site.release()
        ended = run.end()
    assert ended.code == 5
    assert "was removed while the run was writing it" in ended.err
    assert "to continue:  fetcher get" in ended.err
    assert program.run("get", "-i", listed, "-o", "out", *options).code == 0
    assert len(by_url(out)) == 80


@pytest.mark.parametrize(
    ("name", "said"), [("EDQUOT", "the quota is used up"), ("EIO", "the disk or its file system")]
)
def test_5_a_quota_or_a_disk_that_fails_in_the_middle_stops_the_run_and_it_goes_on_later(
    program: Program, site: Site, tmp_path: Path, name: str, said: str
) -> None:
    """The system calls that give files their names fail, from the fifth on."""
    calls = "rename,renameat,renameat2"
    wrapped = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={calls}"]
    fault = ["-e", f"inject={calls}:error={name}:when=5+"]
    command = [*COMMAND, "get", *map(site.url, site.pages), "-o", "out", "-c", "1", "--backend", "sync"]
    failed = subprocess.run(
        [*wrapped, *fault, *command],
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        timeout=60,
    )
    assert failed.returncode == 5, failed.stderr
    assert said in failed.stderr.decode()
    assert "to continue:  fetcher get" in failed.stderr.decode()
    out = program.folder / "out"
    assert all(record["state"] == "done" for record in records(out))
    assert {path.read_bytes() for path in stored(out).values()} <= set(site.pages.values())
    assert program.run("get", *map(site.url, site.pages), "-o", "out").code == 0
    assert {path.read_bytes() for path in stored(out).values()} == set(site.pages.values())
    assert len(records(out)) == 10
