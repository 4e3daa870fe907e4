"""What a crawl's frontier must do: discovery, depth, budgets, robots.txt, marks, sessions, kills."""

import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.frontiers import MEMORY, PLENTY, Place, by_path, deferred, ended, job, jobs, urls_of

from fetcher.errors import ConfigError, StorageError
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.stored_links import pack, unpack
from fetcher.frontiers.sqlite.filename_allocator import FilenameAllocator
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.frontiers.sqlite.report import read_report
from fetcher.model import Counts, CrawlFindings, Job, Link, Outcome
from fetcher.policy.scope import Scope
from fetcher.serial_executor import SerialExecutor

NOW = 1_800_000_000.0
DAY = 24 * 3600.0
MODES = {"refresh", "retry_failed", "restart"}


class Site(Place):
    """A run directory of a crawl. Keywords of `session` are modes, and fields of rules and scope."""

    scope: dict[str, Any] = {"scope": "any", "depth": 5}  # noqa: RUF012
    rules: dict[str, Any] = {"agent": "bot", "obeys_robots": False}  # noqa: RUF012

    def frontier(self, *, fsync: bool = False, **options: Any) -> SqliteFrontier:
        mode = {key: options.pop(key) for key in MODES & options.keys()}
        scope = {
            **self.scope,
            **{key: options.pop(key) for key in {"scope", "depth", "exclude"} & options.keys()},
        }
        return SqliteFrontier(
            self.state,
            self.results,
            mode=Mode(command="crawl", **mode),
            lane=SerialExecutor("state"),
            names=None if self.candidate is None else FilenameAllocator(self.candidate, self.existing),
            data=self.root / "data.jsonl",
            crawl=CrawlOptions(scope=Scope(**scope), **{**self.rules, **options}),
            fsync=fsync,
        )

    def killed(self) -> "Site":
        left = super().killed()
        return Site(left.root, candidate=left.candidate)

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT url, state FROM url"))

    def depths(self) -> dict[str, int]:
        return dict(self.rows("SELECT url, depth FROM url WHERE state <> 7"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "run", candidate=by_path)


@asynccontextmanager
async def in_memory(**options: Any) -> AsyncIterator[SqliteFrontier]:
    scope = {
        "scope": "any",
        **{key: options.pop(key) for key in {"scope", "depth", "exclude"} & options.keys()},
    }
    rules = CrawlOptions(scope=Scope(**scope), **{**Site.rules, **options})
    frontier = SqliteFrontier(
        None, None, mode=Mode(command="crawl"), lane=SerialExecutor("state"), crawl=rules
    )
    await frontier.open()
    try:
        yield frontier
    finally:
        await frontier.aclose(complete=False)


def url(path: Any, host: str = "h") -> str:
    return f"http://{host}/{path}"


def links(paths: Iterable[Any], **fields: Any) -> list[Link]:
    return [Link(path if "://" in str(path) else url(path), **fields) for path in paths]


def page(job: Job, found: Sequence[Link] | None = (), state: str = "done", **fields: Any) -> Outcome:
    """A page that ended, with its links."""
    outcome = ended(job, state, **fields)
    outcome.links = found
    return outcome


async def take(frontier: SqliteFrontier, limit: int = PLENTY, now: float = NOW) -> list[Job]:
    """Claim up to `limit`, in as many claims as that takes."""
    got: list[Job] = []
    while len(got) < limit and (some := await frontier.claim(limit - len(got), per_host=PLENTY, now=now)):
        got += some
    return got


async def one(frontier: SqliteFrontier) -> Job:
    (got,) = await take(frontier)
    return got


async def crawl(
    frontier: SqliteFrontier,
    graph: dict[str, Sequence[Link]],
    seeds: Sequence[str] = ("s",),
    state: str = "done",
) -> list[str]:
    """Crawl a site, all that can be claimed at a time. Returns what was fetched, in order."""
    await frontier.add(jobs(map(url, seeds)))
    fetched = []
    while got := await take(frontier):
        fetched += urls_of(got)
        await frontier.settle([page(job, graph.get(job.url.rpartition("/")[2], ()), state) for job in got])
    return [text.rpartition("/")[2] for text in fetched]


# ---- depth: what is fetched does not depend on who answered first ----


KINDS = ("page", "page", "page", "asset", "canonical", "redirect", "nofollow")
EDGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(KINDS)), max_size=30)


def admitted(edges: list[tuple[int, int, str]], depth: int) -> dict[int, int]:
    """The least fixed point: the depth of what is reached. Assets have no limit, redirects cost nothing."""
    depths, hops = {0: 0}, {0: 0}
    fetched = {0}
    as_page, as_asset = {0}, set()
    changed = True
    while changed:
        changed = False
        for source, to, kind in edges:
            if source not in fetched or kind == "nofollow" or (kind == "canonical" and source == to):
                continue
            is_hop = kind in {"canonical", "redirect"}
            hop = hops[source] + 1 if is_hop else 0
            if hop > 2:
                continue
            is_asset = kind == "asset" or (kind == "redirect" and source not in as_page)
            before = depths.get(to), hops.get(to), to in as_page, to in as_asset, to in fetched
            (as_asset if is_asset else as_page).add(to)
            depths[to] = min(depths.get(to, 99), depths[source] + (not is_hop))
            hops[to] = min(hops.get(to, 99), hop)
            if to in as_asset or depths[to] <= depth:
                fetched.add(to)
            changed |= before != (depths[to], hops[to], to in as_page, to in as_asset, to in fetched)
    return {node: depths[node] for node in fetched}


def found_on(edges: list[tuple[int, int, str]], number: int) -> list[Link]:
    """The links of one page of a drawn site."""
    kinds: dict[str, Any] = {"nofollow": "page"}
    return [
        Link(url(to), kinds.get(kind, kind), kind == "nofollow")
        for source, to, kind in edges
        if source == number
    ]


