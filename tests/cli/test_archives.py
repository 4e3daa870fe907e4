"""Runs that keep web archives (`--store warc`): whole, exact, and nothing twice after kills."""

from __future__ import annotations

import gzip
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import Program, eventually, records
from support.site import Site
from support.warcs import is_sound, kept, replayed
from support.whole import listed

MakeSite = Callable[..., Site]

COMMAND = ("get", "-i", "urls.txt", "-o", "out", "--store", "warc", "-c", "32", "--per-host", "32")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_archives_of_a_run_killed_three_times_hold_every_settled_url_once_and_byte_for_byte(
    program: Program, make_site: MakeSite, processes: str
) -> None:
    site = make_site(240)
    urls = listed(program, site)
    out = program.folder / "out"
    command = (*COMMAND, "--processes", processes)
    for reached in (40, 100, 160):  # requests seen when the kill comes
        site.hold_after(reached - len(site.log) + 30)
        with program.start(*command) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            run.send(signal.SIGKILL)
            run.end()
        site.release()
    ended = program.run(*command)
    assert ended.code == 0, ended.err

    assert is_sound(out)
    assert not list((out / "archive").glob("*.open"))
    answers = kept(out, "response")
    assert Counter(one.url for one in answers) == Counter(urls)
    assert {one.url: one.body for one in answers} == {site.url(path): site.pages[path] for path in site.pages}
    lines = (out / "indexes" / "index.cdxj").read_bytes().splitlines()
    assert lines == sorted(lines)
    assert Counter(replayed(out, line).url for line in lines) == Counter(urls)
    verified = program.run("verify", "out")
    assert verified.code == 0, verified.out + verified.err
    assert "unknown" not in verified.out + verified.err


def test_what_lies_beyond_the_settled_length_is_cut_off_by_the_next_start(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(100)
    urls = listed(program, site)
    out = program.folder / "out"
    site.hold_after(70)
    with program.start(*COMMAND) as run:
        assert site.wait(lambda s: len(s.log) >= 90, 30)
        assert eventually(lambda: (out / "results.jsonl").exists() and bool(records(out)))
        run.send(signal.SIGKILL)
        run.end()
    site.release()
    (left,) = (out / "archive").glob("*.open")
    with left.open("ab") as file:  # as if between the archive and the transaction
        file.write(gzip.compress(b"WARC/1.1\r\n") + b"\x1f\x8b torn")
    (out / "archive" / "fetcher-20200101000000-00000.warc.gz.open").write_bytes(b"nothing of it settled")
    assert program.run(*COMMAND).code == 0
    assert is_sound(out)
    assert Counter(one.url for one in kept(out, "response")) == Counter(urls)


def test_a_refresh_writes_revisits_that_lead_to_what_was_archived(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(3)
    urls = listed(program, site)
    assert program.run(*COMMAND).code == 0
    changed = min(site.pages)
    site.pages[changed] = b"another text"
    site.has_validators = True
    assert program.run(*COMMAND, "--refresh").code == 0
    out = program.folder / "out"
    revisits = kept(out, "revisit")
    assert {one.url for one in revisits} == set(urls) - {site.url(changed)}
    originals = {one.url: one for one in kept(out, "response") if one.body != b"another text"}
    for one in revisits:
        original = originals[one.fields["WARC-Refers-To-Target-URI"]]
        assert one.fields["WARC-Refers-To-Date"] == original.fields["WARC-Date"]
        assert one.fields["WARC-Payload-Digest"] == original.fields["WARC-Payload-Digest"]
        assert one.fields["WARC-Profile"].endswith("/server-not-modified")
        assert one.wire == b""
    site.has_validators = False
    assert program.run(*COMMAND, "--refresh").code == 0
    later = [one for one in kept(out, "revisit") if one not in revisits]
    assert {one.fields["WARC-Profile"].rpartition("/")[2] for one in later} == {"identical-payload-digest"}
    assert is_sound(out)


def test_the_values_of_credentials_are_not_archived(program: Program, make_site: MakeSite) -> None:
    site = make_site(1)
    listed(program, site)
    assert program.run(*COMMAND, "-u", "me:secret", "-H", "X-Token: hidden", "-H", "Accept: x/y").code == 0
    (request,) = kept(program.folder / "out", "request")
    assert request.head["Authorization"] == request.head["X-Token"] == "***"
    assert request.head["Accept"] == "x/y"


def test_an_archive_that_was_cut_short_or_removed_is_found(program: Program, make_site: MakeSite) -> None:
    site = make_site(2)
    listed(program, site)
    assert program.run(*COMMAND).code == 0
    (archive,) = (program.folder / "out" / "archive").iterdir()
    _cut(archive)
    found = program.run("verify", "out")
    assert (found.code, "archive-short" in found.out + found.err) == (1, True)
    archive.unlink()
    found = program.run("verify", "out")
    assert (found.code, "archive-missing" in found.out + found.err) == (1, True)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def test_a_refresh_is_not_conditional_where_the_archive_does_not_have_the_page(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(2)
    urls = listed(program, site)
    assert program.run(*COMMAND[:-6], "--store", "none").code == 0
    assert program.run(*COMMAND, "--refresh").code == 0
    out = program.folder / "out"
    assert Counter(one.url for one in kept(out, "response")) == Counter(urls)
    assert [record["state"] for record in records(out)][-2:] == ["unchanged", "unchanged"]
