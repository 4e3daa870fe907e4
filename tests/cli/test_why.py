"""`fetcher why`: the story of one URL, however it is spelled, after a run, a kill, and while one goes on."""

from __future__ import annotations

import json
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.faultserver import Exchange
from support.program import Program, eventually, records, write_list
from support.site import Site

from fetcher.cli.main import _run as run_here
from fetcher.settings import OPTIONS
from fetcher.story.url_advice import BY_ERROR, BY_RULE

MakeSite = Callable[..., Site]
EARLIER = Path(__file__).parent.parent / "data" / "earlier_runs.tar.xz"


class Asking:
    """The command, in this process."""

    def __init__(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.out = out
        self._capsys = capsys

    def text(self, url: str, *, code: int = 0) -> str:
        assert run_here(["why", str(self.out), url]) == code
        return self._capsys.readouterr().out

    def story(self, url: str) -> dict[str, Any]:
        assert run_here(["why", str(self.out), url, "--json"]) == 0
        (story,) = json.loads(self._capsys.readouterr().out)["stories"]
        assert isinstance(story, dict)
        return story


@pytest.fixture
def asking(program: Program, capsys: pytest.CaptureFixture[str]) -> Asking:
    return Asking(program.folder / "out", capsys)


def flaky(site: Site, failures: int, status: int = 503, **headers: str) -> None:
    """Let `/flaky` fail so often before it succeeds."""
    left = [failures]

    async def serve(x: Exchange) -> None:
        left[0] -= 1
        if left[0] >= 0:
            await x.answer(status, fields=[(k.replace("_", "-"), v) for k, v in headers.items()])
        else:
            await x.answer(200, body=b"at last")

    site.route("/flaky", serve)


def test_the_story_of_a_list_is_told_from_its_line_to_its_file(
    program: Program, site: Site, asking: Asking
) -> None:
    flaky(site, 1, 429, Retry_After="1")
    site.pages |= {"/a": b"one", "/A": b"two"}
    write_list(
        program.folder / "urls.txt",
        [
            site.url("/a"),
            site.url("/A"),
            site.url("/flaky"),
            f"{site.url('/x/../p/0').upper()[:4]}{site.url('/x/../p/0')[4:]}#top",
            "not a url",
        ],
    )
    assert program.run("get", "-i", "urls.txt", "-o", "out", "-q", "-c", "1", "--retries", "0").code == 1

    flaky_one = asking.story(site.url("/flaky"))
    assert [attempt["status"] for attempt in flaky_one["attempts"]] == [429, 200]
    first, second = flaky_one["attempts"]
    assert first["is_new_connection"] or first["phases"]["header"] > 0
    assert second["waits"]["retry-after"] == pytest.approx(1.0, abs=0.4)
    assert flaky_one["records"][0]["state"] == "done"

    name = asking.story(site.url("/A"))["name"]
    assert name["wanted"].endswith("/A")
    assert (name["held_by"], name["holder"]) == ("url", site.url("/a"))

    odd = asking.text(site.url("/p/0"))
    assert "urls.txt:4" in odd
    assert f"sent as     {site.url('/p/0')}" in odd
    assert "bad-url: the URL has a space" in asking.text("not a url")

    for spelling in ("/p/0#x", "/q/../p/0"):
        assert asking.story(site.url(spelling))["url"] == site.url("/p/0")
    assert asking.story(site.url("/p/0").removeprefix("http://"))["url"] == site.url("/p/0")
    assert asking.story(site.url("/p/0").replace("127.0.0.1", "0x7f.1"))["url"] == site.url("/p/0")


def test_a_url_that_was_never_seen_is_exit_1_and_near_ones_are_named(
    program: Program, site: Site, asking: Asking
) -> None:
    program.run("get", site.url("/p/1"), site.url("/p/2"), "-o", "out", "-q")
    told = asking.text(site.url("/p/1/"), code=1)
    assert "never seen" in told
    assert f"meant?      {site.url('/p/1')}\n" in told
    told = asking.text(site.url("/p/1", scheme="https"), code=1)
    assert f"meant?      {site.url('/p/1')}\n" in told
    assert "as a URL it would be refused" in asking.text("http://[", code=1)
    assert run_here(["why", str(program.folder / "nothing"), site.url("/p/1")]) == 2


def test_where_a_redirect_led_is_found_though_it_was_not_listed(
    program: Program, site: Site, asking: Asking
) -> None:
    async def moved(x: Exchange) -> None:
        await x.answer(302, fields=[("Location", "/p/3")])

    site.route("/old", moved)
    program.run("get", site.url("/old"), "-o", "out", "-q")
    assert f"{site.url('/old')} was redirected to {site.url('/p/3')}" in asking.text(site.url("/p/3"), code=1)
    hops = asking.story(site.url("/old"))["attempts"]
    assert [(hop["status"], hop["url"]) for hop in hops] == [(302, None), (200, site.url("/p/3"))]


def test_a_killed_run_and_one_under_way_are_told_and_not_disturbed(
    program: Program, make_site: MakeSite, asking: Asking
) -> None:
    site = make_site(20)
    site.hold_after(6)
    urls = [site.url(f"/p/{number}") for number in range(20)]
    write_list(program.folder / "urls.txt", urls)
    with program.start("get", "-i", "urls.txt", "-o", "out", "-q", "-c", "4") as running:
        results = asking.out / "results.jsonl"
        assert eventually(lambda: results.exists() and len(records(asking.out)) == 6)
        told = asking.text(urls[19])
        assert f"process {running.pid}" in told
        assert "a run is under way: wait for it" in told
        done = next(record["url"] for record in records(asking.out))
        assert eventually(
            lambda: asking.story(done)["state"] == "done"
        )  # its line is written a moment before
        running.send(signal.SIGKILL)
        running.end()
    told = asking.text(urls[19])
    assert "the last run was killed before it" in told
    assert "run the same command again" in told
    assert asking.story(urls[19])["name"]["path"] is not None  # it was claimed, and named
    site.release()
    assert program.run("get", "-i", "urls.txt", "-o", "out", "-q", "--processes", "2").code == 0
    told = asking.text(urls[19])
    assert "run 2" in told
    assert "HTTP 200" in told
    story = asking.story(urls[19])
    assert [run["ended_at"] is None for run in story["runs"]] == [True, False]
    assert story["attempts"][-1]["run"] == 2
    assert story["attempts"][-1]["store_took"] is not None


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_crawl_tells_the_page_and_the_rule_that_let_a_url_in_or_left_it_out(
    program: Program, make_site: MakeSite, asking: Asking, processes: str
) -> None:
    site = make_site(0)
    site.content_type = "text/html"
    site.pages = {
        "/robots.txt": b"# ours\nUser-agent: fetcher\nDisallow: /private\nAllow: /private/ok\n",
        "/": b"<a href=/one>1</a><a href=/private/x>2</a><a href=/private/ok>3</a>"
        b'<a href="http://elsewhere.example/">4</a><a href=/one;jsessionid=1>5</a><a href=/f.pdf>6</a>',
        "/one": b"<a href=/two>deeper</a>",
        "/private/ok": b"fine",
    }
    options = ("--depth", "1", "--exclude", "[.]pdf$", "--processes", processes)
    assert program.run("crawl", site.url("/"), "-o", "out", "-q", *options).code == 0
    seed = asking.text(site.url("/"))
    assert "as a seed" in seed
    assert "for robots.txt" in seed or "try 1" in seed
    assert f"found       on {site.url('/')}, at depth 1" in asking.text(site.url("/one"))
    assert asking.story(site.url("/one"))["attempts"][0]["parser_took"] > 0
    assert "left out    by the rule depth" in (deep := asking.text(site.url("/two")))
    assert f"found       on {site.url('/one')}" in deep
    assert "by the rule scope" in asking.text("http://elsewhere.example/")
    assert "by the rule exclude: it matches an --exclude ([.]pdf$)" in asking.text(site.url("/f.pdf"))
    with_id = asking.text(site.url("/one;jsessionid=1"))
    assert "by the rule session-id" in with_id
    assert f"the same page: {site.url('/one')}" in with_id
    refused = asking.text(site.url("/private/x"))
    assert 'disallows it: line 3, "Disallow: /private", in the group of fetcher' in refused
    assert "--no-robots" in refused
    assert 'allows it: line 4, "Allow: /private/ok"' in asking.text(site.url("/private/ok"))
    assert "neither listed nor found on a page" in asking.text(site.url("/nowhere"), code=1)


def test_what_an_earlier_version_has_left_is_told_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(EARLIER) as archive:
        archive.extractall(tmp_path, filter="data")
    for name, url in (("finished", "/missing"), ("killed", "/p/0"), ("crawl", "/c/1")):
        before = (tmp_path / name / ".fetcher" / "state.db").read_bytes()
        told = Asking(tmp_path / name, capsys).text(f"http://site.example{url}")
        assert "ended" in told
        assert "fetched by an earlier version" in told
        assert (tmp_path / name / ".fetcher" / "state.db").read_bytes() == before
    assert "on http://site.example/c/0, at depth 1" in told


def test_a_damaged_state_is_exit_5(program: Program, site: Site, asking: Asking) -> None:
    program.run("get", site.url("/p/1"), "-o", "out", "-q")
    shutil.rmtree(asking.out / ".fetcher" / "parts")
    (asking.out / ".fetcher" / "state.db").write_bytes(b"nothing of the kind" * 100)
    assert run_here(["why", str(asking.out), site.url("/p/1")]) == 5


def test_what_is_hostile_in_a_story_does_not_reach_the_terminal(
    program: Program, site: Site, asking: Asking
) -> None:
    write_list(program.folder / "urls.txt", ["http://\x1b[31mred/", "http://user:secret@127.0.0.1:1/"])
    program.run("get", "-i", "urls.txt", "-o", "out", "-q", "--retries", "0")
    for url in ("http://\x1b[31mred/", "http://user:secret@127.0.0.1:1/", "http://127.0.0.1:1/"):
        told = asking.text(url)
        assert "secret" not in told
        assert "\x1b" not in told


def test_advice_names_options_that_exist() -> None:
    known = {option.flag for option in OPTIONS.values()}
    for text in (*BY_ERROR.values(), *BY_RULE.values()):
        for word in text.replace(",", " ").replace(";", " ").replace(")", " ").replace("(", " ").split():
            if word.startswith("--"):
                assert word in known, text