@settings(max_examples=150, deadline=None)
@given(edges=EDGES, depth=st.integers(0, 4), data=st.data())
async def test_what_is_fetched_and_how_deep_does_not_depend_on_the_order(
    edges: list[tuple[int, int, str]], depth: int, data: st.DataObject
) -> None:
    async with in_memory(depth=depth, max_hops=2) as frontier:
        await frontier.add([job(url(0))])
        held: list[Job] = []
        pending = 1
        while pending:
            held += await take(frontier, data.draw(st.integers(1, 4)))
            batch = [
                held.pop(data.draw(st.integers(0, len(held) - 1)))
                for _ in range(min(len(held), data.draw(st.integers(1, 3))))
            ]
            outcomes = [page(got, found_on(edges, int(got.url.rpartition("/")[2]))) for got in batch]
            pending += await frontier.settle(outcomes) - len(batch)
        rows = frontier._db.execute("SELECT url, depth FROM url WHERE state = 1").fetchall()
    assert {int(text.rpartition("/")[2]): found for text, found in rows} == admitted(edges, depth)


@settings(max_examples=25, deadline=None)
@given(edges=EDGES, depth=st.integers(0, 4), data=st.data())
async def test_kills_change_nothing_of_what_is_fetched(
    edges: list[tuple[int, int, str]], depth: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        site = Site(Path(folder) / "run")
        fetched: list[int] = []
        for rounds in (*data.draw(st.tuples(*[st.integers(0, 4)] * 3)), 1000):
            async with site.session(depth=depth, max_hops=2) as frontier:
                await frontier.add([job(url(0))])
                for _ in range(rounds):
                    got = await take(frontier, 3)
                    done = got[: data.draw(st.integers(0, 3))] if rounds < 1000 else got
                    numbers = [int(each.url.rpartition("/")[2]) for each in done]
                    outcomes = [page(each, found_on(edges, n)) for each, n in zip(done, numbers, strict=True)]
                    await frontier.settle(outcomes)
                    fetched += numbers
                    if not got:
                        break
                site = site.killed()
        assert sorted(fetched) == sorted(admitted(edges, depth))
        assert site.lines() == [url(number) for number in fetched]


async def test_a_page_found_nearer_has_its_links_found_again(site: Site) -> None:
    async with site.session(depth=2) as frontier:
        await frontier.add(jobs([url("a"), url("b")]))
        a, b = await take(frontier)
        assert await frontier.settle([page(a, links(["x"]))]) == 1
        x = await one(frontier)
        await frontier.settle([page(x, links(["y"]))])
        y = await one(frontier)
        assert y.depth == 2
        assert await frontier.settle([page(y, links(["z"]))]) == 0, "z is too deep"
        assert await frontier.settle([page(b, links(["y"]))]) == 1, "through b it is not"
        z = await one(frontier)
        assert (z.url, z.depth, z.parent) == (url("z"), 2, url("y"))
        await frontier.settle([page(z)])
    assert site.depths() == {url("a"): 0, url("b"): 0, url("x"): 1, url("y"): 1, url("z"): 2}


async def test_a_page_found_nearer_while_it_is_fetched_counts_as_it_is_then(site: Site) -> None:
    async with site.session(depth=2) as frontier:
        await frontier.add(jobs([url("a"), url("b")]))
        a, b = await take(frontier)
        await frontier.settle([page(a, links(["x"]))])
        x = await one(frontier)
        await frontier.settle([page(x, links(["y"]))])
        y = await one(frontier)
        await frontier.settle([page(b, links(["y"]))])
        assert await frontier.settle([page(y, links(["z"]))]) == 1
        await frontier.settle([page(await one(frontier))])


async def test_pages_and_links_of_one_batch_are_judged_by_what_the_batch_tells(site: Site) -> None:
    async with site.session(depth=1) as frontier:
        await frontier.add(jobs([url("a"), url("b")]))
        a, b = await take(frontier)
        await frontier.settle([page(a, links(["b", "a", "c"])), page(b, links(["c", "d"]))])
        assert urls_of(await take(frontier)) == [url("c"), url("d")]


async def test_a_long_chain_that_comes_nearer_needs_no_stack(site: Site) -> None:
    async with in_memory(depth=5000) as frontier:
        await frontier.add(jobs([url("s"), url("t")]))
        s, t = await take(frontier)
        await frontier.settle([page(s, links([0]))])
        for number in range(3000):
            await frontier.settle([page(await one(frontier), links([number + 1]))])
        await frontier.settle([page(t, links([2]))])
        deepest = await one(frontier)
        assert (deepest.url, deepest.depth) == (url(3000), 2999)


@pytest.mark.parametrize("order", ["t012", "012t", "0t12"])
async def test_a_page_that_is_also_linked_begins_a_new_chain_of_redirects(order: str) -> None:
    graph = {str(number): [Link(url(number + 1), "redirect")] for number in range(3)} | {"t": links([2])}
    async with in_memory(max_hops=2) as frontier:
        await frontier.add(jobs([url(0), url("t")]))
        held: dict[str, Job] = {}
        for name in order:
            held |= {got.url[-1]: got for got in await take(frontier)}
            await frontier.settle([page(held[name], graph[name])])
        assert urls_of(await take(frontier)) == [url(3)]


# ---- what is admitted ----


async def test_every_spelling_of_a_url_is_one_page_and_the_first_is_sent(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add([job("http://h/s"), job("http://H:80/s#x"), job("http://h/%73")])
        assert (await frontier.counts()).pending == 1
        found = ["a/%7eb", "a/~b", "a/./~b", "a/~b#c", "http://H/a/%7Eb"]
        assert await frontier.settle([page(await one(frontier), links(found))]) == 1
        assert (await one(frontier)).url == url("a/%7eb")


async def test_the_order_of_a_query_counts_unless_it_is_sorted(site: Site) -> None:
    for sort_query, number in ((False, 2), (True, 1)):
        async with in_memory(sort_query=sort_query) as frontier:
            await frontier.add([job(url("s"))])
            assert (
                await frontier.settle([page(await one(frontier), links(["q?a=1&b=2", "q?b=2&a=1"]))])
                == number
            )


async def test_a_session_id_makes_no_page_and_what_it_leaves_out_is_counted(site: Site) -> None:
    async with site.session(depth=2) as frontier:
        await frontier.add([job(url("s;jsessionid=0"))])
        found = ["a;jsessionid=1", "a;jsessionid=2", "b?PHPSESSID=1", "s;jsessionid=3", "a;jsessionid=1"]
        assert await frontier.settle([page(await one(frontier), links(found))]) == 2
        a, b = await take(frontier)
        assert urls_of([a, b]) == [url("a;jsessionid=1"), url("b?PHPSESSID=1")]
        again = ["a;jsessionid=2", "a;jsessionid=4", "a", "b", "s", "(S(x))/b?PHPSESSID=1"]
        assert await frontier.settle([page(a, links(again)), page(b, links(["a;jsessionid=4"]))]) == 0
        # a/2, s/3, a/4 and b by another form: a plain URL is the page, too
        assert await frontier.findings() == CrawlFindings(broken=0, left_out={"session-id": 4})
        assert await frontier.counts() == Counts(done=3)
    assert read_report(site.state, "run").left_out == {"session-id": 4}


async def test_a_page_found_nearer_by_another_session_id_is_nearer(site: Site) -> None:
    async with site.session(depth=2) as frontier:
        await frontier.add(jobs([url("s"), url("t")]))
        s, t = await take(frontier)
        await frontier.settle([page(s, links(["x"]))])
        await frontier.settle([page(await one(frontier), links(["p;jsessionid=1"]))])
        p = await one(frontier)
        assert p.depth == 2
        assert await frontier.settle([page(p, links(["q"]))]) == 0  # too deep
        assert await frontier.settle([page(t, links(["p;jsessionid=2"]))]) == 1
        assert (await one(frontier)).url == url("q")


async def test_session_ids_that_are_to_be_kept_tell_pages_apart(site: Site) -> None:
    found = ["a;jsessionid=1", "a;jsessionid=2", "a"]
    async with site.session() as frontier:
        await frontier.add([job(url("s"))])
        assert await frontier.settle([page(await one(frontier), links(found))]) == 1
    async with site.session(keep_session_ids=True, signature="another") as frontier:
        assert urls_of(await take(frontier)) == [url("a;jsessionid=1"), url("a;jsessionid=2")]
        assert (await frontier.findings()).left_out == {}
    async with in_memory(keep_session_ids=True) as frontier:
        await frontier.add([job(url("s"))])
        assert await frontier.settle([page(await one(frontier), links(found))]) == 3


@pytest.mark.parametrize("first", ["s", "s;jsessionid=0"])
async def test_a_page_that_redirects_to_itself_with_a_session_id_is_read_there(
    site: Site, first: str
) -> None:
    async with site.session() as frontier:
        await frontier.add([job(url(first))])
        for number in (1, 2):
            to = [Link(url(f"s;jsessionid={number}"), "redirect")]
            got = await one(frontier)
            rose = await frontier.settle([page(got, to, bytes=0, sha256=None)])
            assert rose == (1 if number == 1 else 0)  # once, however often it gives another
        assert got.url == url("s;jsessionid=1")


async def test_sessions_of_a_page_are_set_aside_again_when_all_is_asked_again(site: Site) -> None:
    found = links(["a;jsessionid=1", "a;jsessionid=2"])
    for mode in ({}, {"refresh": True}):
        async with site.session(**mode) as frontier:
            await frontier.add([job(url("s"))])
            assert await frontier.settle([page(await one(frontier), found)]) == 1
            await frontier.settle([page(await one(frontier))])
            assert (await frontier.findings()).left_out == {"session-id": 1}


async def test_what_rules_leave_out_is_only_counted_by_rule(site: Site) -> None:
    async with site.session(scope="host", depth=1, exclude=["/no/"], max_variants=1) as frontier:
        await frontier.add([job(url("s"))])
        found = [
            *links(["a", "no/b", "http://other/c", "q?1", "q?2", "ftp://h/", "http://user:canary@h/p"]),
            *links(["n"], nofollow=True),
        ]
        assert await frontier.settle([page(await one(frontier), found)]) == 2
        a, q = await take(frontier)
        assert urls_of([a, q]) == [url("a"), url("q?1")]
        await frontier.settle([page(a, links(["deep"])), page(q, links(["n"], nofollow=True))])
        left_out = {
            "exclude": 1, "scope": 1, "variants": 1, "bad-url": 1, "credentials": 1, "nofollow": 1, "depth": 1,
        }  # fmt: skip
        assert await frontier.findings() == CrawlFindings(broken=0, left_out=left_out)
        assert await frontier.counts() == Counts(done=3)
    report = read_report(site.state, "run")
    assert report.left_out == left_out
    assert report.states == {"pending": 0, "done": 3, "unchanged": 0, "failed": 0, "refused": 0}
    assert report.hosts == {"h:80": {"done": 3}}
    assert report.depths == {0: {"done": 1}, 1: {"done": 2}}
    assert b"canary" not in site.state.read_bytes()
    assert ("http://user:***@h/p",) in site.rows("SELECT url FROM url WHERE error = 'credentials'")


async def test_a_link_that_is_followed_elsewhere_is_not_left_out_as_nofollow(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add(jobs([url("a"), url("b")]))
        a, b = await take(frontier)
        assert await frontier.settle([page(a, links(["x"], nofollow=True))]) == 0
        assert await frontier.settle([page(b, links(["x"]))]) == 1
        assert (await one(frontier)).depth == 1
        assert (await frontier.findings()).left_out == {}


async def test_a_redirect_and_a_canonical_join_at_the_depth_of_their_page(site: Site) -> None:
    async with site.session(depth=0) as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), [Link(url("r"), "redirect")], bytes=0, sha256=None)])
        r = await one(frontier)
        assert (r.depth, r.hops, r.parent, r.kind) == (0, 1, url("s"), "page")
        await frontier.settle([page(r, [Link(url("c"), "canonical"), Link(url("r"), "canonical")])])
        assert (await one(frontier)).depth == 0


