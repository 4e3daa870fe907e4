"""`fetcher verify`: every damage is found, and mended so that the next run asks for no more than it must."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support.crawlpages import generate
from support.crawlsite import CrawlSite
from support.program import Program, by_url, eventually, records, stored, write_list
from support.site import Site
from support.whole import listed

from fetcher.cli.main import _run as run_here

MakeSite = Callable[..., Site]

GET = ("get", "-i", "urls.txt", "-o", "out", "-q")


@pytest.fixture
def out(program: Program, site: Site) -> Path:
    """A run directory that is whole: ten pages, each asked for once."""
    listed(program, site)
    assert program.run(*GET).code == 0
    site.log.clear()
    return program.folder / "out"


def findings(program: Program, *options: str, code: int) -> list[dict[str, Any]]:
    """What `verify --json` tells, without its summary."""
    ended = program.run("verify", "out", "--json", *options)
    assert ended.code == code, ended
    *found, summary = ended.lines
    assert summary["summary"] is True
    assert bool(summary["off"]) == (code == 1)
    assert sum(summary["found"].values()) == len(found)
    return found


def kinds(program: Program, *options: str, code: int) -> set[str]:
    return {finding["kind"] for finding in findings(program, *options, code=code)}


def state_of(out: Path) -> Path:
    return out / ".fetcher" / "state.db"


def rows(out: Path, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(state_of(out), isolation_level=None)) as db:
        return db.execute(statement, parameters).fetchall()


def assert_whole(program: Program, site: Site, out: Path) -> None:
    """Each page stands under its own name, and verify finds nothing."""
    for url, record in by_url(out).items():
        assert record["state"] in {"done", "unchanged"}
        assert (out / record["path"]).read_bytes() == site.pages[url.partition(str(site.port))[2]]
    assert len(by_url(out)) == len(site.pages)
    assert not [found for found in findings(program, code=0) if found["off"]]


@pytest.mark.parametrize(("digest", "found"), [("blake3", {"changed"}), ("none", set())])
def test_files_are_held_to_the_digest_that_was_chosen(
    program: Program, site: Site, digest: str, found: set[str]
) -> None:
    listed(program, site)
    program.run(*GET, "--digest", digest)
    out = program.folder / "out"
    assert kinds(program, code=0) == set()
    state_of(out).unlink()
    assert program.run("verify", "out", "--rebuild").code == 0
    (out / "results.jsonl").unlink()
    assert program.run("verify", "out", "--repair").code == 0
    path = out / by_url(out)[site.url("/p/1")]["path"]
    path.write_bytes(path.read_bytes()[::-1])
    assert kinds(program, code=bool(found)) == found


def test_a_run_directory_that_is_whole_has_no_findings(program: Program, out: Path) -> None:
    assert findings(program, code=0) == []
    ended = program.run("verify", "out")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "nothing is off"
    assert "10 URLs, 10 files" in ended.out
    assert program.run("verify", "out", "-q") == type(ended)(0, b"", b"")


def assert_nothing_off(program: Program) -> None:
    assert [finding for finding in findings(program, code=0) if finding["off"]] == []


@pytest.mark.parametrize(
    "options",
    [
        ("--store", "none"),
        ("--refresh",),
        ("--restart",),
        ("--retry-failed",),
        ("--processes", "2"),
        ("--name", "{index}"),
        ("--parser", "look.py:look"),
    ],
    ids=" ".join,
)
def test_whatever_a_run_was_asked_for_it_leaves_nothing_that_is_off(
    program: Program, site: Site, options: tuple[str, ...]
) -> None:
    (program.folder / "look.py").write_text(
        "def look(page):\n    if page.url.endswith('3'):\n        raise ValueError\n    return {'url': page.url}\n"
    )
    site.pages |= {"/empty": b"", "/late": b"late"}
    lines = [{"url": site.url(path)} for path in site.pages]
    lines += [
        {"url": site.url("/p/1"), "method": "POST", "body": "a"},
        {"url": site.url("/p/1"), "method": "POST", "body": "b"},
        {"url": site.url("/p/2#part"), "team": "red"},
        {"url": site.url("/gone")},
        {"url": "no url"},
        {"url": site.url("/p/4").replace("//", "//user:word@")},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (program.folder / "urls.jsonl").write_text(text)
    command = ("get", "-i", "urls.jsonl", "-o", "out", "-q")
    assert program.run(*command, *(options if options[0] == "--store" else ())).code == 1
    assert_nothing_off(program)
    site.pages["/p/5"] = b"another"
    del site.pages["/late"]
    assert program.run(*command, *options).code == 1
    assert_nothing_off(program)


def test_what_a_killed_run_leaves_is_told_and_not_off(program: Program, make_site: MakeSite) -> None:
    site = make_site(400)
    listed(program, site)
    for reached in (60, 200):
        site.hold_after(reached - len(site.log))
        with program.start("get", "-i", "urls.txt", "-o", "out", "-c", "16", "--per-host", "16") as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            run.send(signal.SIGKILL)
            run.end()
        site.release()
        assert_nothing_off(program)
        rows(program.folder / "out", "SELECT 1")  # the log is taken in, as any other program would


@pytest.mark.parametrize("options", [(), ("--sitemaps", "--assets"), ("--no-robots",), ("--max-pages", "20")])
def test_a_crawl_leaves_nothing_that_is_off(program: Program, options: tuple[str, ...]) -> None:
    with CrawlSite(generate(60)) as site:
        command = ("crawl", site.url("/"), "-o", "out", "-q", *options)
        program.run(*command)
        assert_nothing_off(program)
        program.run(*command, "--refresh")
        assert_nothing_off(program)


# -- files ------------------------------------------------------------------------------------------


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def shorter(path: Path) -> None:
    os.truncate(path, 3)


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "theirs").write_text("kept")


def link(path: Path) -> None:
    kept = path.with_name("elsewhere")
    path.rename(kept)
    path.symlink_to(kept)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARMS: list[tuple[Callable[[Path], None], str]] = [
    (longer, "long"),
    (shorter, "short"),
    (changed, "changed"),
    (Path.unlink, "missing"),
    (folder, "not-a-file"),
    (link, "not-a-file"),
    (fifo, "not-a-file"),
]


@pytest.mark.parametrize(("harm", "kind"), HARMS)
def test_a_damaged_file_is_found_put_back_and_fetched_again_alone(
    program: Program, site: Site, out: Path, harm: Callable[[Path], None], kind: str
) -> None:
    path = by_url(out)[site.url("/p/3")]["path"]
    before = (out / path).read_bytes()
    harm(out / path)

    off = [finding for finding in findings(program, code=1) if finding["off"]]
    assert [(finding["kind"], finding["path"], finding["url"]) for finding in off] == [
        (kind, path, site.url("/p/3"))
    ]
    told = program.run("verify", "out")
    assert told.code == 1
    assert "fetcher verify out --repair" in told.out
    for _ in range(2):  # the second finds nothing left to do
        assert program.run("verify", "out", "--repair").code == 0
    assert not os.path.lexists(out / path)
    kept = out / ".fetcher" / "damaged" / path
    assert os.path.lexists(kept) == (kind != "missing")
    if kind == "long":
        assert kept.read_bytes() == before + b"more"

    assert program.run(*GET).code == 0
    assert [hit.target for hit in site.log] == ["/p/3"]
    assert (out / path).read_bytes() == before
    assert_whole(program, site, out)


def test_fast_looks_at_lengths_and_not_at_content(program: Program, site: Site, out: Path) -> None:
    changed(out / by_url(out)[site.url("/p/1")]["path"])
    shorter(out / by_url(out)[site.url("/p/2")]["path"])
    assert kinds(program, "--fast", code=1) == {"short"}
    assert kinds(program, code=1) == {"short", "changed"}


def test_a_repair_that_was_killed_after_it_moved_a_file_is_finished_by_the_next(
    program: Program, site: Site, out: Path
) -> None:
    path = by_url(out)[site.url("/p/3")]["path"]
    shorter(out / path)
    target = out / ".fetcher" / "damaged" / path
    target.parent.mkdir(parents=True)
    (out / path).rename(target)  # as it stands between the move and its transaction
    assert program.run("verify", "out", "--repair").code == 0
    assert program.run(*GET).code == 0
    assert [hit.target for hit in site.log] == ["/p/3"]
    assert_whole(program, site, out)


def test_files_that_the_state_does_not_know_are_told_and_left_alone(
    program: Program, site: Site, out: Path
) -> None:
    (out / "notes.txt").write_text("mine")
    rows(out, "UPDATE url SET state = 0, sha256 = NULL WHERE url = ?", site.url("/p/4"))
    (out / ".fetcher" / "parts" / "7-7.put").write_bytes(b"half")
    found = findings(program, "--repair", code=0)
    assert {finding["kind"]: finding["path"] for finding in found} == {
        "unknown": "notes.txt",
        "unsettled": by_url(out)[site.url("/p/4")]["path"],
        "orphan-part": ".fetcher/parts/7-7.put",
    }
    assert (out / "notes.txt").read_text() == "mine"


def test_a_name_that_is_no_text_is_shown_and_cannot_harm_the_terminal(program: Program, out: Path) -> None:
    (out / os.fsdecode(b"\xff\x1b[2J.txt")).write_text("mine")
    assert kinds(program, code=0) == {"unknown"}
    ended = program.run("verify", "out")
    assert ended.code == 0
    assert "unknown: " in ended.out
    assert "\x1b" not in ended.out


def test_a_reader_that_goes_away_ends_it_as_a_broken_pipe(program: Program, out: Path) -> None:
    for n in range(3000):
        (out / f"mine {n}").touch()
    with program.start("verify", "out", "--json") as run:
        assert run.process.stdout is not None
        run.process.stdout.readline()
        run.process.stdout.close()
        assert run.process.wait(30) == 141


@pytest.mark.parametrize(("length", "kind"), [(None, "part-missing"), (10, "part-short")])
def test_a_part_without_its_bytes_is_found_and_begun_anew(
    program: Program, out: Path, length: int | None, kind: str
) -> None:
    part = {"name": "a.part", "address": "http://a/", "validator": '"v"', "extents": [[0, 100]]}
    rows(out, "INSERT INTO part VALUES (3, ?)", json.dumps(part))
    if length is not None:
        (out / ".fetcher" / "parts" / "a.part").write_bytes(b"x" * length)
    assert kinds(program, code=1) == {kind}
    assert kinds(program, "--repair", code=0) == {kind}
    assert rows(out, "SELECT * FROM part") == []


# -- records ----------------------------------------------------------------------------------------


def emptied(results: Path) -> None:
    results.write_bytes(b"")


def cut(results: Path) -> None:
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:4]))


def torn(results: Path) -> None:
    os.truncate(results, results.stat().st_size - 30)


def scribbled(results: Path) -> None:
    lines = results.read_bytes().splitlines(keepends=True)
    lines[2] = b"#" * (len(lines[2]) - 1) + b"\n"
    results.write_bytes(b"".join(lines))


def foreign(results: Path) -> None:
    data = results.read_bytes().splitlines(keepends=True)
    data[2] = data[2].replace(b"/p/", b"/q/")
    results.write_bytes(b"".join(data))


def contradicted(results: Path) -> None:
    data = results.read_bytes().splitlines(keepends=True)
    data[2] = data[2].replace(b'"state":"done"', b'"state":"failed"')
    data.append(b"")
    results.write_bytes(b"".join(data))


def a_folder(results: Path) -> None:
    results.unlink()
    results.mkdir()


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (emptied, "no-record"),
        (Path.unlink, "journal-short"),
        (cut, "journal-short"),
        (torn, "bad-line"),
        (scribbled, "bad-line"),
        (foreign, "record-only"),
        (contradicted, "record-differs"),
        (a_folder, "journal-short"),
    ],
)
@pytest.mark.parametrize("option", ["--rebuild", "--repair"])
def test_damaged_records_are_found_and_made_anew_without_a_request(
    program: Program, site: Site, out: Path, harm: Callable[[Path], None], kind: str, option: str
) -> None:
    before = by_url(out)
    harm(out / "results.jsonl")
    assert kind in kinds(program, code=1)
    assert "fetcher verify out --rebuild" in program.run("verify", "out").out
    assert program.run("verify", "out", option).code == 0
    after = by_url(out)
    assert {
        url: (record["state"], record["path"], record["sha256"], record["bytes"], record["line"])
        for url, record in after.items()
    } == {
        url: (record["state"], record["path"], record["sha256"], record["bytes"], record["line"])
        for url, record in before.items()
    }
    again = program.run(*GET)
    assert again.code == 0
    assert again.err == ""
    assert site.log == []
    assert_whole(program, site, out)


def test_lines_beyond_what_the_state_knows_are_off_unless_a_run_was_interrupted(
    program: Program, out: Path
) -> None:
    with (out / "results.jsonl").open("ab") as file:
        file.write(b'{"url":"http://example.org/","state":"done"}\n')
    assert kinds(program, code=1) == {"journal-long"}
    rows(out, "UPDATE meta SET value = 0 WHERE name = 'is_complete'")
    assert kinds(program, code=0) == {"journal-tail"}


@pytest.mark.parametrize("harm", [emptied, Path.unlink, cut, torn])
def test_a_start_says_that_records_are_lost_and_goes_on_beside_them(
    program: Program, site: Site, out: Path, harm: Callable[[Path], None]
) -> None:
    harm(out / "results.jsonl")
    site.pages["/new"] = b"new"
    write_list(program.folder / "more.txt", [site.url("/new")])
    ended = program.run("get", "-i", "more.txt", "-o", "out")
    assert ended.code == 0
    assert ended.err.count("fetcher verify out --rebuild") == 1
    last = (out / "results.jsonl").read_bytes().splitlines()[-1]
    assert json.loads(last)["url"] == site.url("/new")
    assert program.run("verify", "out", "--rebuild").code == 0
    assert len(by_url(out)) == 11
    assert "verify" not in program.run("get", "-i", "more.txt", "-o", "out").err


@pytest.mark.parametrize("seed", range(3))
def test_whatever_becomes_of_the_records_they_are_made_anew(
    program: Program, site: Site, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], seed: int
) -> None:
    chance = random.Random(seed)
    whole = (out / "results.jsonl").read_bytes()
    expected = {url: (record["state"], record["sha256"]) for url, record in by_url(out).items()}
    work = tmp_path / "work"
    for _ in range(15):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(out, work)
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            begin = chance.randrange(len(data))
            end = chance.choice([begin + 1, begin + chance.randrange(3000), len(data)])
            data[begin:end] = chance.randbytes(chance.choice([0, 1, end - begin, 500]))
            data = data or bytearray(b"\n")
        (work / "results.jsonl").write_bytes(data)
        assert run_here(["verify", str(work), "-q"]) in {0, 1}
        assert run_here(["verify", str(work), "-q", "--rebuild"]) == 0
        assert {url: (record["state"], record["sha256"]) for url, record in by_url(work).items()} == expected
        assert run_here(["verify", str(work), "-q"]) == 0
    assert "Traceback" not in capfd.readouterr().err


def test_data_that_is_lost_is_told_and_what_is_left_is_gone_on_with(program: Program, site: Site) -> None:
    (program.folder / "look.py").write_text("def look(page):\n    return {'url': page.url}\n")
    listed(program, site)
    command = (*GET, "--parser", "look.py:look")
    assert program.run(*command).code == 0
    data = program.folder / "out" / "data.jsonl"
    os.truncate(data, data.stat().st_size - 5)
    assert kinds(program, code=1) == {"data-short"}
    assert "--repair" in program.run("verify", "out").out
    assert program.run("verify", "out", "--repair").code == 0
    assert findings(program, code=0) == []
    site.pages["/new"] = b"new"
    write_list(program.folder / "urls.txt", [site.url("/new")])
    assert program.run(*command).code == 0
    assert len([json.loads(line) for line in data.read_bytes().splitlines()]) == 10


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("harm", ["state", "records", "both in turn"])
@pytest.mark.parametrize("nth", range(4))
def test_a_rebuild_that_was_killed_at_any_rename_is_finished_by_the_next(
    program: Program, site: Site, out: Path, monkeypatch: pytest.MonkeyPatch, harm: str, nth: int
) -> None:
    if harm != "records":
        data = bytearray(state_of(out).read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        state_of(out).write_bytes(data)
    if harm != "state":
        scribbled(out / "results.jsonl")
    real, calls = Path.rename, [0]

    def rename(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] > nth:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with contextlib.suppress(Killed):
        run_here(["verify", str(out), "--rebuild", "-q"])
    monkeypatch.undo()
    refused = program.run("status", "out").code
    assert refused in {0, 5}
    assert program.run("verify", "out", "--rebuild").code == 0
    ended = program.run(*GET)
    assert ended.code == 0
    expected = [] if harm != "both in turn" else [hit.target for hit in site.log]
    assert [hit.target for hit in site.log] == expected
    assert len(expected) <= 1  # the URL whose record and state were both lost
    assert_whole(program, site, out)


# -- the state --------------------------------------------------------------------------------------


def deleted(state: Path) -> None:
    state.unlink()


def emptied_state(state: Path) -> None:
    state.write_bytes(b"")


def scrambled(state: Path) -> None:
    data = bytearray(state.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    state.write_bytes(data)


def beheaded(state: Path) -> None:
    data = bytearray(state.read_bytes())
    data[:4096] = b"garbage!" * 512
    state.write_bytes(data)


@pytest.mark.parametrize("harm", [deleted, emptied_state, scrambled, beheaded])
def test_a_lost_or_damaged_state_is_refused_and_made_anew_from_records_and_files(
    program: Program, site: Site, out: Path, harm: Callable[[Path], None]
) -> None:
    failed = site.url("/gone")
    write_list(program.folder / "urls.txt", [*map(site.url, site.pages), failed, "no url at all"])
    assert program.run(*GET).code == 1
    before = by_url(out)
    (out / before[site.url("/p/5")]["path"]).unlink()
    site.log.clear()
    harm(state_of(out))
    for command in (GET, ("status", "out"), ("verify", "out")):
        ended = program.run(*command)
        assert ended.code == 5, ended
        assert "fetcher verify out --rebuild" in ended.err
        assert "Traceback" not in ended.err
    assert site.log == []

    ended = program.run("verify", "out", "--rebuild")
    assert ended.code == 0, ended
    assert "12 URLs of a get, 1 of them to be fetched" in ended.err
    assert (out / ".fetcher" / "state.db.damaged").exists() == (harm in {scrambled, beheaded})
    assert program.run(*GET).code == 1
    assert [hit.target for hit in site.log] == ["/p/5"]
    after = by_url(out)
    assert {url: (record["state"], record["path"]) for url, record in after.items()} == {
        url: (record["state"], record["path"]) for url, record in before.items()
    }
    assert findings(program, code=0) == []


def test_names_stay_with_their_urls_when_the_state_is_made_anew(program: Program, site: Site) -> None:
    site.pages |= {"/a": b"a file", "/a/b": b"below it", "/A": b"another case"}
    write_list(program.folder / "urls.txt", [site.url(path) for path in ("/a", "/a/b", "/A")])
    assert program.run(*GET, "-c", "1").code == 0
    out = program.folder / "out"
    before = {url: record["path"] for url, record in by_url(out).items()}
    state_of(out).unlink()
    assert program.run("verify", "out", "--rebuild").code == 0
    site.pages["/A"] = b"changed"
    assert program.run(*GET, "--refresh").code == 0
    assert {url: record["path"] for url, record in by_url(out).items()} == before
    states = [record["state"] for record in records(out)[3:]]
    assert sorted(states) == ["done", "unchanged", "unchanged"], "validators were lost"


def test_a_crawl_whose_state_is_lost_reads_its_pages_again_and_ends_as_it_would_have(
    program: Program,
) -> None:
    web = generate(60)
    with CrawlSite(web) as site:
        command = ("crawl", site.url("/"), "-o", "out", "-q")
        whole = program.run("crawl", site.url("/"), "-o", "whole", "-q")
        assert program.run(*command, "--max-pages", "25").code == 0
        state_of(program.folder / "out").unlink()
        ended = program.run("verify", "out", "--rebuild")
        assert ended.code == 0
        assert "its pages are to be read again" in ended.err
        assert program.run(*command).code == whole.code

        def found(out: Path) -> dict[str, tuple[str, str | None]]:
            # A page has the spelling that it was found by first.
            return {unquote(url): (record["state"], record["sha256"]) for url, record in by_url(out).items()}

        assert found(program.folder / "out") == found(program.folder / "whole")
        assert kinds(program, code=0) <= {"unknown"}


def test_without_records_there_is_nothing_to_make_a_state_from(program: Program, out: Path) -> None:
    scrambled(state_of(out))
    (out / "results.jsonl").unlink()
    ended = program.run("verify", "out", "--rebuild")
    assert ended.code == 5
    assert "--restart" in ended.err


def test_a_state_of_a_newer_program_is_not_made_anew(program: Program, out: Path) -> None:
    rows(out, "PRAGMA user_version = 9999")
    before = state_of(out).read_bytes()
    assert program.run("verify", "out", "--rebuild").code == 5
    assert state_of(out).read_bytes() == before


def test_restart_begins_anew_where_the_state_is_lost(program: Program, site: Site, out: Path) -> None:
    state_of(out).unlink()
    assert program.run(*GET, "--restart").code == 0
    assert len(site.log) == 10
    assert len(records(out)) == 10


@pytest.mark.parametrize("seed", range(3))
def test_whatever_byte_of_a_state_is_wrong_no_command_fails_as_a_defect(
    program: Program, site: Site, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], seed: int
) -> None:
    chance = random.Random(seed)
    data = state_of(out).read_bytes()
    work = tmp_path / "work"
    urls = str(program.folder / "urls.txt")
    for _ in range(40):
        at, bits = chance.randrange(len(data)), chance.randrange(1, 256)
        for command in (
            ("get", "-i", urls, "-o", str(work), "-q", "--retries", "0", "--grace", "0"),
            ("status", str(work)),
            ("verify", str(work), "-q"),
            ("verify", str(work), "-q", "--repair", "--rebuild"),
        ):
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(out, work)
            damaged = bytearray(data)
            damaged[at] ^= bits
            state_of(work).write_bytes(damaged)
            assert run_here(list(command)) in {0, 1, 5}, (command, at, bits)
    assert "Traceback" not in capfd.readouterr().err


# -- usage ------------------------------------------------------------------------------------------


def test_what_is_no_run_directory_is_wrong_usage(program: Program) -> None:
    (program.folder / "plain").mkdir()
    for name in ("nowhere", "plain"):
        ended = program.run("verify", name)
        assert ended.code == 2
        assert "not a run directory" in ended.err
    assert list((program.folder / "plain").iterdir()) == []


def test_a_directory_in_use_is_not_looked_at(program: Program, out: Path) -> None:
    with (out / ".fetcher" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert program.run("verify", "out").code == 3
    assert program.run("verify", "out").code == 0


def test_the_first_twenty_of_a_kind_are_shown_and_all_of_them_as_json(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(30)
    listed(program, site)
    assert program.run(*GET).code == 0
    for path in stored(program.folder / "out").values():
        path.unlink()
    ended = program.run("verify", "out")
    assert ended.out.count("missing: ") == 21
    assert "30  files that are not there" in ended.out
    assert len(findings(program, code=1)) == 30


def many(out: Path, number: int) -> None:
    """A whole run directory of so many small files, as a run leaves it, without the run."""
    import asyncio
    import hashlib

    from support.frontiers import Place, by_path, claim_all, ended, jobs

    async def make() -> None:
        place = Place(out, candidate=by_path)
        async with place.session(complete=True) as frontier:
            for begin in range(0, number, 1000):
                await frontier.add(
                    jobs(f"http://a.example/{begin // 1000}/{n}" for n in range(begin, begin + 1000))
                )
                outcomes = []
                for job in await claim_all(frontier):
                    assert job.path is not None
                    (out / job.path).parent.mkdir(exist_ok=True)
                    data = job.url.encode()
                    (out / job.path).write_bytes(data)
                    digest = hashlib.sha256(data).hexdigest()
                    outcomes.append(ended(job, bytes=len(data), sha256=digest))
                await frontier.settle(outcomes)

    asyncio.run(make())


def test_a_repair_that_is_killed_in_the_middle_is_finished_by_the_next(program: Program) -> None:
    out = program.folder / "out"
    many(out, 3000)
    for n in range(0, 3000, 2):
        longer(out / str(n // 1000) / str(n))
    damaged = out / ".fetcher" / "damaged"
    for enough in (1, 400, 900):
        with program.start("verify", "out", "--repair", "-q") as run:
            assert eventually(lambda n=enough: sum(path.is_file() for path in damaged.rglob("*")) >= n)
            run.send(signal.SIGKILL)
            run.end()
    assert program.run("verify", "out", "--repair").code == 0
    assert len([path for path in damaged.rglob("*") if path.is_file()]) == 1500
    assert rows(out, "SELECT count(*) FROM url WHERE state = 0") == [(1500,)]
    assert findings(program, code=0) == []


def test_memory_does_not_grow_with_the_number_of_files(program: Program) -> None:
    peaks = []
    for number in (1000, 20_000):
        many(program.folder / f"out{number}", number)
        ended = program.run("verify", f"out{number}")
        assert ended.code == 0, ended
        assert f"{number:,} files" in ended.out
        peaks.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    assert peaks[1] - peaks[0] < 16_000, "KB for 19,000 more files"
