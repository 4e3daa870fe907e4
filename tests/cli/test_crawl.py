"""`fetcher crawl` of a generated site: exactly what its graph and the rules say is asked for, once.

What is expected comes from the site's graph (`support.crawlweb`), what was asked for from the server's log.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.crawlpages import MONTHS, generate
from support.crawlsite import CrawlSite
from support.crawlweb import HTML, Edge, Expected, Page, Resource, Web, key_of, moved
from support.faultserver import Exchange
from support.program import Ended, Program, by_url, parts, records, stored
from support.site import Site

CONCURRENCY = 32
UNSETTLED = 64
FAST = ("-c", str(CONCURRENCY), "--per-host", str(CONCURRENCY))
REDIRECTS = {301, 302, 303, 307, 308}

MakeCrawlSite = Callable[[Web], CrawlSite]


@pytest.fixture(scope="module")
def whole() -> Web:
    """5,000 pages."""
    return generate()


@pytest.fixture(scope="module")
def small() -> Web:
    return generate(60)


@pytest.fixture
def serve() -> Iterator[MakeCrawlSite]:
    with ExitStack() as stack:
        sites: list[CrawlSite] = []

        def make(web: Web) -> CrawlSite:
            site = CrawlSite(web)
            sites.append(site)
            return stack.enter_context(site)

        yield make
    assert not [error for site in sites for error in site.errors], "the site failed"


def linked(*chains: str, **more: Any) -> Web:
    """A site from chains of paths, each of which links to the next: `linked("/ /a /b", "/ /b")`."""
    web = Web(**more)
    paths = {path for chain in chains for path in chain.split()}
    for path in sorted(paths):
        web.add(Page(path, path))
    for chain in chains:
        steps = chain.split()
        for source, to in pairwise(steps):
            web.link(source, to)
    return web


def crawl(program: Program, site: CrawlSite, *options: str) -> Ended:
    return program.run("crawl", site.url("/"), "-o", "out", *FAST, *options)


def once_each(expected: Expected) -> Counter[str]:
    return Counter(dict.fromkeys(expected.fetched, 1))


def difference(site: CrawlSite, expected: Expected) -> str:
    """What to read when the two are not the same."""
    asked, wanted = site.asked(), once_each(expected)
    missing, surplus = sorted(wanted - asked), sorted((asked - wanted).items())
    return f"not asked for: {missing[:10]} … {len(missing)}; too much: {surplus[:10]} … {len(surplus)}"


def assert_asked(site: CrawlSite, expected: Expected) -> None:
    assert site.asked() == once_each(expected), difference(site, expected)
    assert site.asked("127.0.0.2") == {}, "out of scope"


def assert_recorded(site: CrawlSite, out: Path, expected: Expected) -> None:
    """Each URL has one record, that says what the site answered; robots.txt and sitemaps have none."""
    origin = site.url("")
    lines = [(key_of(record["url"].removeprefix(origin)), record) for record in records(out)]
    found = dict(lines)
    assert Counter(target for target, _ in lines) == once_each(expected) + Counter(list(expected.refused))
    for target in expected.refused:
        assert (found[target]["state"], found[target]["error"]) == ("refused", "robots"), target
    for target, depth in expected.fetched.items():
        record, resource = found[target], site.web.find(target)
        assert record["depth"] >= depth, record
        if resource is None:
            assert (record["state"], record["error"], record["status"]) == ("failed", "http-status", 404), (
                record
            )
            continue
        assert (record["state"], record["status"], record["error"]) == ("done", resource.status, None), record
        if resource.status in REDIRECTS | {204}:
            assert record["path"] is None, record
        else:
            assert record["sha256"] == hashlib.sha256(site.addressed(resource.body)).hexdigest(), record


def assert_parents(site: CrawlSite, out: Path) -> None:
    """The parent of every page that was found has a link to it."""
    origin = site.url("")
    for record in records(out):
        target = key_of(record["url"].removeprefix(origin))
        if record["parent"] is None:
            assert target == "/", record
            continue
        parent = site.web.find(key_of(record["parent"].removeprefix(origin)))
        assert parent is not None, record
        assert target in {edge.to for edge in parent.edges}, record


def assert_stored(site: CrawlSite, out: Path, expected: Expected) -> None:
    """Each body is in a file, whole, and nothing else is there."""
    files = stored(out)
    found = by_url(out)
    paths = {record["path"] for record in found.values()} - {None}
    assert set(files) == paths
    for record in found.values():
        if record["path"] is not None:
            target = key_of(record["url"].removeprefix(site.url("")))
            resource = site.web.find(target)
            assert resource is not None
            assert files[record["path"]].read_bytes() == site.addressed(resource.body)
    assert len(paths) == sum(
        (resource := site.web.find(target)) is not None and resource.status == 200
        for target in expected.fetched
    )
    assert parts(out) == []


# -- what is asked for ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["--backend", "asyncio"], ["--processes", "2"]], ids=" ".join)
def test_of_5000_pages_exactly_the_expected_ones_are_asked_for_once_each_and_recorded(
    program: Program, serve: MakeCrawlSite, whole: Web, options: list[str]
) -> None:
    assert_exactly_the_expected(program, serve(whole), options)


@pytest.mark.parametrize(
    "options",
    [
        ["--backend", "curl"],
        ["--backend", "threads"],
        ["--backend", "sync"],
        ["--processes", "2", "--backend", "curl"],
    ],
    ids=" ".join,
)
def test_every_backend_asks_for_exactly_the_expected_ones_once_each(
    program: Program, serve: MakeCrawlSite, options: list[str]
) -> None:
    assert_exactly_the_expected(program, serve(generate(1200)), options)


def assert_exactly_the_expected(program: Program, site: CrawlSite, options: list[str]) -> None:
    expected = site.web.expected(sitemaps=True)
    ended = crawl(program, site, "--sitemaps", "--store", "none", *options)
    assert ended.code == 0, ended.err
    assert_asked(site, expected)
    assert_recorded(site, program.folder / "out", expected)
    assert site.count("/robots.txt") == 1


def test_each_page_that_is_crawled_is_in_a_file_and_says_which_page_led_to_it(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    ended = crawl(program, site)
    assert ended.code == 0, ended.err
    expected = small.expected()
    assert_asked(site, expected)
    assert_recorded(site, program.folder / "out", expected)
    assert_stored(site, program.folder / "out", expected)
    assert_parents(site, program.folder / "out")


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        (["--depth", "0"], {"depth": 0}),
        (["--depth", "1"], {"depth": 1}),
        (["--depth", "2"], {"depth": 2}),
        (["--depth", "2", "--sitemaps"], {"depth": 2, "sitemaps": True}),
        (["--no-robots"], {"robots": False}),
        (["--assets"], {"assets": True}),
        (["--depth", "1", "--assets"], {"depth": 1, "assets": True}),
        (["--ignore", "nofollow"], {"ignore": ["nofollow"]}),
        (["--ignore", "meta"], {"ignore": ["meta"]}),
        (["--ignore", "canonical"], {"ignore": ["canonical"]}),
        (["--ignore", "nofollow,meta,canonical"], {"ignore": ["nofollow", "meta", "canonical"]}),
    ],
    ids=str,
)
def test_an_option_changes_what_is_asked_for_as_it_says(
    program: Program, serve: MakeCrawlSite, small: Web, options: list[str], rules: dict[str, Any]
) -> None:
    site = serve(small)
    ended = crawl(program, site, "--store", "none", *options)
    assert ended.code == 0, ended.err
    assert_asked(site, small.expected(**rules))


def test_robots_txt_is_asked_for_once_and_before_every_page(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    assert crawl(program, site, "--depth", "1").code == 0
    assert [hit.target for hit in site.log if hit.target == "/robots.txt"] == ["/robots.txt"]
    assert site.log[0].target == "/robots.txt"


def test_without_robots_its_file_is_not_asked_for(program: Program, serve: MakeCrawlSite, small: Web) -> None:
    site = serve(small)
    assert crawl(program, site, "--depth", "1", "--no-robots").code == 0
    assert site.count("/robots.txt") == 0


def test_sitemaps_are_asked_for_only_when_told_and_each_once(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    assert crawl(program, site).code == 0
    assert not [hit.target for hit in site.log if hit.path in small.sitemaps]
    assert crawl(program, site, "--restart", "--sitemaps").code == 0
    assert Counter(hit.path for hit in site.log if hit.path in small.sitemaps) == Counter(small.sitemaps)
    assert not any(url.endswith((".xml", ".gz")) for url in by_url(program.folder / "out"))


def test_sitemaps_of_a_robots_txt_that_is_kept_are_asked_for_when_a_later_session_wants_them(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    assert crawl(program, site).code == 0
    assert crawl(program, site, "--sitemaps").code == 0
    assert site.count("/robots.txt") == 1
    assert {hit.path for hit in site.log if hit.path in small.sitemaps} == small.sitemaps
    assert_asked(site, small.expected(sitemaps=True))


def test_patterns_decide_what_is_followed_but_the_seed_is_always_asked_for(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    options = ("--include", r"/s[0-3]/", "--include", r"page=\d5&", "--exclude", r"page=1\d&")
    ended = crawl(program, site, "--store", "none", *options)
    assert ended.code == 0, ended.err

    def follows(target: str) -> bool:
        return bool(re.search(r"/s[0-3]/|page=\d5&", target)) and not re.search(r"page=1\d&", target)

    expected = small.expected(follows=follows)
    assert 10 < len(expected.fetched) < 60
    assert_asked(site, expected)


def test_the_scope_prefix_stays_below_the_folder_of_the_seed(program: Program, serve: MakeCrawlSite) -> None:
    web = linked(
        "/docs/index.html /docs/a.html /docs/deep/b.html /blog/c.html", "/docs/deep/b.html /docs/d.html"
    )
    web.link("/docs/a.html", "/docsx/e.html")
    site = serve(web)
    ended = program.run("crawl", site.url("/docs/index.html"), "-o", "out", "--scope", "prefix")
    assert ended.code == 0, ended.err
    assert set(site.asked()) == {"/docs/index.html", "/docs/a.html", "/docs/deep/b.html", "/docs/d.html"}


def test_the_scope_any_follows_links_to_other_hosts_and_the_scope_host_those_of_all_seeds(
    program: Program, serve: MakeCrawlSite
) -> None:
    web = linked("/ /a")
    web.link("/a", "http://elsewhere.invalid/b")
    web.add(Page("/b", "b"))
    for number, seeds in enumerate((["/"], ["/", "second"])):
        site = serve(web)
        urls = [site.url("/") if seed == "/" else site.url("/a", host="127.0.0.2") for seed in seeds]
        # With one seed, only `any` reaches the other host; it is private, so that must be allowed too.
        options = ("--scope", "any", "--private-addresses", "allow") if number == 0 else ()
        ended = program.run("crawl", *urls, "-o", f"out{number}", *options)
        assert ended.code == 0, ended.err
        assert "/b" in site.asked("127.0.0.2")


def test_a_link_to_a_private_address_that_no_seed_named_is_refused_and_nothing_connects(
    program: Program, serve: MakeCrawlSite
) -> None:
    web = linked("/ /a")
    web.link("/", "http://elsewhere.invalid/b")
    site = serve(web)
    ended = crawl(program, site, "--scope", "any")
    assert ended.code == 0, ended.err
    assert site.asked("127.0.0.2") == {}
    record = by_url(program.folder / "out")[site.url("/b", host="127.0.0.2")]
    assert (record["state"], record["error"]) == ("refused", "private-address")


@pytest.mark.parametrize(("policy", "asked"), [("seeds", []), ("allow", ["/far.xml"])])
def test_a_sitemap_at_a_private_address_that_no_seed_named_is_not_asked_for(
    program: Program, serve: MakeCrawlSite, policy: str, asked: list[str]
) -> None:
    web = linked("/ /a")
    web.robots = "Sitemap: http://elsewhere.invalid/far.xml\n"
    site = serve(web)
    ended = crawl(program, site, "--sitemaps", "--scope", "any", "--private-addresses", policy)
    assert ended.code == 0, ended.err
    assert [hit.path for hit in site.log if hit.address == "127.0.0.2" and hit.path == "/far.xml"] == asked


# -- depth ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [["--backend", "asyncio"], ["--backend", "curl"], ["--processes", "2"]], ids=str
)
def test_a_page_found_again_at_a_smaller_depth_takes_it_and_its_links_are_reconsidered(
    program: Program, serve: MakeCrawlSite, options: list[str]
) -> None:
    """/late answers only when the end of the long way has been asked for, and leads to it by a short one."""
    web = linked(
        "/ /1 /2 /3 /4 /behind/1 /behind/2 /behind/3",
        "/ /late /4",
    )
    web.add(Page("/late", "late"), after="/4")
    web.link("/late", "/4")
    site = serve(web)
    ended = crawl(program, site, "--depth", "4", *options)
    assert ended.code == 0, ended.err
    expected = web.expected(depth=4)
    assert "/behind/2" in expected.fetched
    assert "/behind/3" not in expected.fetched
    assert_asked(site, expected)


def test_a_depth_that_shrinks_is_passed_on_through_pages_that_have_been_read(
    program: Program, serve: MakeCrawlSite
) -> None:
    """The whole chain is read at depths 1 to 4; then /late, held until then, brings each one nearer."""
    web = linked("/ /1 /2 /3 /4 /5 /6", "/ /late /2")
    web.add(Page("/late", "late"), after="/5")
    web.link("/late", "/3")
    copy = Page("/4", "a copy of what has one more link")
    copy.head('<link rel="canonical" href="/side">', Edge("/side", "canonical"))
    copy.link("/5")
    web.add(copy)
    web.add(Page("/side", "side"))
    web.link("/side", "/side/1")
    web.add(Page("/side/1", "one"))
    web.link("/side/1", "/side/2")
    web.link("/5", "/moved")
    web.resources["/moved"] = moved("/moved/to")
    web.add(Page("/moved/to", "moved"))
    site = serve(web)
    ended = crawl(program, site, "--depth", "5")
    assert ended.code == 0, ended.err
    expected = web.expected(depth=5)
    assert {"/moved/to", "/6", "/side/2"} <= set(expected.fetched)
    assert_asked(site, expected)


def test_a_larger_depth_given_later_continues_from_what_was_left_out(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    assert crawl(program, site, "--depth", "1").code == 0
    assert_asked(site, small.expected(depth=1))
    ended = crawl(program, site, "--depth", "3")
    assert ended.code == 0, ended.err
    assert_asked(site, small.expected(depth=3))


# -- limits --------------------------------------------------------------------------------------------


def test_a_trap_of_queries_costs_no_more_than_its_share_and_nothing_else_is_lost(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    ended = crawl(program, site, "--store", "none", "--depth", "1000", "--max-variants", "100")
    assert ended.code == 0, ended.err

    def follows(target: str) -> bool:
        return not target.startswith(MONTHS)

    asked = site.asked()
    months = {target for target in asked if target.startswith(MONTHS)}
    assert len(months) == 100
    assert {target: times for target, times in asked.items() if target not in months} == once_each(
        small.expected(depth=1000, follows=follows)
    )


def test_no_more_than_so_many_pages_of_a_host_are_asked_for(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    ended = crawl(program, site, "--store", "none", "--max-host-pages", "50")
    assert ended.code == 0, ended.err
    assert len(site.asked()) == 50
    assert max(site.asked().values()) == 1


def test_queries_in_another_order_are_one_page_where_that_is_said(
    program: Program, serve: MakeCrawlSite
) -> None:
    web = linked("/ /list?a=1&b=2", "/ /list?b=2&a=1", "/ /list?b=1&a=2")
    site = serve(web)
    assert crawl(program, site).code == 0
    assert len(site.asked()) == 4
    assert crawl(program, site, "--restart", "--sort-query").code == 0
    assert sum(site.asked().values()) == 4 + 3


class SessionSite(Site):
    """Ten pages that link to each other, by a new `;jsessionid` in every link of every answer."""

    def __init__(self) -> None:
        super().__init__({})
        self._given = 0
        self._routes.insert(0, ("/", self._page))

    async def _page(self, x: Exchange) -> None:
        if x.hit.path == "/robots.txt":
            await x.answer(404)
            return
        links = []
        for number in range(10):
            self._given += 1
            links.append(f'<a href="/p{number};jsessionid={self._given:032X}">{number}</a>')
        await x.answer(200, [("Content-Type", HTML)], "".join(links).encode())


def test_a_new_session_id_on_every_page_makes_no_new_pages(program: Program) -> None:
    with SessionSite() as site:
        ended = program.run("crawl", site.url("/p0"), "-o", "out", *FAST, "--depth", "3")
        assert ended.code == 0, ended.err
        asked = [hit.path for hit in site.log if hit.path != "/robots.txt"]
        assert sorted(path.partition(";")[0] for path in asked) == [f"/p{number}" for number in range(10)]
        assert json.loads(program.run("status", "--json", "out").out)["left_out"] == {"session-id": 91}
        assert "session-id" in ended.err + ended.out
        before = len(site.log)
        kept = ("--keep-session-ids", "--depth", "2")
        assert program.run("crawl", site.url("/p0"), "-o", "kept", *FAST, *kept).code == 0
        assert len([hit for hit in site.log[before:] if hit.path != "/robots.txt"]) == 111


@pytest.mark.parametrize("options", [["--backend", "asyncio"], ["--processes", "2"]], ids=str)
def test_max_pages_is_exact_over_kills_and_continuations(
    program: Program, serve: MakeCrawlSite, options: list[str]
) -> None:
    web = generate(400)
    site = serve(web)
    limited = ("--max-pages", "300", "--sitemaps", *options)
    for reached in (80, 200):
        site.hold_after(reached - len(site.log))
        with program.start("crawl", site.url("/"), "-o", "out", *FAST, *limited) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n + CONCURRENCY // 2, 30), run.said()
            run.send(signal.SIGKILL)
            assert run.end().code == 137
        site.release()
    assert len(site.asked()) < 300

    ended = crawl(program, site, *limited)

    assert ended.code == 0, ended.err
    assert len(site.asked()) == 300
    assert len(records(program.folder / "out")) >= 300
    assert '"pending"' in program.run("status", "--json", "out").out
    before = sum(site.asked().values())
    assert crawl(program, site, *limited).code == 0
    assert sum(site.asked().values()) == before, "the limit was reached, yet more was asked for"

    assert crawl(program, site, "--max-pages", "450", "--sitemaps", *options).code == 0
    assert len(site.asked()) == 450
    assert crawl(program, site, "--sitemaps", *options).code == 0
    assert set(site.asked()) == set(web.expected(sitemaps=True).fetched)


# -- stopped and continued -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["--backend", "asyncio"], ["--processes", "2"]], ids=str)
def test_a_crawl_killed_three_times_ends_with_what_an_uninterrupted_one_has(
    program: Program, serve: MakeCrawlSite, options: list[str]
) -> None:
    web = generate(1200)
    site = serve(web)
    expected = web.expected(sitemaps=True)
    for reached in (60, 500, 1200):  # requests seen when the kill comes
        site.hold_after(reached - len(site.log) + CONCURRENCY)
        with program.start("crawl", site.url("/"), "-o", "out", *FAST, "--sitemaps", *options) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30), run.said()
            run.send(signal.SIGKILL)
            assert run.end().code == 137
        site.release()

    ended = crawl(program, site, "--sitemaps", *options)

    assert ended.code == 0, ended.err
    assert set(site.asked()) == set(expected.fetched), difference(site, expected)
    repeats = sum(times - 1 for times in site.asked().values())
    assert repeats <= 3 * (CONCURRENCY + UNSETTLED)
    assert_recorded(site, program.folder / "out", expected)
    assert_stored(site, program.folder / "out", expected)


def test_a_signal_ends_a_crawl_after_what_is_in_flight_and_the_same_command_continues_without_a_repeat(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    site.hold_after(50)
    with program.start("crawl", site.url("/"), "-o", "out", *FAST) as run:
        assert site.wait(lambda s: len(s.log) >= 50 + CONCURRENCY, 30), run.said()
        run.send(signal.SIGINT)
        assert run.says("stopping")
        site.release()
        ended = run.end()
    assert ended.code == 130, ended.err
    assert "fetcher crawl" in ended.err, "how to continue is not said"
    ended = crawl(program, site)
    assert ended.code == 0, ended.err
    assert_asked(site, small.expected())
    assert_recorded(site, program.folder / "out", small.expected())
    assert site.count("/robots.txt") == 1, "it is kept in the state"


def test_a_crawl_that_ended_asks_for_nothing_when_run_again(
    program: Program, serve: MakeCrawlSite, small: Web
) -> None:
    site = serve(small)
    assert crawl(program, site).code == 0
    before, lines = len(site.log), records(program.folder / "out")
    assert crawl(program, site).code == 0
    assert len(site.log) == before
    assert records(program.folder / "out") == lines


def test_a_crawl_and_a_batch_do_not_share_a_directory(program: Program, serve: MakeCrawlSite) -> None:
    site = serve(linked("/ /a"))
    assert crawl(program, site).code == 0
    before = len(site.log)
    ended = program.run("get", site.url("/a"), "-o", "out")
    assert (ended.code, "Traceback" in ended.err) == (2, False), ended.err
    assert program.run("get", site.url("/a"), "-o", "batch").code == 0
    ended = program.run("crawl", site.url("/"), "-o", "batch")
    assert (ended.code, "Traceback" in ended.err) == (2, False), ended.err
    assert len(site.log) == before + 1


def test_a_refresh_asks_for_every_page_again_and_follows_what_is_new(
    program: Program, serve: MakeCrawlSite
) -> None:
    web = linked("/ /a /b", "/ /c")
    site = serve(web)
    assert crawl(program, site).code == 0
    web.link("/b", "/new")
    web.add(Page("/new", "new"))
    ended = crawl(program, site, "--refresh")
    assert ended.code == 0, ended.err
    assert site.asked() == {"/": 2, "/a": 2, "/b": 2, "/c": 2, "/new": 1}
    found = by_url(program.folder / "out")
    states = {url.removeprefix(site.url("")): record["state"] for url, record in found.items()}
    assert states == {"/": "unchanged", "/a": "unchanged", "/b": "done", "/c": "unchanged", "/new": "done"}


def test_a_refresh_no_longer_asks_for_what_no_page_leads_to_any_more(
    program: Program, serve: MakeCrawlSite
) -> None:
    web = linked("/ /a /b")
    site = serve(web)
    assert crawl(program, site).code == 0
    web.add(Page("/a", "without a link"))
    assert crawl(program, site, "--refresh").code == 0
    assert site.asked() == {"/": 2, "/a": 2, "/b": 1}
    assert len(stored(program.folder / "out")) == 3, "what was fetched is kept"


# -- exit codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/", 404, 1),
        ("/a", 404, 0),
        ("/a", 410, 0),
        ("/a", 999, 1),
        ("/a", 408, 1),
        ("/a", 429, 1),
        ("/a", 500, 1),
        ("/", 500, 1),
    ],
)
def test_the_exit_code_is_1_if_a_seed_or_a_page_failed_but_a_4xx_on_the_way_is_a_finding(
    program: Program, serve: MakeCrawlSite, target: str, status: int, code: int
) -> None:
    web = linked("/ /a /b", "/ /c")
    web.resources[target] = Resource(b"no", HTML, status=status)
    site = serve(web)
    ended = crawl(program, site, "--retries", "0")
    assert ended.code == code, ended.err
    record = by_url(program.folder / "out")[site.url(target)]
    assert (record["state"], record["status"]) == ("failed", status)


def test_a_seed_that_robots_txt_refuses_is_no_success(program: Program, serve: MakeCrawlSite) -> None:
    site = serve(linked("/ /a", robots="User-agent: *\nDisallow: /\n"))
    ended = crawl(program, site)
    assert ended.code == 1, ended.err
    assert site.asked() == {}
    assert [(r["state"], r["error"]) for r in records(program.folder / "out")] == [("refused", "robots")]


def test_what_rules_left_out_is_no_failure(program: Program, serve: MakeCrawlSite) -> None:
    site = serve(linked("/ /a /b", "/ /shut", robots="User-agent: *\nDisallow: /shut\n"))
    ended = crawl(program, site, "--exclude", "/b")
    assert ended.code == 0, ended.err
    found = by_url(program.folder / "out")
    assert {url.removeprefix(site.url("")): record["state"] for url, record in found.items()} == {
        "/": "done",
        "/a": "done",
        "/shut": "refused",
    }


def test_a_redirect_ends_as_done_without_a_file_and_its_target_joins_at_the_same_depth(
    program: Program, serve: MakeCrawlSite
) -> None:
    web = linked("/ /a", "/to /child")
    web.resources["/a"] = moved("/to", 302)
    site = serve(web)
    ended = crawl(program, site, "--depth", "1")
    assert ended.code == 0, ended.err
    assert_asked(site, web.expected(depth=1))
    found = by_url(program.folder / "out")
    redirected, to = found[site.url("/a")], found[site.url("/to")]
    assert (redirected["state"], redirected["status"], redirected["path"], redirected["depth"]) == (
        "done",
        302,
        None,
        1,
    )
    assert (to["state"], to["status"], to["parent"], to["depth"]) == ("done", 200, site.url("/a"), 1)


def test_redirects_in_a_circle_end_and_each_is_asked_for_once(program: Program, serve: MakeCrawlSite) -> None:
    web = linked("/ /self", "/ /one")
    web.resources |= {"/self": moved("/self"), "/one": moved("/two"), "/two": moved("/one", 307)}
    site = serve(web)
    ended = crawl(program, site)
    assert ended.code == 0, ended.err
    assert_asked(site, web.expected())
    assert {record["status"] for record in records(program.folder / "out")} == {200, 301, 307}


# -- the user's parser ---------------------------------------------------------------------------------

PARSER = """
import fetcher

def titles(page):
    if page.url.endswith("/bad"):
        raise ValueError("no title")
    return fetcher.Parsed(data={"url": page.url}, links=["hidden"])
"""


def test_links_are_followed_even_where_the_users_parser_fails_and_the_file_stays(
    program: Program, serve: MakeCrawlSite
) -> None:
    (program.folder / "mine.py").write_text(PARSER)
    site = serve(linked("/ /bad /behind", "/hidden /more"))
    ended = crawl(program, site, "--parser", "mine:titles")
    assert ended.code == 1, ended.err
    assert site.asked() == {"/": 1, "/bad": 1, "/behind": 1, "/hidden": 1, "/more": 1}
    data = [json.loads(line) for line in (program.folder / "out" / "data.jsonl").read_text().splitlines()]
    assert len(data) == 4
    record = by_url(program.folder / "out")[site.url("/bad")]
    assert (record["state"], record["error"], record["status"]) == ("failed", "parse-failed", 200)
    assert (program.folder / "out" / record["path"]).read_bytes() == site.web.resources["/bad"].body