async def test_a_chain_of_redirects_ends_at_its_limit(site: Site) -> None:
    async with site.session(max_hops=3) as frontier:
        await frontier.add([job(url(0))])
        for number in range(4):
            got = await one(frontier)
            assert got.hops == number
            await frontier.settle([page(got, [Link(url(number + 1), "redirect")])])
        assert await take(frontier) == []
        assert (await frontier.findings()).left_out == {"redirects": 1}


async def test_assets_have_no_depth_and_are_their_own_kind(site: Site) -> None:
    async with site.session(depth=0, scope="host") as frontier:
        await frontier.add([job(url("s"))])
        assert (
            await frontier.settle([page(await one(frontier), links(["http://cdn/a.css"], kind="asset"))]) == 1
        )
        css = await one(frontier)
        assert (css.kind, css.depth, css.is_listed, css.is_user_host) == ("asset", 1, False, False)
        assert await frontier.settle([page(css, links(["http://cdn/b.png"], kind="asset"))]) == 1


async def test_an_asset_that_is_linked_as_a_page_is_one(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add([job(url("s"))])
        found = [*links(["x"], kind="asset"), *links(["x"])]
        assert await frontier.settle([page(await one(frontier), found)]) == 1
        assert (await one(frontier)).kind == "page"


async def test_pages_of_a_host_are_bounded_in_number_over_sessions(site: Site) -> None:
    async with site.session(max_host_pages=3) as frontier:
        await frontier.add([job(url("s"))])
        found = links([1, 2, 3, 4, "http://other/1"])
        assert await frontier.settle([page(await one(frontier), found)]) == 3
    async with site.session(max_host_pages=3) as frontier:
        first, *_ = await take(frontier)
        assert await frontier.settle([page(first, links([5, 6, 1]))]) == 0
        assert (await frontier.findings()).left_out == {"host-pages": 4}


async def test_assets_cost_nothing_of_the_pages_of_a_host_and_what_is_left_out_costs_nothing(
    site: Site,
) -> None:
    async with site.session(max_host_pages=2, max_variants=1) as frontier:
        await frontier.add([job(url("s"))])
        found = [*links(["x.css"], kind="asset"), *links(["a", "q?1"]), *links(["q?2"], kind="asset")]
        await frontier.settle([page(await one(frontier), found)])
        assert sorted(urls_of(await take(frontier))) == [url("a"), url("q?2"), url("x.css")]
        assert (await frontier.findings()).left_out == {"host-pages": 1}


async def test_a_seed_is_never_left_out(site: Site) -> None:
    async with site.session(max_host_pages=1, max_variants=1, depth=0) as frontier:
        assert (await frontier.add(jobs([url("s?1"), url("s?2"), url("s?3")]))).new == 3
        assert len(await take(frontier)) == 3


async def test_what_was_left_out_is_fetched_when_it_is_listed(site: Site) -> None:
    async with site.session(scope="host") as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), links(["http://other/a", "http://other/b"]))])
        added = await frontier.add([job("http://other/a")])
        assert (added.new, added.again, added.duplicates) == (0, 1, 0)
        got = await one(frontier)
        assert (got.url, got.depth, got.parent, got.is_listed) == ("http://other/a", 0, None, True)
        assert await frontier.settle([page(got)]) == 1, "with it its host came into scope"
        assert (await one(frontier)).url == "http://other/b"


