"""Stored pages whose parser did not run are parsed from their files, without a request; `--reparse` does it for all."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.crawlsite import CrawlSite
from support.crawlweb import Resource, Web
from support.program import Ended, Program, by_url, eventually, records

PAGES = ("a", "b", "c")
PARSER = """
import os, time
from pathlib import Path

def read(page):
    name = page.url.rpartition("/")[2]
    if name == os.environ.get("SPOILED"): raise ValueError("no price")
    if "EXTRA" in os.environ and name == "a": page.follow(["/extra"])
    if "SLOW" in os.environ: time.sleep(0.02)
    return {"name": name, "title": page.title, "type": page.content_type, "by": os.environ.get("BY", "first")}
"""


@pytest.fixture
def site(program: Program) -> Iterator[CrawlSite]:
    (program.folder / "parsers.py").write_text(PARSER)
    links = "".join(f'<a href="/{name}">x</a>' for name in PAGES)
    pages = {"/": Resource(f"<title>root</title>{links}".encode())}
    pages |= {f"/{name}": Resource(f"<title>page {name}</title>".encode()) for name in (*PAGES, "extra")}
    with CrawlSite(Web(pages)) as site:
        yield site
    assert site.errors == []


def data(program: Program, name: str = "data.jsonl") -> dict[str, str]:
    """Which page was parsed by which parser; a page twice would be seen."""
    lines = [json.loads(line) for line in (program.folder / "out" / name).read_text().splitlines()]
    assert max(Counter(line["name"] for line in lines).values(), default=1) == 1
    assert all(line["type"].startswith("text/html") for line in lines)
    return {line["name"]: line["by"] for line in lines}


class Runs:
    """Runs of one command in one directory; the parser is told by variables of the environment."""

    def __init__(self, program: Program, site: CrawlSite, command: str) -> None:
        self.program, self.site = program, site
        urls = ["/"] if command == "crawl" else ["/", *(f"/{name}" for name in PAGES)]
        more = ["--no-robots"] if command == "crawl" else []
        self.arguments = [
            command,
            *(site.url(url) for url in urls),
            "-o",
            "out",
            "--offload",
            "inline",
            *more,
        ]
        self.names = {"", *PAGES}

    def __call__(self, *more: str, code: int = 0, **variables: str) -> Ended:
        self.program.environment.update(variables)
        ended = self.program.run(*self.arguments, *more)
        for name in variables:
            del self.program.environment[name]
        assert ended.code == code, ended.err
        return ended

    @property
    def requests(self) -> int:
        return len(self.site.log)


@pytest.mark.parametrize("command", ["get", "crawl"])
def test_stored_pages_are_parsed_without_a_request(program: Program, site: CrawlSite, command: str) -> None:
    run = Runs(program, site, command)
    run()
    before, lines = run.requests, records(program.folder / "out")
    said = run("--parser", "parsers:read").err
    assert "stored pages that are parsed without a request: 4" in said
    assert data(program) == dict.fromkeys(run.names, "first")
    run("--parser", "parsers:read", BY="second")  # the parser ran: it is not given the pages again
    assert data(program) == dict.fromkeys(run.names, "first")
    run("--parser", "parsers:read", "--reparse", BY="third")
    assert data(program) == dict.fromkeys(run.names, "third")
    assert data(program, "data.jsonl.1") == dict.fromkeys(run.names, "first")
    assert run.requests == before
    assert records(program.folder / "out") == lines  # no outcome has changed


def test_a_stored_page_whose_parser_fails_is_failed_until_one_does_not(
    program: Program, site: CrawlSite
) -> None:
    run = Runs(program, site, "get")
    run()
    before = run.requests
    said = run("--parser", "parsers:read", code=1, SPOILED="b").err
    assert "ValueError: no price" in said
    failed = by_url(program.folder / "out")[site.url("/b")]
    assert (failed["state"], failed["error"]) == ("failed", "parse-failed")
    assert (program.folder / "out" / failed["path"]).exists()
    run("--parser", "parsers:read", code=1)
    assert set(data(program)) == run.names - {"b"}
    run("--parser", "parsers:read", "--reparse")
    assert set(data(program)) == run.names
    mended = by_url(program.folder / "out")[site.url("/b")]
    assert (mended["state"], mended["error"], mended["message"]) == ("done", None, None)
    assert run.requests == before


@pytest.mark.parametrize("processes", ["1", "2"])
def test_links_that_the_parser_of_stored_pages_adds_are_followed(
    program: Program, site: CrawlSite, processes: str
) -> None:
    run = Runs(program, site, "crawl")
    run()
    run("--parser", "parsers:read", "--processes", processes, EXTRA="1")
    assert set(data(program)) == run.names | {"extra"}
    assert by_url(program.folder / "out")[site.url("/extra")]["parent"] == site.url("/a")


def test_a_file_that_is_not_as_it_was_stored_is_not_parsed(program: Program, site: CrawlSite) -> None:
    run = Runs(program, site, "get")
    run()
    path = program.folder / "out" / by_url(program.folder / "out")[site.url("/c")]["path"]
    path.write_bytes(b"another")
    said = run("--parser", "parsers:read").err
    assert "stored pages whose files are not as they were left: 1" in said
    assert set(data(program)) == run.names - {"c"}


def test_a_page_that_is_fetched_anew_without_a_parser_is_parsed_later(
    program: Program, site: CrawlSite
) -> None:
    run = Runs(program, site, "get")
    run("--parser", "parsers:read")
    site.web.resources["/b"] = Resource(b"<title>another</title>")
    run("--refresh")
    run("--parser", "parsers:read", BY="second")
    lines = (program.folder / "out" / "data.jsonl").read_text().splitlines()
    found = [(line["name"], line["by"]) for line in map(json.loads, lines)]
    assert ("b", "second") in found


def test_reparse_needs_a_parser(program: Program, site: CrawlSite) -> None:
    said = Runs(program, site, "get")("--reparse", code=2).err
    assert said == "fetcher: --reparse: there is no parser\n  name it: --parser MODULE:FUNCTION\n"


def test_a_reparse_that_is_killed_is_continued_and_keeps_the_old_data(
    program: Program, site: CrawlSite
) -> None:
    names = [f"n{number}" for number in range(300)]
    site.web.resources.update({f"/{name}": Resource(f"<title>{name}</title>".encode()) for name in names})
    urls = program.folder / "urls.txt"
    urls.write_text("".join(f"{site.url(f'/{name}')}\n" for name in names))
    run = Runs(program, site, "get")
    run.arguments = ["get", "-i", str(urls), "-o", "out", "--parser", "parsers:read", "--per-host", "32"]
    run()
    before, path = run.requests, program.folder / "out" / "data.jsonl"
    again = ["--reparse", "--offload", "inline"]
    for _ in range(2):
        program.environment.update(SLOW="1", BY="second")
        with program.start(*run.arguments, *again) as running:
            least = _size(path) if path.with_name("data.jsonl.1").exists() else 0
            assert eventually(lambda at=least: path.with_name("data.jsonl.1").exists() and _size(path) > at)
            running.send(signal.SIGKILL)
            running.end()
    del program.environment["SLOW"]
    run(*again, BY="second")
    assert data(program) == dict.fromkeys(names, "second")
    assert data(program, "data.jsonl.1") == dict.fromkeys(names, "first")
    assert run.requests == before


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
