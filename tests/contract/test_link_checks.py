"""What a crawl's frontier does in a link check: pages in scope are read, all else that is linked is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frontiers import PLENTY, Place, ended, job, urls_of

from fetcher.errors import ConfigError
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.row_kinds import check_rule, kind_of
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.model import Job, Link, Outcome
from fetcher.policy.scope import Scope
from fetcher.serial_executor import SerialExecutor

INSIDE, OUTSIDE = range(7), range(7, 10)
KINDS = ("page", "page", "page", "asset", "canonical", "redirect", "nofollow")
EDGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(KINDS)), max_size=30)
Edges = list[tuple[int, int, str]]


def options(**more: Any) -> CrawlOptions:
    scope = {key: more.pop(key) for key in {"depth", "exclude", "include"} & more.keys()}
    rules = {"agent": "bot", "obeys_robots": False, "max_hops": 99, "checks": True, **more}
    return CrawlOptions(scope=Scope(scope="host", **scope), signature=repr(scope), **rules)


def in_memory(**more: Any) -> SqliteFrontier:
    mode = Mode(command="crawl", link_check=True)
    return SqliteFrontier(None, None, mode=mode, lane=SerialExecutor("state"), crawl=options(**more))


class Checked(Place):
    """A run directory of a link check."""

    def frontier(self, *, fsync: bool = False, is_check: bool = True, **more: Any) -> SqliteFrontier:
        mode = Mode(command="crawl", link_check=is_check)
        lane = SerialExecutor("state")
        return SqliteFrontier(self.state, self.results, mode=mode, lane=lane, crawl=options(**more))


def url(number: int) -> str:
    return f"http://{'h' if number in INSIDE else 'other'}/{number}"


def number_of(text: str) -> int:
    return int(text.rpartition("/")[2])


def outcome(job: Job, edges: Edges) -> Outcome:
    """A job that ended. A page has all its links; of what is only checked nothing but redirects is seen."""
    one = ended(job, sha256=None, path=None)
    found = [(to, kind) for source, to, kind in edges if source == number_of(job.url)]
    if job.kind != "page":
        found = [(to, kind) for to, kind in found if kind == "redirect"]
    one.links = [
        Link(url(to), "page" if kind == "nofollow" else kind, kind == "nofollow")  # type: ignore[arg-type]
        for to, kind in found
    ]
    return one


def expected(edges: Edges, depth: int) -> tuple[set[int], set[int]]:
    """The pages that are read, and what else is asked for, as a fixed point."""
    depths = {0: 0}
    while True:
        before = dict(depths)
        for source, to, kind in edges:
            if source in depths and to in INSIDE and kind not in {"asset", "nofollow"}:
                new = depths[source] + (kind == "page")
                if new <= depth:
                    depths[to] = min(depths.get(to, 99), new)
        if depths == before:
            break
    checked: set[int] = set()
    while True:
        reached = {
            to
            for source, to, kind in edges
            if source in depths or (source in checked and kind == "redirect")
            if not (kind == "canonical" and source == to)
        }
        if reached - depths.keys() <= checked:
            return set(depths), checked
        checked |= reached - depths.keys()


async def take(frontier: SqliteFrontier, limit: int = PLENTY) -> list[Job]:
    return await frontier.claim(limit, per_host=PLENTY, now=1_800_000_000.0)


@settings(max_examples=150, deadline=None)
@given(edges=EDGES, depth=st.integers(0, 3), data=st.data())
async def test_what_is_read_and_what_is_checked_does_not_depend_on_the_order(
    edges: Edges, depth: int, data: st.DataObject
) -> None:
    frontier = in_memory(depth=depth)
    await frontier.open()
    try:
        await frontier.add([job(url(0))])
        held: list[Job] = []
        read: list[int] = []
        pending = 1
        while pending:
            held += await take(frontier, data.draw(st.integers(1, 4)))
            count = min(len(held), data.draw(st.integers(1, 3)))
            batch = [held.pop(data.draw(st.integers(0, len(held) - 1))) for _ in range(count)]
            read += [number_of(got.url) for got in batch if got.kind == "page"]
            pending += await frontier.settle([outcome(got, edges) for got in batch]) - len(batch)
        rows = frontier._db.execute("SELECT url, kinds, state FROM url").fetchall()
    finally:
        await frontier.aclose(complete=False)
    pages, checked = expected(edges, depth)
    assert sorted(read) == sorted(pages), "each page is read, once"
    assert {state for *_, state in rows} == {1}
    assert {number_of(text) for text, kinds, _ in rows if kind_of(kinds) == "page"} == pages
    assert {number_of(text) for text, kinds, _ in rows if kind_of(kinds) != "page"} == checked


async def test_a_rule_that_is_meant_to_keep_it_from_being_asked_for_does_so() -> None:
    frontier = in_memory(exclude=["other/8", "h/3"])
    await frontier.open()
    (seed,) = await _settled(frontier, [(0, n, "page") for n in (1, 3, 7, 8)], [job(url(0))])
    assert seed.kind == "page"
    found = {number_of(got.url): got.kind for got in await take(frontier)}
    assert found == {1: "page", 7: "check"}
    await frontier.aclose(complete=False)


async def test_checks_are_made_though_the_budget_of_pages_is_spent() -> None:
    frontier = in_memory(max_pages=1)
    await frontier.open()
    await _settled(frontier, [(0, 1, "page"), (0, 7, "page"), (0, 2, "asset")], [job(url(0))])
    assert sorted(urls_of(await take(frontier))) == [url(2), url(7)]
    assert await take(frontier) == []
    await frontier.aclose(complete=False)


@pytest.mark.parametrize("kind", ["nofollow", "asset"])
async def test_a_page_that_is_found_while_it_is_checked_is_read_then(kind: str) -> None:
    edges = [(0, 1, "page"), (0, 2, kind), (1, 2, "page"), (2, 7, "page")]
    frontier = in_memory()
    await frontier.open()
    await _settled(frontier, edges, [job(url(0))])
    one, two = sorted(await take(frontier), key=lambda got: got.url)
    assert await frontier.settle([outcome(one, edges)]) == 0
    assert await frontier.settle([outcome(two, edges)]) == 1
    (again,) = await take(frontier)
    assert (again.url, again.kind) == (url(2), "page")
    assert await frontier.settle([outcome(again, edges)]) == 1
    assert [got.kind for got in await take(frontier)] == ["check"]
    await frontier.aclose(complete=False)


@pytest.mark.parametrize("is_settled", [True, False])
async def test_what_was_checked_is_read_once_it_is_a_seed_or_within_the_depth(
    tmp_path: Path, *, is_settled: bool
) -> None:
    place = Checked(tmp_path / "run")
    async with place.session(depth=1, complete=is_settled) as frontier:
        await _settled(frontier, [(0, 1, "page"), (0, 7, "page"), (0, 8, "page")], [job(url(0))])
        got = await take(frontier)
        assert [one.kind for one in sorted(got, key=lambda one: one.url)] == ["page", "check", "check"]
        if is_settled:
            await frontier.settle([outcome(one, [(1, 2, "page")]) for one in got])
            (deep,) = await take(frontier)
            assert (deep.url, deep.kind) == (url(2), "check")
            await frontier.settle([outcome(deep, [])])
    async with place.session(depth=2) as frontier:
        await frontier.add([job(url(0)), job(url(7))])
        kinds = {number_of(one.url): one.kind for one in await take(frontier)}
    assert kinds == ({2: "page", 7: "page"} if is_settled else {1: "page", 7: "page", 8: "check"})


async def test_the_rule_that_has_a_url_only_checked_is_kept(tmp_path: Path) -> None:
    place = Checked(tmp_path / "run")
    async with place.session(depth=0) as frontier:
        edges = [(0, 1, "page"), (0, 2, "nofollow"), (0, 7, "page"), (7, 3, "redirect")]
        await _settled(frontier, edges, [job(url(0))])
        await frontier.settle([outcome(one, edges) for one in await take(frontier)])
    rules = {number_of(text): check_rule(kinds) for text, kinds in place.rows("SELECT url, kinds FROM url")}
    assert rules == {0: None, 1: "depth", 2: "nofollow", 7: "depth", 3: "checked"}


async def test_a_directory_is_a_link_check_or_none(tmp_path: Path) -> None:
    place = Checked(tmp_path / "run")
    async with place.session():
        pass
    with pytest.raises(ConfigError, match="a link check"):
        async with place.session(is_check=False):
            pass
    other = Checked(tmp_path / "other")
    async with other.session(is_check=False):
        pass
    with pytest.raises(ConfigError, match="no link check"):
        async with other.session():
            pass


async def _settled(frontier: SqliteFrontier, edges: Edges, seeds: list[Job]) -> list[Job]:
    """List the seeds and settle what can be claimed."""
    await frontier.add(seeds)
    got = await take(frontier)
    await frontier.settle([outcome(one, edges) for one in got])
    return got