async def test_a_seed_that_was_found_before_comes_to_depth_0_with_its_links(site: Site) -> None:
    async with site.session(depth=2) as frontier:
        await crawl(frontier, {"s": links(["a"]), "a": links(["b"]), "b": links(["c"])})
        assert (await frontier.findings()).left_out == {"depth": 1}
        added = await frontier.add([job(url("a"))])
        assert (added.new, added.pending, added.again) == (0, 1, 1)
        got = await one(frontier)
        assert (got.url, got.depth) == (url("c"), 2)
        await frontier.settle([page(got)])
    assert site.depths() == {url("s"): 0, url("a"): 0, url("b"): 1, url("c"): 2}


async def test_only_what_the_user_named_is_named(site: Site) -> None:
    for _ in range(2):
        async with site.session() as frontier:
            await frontier.add([job("https://h:8443/s"), job("http://[::1]:81/")])
            for got in await take(frontier):
                await frontier.settle(
                    [page(got, links(["http://found/", "http://h/plain", "https://h:8443/x"]))]
                )
            assert await frontier.is_user_host("h", None)
            assert await frontier.is_user_host("h", 8443)
            assert not await frontier.is_user_host("h", 80)
            assert not await frontier.is_user_host("found", None)
            assert await frontier.is_user_host("::1", 81)
            flags = {got.url: (got.is_listed, got.is_user_host) for got in await take(frontier)}
            for text, wanted in flags.items():
                assert (
                    wanted == {"f": (False, False), "h": ("8443" in text, True)}[text.partition("//")[2][0]]
                )


# ---- order ----


async def test_breadth_goes_before_depth_and_priority_before_both(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add(jobs([url("s"), url("t")]))
        s, t = await take(frontier)
        await frontier.settle([page(s, links(["a", "b"]))])
        (a,) = await take(frontier, 1)
        await frontier.settle([page(a, [*links(["a1"]), *links(["a2"], priority=1)])])
        await frontier.settle([page(t, links(["c"]))])
        assert urls_of(await take(frontier)) == [url("a2"), url("b"), url("c"), url("a1")]


async def test_a_priority_beyond_all_bounds_is_only_a_large_one(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add([job(url("s"), priority=10**17)])
        found = [*links(["b"], priority=-(10**30)), *links(["a"], priority=10**30)]
        await frontier.settle([page(await one(frontier), found)])
        assert urls_of(await take(frontier)) == [url("a"), url("b")]


async def test_no_host_takes_the_claims_of_another(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add([job(url("s"))])
        found = links([f"http://{host}/{number}" for host in "abc" for number in range(100)])
        await frontier.settle([page(await one(frontier), found)])
        got = await frontier.claim(30, per_host=10, now=NOW)
        assert sorted({got.host for got in got}) == ["a:80", "b:80", "c:80"]


# ---- the budget of pages, and marks ----


async def test_no_more_pages_are_claimed_than_the_budget_says(site: Site) -> None:
    async with site.session(max_pages=3) as frontier:
        fetched = await crawl(frontier, {"s": links([1, 2, 3, 4])})
        assert fetched == ["s", "1", "2"]
        assert frontier.is_spent
        assert await frontier.counts() == Counts(pending=2, done=3)


@pytest.mark.parametrize("is_killed", [False, True])
async def test_the_budget_holds_over_sessions_and_kills(site: Site, is_killed: bool) -> None:
    async with site.session(max_pages=4) as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), links(range(9)))])
        assert urls_of(await take(frontier, 2)) == [url(0), url(1)]
        left = site.killed() if is_killed else site
    async with left.session(max_pages=4) as frontier:
        first = await take(frontier, 2)
        assert urls_of(first) == [url(0), url(1)]
        assert [got.was_claimed for got in first] == [is_killed, is_killed]
        await frontier.settle([page(got) for got in first])
        assert not frontier.is_spent
        (last,) = await take(frontier)
        assert not last.was_claimed
        assert await take(frontier) == []
        assert frontier.is_spent
        await frontier.settle([page(last)])


