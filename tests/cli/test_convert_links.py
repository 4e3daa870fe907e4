"""`crawl --convert-links`: what was saved can be read from the disk, and what was served can be had back."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.browser import Browser
from support.crawlpages import generate
from support.crawlsite import CrawlSite
from support.crawlweb import Resource, Web
from support.program import Program, by_url, eventually, parts, stored
from support.site import Site

from fetcher.demo_site.site import DemoSite

CONVERT = ("--no-robots", "--convert-links", "--assets", "-o", "out")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGES = {
    "/": '<link rel=stylesheet href=/css/site.css integrity="sha256-bad"><a href="/one">1</a><a href="/moved/1">m</a>',
    "/one": '<base href="/two/"><a href="three?x=1&amp;y=#f">3</a><img srcset="../i/a%20b%23.png 1x" src=../i/a%20b%23.png>',
    "/two/three?x=1&y=": '<style>p{background:url("../i/a b%23.png")}</style><p><a href="#f">f</a><a href="/">home</a>',
}
# What every link on a page of the disk leads to, as the browser sees it.
LINKS = """[...document.querySelectorAll("[href], [src], [poster], [action], [srcset]")].flatMap(e =>
 [e.href, e.src, e.poster, e.action, e.currentSrc].filter(u => typeof u == "string" && u))"""


def more_of(web: Web) -> Web:
    """A site with folders, queries, a style sheet that imports another, and images with odd names."""
    for path, text in PAGES.items():
        web.resources[f"/more{path}"] = Resource(
            text.replace('="/', '="/more/').replace("=/c", "=/more/c").encode()
        )
    sheets = {
        "site": '@import "deep/b.css"; body{background:url(../i/a%20b%23.png)}',
        "deep/b": "p{b:url(../../i/c.png)}",
    }
    for name, text in sheets.items():
        web.resources[f"/more/css/{name}.css"] = Resource(text.encode(), "text/css")
    for name in ("a%20b%23", "c"):
        web.resources[f"/more/i/{name}.png"] = Resource(PIXEL, "image/png")
    web.resources["/more/moved/1"] = Resource(status=302, fields=(("Location", "/more/two/three?x=1&y="),))
    return web


async def shown(pages: list[Path]) -> tuple[set[str], set[str]]:
    """What saved pages lead to, and what a browser that is shown them asks for."""
    links: set[str] = set()
    async with Browser() as browser:
        for page in pages:
            await browser.open(page.as_uri())
            links |= set(await browser.value(LINKS))
        return links, set(browser.asked)


def outside(out: Path, urls: set[str]) -> set[str]:
    """Those that are no file of the folder."""
    files = {str(path.resolve()) for path in stored(out).values()}
    return {url for url in urls if not (url.startswith("file:") and unquote(urlsplit(url).path) in files)}


def assert_all_lead_to_files(out: Path, pages: list[Path]) -> None:
    links, asked = asyncio.run(shown(pages))
    assert outside(out, asked) == set()
    on_disk = {url for url in outside(out, links) if url.startswith("file:")}
    assert on_disk <= {"file:///etc/passwd", "file:///noise/script"}  # written so, by the page or its script
    saved = {record["final_url"] for record in by_url(out).values() if record["path"]}
    assert {url.partition("#")[0] for url in links} & saved == set()
    assert len(links) > 20


def test_every_link_of_a_saved_site_leads_to_its_file_in_a_browser(program: Program) -> None:
    out = program.folder / "out"
    with CrawlSite(more_of(generate(40))) as site:
        program.run("crawl", site.url("/more/"), site.url("/"), *CONVERT, "--depth", "3")
    files = stored(out)
    pages = [path for name, path in files.items() if "/more/" in name and path.suffix not in {".png", ".css"}]
    others = [path for path in files.values() if b"</a>" in path.read_bytes()]
    pages += sorted(others, key=lambda path: b"/noise/" not in path.read_bytes())[:12]
    assert len(pages) > 12
    assert_all_lead_to_files(out, pages)
    assert program.run("verify", "out").code == 0


def test_the_demo_site_can_be_read_from_the_disk(program: Program) -> None:
    async def crawled() -> None:
        async with DemoSite(12) as site:
            await asyncio.to_thread(
                program.run, "crawl", site.url, *CONVERT, "--processes", "2", "--exclude", "large"
            )

    asyncio.run(crawled())
    out = program.folder / "out"
    assert_all_lead_to_files(out, [path for name, path in stored(out).items() if name.endswith(".html")])


@pytest.fixture
def site() -> Iterator[Site]:
    """Three pages; the first links to the others and to one that is not there."""
    pages = {"/": b"<a href='/a/'>a</a><a href=/gone>g</a><a href='/b?q=1'>b</a>"}
    pages |= {"/a/": b"<a href='../b?q=1#x'>b</a><a href=/>up</a>", "/b": b"no links"}
    with Site(pages) as site:
        site.content_type = "text/html; charset=utf-8"
        yield site


def contents(out: Path) -> dict[str, bytes]:
    return {name.partition("/")[2]: path.read_bytes() for name, path in stored(out).items()}


CONVERTED = {
    "index.html": b"<a href='a/index.html'>a</a><a href=http://HERE/gone>g</a><a href='b@q=1'>b</a>",
    "a/index.html": b"<a href='../b@q=1#x'>b</a><a href=../index.html>up</a>",
    "b@q=1": b"no links",
}


def converted(site: Site) -> dict[str, bytes]:
    return {
        name: body.replace(b"HERE", f"127.0.0.1:{site.port}".encode()) for name, body in CONVERTED.items()
    }


def test_what_was_served_comes_back_and_verify_knows_both(program: Program, site: Site) -> None:
    out = program.folder / "out"
    run = ("crawl", site.url("/"), *CONVERT)
    assert program.run(*run).code == 0
    assert contents(out) == converted(site)
    before = {name: path.stat().st_mtime_ns for name, path in stored(out).items()}

    assert program.run(*run).code == 0
    assert {name: path.stat().st_mtime_ns for name, path in stored(out).items()} == before
    assert parts(out) == []

    assert program.run("export", "out", "bodies.sqlite", "--bodies").code == 0
    with contextlib.closing(sqlite3.connect(program.folder / "bodies.sqlite")) as db:
        [table] = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchone()
        bodies = dict(db.execute(f"SELECT path, body FROM {table} WHERE path IS NOT NULL"))
    assert {path.partition("/")[2]: body for path, body in bodies.items()} == {
        "index.html": site.pages["/"],
        "a/index.html": site.pages["/a/"],
        "b@q=1": site.pages["/b"],
    }
    for record in by_url(out).values():
        if record["path"]:
            assert record["sha256"] == sha256(bodies[record["path"]]).hexdigest()

    [page] = [path for name, path in stored(out).items() if name.endswith("a/index.html")]
    page.write_bytes(page.read_bytes().replace(b"up", b"UP"))
    ended = program.run("verify", "out", "--json")
    assert [line["kind"] for line in ended.lines if "kind" in line] == ["changed"]
    assert program.run("verify", "out", "--repair").code == 0
    assert program.run(*run).code == 0
    assert contents(out) == converted(site)


def test_a_refresh_asks_conditionally_and_converts_what_is_new(program: Program, site: Site) -> None:
    out = program.folder / "out"
    run = ("crawl", site.url("/"), *CONVERT)
    program.run(*run)
    site.log.clear()
    site.pages["/b"] = b"<a href=/a/>now</a>"
    site.pages["/gone"] = b"here"
    assert program.run(*run, "--refresh").code == 0
    assert {hit.path: hit.header("if-none-match") is not None for hit in site.log} == {
        "/": True,
        "/a/": True,
        "/b": True,
        "/gone": False,
    }
    states = {record["url"].rpartition("/")[2]: record["state"] for record in by_url(out).values()}
    assert states == {"": "unchanged", "b?q=1": "done", "gone": "done"}
    wanted = {**converted(site), "b@q=1": b"<a href=a/index.html>now</a>", "gone": b"here"}
    wanted["index.html"] = CONVERTED["index.html"].replace(b"http://HERE/", b"")
    assert contents(out) == wanted
    assert program.run("verify", "out").code == 0


def test_pages_are_parsed_as_they_were_served(program: Program, site: Site) -> None:
    (program.folder / "p.py").write_text("def read(page): return page.body.decode()")
    run = ("crawl", site.url("/"), *CONVERT)
    program.run(*run)
    assert program.run(*run, "--parser", "p:read", "--offload", "inline").code == 0
    lines = (program.folder / "out" / "data.jsonl").read_text().splitlines()
    assert {json.loads(line) for line in lines} == {body.decode() for body in site.pages.values()}


def test_a_stopped_crawl_is_converted_by_the_run_that_ends_it(program: Program, site: Site) -> None:
    out = program.folder / "out"
    run = ("crawl", site.url("/"), *CONVERT)
    site.hold_after(1)
    with program.start(*run, "--grace", "0") as running:  # what is in flight never comes
        assert eventually(lambda: len(site.log) > 1)
        running.send(signal.SIGINT)
        assert running.end().code == 128 + signal.SIGINT
    assert contents(out) == {"index.html": site.pages["/"]}
    site.release()
    assert program.run(*run).code == 0
    assert contents(out) == converted(site)


@pytest.mark.parametrize("output", [("--store", "none"), ("-o", "s3://bucket/site", "--state", "state")])
def test_links_can_be_converted_only_in_files(program: Program, output: tuple[str, ...]) -> None:
    ended = program.run("crawl", "http://127.0.0.1:1/", "--convert-links", *output)
    assert ended.code == 2
    assert "convert" in ended.err
