"""`--link-check`: what is asked for and how, what is told of broken links, and going on after a kill.

The site has two hosts, one of them out of scope; the server's log says how each URL was asked for.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faultserver import Exchange
from support.program import Program, by_url, records, stored
from support.site import Site

HOME, AWAY = "127.0.0.1", "127.0.0.2"
LARGE = b"x" * 30_000_000  # within --max-size
REPORT = "broken-links.jsonl"
CHECK = ("--link-check", "--private-addresses", "allow")


class LinkedSite(Site):
    """A site whose links are broken in many ways."""

    def __init__(self) -> None:
        super().__init__({}, [AWAY])
        self._routes.insert(0, ("/", self._page))

    async def _page(self, x: Exchange) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                await self._wait_for_release(x)
        is_head, path = x.hit.method == "HEAD", x.hit.path
        there = f"http://{AWAY}:{self.port}"
        pages = {
            "/": f"""<a href=/a>A</a> <a href=/missing>the <b>missing</b> one</a> <a href={there}/ok>ok</a>
 <a href={there}/gone>gone</a> <a href={there}/no-head>no HEAD</a> <a href={there}/moved>moved</a>
 <a href={there}/loop>round</a> <img src=/lost.png alt='a picture'> <img src=/here.png> <a href=/large.bin>large</a>
 <a rel=nofollow href=/aside>aside</a> <a href='http://[bad/'>no URL</a> <a href=#here>fragment</a>
 <a href={there}/drops>drops</a> <a href={there}/empty>empty</a> <a href={there}/forbidden-head>shy</a>
 <a href={there}/private/x>not for robots</a> <a href={there}/busy>busy</a>""",
            "/a": "<a href=/missing><img src=/lost.png alt='seen'></a> <a href=/old>old</a> <a href=/a#x>self</a>",
            "/aside": "<a href=/never>not followed</a>",
            "/ok": "<a href=/never>not followed</a>",
        }
        if path in pages:
            await x.answer(200, [("Content-Type", "text/html")], pages[path].encode())
        elif path in {"/old", "/moved"}:
            await x.answer(301, [("Location", "/older" if path == "/old" else "/ok")])
        elif path in {"/older", "/loop", "/loop-2"}:
            to = {"/older": "/nothing", "/loop": "/loop-2", "/loop-2": "/loop"}[path]
            await x.answer(302, [("Location", to)])
        elif path == "/robots.txt" and x.hit.address == AWAY:
            await x.answer(200, [("Content-Type", "text/plain")], b"User-agent: *\nDisallow: /private/\n")
        elif path == "/drops" and is_head:
            x.reset()
        elif path == "/busy" and is_head:
            await x.answer(503, [("Retry-After", "0")])
        elif path in {"/no-head", "/forbidden-head"} and is_head:
            await x.answer(405 if path == "/no-head" else 403)
        elif path == "/empty" and (is_head or x.hit.header("range")):
            await x.answer(404 if is_head else 416)
        elif path in {"/no-head", "/large.bin"}:
            await x.answer(200, [("Content-Type", "application/octet-stream")], LARGE)
        elif path in {"/drops", "/empty", "/forbidden-head", "/here.png", "/busy"}:
            await x.answer(200)
        else:
            await x.answer(404)

    def asked(self) -> dict[str, list[str]]:
        """How each URL was asked for, in order: methods, with the range."""
        found: dict[str, list[str]] = {}
        for hit in self.log:
            if hit.path != "/robots.txt":
                place = hit.path if hit.address == HOME else f"away{hit.path}"
                found.setdefault(place, []).append(" ".join(filter(None, (hit.method, hit.header("range")))))
        return found


@pytest.fixture
def linked() -> Iterator[LinkedSite]:
    with LinkedSite() as site:
        yield site
    assert not site.errors


def broken(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / REPORT).read_text().splitlines()]


GET_LITTLE = "GET bytes=0-0"
ASKED = {
    "/": ["GET"],
    "/a": ["GET"],
    "/missing": ["GET"],
    "/old": ["GET"],
    "/older": ["GET"],
    "/nothing": ["GET"],
    "/large.bin": ["GET"],
    "/here.png": ["HEAD"],
    "/aside": ["HEAD"],
    "/lost.png": ["HEAD", GET_LITTLE],
    "away/ok": ["HEAD"],
    "away/moved": ["HEAD"],
    "away/loop": ["HEAD"],
    "away/loop-2": ["HEAD"],
    "away/gone": ["HEAD", GET_LITTLE],
    "away/no-head": ["HEAD", GET_LITTLE],
    "away/forbidden-head": ["HEAD", GET_LITTLE],
    "away/busy": ["HEAD", GET_LITTLE],
    "away/empty": ["HEAD", GET_LITTLE, "GET"],
}


def told(site: LinkedSite) -> list[tuple[str, str, str, int | None, str]]:
    """Page, text, link, status and error of what is broken, in the order of the report."""
    home, away = site.url("/"), site.url("/", host=AWAY)
    return [
        (home, "the missing one", f"{home}missing", 404, "http-status"),
        (home, "gone", f"{away}gone", 404, "http-status"),
        (home, "round", f"{away}loop", None, "redirect-loop"),
        (home, "a picture", f"{home}lost.png", 404, "http-status"),
        (home, "no URL", "http://[bad/", None, "bad-url"),
        (f"{home}a", "seen", f"{home}missing", 404, "http-status"),
        (f"{home}a", "seen", f"{home}lost.png", 404, "http-status"),
        (f"{home}a", "old", f"{home}old", 404, "http-status"),
    ]


def shown(out: Path) -> list[tuple[str, str, str, int | None, str]]:
    return [
        (link["parent"], link["text"], link["url"], link["status"], link["error"]) for link in broken(out)
    ]


WAYS = [
    [],
    ["--backend", "curl"],
    ["--backend", "threads"],
    ["--backend", "sync"],
    ["--processes", "2"],
]


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_a_site_is_read_and_all_that_it_links_to_is_asked_for_once(
    program: Program, linked: LinkedSite, tmp_path: Path, options: list[str]
) -> None:
    done = program.run("crawl", linked.url("/"), "-o", "out", *CHECK, *options)
    assert done.code == 1, done.err
    asked = linked.asked()
    assert asked.pop("away/drops")[-2:] == [
        "HEAD",
        GET_LITTLE,
    ]  # a kept connection may have been tried before
    assert asked == ASKED
    assert sum(hit.sent for hit in linked.log) < len(LARGE), "large bodies are not read"
    assert shown(tmp_path / "out") == told(linked)
    assert list(stored(tmp_path / "out")) == [REPORT]
    lines = done.err.splitlines()
    at = lines.index(linked.url("/"))
    assert lines[at + 1] == f'  404            {linked.url("/missing")}  "the missing one"'
    assert f'{linked.url("/old")} → {linked.url("/older")} → {linked.url("/nothing")}  "old"' in done.err
    assert "broken: 6 of 21 URLs checked, 8 links on 2 pages; as records: out/broken-links.jsonl" in lines
    assert "not checked: 1 robots" in lines
    final = by_url(tmp_path / "out")
    assert final[linked.url("/large.bin")]["state"] == final[linked.url("/ok", host=AWAY)]["state"] == "done"


def test_a_check_that_was_killed_goes_on_and_its_report_is_the_same(
    program: Program, linked: LinkedSite, tmp_path: Path
) -> None:
    command = ("crawl", linked.url("/"), "-o", "out", *CHECK, "-c", "2")
    linked.hold_after(9)
    with program.start(*command) as running:
        assert linked.wait(lambda site: len(site.log) > 9)
        running.send(signal.SIGKILL)
        running.end()
    linked.release()
    assert not (tmp_path / "out" / REPORT).exists()
    done = program.run(*command)
    assert done.code == 1
    assert shown(tmp_path / "out") == told(linked)
    lines = [record["url"] for record in records(tmp_path / "out")]
    assert len(lines) == len(set(lines))
    status = program.run("status", "out", "--json")
    assert json.loads(status.stdout)["broken_links"] == 6
    assert program.run("verify", "out").code == 0
    why = program.run("why", "out", linked.url("/ok", host=AWAY))
    assert "checked     and not followed: it is outside --scope (host)" in why.out


def test_a_list_is_checked_by_its_lines(program: Program, linked: LinkedSite, tmp_path: Path) -> None:
    away = linked.url("", host=AWAY)
    listed = [f"{away}/moved", f"{away}/gone", "# no URL", "no URL", f"{away}/no-head", f"{away}/loop"]
    (tmp_path / "list.txt").write_text("\n".join(listed) + "\n")
    done = program.run("get", "-i", "list.txt", "-o", "out", "--link-check")
    assert done.code == 1
    found = [(link["source"], link["line"], link["url"], link["error"]) for link in broken(tmp_path / "out")]
    assert found == [
        ("list.txt", 2, f"{away}/gone", "http-status"),
        ("list.txt", 4, "no URL", "bad-url"),
        ("list.txt", 6, f"{away}/loop", "redirect-loop"),
    ]
    assert f"  404            line 2: {away}/gone" in done.err.splitlines()
    (tmp_path / "list.txt").write_text(f"{away}/moved\n{away}/no-head\n")
    well = program.run("get", "-i", "list.txt", "-o", "well", "--link-check")
    assert (well.code, broken(tmp_path / "well")) == (0, [])
    assert "no broken links: 2 URLs checked" in well.err.splitlines()
    quiet = program.run("get", "-i", "list.txt", "-o", "well", "--link-check", "-q")
    assert (quiet.code, quiet.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["-X", "POST"], "method"),
        (["-O", "file"], "output-file"),
        (["--store", "files"], "nothing is kept"),
        (["--parser", "m:f"], "parser"),
    ],
)
def test_what_needs_bodies_is_refused(program: Program, options: list[str], word: str) -> None:
    done = program.run("get", "http://127.0.0.1:1/", "--link-check", *options)
    assert done.code == 2
    assert word in done.err