async def test_what_was_counted_is_given_out_again_when_the_budget_is_spent(site: Site) -> None:
    async with site.session(max_pages=2) as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), links(range(9)))])
        await take(frontier)
        left = site.killed()
    async with left.session(max_pages=2) as frontier:
        got = await one(frontier)
        assert (got.url, got.was_claimed) == (url(0), True)
        assert await take(frontier) == []
        assert frontier.is_spent
        await frontier.settle([page(got, state="failed", status=500)])
    async with left.session(max_pages=2, retry_failed=True) as frontier:
        assert urls_of(await take(frontier)) == [url(0)]


async def test_assets_cost_no_budget_and_come_though_it_is_spent(site: Site) -> None:
    async with site.session(max_pages=1) as frontier:
        await frontier.add([job(url("s"))])
        found = [*links(["p"]), *links([f"{n}.css" for n in range(50)], kind="asset")]
        await frontier.settle([page(await one(frontier), found)])
        got = await frontier.claim(100, per_host=20, now=NOW)
        assert len(got) == 20, "no more of one host"
        assert {got.kind for got in got} == {"asset"}
        assert not frontier.is_spent
        await frontier.settle([page(each) for each in got])
        rest = await take(frontier)
        assert len(rest) == 30
        await frontier.settle([page(each) for each in rest])
        assert await take(frontier) == []
        assert frontier.is_spent


async def test_assets_that_were_given_out_are_not_counted_as_pages_later(site: Site) -> None:
    async with site.session(max_pages=3) as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), [*links("abcd", kind="asset"), *links("xyz")])])
        assert len(await take(frontier, 5)) == 5
        left = site.killed()
    async with left.session(max_pages=3) as frontier:
        assert sorted(got.kind for got in await take(frontier)) == ["asset"] * 4 + ["page"] * 2


async def test_a_refresh_has_a_budget_of_its_own(site: Site) -> None:
    async with site.session(max_pages=2, complete=True) as frontier:
        assert await crawl(frontier, {"s": links([1, 2])}) == ["s", "1"]
    async with site.session(max_pages=2, refresh=True) as frontier:
        fetched = await crawl(frontier, {"s": links([1, 2])})
        assert len(fetched) == 2


@pytest.mark.parametrize("is_killed", [False, True])
async def test_what_a_killed_session_held_comes_first_and_is_told(site: Site, is_killed: bool) -> None:
    async with site.session() as frontier:
        await frontier.add([job(url("s"), priority=-5), *jobs(map(url, range(9)))])
        first, second, *_ = await take(frontier, 4)
        await frontier.settle([page(first), deferred(second)])
        left = site.killed() if is_killed else site
    async with left.session() as frontier:
        await frontier.add(jobs([url("first")], priority=5))
        got = await take(frontier, 1)
        assert urls_of(got) == [url(1) if is_killed else url("first")]
        got += await take(frontier)
        assert [int(one.url[-1]) for one in got if one.was_claimed] == ([1, 2, 3] if is_killed else [])
        assert len(got) == len({each.id for each in got}) == 10
        await frontier.settle([page(each) for each in got])
        assert await take(frontier) == []


async def test_of_what_a_killed_session_held_no_more_is_given_out_at_once_than_a_host_may_have(
    site: Site,
) -> None:
    async with site.session() as frontier:
        await frontier.add(jobs(map(url, range(9))))
        await take(frontier, 6)
        left = site.killed()
    async with left.session() as frontier:
        first = await frontier.claim(PLENTY, per_host=2, now=NOW)
        assert [got.was_claimed for got in first] == [True, True]
        assert await frontier.claim(PLENTY, per_host=2, now=NOW) == []
        await frontier.settle([page(first[0])])
        assert [got.was_claimed for got in await frontier.claim(PLENTY, per_host=2, now=NOW)] == [True]


async def test_get_tells_what_a_killed_session_held_where_it_has_a_parser(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=by_path)

    def frontier(place: Place) -> SqliteFrontier:
        names = FilenameAllocator(by_path, place.existing)
        return SqliteFrontier(
            place.state,
            place.results,
            mode=Mode(),
            lane=SerialExecutor("state"),
            names=names,
            marks_claims=True,
        )

    first = frontier(place)
    await first.open()
    await first.add(jobs(map(url, range(5))))
    await take(first, 2)
    left = place.killed()
    await first.aclose(complete=False)
    for each, number in ((place, 0), (left, 2)):
        again = frontier(each)
        await again.open()
        assert sum(got.was_claimed for got in await take(again)) == number
        await again.aclose(complete=False)


# ---- robots.txt ----


def rules_of(asked: Job, text: str | None = None, *, fault: int = 0) -> Outcome:
    return Outcome(job=asked, robots=None if text is None else text.encode(), fault=fault)


NO = "User-agent: *\nDisallow: /no\nCrawl-delay: 2\n"


