"""The same command again: continuing, `--refresh`, `--retry-failed`, `--restart`. The site's log says what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import Program, by_url, records, stored, write_list
from support.site import Site

MakeSite = Callable[..., Site]
COMMAND = ("get", "-i", "urls.txt", "-o", "out")


@pytest.fixture
def fetched(program: Program, make_site: MakeSite) -> Site:
    """A site of 40 pages, each in `out` already; its log begins afterwards."""
    site = make_site(40)
    write_list(program.folder / "urls.txt", [site.url(path) for path in site.pages])
    assert program.run(*COMMAND).code == 0
    site.log.clear()
    return site


def marks(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: a file that was written again has others."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in stored(out).items()}


def test_a_second_run_makes_no_request_and_writes_nothing(program: Program, fetched: Site) -> None:
    out = program.folder / "out"
    before, text = marks(out), (out / "results.jsonl").read_bytes()
    ended = program.run(*COMMAND)
    assert ended.code == 0
    assert fetched.log == []
    assert marks(out) == before
    assert (out / "results.jsonl").read_bytes() == text
    assert "nothing left to fetch: 40 done before" in ended.err


def test_a_second_run_keeps_the_exit_code_of_what_failed(program: Program, site: Site) -> None:
    urls = site.url("/p/0"), site.url("/missing"), "ftp://example.org/"
    assert program.run("get", *urls, "-o", "out").code == 1
    site.log.clear()
    ended = program.run("get", *urls, "-o", "out")
    assert ended.code == 1
    assert site.log == []
    assert program.run("get", urls[0], "-o", "out").code == 0  # of this list, all is well


def test_a_second_run_fetches_only_what_the_list_has_new(program: Program, fetched: Site) -> None:
    fetched.pages["/p/new"] = b"new"
    with (program.folder / "urls.txt").open("a") as file:
        file.write(fetched.url("/p/new") + "\n")
    assert program.run(*COMMAND).code == 0
    assert [hit.target for hit in fetched.log] == ["/p/new"]


def test_a_refresh_of_what_did_not_change_finds_all_unchanged_and_writes_no_file(
    program: Program, fetched: Site
) -> None:
    out = program.folder / "out"
    before = marks(out)
    ended = program.run(*COMMAND, "--refresh")
    assert ended.code == 0
    assert fetched.requests() == Counter(dict.fromkeys(fetched.pages, 1))
    assert all(hit.header("if-none-match") and hit.header("if-modified-since") for hit in fetched.log)
    assert marks(out) == before
    last = by_url(out)
    assert {record["state"] for record in last.values()} == {"unchanged"}
    assert {record["status"] for record in last.values()} == {304}
    for path, body in fetched.pages.items():  # the record still says what is there
        record = last[fetched.url(path)]
        assert (out / record["path"]).stat().st_size == record["bytes"] == len(body)
    assert len(records(out)) == 80


def test_a_refresh_rewrites_exactly_what_changed(program: Program, fetched: Site) -> None:
    out = program.folder / "out"
    before = marks(out)
    changed = [f"/p/{n}" for n in (3, 11, 12, 20, 39)]
    for path in changed:
        fetched.pages[path] += b" and more"
    assert program.run(*COMMAND, "--refresh").code == 0
    last = by_url(out)
    names = {last[fetched.url(path)]["path"] for path in changed}
    after = marks(out)
    assert {name for name in after if after[name] != before[name]} == names
    assert {url for url, record in last.items() if record["state"] == "done"} == {*map(fetched.url, changed)}
    assert all((out / last[fetched.url(p)]["path"]).read_bytes() == fetched.pages[p] for p in fetched.pages)


def test_a_refresh_without_validators_compares_the_bytes(program: Program, site: Site) -> None:
    site.has_validators = False
    urls = [site.url(path) for path in site.pages]
    assert program.run("get", *urls, "-o", "out").code == 0
    before = marks(program.folder / "out")
    site.pages["/p/4"] = b"other"
    assert program.run("get", *urls, "-o", "out", "--refresh").code == 0
    after = marks(program.folder / "out")
    last = by_url(program.folder / "out")
    assert {url for url, record in last.items() if record["state"] == "done"} == {site.url("/p/4")}
    assert len([name for name in after if after[name] != before[name]]) == 1
    assert not any(hit.header("if-none-match") for hit in site.log)


def test_a_file_that_was_removed_or_cut_comes_back_with_a_refresh(program: Program, fetched: Site) -> None:
    out = program.folder / "out"
    last = by_url(out)
    removed, cut = (out / last[fetched.url(path)]["path"] for path in ("/p/7", "/p/8"))
    removed.unlink()
    os.truncate(cut, 5)
    assert program.run(*COMMAND, "--refresh").code == 0
    assert removed.read_bytes() == fetched.pages["/p/7"]
    assert cut.read_bytes() == fetched.pages["/p/8"]
    plain = {hit.target for hit in fetched.log if hit.header("if-none-match") is None}
    assert plain == {"/p/7", "/p/8"}


def test_a_refresh_that_fails_keeps_the_old_file_and_its_validators(program: Program, fetched: Site) -> None:
    out = program.folder / "out"
    before, etag = marks(out), by_url(out)[fetched.url("/p/5")]["etag"]
    body = fetched.pages.pop("/p/5")
    ended = program.run(*COMMAND, "--refresh")
    assert ended.code == 1
    assert by_url(out)[fetched.url("/p/5")]["error"] == "http-status"
    assert marks(out) == before
    fetched.pages["/p/5"] = body
    fetched.log.clear()
    assert program.run(*COMMAND, "--refresh").code == 0
    [asked] = fetched.hits("/p/5")
    assert asked.header("if-none-match") == etag
    assert marks(out) == before
    assert by_url(out)[fetched.url("/p/5")]["state"] == "unchanged"


def test_a_refresh_asks_only_for_what_is_listed(program: Program, fetched: Site) -> None:
    assert program.run("get", fetched.url("/p/1"), "-o", "out", "--refresh").code == 0
    assert [hit.target for hit in fetched.log] == ["/p/1"]


def test_a_refresh_that_was_killed_is_continued_by_the_same_command_and_then_begins_anew(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(400)
    write_list(program.folder / "urls.txt", [site.url(path) for path in site.pages])
    command = (*COMMAND, "-c", "16", "--per-host", "16")
    assert program.run(*command).code == 0
    site.log.clear()
    for reached in (100, 250):
        site.hold_after(reached - len(site.log) + 60)
        with program.start(*command, "--refresh") as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            run.send(signal.SIGKILL)
            run.end()
        site.release()
    assert program.run(*command, "--refresh").code == 0
    assert set(site.requests()) == set(site.pages)
    assert len(site.log) <= 400 + 2 * (16 + 64)
    assert len(records(program.folder / "out")) == 800
    site.log.clear()
    assert program.run(*command, "--refresh").code == 0  # that one was complete: now a new one
    assert site.requests() == Counter(dict.fromkeys(site.pages, 1))


def test_an_interrupted_refresh_is_finished_by_the_plain_command_for_what_it_had_put_back(
    program: Program, fetched: Site
) -> None:
    fetched.hold_after(10)
    with program.start(*COMMAND, "--refresh", "-c", "4", "--grace", "0") as run:
        assert fetched.wait(lambda s: len(s.log) >= 14, 30)
        run.send(signal.SIGTERM)
        assert run.end().code == 143
    fetched.release()
    assert program.run(*COMMAND).code == 0
    assert set(fetched.requests()) == set(fetched.pages)
    assert {record["state"] for record in by_url(program.folder / "out").values()} == {"unchanged"}


def test_retry_failed_puts_back_what_failed_and_nothing_else(program: Program, site: Site) -> None:
    urls = [
        site.url("/p/0"),
        site.url("/late"),
        "http://127.0.0.1:99999/",
        site.url("/p/1"),
        site.url("/gone"),
    ]
    command = ("get", *urls, "-o", "out", "--retries", "0")
    assert program.run(*command).code == 1
    site.pages["/late"] = b"here at last"
    site.log.clear()
    ended = program.run(*command, "--retry-failed")
    assert ended.code == 1
    assert site.requests() == Counter({"/late": 1, "/gone": 1})
    last = by_url(program.folder / "out")
    assert [last[url]["state"] for url in urls] == ["done", "done", "refused", "done", "failed"]
    assert [last[url]["attempts"] for url in urls] == [1, 1, 0, 1, 1]
    assert Counter(record["url"] for record in records(program.folder / "out"))[urls[0]] == 1


def test_the_summary_names_the_command_that_tries_the_failed_ones_again(program: Program, site: Site) -> None:
    ended = program.run("get", site.url("/p/0"), site.url("/gone"), "-o", "out dir", "--restart")
    assert ended.code == 1
    line = next(line for line in ended.err.splitlines() if line.startswith("to try the failed ones again:"))
    assert line.endswith(f"fetcher get {site.url('/p/0')} {site.url('/gone')} -o 'out dir' --retry-failed")


def test_restart_fetches_everything_again_under_the_same_names_and_sets_the_records_aside(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(10, hosts=("127.0.0.2",))
    urls = [
        site.url("/p/0"),
        site.url("/p/1"),
        site.url("/p/0?"),
        site.url("/P/0"),
    ]  # two would have one name
    site.pages["/P/0"] = b"capital"
    command = ("get", *urls, "-o", "out", "-c", "1")
    assert program.run(*command).code == 0
    out = program.folder / "out"
    names = {url: record["path"] for url, record in by_url(out).items()}
    old = (out / "results.jsonl").read_bytes()
    site.log.clear()
    site.pages["/p/1"] = b"second edition"
    ended = program.run(*("get", *reversed(urls), "-o", "out", "-c", "1"), "--restart")
    assert ended.code == 0, ended.err
    assert len(site.log) == 4
    assert not any(hit.header("if-none-match") for hit in site.log)
    assert {url: record["path"] for url, record in by_url(out).items()} == names
    assert (out / "results.jsonl.1").read_bytes() == old
    assert len(records(out)) == 4
    assert (out / names[site.url("/p/1")]).read_bytes() == b"second edition"


def test_what_an_earlier_list_left_is_fetched_too(program: Program, make_site: MakeSite) -> None:
    site = make_site(60)
    write_list(program.folder / "urls.txt", [site.url(f"/p/{n}") for n in range(50)])
    site.hold_after(5)
    with program.start(*COMMAND, "--grace", "0") as run:
        assert site.wait(lambda s: len(s.log) >= 6, 30)
        run.send(signal.SIGINT)
        run.end()
    site.release()
    ended = program.run("get", site.url("/p/55"), "-o", "out")
    assert ended.code == 0
    assert len(by_url(program.folder / "out")) == 51
    assert "earlier list" in ended.err


@pytest.mark.parametrize("digest", ["blake3", "none"])
def test_a_refresh_with_another_digest_finds_what_changed(
    program: Program, make_site: MakeSite, digest: str
) -> None:
    site = make_site(6)
    urls = [site.url(path) for path in site.pages]
    command = ("get", *urls, "-o", "out", "--digest", digest)
    assert program.run(*command).code == 0
    assert {
        (r["sha256"], r["digest"].partition(":")[0]) for r in by_url(program.folder / "out").values()
    } == {(None, digest)}
    site.pages["/p/4"] = b"other, and longer than it was"
    if digest == "blake3":
        site.has_validators = False  # then the bytes tell
    assert program.run(*command, "--refresh").code == 0
    last = by_url(program.folder / "out")
    assert {url for url, record in last.items() if record["state"] == "done"} == {site.url("/p/4")}
    assert {record["digest"].partition(":")[0] for record in last.values()} == {digest}


def test_a_sha256_in_the_list_is_met_whatever_the_digest(program: Program, make_site: MakeSite) -> None:
    site = make_site(2)
    (good, body), (bad, _) = site.pages.items()
    lines = [
        {"url": site.url(good), "sha256": hashlib.sha256(body).hexdigest()},
        {"url": site.url(bad), "sha256": "0" * 64},
    ]
    (program.folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    program.run("get", "-i", "list.jsonl", "-o", "out", "--digest", "none")
    last = by_url(program.folder / "out")
    assert last[site.url(good)]["sha256"] == lines[0]["sha256"]
    assert last[site.url(bad)]["error"] == "checksum"
