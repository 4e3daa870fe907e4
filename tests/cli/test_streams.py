"""Data on standard output, everything for people on standard error, and the log."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.program import Program, records, write_list
from support.site import Site

from fetcher.model import Record

MakeSite = Callable[..., Site]
ESCAPE = "\x1b"


def listing(program: Program, site: Site, *more: str) -> tuple[str, ...]:
    write_list(program.folder / "urls.txt", [*map(site.url, site.pages), *more])
    return ("get", "-i", "urls.txt", "-o", "out", "--retries", "0")


def test_without_json_standard_output_is_empty(program: Program, site: Site) -> None:
    ended = program.run(*listing(program, site, site.url("/gone")))
    assert ended.stdout == b""
    assert "done" in ended.err


def test_json_prints_each_final_record_and_nothing_else_as_results_jsonl_has_it(
    program: Program, site: Site
) -> None:
    ended = program.run(*listing(program, site, site.url("/gone"), "nonsense", site.url("/p/0")), "--json")
    assert ended.code == 1
    assert ended.stdout == (program.folder / "out" / "results.jsonl").read_bytes()
    assert len(ended.lines) == 12
    for line in ended.stdout.splitlines():
        record = msgspec.json.decode(line, type=Record)  # names and types are the model's
        assert list(json.loads(line)) == list(Record.__struct_fields__)
        assert record.ended_at is not None
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.ended_at)


def test_json_of_a_second_run_is_empty(program: Program, site: Site) -> None:
    command = listing(program, site)
    program.run(*command)
    assert program.run(*command, "--json").stdout == b""


@pytest.mark.parametrize(
    "path", ["/bytes/0", "/bytes/1", "/p/3", "/bytes/3000000", "/gzip/100000", "/redirect/2"]
)
def test_a_body_on_standard_output_is_exactly_the_bytes(program: Program, site: Site, path: str) -> None:
    import urllib.request

    ended = program.run("get", site.url(path), "-O", "-")
    assert ended.code == 0
    assert ended.stderr == b""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(site.url(path)) as answer:
        expected = answer.read()
    if path.startswith("/gzip"):
        import gzip

        expected = gzip.decompress(expected)
    assert ended.stdout == expected
    assert {entry.name for entry in program.folder.iterdir()} == {"home"}, "no run directory is made"


def test_a_single_fetch_that_fails_prints_no_body_and_says_why(program: Program, site: Site) -> None:
    for path, why in (
        ("/gone", "HTTP 404"),
        ("/cut?at=10&of=100", "connection-lost"),
        ("/gzip/99?cut=3", "bad-"),
    ):
        ended = program.run("get", site.url(path), "-O", "-", "--retries", "0")
        assert ended.code == 1
        assert ended.stdout == b""
        assert why in ended.err
    assert program.run("get", "nonsense", "-O", "-").code == 1


def test_a_single_fetch_replaces_its_file_only_when_the_body_is_whole(program: Program, site: Site) -> None:
    target = program.folder / "one.bin"
    target.write_bytes(b"old")
    assert program.run("get", site.url("/cut?at=10&of=100"), "-O", "one.bin", "--retries", "0").code == 1
    assert target.read_bytes() == b"old"
    assert program.run("get", site.url("/p/2"), "-O", "one.bin").code == 0
    assert target.read_bytes() == site.pages["/p/2"]
    assert {entry.name for entry in program.folder.iterdir()} == {"home", "one.bin"}


def test_quiet_prints_nothing_when_all_is_well(program: Program, site: Site) -> None:
    for flags in ((), ("--refresh",), ("--restart",)):
        ended = program.run(*listing(program, site), "-q", *flags)
        assert (ended.code, ended.stdout, ended.stderr) == (0, b"", b""), flags


def test_quiet_says_what_failed_and_sums_up(program: Program, site: Site) -> None:
    ended = program.run(*listing(program, site, site.url("/gone"), "nonsense"), "-q")
    assert ended.code == 1
    assert ended.stdout == b""
    assert f"failed: {site.url('/gone')}: http-status (HTTP 404)" in ended.err
    assert "refused: nonsense: " in ended.err
    assert re.search(r"done +10\b", ended.err)
    assert "--retry-failed" in ended.err
    again = program.run(*listing(program, site, site.url("/gone"), "nonsense"), "-q")
    assert again.code == 1
    assert "http-status" in again.err, "why a job is still red is told each time"


def test_quiet_with_json_leaves_the_records(program: Program, site: Site) -> None:
    ended = program.run(*listing(program, site), "-q", "--json")
    assert len(ended.lines) == 10
    assert ended.stderr == b""


def test_verbose_tells_every_retry_and_failure(program: Program, site: Site) -> None:
    urls = [site.url(f"/gone/{n}") for n in range(15)]
    ended = program.run("get", *urls, site.url("/once/503/a"), "-o", "out", "-v")
    assert ended.code == 1
    assert sum(line.startswith("failed: ") for line in ended.err.splitlines()) == 15
    assert "retry: " in ended.err
    plain = program.run("get", *urls, "-o", "out2")
    assert sum(line.startswith("failed: ") for line in plain.err.splitlines()) == 10


def on_terminal(program: Program, *arguments: str, variables: dict[str, str]) -> str:
    """What the program shows on a terminal of its own as standard error."""
    master, slave = pty.openpty()
    program.environment |= variables
    with program.start(*arguments, stderr=slave) as run:
        os.close(slave)
        shown = b""
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not block:
                break
            shown += block
        assert run.process.wait(30) == 0
    os.close(master)
    return shown.decode()


def test_a_terminal_gets_a_live_display_and_the_summary_last(program: Program, site: Site) -> None:
    shown = on_terminal(program, *listing(program, site), variables={"TERM": "xterm-256color"})
    assert f"{ESCAPE}[" in shown
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).strip().splitlines()[-1].split()
    assert last == ["done", "10"]
    assert f"{ESCAPE}[?25h" in shown or f"{ESCAPE}[?25l" not in shown, "the cursor is given back"


@pytest.mark.parametrize("variables", [{"TERM": "xterm-256color", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_is_left_out_when_it_is_not_wanted(
    program: Program, site: Site, variables: dict[str, str]
) -> None:
    shown = on_terminal(program, *listing(program, site), variables=variables)
    assert re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38)[0-9;]*m", shown) is None
    assert re.search(r"done +10\b", shown)


def test_the_log_as_text_has_one_line_for_each_thing_that_happened(program: Program, site: Site) -> None:
    command = listing(program, site, site.url("/gone"))
    program.run(*command, "--log-file", "run.log", "-q")
    log = program.folder / "run.log"
    lines = log.read_text().splitlines()
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (info|warning|error) \w+ \w+=", line) for line in lines
    )
    assert sum(" settled " in line for line in lines) == 11
    assert lines[0].split()[2] == "started"
    assert lines[-1].split()[2] == "ended"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    program.run(*command, "--log-file", "run.log", "-q")
    assert log.read_text().splitlines()[: len(lines)] == lines, "a log is continued"


def test_the_log_as_json_is_json_on_every_line(program: Program, site: Site) -> None:
    program.run(*listing(program, site, site.url("/gone")), "--log-file", "run.log", "--log-format", "json")
    entries = [json.loads(line) for line in (program.folder / "run.log").read_text().splitlines()]
    settled = [entry for entry in entries if entry["event"] == "settled"]
    assert {entry["url"] for entry in settled} == {
        record["url"] for record in records(program.folder / "out")
    }
    assert [entry["error"] for entry in settled if entry["level"] == "warning"] == ["http-status"]


def test_nothing_is_left_in_the_temporary_folder(program: Program, site: Site) -> None:
    program.run(*listing(program, site))
    program.run(*listing(program, site), "--dry-run")
    program.run("get", site.url("/p/0"), "-O", "-")
    assert list(Path(program.environment["TMPDIR"]).iterdir()) == []


def test_the_files_of_the_state_are_readable_by_their_owner_only(program: Program, site: Site) -> None:
    program.run(*listing(program, site))
    own = program.folder / "out" / ".fetcher"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert stat.S_IMODE((own / "state.db").stat().st_mode) == 0o600


def test_output_that_cannot_be_written_is_an_error_of_storage(program: Program, make_site: MakeSite) -> None:
    site = make_site(200)
    command = listing(program, site)
    assert program.run(*command).code == 0
    for arguments in (
        ("status", "out"),
        ("status", "out", "--json"),
        ("config",),
        (*command, "--dry-run", "--restart"),
        ("get", site.url("/p/0"), "-O", "-"),
        (*command, "--json", "--restart"),
    ):
        with open("/dev/full", "wb") as full, program.start(*arguments, stdout=full) as run:
            ended = run.end()
        assert ended.code == 5, arguments
        assert "Traceback" not in ended.err
        assert "Exception ignored" not in ended.err
        assert "No space left on device" in ended.err
    assert program.run(*command).code == 0


def test_standard_error_that_cannot_be_written_changes_no_exit_code(program: Program, site: Site) -> None:
    command = listing(program, site)
    for arguments, code in ((command, 0), ((*command, site.url("/gone")), 1), (("get",), 2)):
        with open("/dev/full", "wb") as full, program.start(*arguments, stderr=full) as run:
            assert run.end().code == code, arguments


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_streams_that_the_caller_closed_are_nobodys(
    program: Program, site: Site, closed: tuple[int, ...]
) -> None:
    command = listing(program, site, site.url("/gone"))
    redirect = " ".join(f"{number}>&-" for number in closed)
    with program.start(*command, "--json", redirect=redirect) as run:
        ended = run.end()
    assert ended.code == 1
    assert len(records(program.folder / "out")) == 11
    if 1 not in closed:
        assert len(ended.lines) == 11
    if closed == (1,):
        assert "done" in ended.err


def test_a_run_in_pythons_development_mode_warns_of_nothing(program: Program, make_site: MakeSite) -> None:
    site = make_site(30)
    command = listing(
        program, site, site.url("/gone"), site.url("/redirect/2"), site.url("/fail/1/x"), "nonsense"
    )
    for arguments in (
        command[:-2],
        (*command, "--refresh"),
        ("get", site.url("/p/0"), "-O", "-"),
        ("status", "out"),
    ):
        ended = program.run(*arguments, variables={"PYTHONDEVMODE": "1"})
        assert "Warning" not in ended.err, ended.err
        assert "was never" not in ended.err
        assert "Exception ignored" not in ended.err