async def test_robots_txt_is_asked_for_before_anything_else_of_an_origin(site: Site) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add(jobs([url("a"), url("no/b"), "https://h/c"]))
        asked = await take(frontier)
        assert sorted(urls_of(asked)) == ["http://h/robots.txt", "https://h/robots.txt"]
        assert all(got.kind == "robots" and got.id < 0 and got.path is None for got in asked)
        assert len({got.id for got in asked}) == 2
        assert all(got.is_listed and got.is_user_host for got in asked)
        assert await take(frontier) == []
        first = min(asked, key=lambda got: got.url)
        assert await frontier.settle([rules_of(first, NO)]) == 0
        a, b = await take(frontier)
        assert (a.url, a.refusal, a.crawl_delay_s) == (url("a"), None, 2.0)
        assert (b.url, b.refusal) == (url("no/b"), ("robots", "robots.txt disallows it"))
        refused = ended(b, "refused", error="robots")
        assert await frontier.settle([page(a, links(["no/c", "d"])), refused]) == 2
        assert [got.refusal is None for got in await take(frontier)] == [False, True]
        assert (await frontier.findings()).broken == 1, "a seed was refused"
    assert site.rows("SELECT error, claimed FROM url WHERE url = ?", url("no/b")) == [("robots", 0)]
    assert site.rows("SELECT count(*) FROM url WHERE url LIKE '%robots.txt'") == [(0,)]


async def test_what_is_held_back_counts_against_the_host_and_comes_in_parts(site: Site) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add(jobs(map(url, range(50))))
        (asked,) = await frontier.claim(10, per_host=20, now=NOW)
        assert await frontier.claim(10, per_host=20, now=NOW) == []
        await frontier.settle([rules_of(asked, "")])
        first = await frontier.claim(15, per_host=20, now=NOW)
        second = await frontier.claim(15, per_host=20, now=NOW)
        assert [len(first), len(second)] == [15, 5]
        assert await frontier.claim(15, per_host=20, now=NOW) == []


async def test_an_origin_that_waits_for_its_robots_txt_keeps_no_other_waiting(site: Site) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add(jobs([*(url(n, "a") for n in range(50)), url("x", "b")]))
        asked = [
            *await frontier.claim(10, per_host=40, now=NOW),
            *await frontier.claim(10, per_host=40, now=NOW),
        ]
        assert sorted(urls_of(asked)) == ["http://a/robots.txt", "http://b/robots.txt"]
        await frontier.settle([rules_of(max(asked, key=lambda got: got.url), "")])
        assert urls_of(await frontier.claim(10, per_host=40, now=NOW)) == [url("x", "b")]


async def test_robots_txt_is_kept_for_a_day(site: Site) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add(jobs(map(url, range(5))))
        (asked,) = await take(frontier)
        await frontier.settle([rules_of(asked, NO)])
    for later, is_asked in ((DAY - 1, False), (DAY + 1, True), (-DAY - 1, True)):
        left = site.killed()
        async with left.session(obeys_robots=True) as frontier:
            got = await take(frontier, 1, now=NOW + later)
            assert (got[0].kind == "robots") == is_asked


async def test_a_refresh_asks_for_robots_txt_again(site: Site) -> None:
    modes = ({}, True), ({}, False), ({"refresh": True}, True), ({"restart": True}, True)
    for number, (mode, is_asked) in enumerate(modes):
        async with site.session(obeys_robots=True, complete=True, **mode) as frontier:
            await frontier.add([job(url("s")), job(url(number))])
            got = await take(frontier)
            assert (got[0].kind == "robots") == is_asked
            if is_asked:
                await frontier.settle([rules_of(got[0], NO)])
                got = await take(frontier)
            await frontier.settle([page(each) for each in got])


@pytest.mark.parametrize("fault", [404, 403, 429, 301])
async def test_without_a_robots_txt_all_is_allowed(site: Site, fault: int) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add([job(url("no/s"))])
        await frontier.settle([rules_of(await one(frontier), fault=fault)])
        assert (await one(frontier)).refusal is None
    async with site.session(obeys_robots=True) as frontier:
        assert (await one(frontier)).kind == "page", "and that is remembered"


@pytest.mark.parametrize("fault", [0, 500, 503, 999])
async def test_an_origin_whose_robots_txt_is_unreachable_is_refused_until_asked_again(
    site: Site, fault: int
) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add([job(url("s")), job(url("t"))])
        asked = await one(frontier)
        await frontier.settle([deferred(asked)])
        await frontier.settle([rules_of(asked, fault=fault)])
        got = await take(frontier)
        assert [each.refusal and each.refusal[0] for each in got] == ["robots-unreachable"] * 2
        await frontier.settle([ended(each, "refused", error="robots-unreachable") for each in got])
        await frontier.add([job(url("u"))])
        assert (await one(frontier)).refusal is not None
    async with site.session(obeys_robots=True, retry_failed=True) as frontier:
        assert (await one(frontier)).url == url("robots.txt")
        assert (await frontier.counts()).pending == 3


async def test_only_the_first_500_kib_of_robots_txt_count(site: Site) -> None:
    async with site.session(obeys_robots=True) as frontier:
        await frontier.add([job(url("a")), job(url("z"))])
        text = "User-agent: *\nDisallow: /a\n" + "#" * (500 * 1024 - 28) + "\nDisallow: /z\n"
        outcome = rules_of(await one(frontier), text)
        await frontier.settle([outcome])
        assert [got.refusal is None for got in await take(frontier)] == [False, True]
        assert outcome.notes == [f"{url('robots.txt')}: only the first 500 KiB are read"]


async def test_refused_by_robots_costs_no_budget_and_no_name(site: Site) -> None:
    async with site.session(obeys_robots=True, max_pages=1) as frontier:
        await frontier.add(jobs([url("no/1"), url("no/2"), url("a"), url("b")]))
        await frontier.settle([rules_of(await one(frontier), NO)])
        got: list[Job] = []
        while some := await take(frontier):
            got += some
            await frontier.settle(
                [ended(each, "refused", error="robots") if each.refusal else page(each) for each in some]
            )
        assert [(each.url, each.path) for each in got] == [
            (url("no/1"), None), (url("no/2"), None), (url("a"), "a"),
        ]  # fmt: skip
        assert frontier.is_spent


# ---- sitemaps ----


