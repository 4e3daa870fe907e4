"""A list and a crawl over several shards come to what one run comes to; commands answer for the whole."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from support.program import Program, by_url, records, write_list
from support.site import Site

from fetcher.cli.main import _run as main
from fetcher.policy.shares import Share, ShareRules
from fetcher.policy.urls import admit

HOSTS = [f"127.0.0.{n}" for n in range(1, 13)]
LARGE = "127.0.0.3"


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


@pytest.fixture
def site() -> Iterator[Site]:
    with Site({f"/{n}": b"page %d" % n for n in range(200)}, HOSTS[1:]) as site:
        yield site


def summary(directory: dict[str, dict[str, object]]) -> dict[str, tuple[object, ...]]:
    return {url: (line["state"], line["path"], line["sha256"]) for url, line in directory.items()}


def test_the_shards_of_a_list_are_together_what_one_run_is(
    program: Program, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    out = program.folder / "out"
    urls = [f"http://{host}:{site.port}/{n}" for n in range(6) for host in HOSTS]
    urls += [f"http://{LARGE}:{site.port}/{n}" for n in range(6, 160)] + ["ftp://no/url", urls[0]]
    listed = write_list(program.folder / "urls.txt", urls)
    for index in range(3):
        # The list on standard input is read twice too.
        given = {"stdin": listed.read_bytes()} if index == 1 else {}
        name = "-" if index == 1 else listed
        ended = program.run("get", "-i", name, "-o", out / str(index), "--shard", f"{index}/3", **given)
        assert ended.code == (1 if index == 1 else 0), ended.err
    assert program.run("get", "-i", listed, "-o", "one").code == 1
    one = by_url(program.folder / "one")
    lines = [line for index in range(3) for line in records(out / str(index))]
    assert Counter(line["url"] for line in lines) == Counter(list(one))
    assert summary({line["url"]: line for line in lines}) == summary(one)
    assert all(any(f"{LARGE}:" in line["url"] for line in records(out / str(n))) for n in range(3))

    code, said = run_here(capsys, "status", out, "--json")
    report = json.loads(said)
    assert (code, report["shards"]["missing"], report["is_resumable"]) == (0, [], False)
    assert report["states"]["done"] == len(one) - 1
    assert run_here(capsys, "verify", out, "-q")[0] == 0
    assert run_here(capsys, "diff", program.folder / "one", out)[0] == 0
    code, said = run_here(capsys, "why", out, urls[7])
    assert (code, said.count("done, HTTP 200")) == (0, 1)
    assert run_here(capsys, "why", out, "http://nowhere.test/")[0] == 1
    table = program.folder / "all.csv"
    assert run_here(capsys, "export", out / "0", out / "1", out / "2", table)[0] == 0
    assert len(table.read_text().splitlines()) == 1 + len(one)

    done = next(line for line in records(out / "1") if line["path"])
    (out / "1" / done["path"]).unlink()
    code, said = run_here(capsys, "verify", out)
    assert code == 1
    assert f"{out}/1/{done['path']}" in said
    (out / "2").rename(program.folder / "away")
    report = json.loads(run_here(capsys, "status", out, "--json")[1])
    assert (report["shards"]["missing"], report["is_resumable"]) == ([2], True)


def test_a_run_directory_keeps_its_share(
    program: Program, site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.folder)
    url = site.url("/1")
    shard = next(
        n for n in range(2) if main(["get", url, "-o", f"s{n}", "--shard", f"{n}/2"]) == 0 and site.log
    )
    assert main(["get", url, "-o", "whole"]) == 0
    asked = len(site.log)
    for directory, options in (
        (f"s{shard}", ["--shard", f"{1 - shard}/2"]),
        (f"s{shard}", []),
        ("whole", ["--shard", "0/2"]),
        ("new", ["--shard", "2/2"]),
    ):
        assert main(["get", url, "-o", directory, *options]) == 2, (directory, options)
    assert main(["get", url, "-o", f"s{shard}", "--shard", f"{shard}/2", "--dry-run"]) == 0
    assert len(site.log) == asked
    assert f"give --shard {shard}/2" in capsys.readouterr().err


def test_a_crawl_on_two_shards_killed_in_its_middle_has_the_pages_of_one(
    program: Program, site: Site
) -> None:
    site.content_type = "text/html"
    for n in range(200):
        hosts = [HOSTS[(n * 5 + k) % len(HOSTS)] for k in range(3)]
        links = [
            f'<a href="http://{host}:{site.port}/{(n * 2 + k) % 9}">x</a>' for k, host in enumerate(hosts)
        ]
        site.pages[f"/{n}"] = "".join(links).encode()
    seeds = [site.url("/1"), site.url("/3"), f"http://{HOSTS[4]}:{site.port}/2"]
    common = ("--scope", "any", "--depth", "3", "--no-robots", "--private-addresses", "allow", "-q")
    assert program.run("crawl", *seeds, "-o", "one", *common).code == 0
    out = program.folder / "out"
    shard = [("crawl", *seeds, "-o", out / str(n), "--shard", f"{n}/2", *common) for n in range(2)]
    killed = ShareRules(Share(0, 2)).owner(admit(seeds[0]))  # it has two of them at least
    assert program.run(*shard[1 - killed]).code == 0
    before = len(site.log)
    site.hold_after(1)
    with program.start(*shard[killed]) as run:
        assert site.wait(lambda s: len(s.log) >= before + 2, 30)
        run.send(signal.SIGKILL)
        run.end()
    site.release()
    for _ in range(9):
        assert [program.run(*shard[n]).code for n in (0, 1)] == [0, 0]
        if not (report := json.loads(program.run("status", out, "--json").out))["is_resumable"]:
            break
    assert not report["is_resumable"], report["shards"]
    lines = [line for n in range(2) for line in records(out / str(n))]
    assert Counter(line["url"] for line in lines) == Counter(list(by_url(program.folder / "one")))