async def test_sitemaps_are_asked_for_and_their_entries_are_pages_of_depth_1(site: Site) -> None:
    async with site.session(obeys_robots=True, sitemaps=True, scope="host") as frontier:
        added = await frontier.add([job(url("s")), job(url("t"))])
        assert (added.new, added.again) == (2, 1)
        first = await take(frontier)
        assert [got.kind for got in first] == ["robots", "sitemap"]
        assert [got.url for got in first] == [url("robots.txt"), url("sitemap.xml")]
        text = "Sitemap: http://cdn/map.xml\nSitemap: http://h/sitemap.xml\n"
        assert await frontier.settle([rules_of(first[0], text)]) == 1
        at_host = first[1]
        assert (at_host.depth, at_host.path, at_host.parent) == (0, None, url("s"))
        found = [Link(url("map2.xml"), "sitemap"), *links(["a", "sitemap.xml", "http://cdn/x"])]
        assert await frontier.settle([page(at_host, found)]) == 3
        got = {each.url: each for each in await take(frontier)}
        assert sorted(got) == [
            "http://cdn/map.xml", url("a"), url("map2.xml"), url("s"), url("sitemap.xml"), url("t"),
        ]  # fmt: skip
        assert [got[each].kind for each in sorted(got)] == [
            "sitemap",
            "page",
            "sitemap",
            "page",
            "page",
            "page",
        ]
        assert (got[url("a")].depth, got[url("a")].parent) == (1, url("sitemap.xml"))
        assert (got[url("map2.xml")].depth, got[url("map2.xml")].path) == (0, None)
        await frontier.settle(
            [page(each, state="failed", status=500) for each in got.values() if each.kind == "sitemap"]
        )
        counts = await frontier.counts()
        assert counts == Counts(pending=4)
        assert (await frontier.findings()).broken == 0
    assert read_report(site.state, "run").states["pending"] == 4
    assert read_report(site.state, "run").errors == {}


async def test_sitemaps_cost_no_budget_and_are_not_asked_for_when_it_is_spent(site: Site) -> None:
    async with site.session(sitemaps=True, max_pages=1) as frontier:
        await frontier.add([job(url("s"))])
        got = await one(frontier)
        assert got.kind == "page"
        await frontier.settle([page(got, links(["a"]))])
        assert await take(frontier) == []
        assert frontier.is_spent
    async with site.session(sitemaps=True, max_pages=2) as frontier:
        assert [each.kind for each in await take(frontier)] == ["sitemap", "page"]


# ---- sessions ----


async def test_an_interrupted_crawl_goes_on_and_finds_no_page_twice(site: Site) -> None:
    graph = {str(n): links([2 * n + 1, 2 * n + 2, n // 2]) for n in range(60)}
    fetched: list[str] = []
    left = site
    async with left.session(depth=4) as frontier:
        await frontier.add([job(url(0))])
    for _ in range(40):
        async with left.session(depth=4) as frontier:
            await frontier.add([job(url(0))])
            got = await take(frontier, 3)
            done = got[:2]
            fetched += [each.url.rpartition("/")[2] for each in done]
            await frontier.settle([page(each, graph.get(each.url.rpartition("/")[2], ())) for each in done])
            left = left.killed()
        if not got:
            break
    assert sorted(map(int, fetched)) == list(range(31))
    assert left.lines() == [url(name) for name in fetched]


async def test_a_refresh_asks_again_for_what_is_still_linked(site: Site) -> None:
    async with site.session(complete=True) as frontier:
        await crawl(frontier, {"s": links(["a", "b"]), "a": links(["c"])})
    for seconds in (1, 2):
        async with site.session(complete=True, refresh=True) as frontier:
            assert (await frontier.add([job(url("s"))])).again == 1
            got = await one(frontier)
            assert got.cached is not None
            assert await frontier.settle([page(got, None, "unchanged", sha256="ab" * 32, bytes=4)]) == 2, (
                seconds
            )
            a, b = await take(frontier)
            assert a.cached is not None
            assert (
                await frontier.settle([page(a, links(["c"] if seconds == 1 else [])), page(b, links(["s"]))])
                == 2 - seconds
            )
            for each in await take(frontier):
                await frontier.settle([page(each)])
            assert await frontier.counts() == Counts(done=4 - 1, unchanged=1)


async def test_an_interrupted_refresh_is_continued(site: Site) -> None:
    async with site.session(complete=True) as frontier:
        await crawl(frontier, {"s": links(["a", "b"])})
    fetched = []
    for number in (1, PLENTY):
        async with site.session(refresh=True) as frontier:
            await frontier.add([job(url("s"))])
            for _ in range(2):
                got = await take(frontier, number)
                fetched += urls_of(got)
                await frontier.settle(
                    [page(each, links(["a", "b"] if each.url == url("s") else [])) for each in got]
                )
    assert fetched == [url("s"), url("a"), url("b")]


async def test_in_a_refresh_a_page_is_as_deep_as_it_is_found_then(site: Site) -> None:
    async with site.session(complete=True, depth=1) as frontier:
        await crawl(frontier, {"s": links(["a", "b"])})
    async with site.session(complete=True, depth=1, refresh=True) as frontier:
        assert await crawl(frontier, {"s": links(["a"]), "a": links(["b", "new"])}) == ["s", "a"]
        assert (await frontier.findings()).left_out == {"depth": 1}


async def test_in_a_refresh_parents_and_what_is_left_out_are_those_of_now(site: Site) -> None:
    async with site.session(complete=True, scope="host") as frontier:
        await crawl(frontier, {"s": links(["a", "b", "http://x/", "http://y/"])})
    async with site.session(complete=True, scope="host", refresh=True) as frontier:
        await crawl(frontier, {"s": links(["a"]), "a": links(["b", "http://x/"])})
        assert (await frontier.findings()).left_out == {"scope": 1}
    assert site.rows("SELECT parent, depth FROM url WHERE url = ?", url("b")) == [(url("a"), 2)]


async def test_what_a_seed_brings_into_scope_is_found_though_the_run_was_killed(site: Site) -> None:
    async with site.session(scope="host") as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), links(["http://other/a"]))])
        await frontier.add([job("http://other/")])
        left = site.killed()
    async with left.session(scope="host") as frontier:
        got = await one(frontier)
        assert await frontier.settle([page(got)]) == 1
        assert (await one(frontier)).url == "http://other/a"


async def test_a_restart_finds_everything_again_under_the_same_names(site: Site) -> None:
    graph = {"s": [*links(["a", "b"]), *links(["c"], nofollow=True)]}
    async with site.session(complete=True) as frontier:
        await crawl(frontier, graph)
    async with site.session(complete=True, restart=True) as frontier:
        assert await frontier.counts() == Counts()
        assert (await frontier.findings()).left_out == {}
        assert not await frontier.is_user_host("h", None)
        assert await crawl(frontier, {"s": links(["b"])}) == ["s", "b"]
        assert await frontier.counts() == Counts(done=2)
    assert site.rows("SELECT path FROM url WHERE state = 1 ORDER BY id") == [("s",), ("b",)]
    assert site.lines() == [url("s"), url("b")]


async def test_other_rules_judge_again_what_was_left_out_and_what_waits(site: Site) -> None:
    async with site.session(depth=1, max_host_pages=3, signature="1") as frontier:
        await frontier.add([job(url("s"))])
        await frontier.settle([page(await one(frontier), links(["a", "b", "c"]))])
        a, _ = await take(frontier)
        await frontier.settle([page(a, links(["d"]))])
        assert (await frontier.findings()).left_out == {"host-pages": 1, "depth": 1}
    async with site.session(depth=2, max_host_pages=4, exclude=["b"], signature="2") as frontier:
        assert (await frontier.counts()).pending == 2
        assert (await frontier.findings()).left_out == {"exclude": 1}
        assert urls_of(await take(frontier)) == [url("c"), url("d")]
        assert (await frontier.findings()).left_out == {"exclude": 1}


async def test_failures_are_put_back_and_found_again_by_nobody_else(site: Site) -> None:
    async with site.session(complete=True) as frontier:
        await crawl(frontier, {"s": links(["a"])}, state="failed")
    async with site.session(complete=True) as frontier:
        assert await crawl(frontier, {}) == []
    async with site.session(complete=True, retry_failed=True) as frontier:
        assert await crawl(frontier, {"s": links(["a", "b"])}) == ["s", "a", "b"]


async def test_what_breaks_a_crawl_is_a_seed_or_a_page_that_failed_by_itself(site: Site) -> None:
    ends: dict[str, tuple[str, dict[str, Any]]] = {
        "404": ("failed", {"status": 404}),
        "410": ("failed", {"status": 410}),
        "408": ("failed", {"status": 408}),
        "429": ("failed", {"status": 429}),
        "500": ("failed", {"status": 500}),
        "gone": ("failed", {"status": None, "error": "connect-failed"}),
        "no": ("refused", {"error": "private-address"}),
        "fine": ("done", {}),
    }
    async with site.session() as frontier:
        await frontier.add([job(url("s")), job(url("seed404")), job("no url")])
        for got in await take(frontier):
            if got.target is None:
                await frontier.settle([ended(got, "refused", error="bad-url")])
            elif got.url == url("s"):
                await frontier.settle([page(got, links(ends))])
            else:
                await frontier.settle([page(got, state="failed", status=404)])
        for got in await take(frontier):
            state, fields = ends[got.url.rpartition("/")[2]]
            await frontier.settle([page(got, (), state, **fields)])
        assert (await frontier.findings()).broken == 2 + 4


async def test_a_page_that_cannot_be_parsed_keeps_its_file_and_is_asked_for_plainly(site: Site) -> None:
    failed = {
        "error": "parse-failed",
        "sha256": "cd" * 32,
        "bytes": 9,
        "path": "s",
        "status": 200,
        "etag": '"1"',
    }
    async with site.session(complete=True) as frontier:
        await frontier.add([job(url("s"))])
        assert await frontier.settle([page(await one(frontier), links(["a"]), "failed", **failed)]) == 1
        await frontier.settle([page(await one(frontier))])
        assert (await frontier.findings()).broken == 1
    async with site.session(retry_failed=True) as frontier:
        got = await one(frontier)
        assert not got.is_foreign
        assert got.cached is None  # else the same bytes again would be unchanged, and never parsed
        assert got.path == "s"


async def test_data_is_kept_as_records_are(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add(jobs(map(url, range(3))))
        for got in await take(frontier):
            outcome = page(got)
            outcome.data = (json.dumps(got.url).encode(), b"{}")
            await frontier.settle([outcome])
    data = site.root / "data.jsonl"
    wanted = [line for n in range(3) for line in (json.dumps(url(n)).encode(), b"{}")]
    assert data.read_bytes().splitlines() == wanted
    data.write_bytes(data.read_bytes() + b"half a li")
    async with site.session():
        pass
    assert data.read_bytes().splitlines() == wanted
    async with site.session(restart=True):
        assert data.read_bytes() == b""
    assert data.with_name("data.jsonl.1").read_bytes().splitlines() == wanted


async def test_nothing_of_a_batch_stays_when_its_transaction_fails(site: Site) -> None:
    async with site.session() as frontier:
        await frontier.add([job(url("s"))])
        got = await one(frontier)
        frontier._db.execute(
            "CREATE TEMP TRIGGER t BEFORE INSERT ON links BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        outcome = page(got, links(["a"]))
        outcome.data = (b"{}",)
        with pytest.raises(StorageError):
            await frontier.settle([outcome])
        assert site.results.read_bytes() == b""
        assert (site.root / "data.jsonl").read_bytes() == b""
    assert site.states() == {url("s"): 0}


async def test_a_directory_belongs_to_get_or_to_crawl(site: Site) -> None:
    async with site.session():
        pass
    with pytest.raises(ConfigError, match="belongs to fetcher crawl"):
        async with Place(site.root).session():
            pass


async def test_in_memory_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with in_memory(max_pages=3) as frontier:
        assert not frontier.is_durable
        assert await crawl(frontier, {"s": links(["a", "b", "c"]), "a": links(["s"])}) == ["s", "a", "b"]
        assert await frontier.counts() == Counts(pending=1, done=3)
    assert list(tmp_path.iterdir()) == []


async def test_a_state_of_get_has_nothing_of_a_crawl(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    async with place.session() as frontier:
        await frontier.add([job(url("s"))])
        assert await frontier.findings() == CrawlFindings()
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        place.rows("SELECT claimed FROM url")


@given(st.lists(st.integers(0, 2**60)))
@example([2**32])
def test_edges_come_back_as_they_were(edges: list[int]) -> None:
    assert list(unpack(pack(edges))) == edges
