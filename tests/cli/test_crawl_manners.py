"""How `fetcher crawl` treats hosts: robots.txt of each origin, and each host at the pace that it asks for.

Several hosts of the loopback, each with rules of its own; the server's log says in which order and at which
distance they were asked. Times are bounded from below only, and as the server saw them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from support.faultserver import Exchange, FaultServer, Hit
from support.program import Ended, Program, by_url

LATE_S = 0.5  # by how much less than asked two starts may seem apart: the first may be late in coming

Manner = Callable[[Exchange, int], Awaitable[bool]]


async def plainly(x: Exchange, number: int) -> bool:
    """Nothing special: the page is served."""
    return False


@dataclass
class Host:
    """A host of `pages` pages, all linked from its first; `manner` may answer instead (True: it did).

    `robots` is the text of robots.txt, or the status of an answer without one.
    """

    pages: int = 10
    robots: str | int = 404
    manner: Manner = plainly
    links: list[str] = field(default_factory=list)  # more links of the first page


class Town(FaultServer):
    """Hosts by address, on one port."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        first, *others = hosts
        super().__init__(first, others)
        self.town = hosts
        self._routes.insert(0, ("/", self._serve))

    def seeds(self) -> list[str]:
        return [self.url("/", host=host) for host in self.town]

    def asked(self, host: str) -> list[Hit]:
        """What a host was asked for, robots.txt apart, in order."""
        return [hit for hit in self.log if hit.address == host and hit.path != "/robots.txt"]

    def robots_asked(self, host: str) -> list[Hit]:
        return [hit for hit in self.log if hit.address == host and hit.path == "/robots.txt"]

    def targets(self, host: str) -> set[str]:
        return {hit.target for hit in self.asked(host)}

    async def _serve(self, x: Exchange) -> None:
        host = self.town[x.hit.address]
        if x.hit.path == "/robots.txt":
            is_text = isinstance(host.robots, str)
            body = host.robots.encode() if is_text else b"none\n"
            await x.answer(200 if is_text else host.robots, [("Content-Type", "text/plain")], body)
            return
        number = self.state[x.hit.address] = self.state.get(x.hit.address, 0) + 1
        if await host.manner(x, number):
            return
        links = [*(f"/{n}" for n in range(1, host.pages)), *host.links] if x.hit.target == "/" else []
        body = "<!doctype html><title>t</title>" + "".join(f'<a href="{to}">x</a>' for to in links)
        await x.answer(200, [("Content-Type", "text/html")], body.encode())


@pytest.fixture
def build() -> Iterator[Callable[..., Town]]:
    with ExitStack() as stack:
        towns: list[Town] = []

        def make(**hosts: Host) -> Town:
            town = Town({f"127.0.0.{name.removeprefix('h')}": host for name, host in hosts.items()})
            towns.append(town)
            return stack.enter_context(town)

        yield make
    assert not [error for town in towns for error in town.errors], "a host failed"


def crawl(program: Program, town: Town, *options: str) -> Ended:
    return program.run("crawl", *town.seeds(), "-o", "out", "--store", "none", *options)


def all_pages(host: Host) -> set[str]:
    return {"/", *(f"/{number}" for number in range(1, host.pages))}


CREWS = [["--processes", "1"], ["--processes", "2"]]


@pytest.mark.parametrize("options", CREWS, ids=" ".join)
def test_each_host_is_treated_as_its_own_rules_say_and_the_others_do_not_wait(
    program: Program, build: Callable[..., Town], options: list[str]
) -> None:
    angry_at: list[float] = []

    async def slow(x: Exchange, number: int) -> bool:
        await x.pause(0.5)
        return False

    async def angry(x: Exchange, number: int) -> bool:
        if number != 6:
            return False
        await x.answer(429, [("Retry-After", "2")], b"not so fast\n")
        angry_at.append(x.hit.started)
        return True

    hosts = {
        "h2": Host(60),
        "h3": Host(20, manner=slow),
        "h4": Host(30, manner=angry),
        "h5": Host(4, robots="User-agent: *\nCrawl-delay: 2\n"),
        "h6": Host(60),
    }
    town = build(**hosts)

    ended = crawl(program, town, *options)

    assert ended.code == 0, ended.err
    for name, host in hosts.items():
        address = f"127.0.0.{name[1:]}"
        hits = town.asked(address)
        assert {hit.target for hit in hits} == all_pages(host)
        assert len(hits) == host.pages + (name == "h4")
        assert town.most_active[f"{address}:{town.port}"] <= 4

    delayed = [hit.started for hit in town.asked("127.0.0.5")]
    assert delayed[-1] - delayed[0] >= 3 * 2 - LATE_S

    (refused,) = angry_at
    # What was on its way when the 429 came has a second to arrive.
    assert not [
        hit.target for hit in town.asked("127.0.0.4") if refused + 1 < hit.started < refused + 2 - LATE_S
    ]

    last_of = {host: max(hit.started for hit in town.asked(host)) for host in town.town}
    assert max(last_of, key=lambda host: last_of[host]) == "127.0.0.5", (
        "another host waited for the delayed one"
    )
    for host in ("127.0.0.2", "127.0.0.6"):
        assert last_of[host] < last_of["127.0.0.3"], "a plain host waited for the slow one"
        assert last_of[host] < last_of["127.0.0.4"], "a plain host waited for the angry one"


def test_the_delay_of_robots_txt_does_not_make_a_longer_one_of_the_user_shorter(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(h2=Host(3, robots="User-agent: *\nCrawl-delay: 0.1\n"), h3=Host(3))
    ended = crawl(program, town, "--delay", "0.6")
    assert ended.code == 0, ended.err
    for host in town.town:
        starts = [hit.started for hit in town.asked(host)]
        assert len(starts) == 3
        assert starts[-1] - starts[0] >= 0.6 * (len(starts) - 1) - LATE_S


def test_each_origin_is_asked_for_its_own_robots_txt_once_and_before_its_pages(
    program: Program, build: Callable[..., Town]
) -> None:
    shut = "User-agent: *\nDisallow: /3\n"
    town = build(h2=Host(5, robots=shut), h3=Host(5), h4=Host(5, robots="User-agent: *\nDisallow:\n"))
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(5)) - {"/3"}
    assert town.targets("127.0.0.3") == town.targets("127.0.0.4") == all_pages(Host(5))
    for host in town.town:
        assert next(hit.target for hit in town.log if hit.address == host) == "/robots.txt"
        assert len(town.robots_asked(host)) == 1


def test_the_group_that_names_the_program_counts_and_not_the_general_one(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(
        h2=Host(5, robots="User-agent: *\nDisallow: /\n\nUser-agent: Fetcher\nDisallow: /4\n"),
        h3=Host(
            5, robots="User-agent: fetcher\nUser-agent: x\nDisallow: /1\n\nUser-agent: *\nDisallow: /2\n"
        ),
    )
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(5)) - {"/4"}
    assert town.targets("127.0.0.3") == all_pages(Host(5)) - {"/1"}


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_robots_txt_that_is_not_there_forbids_nothing(
    program: Program, build: Callable[..., Town], status: int
) -> None:
    town = build(h2=Host(5, robots=status))
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(5))


def test_a_robots_txt_that_cannot_be_had_closes_its_origin_only_and_is_tried_again_later(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(h2=Host(5, robots=500), h3=Host(5))
    ended = crawl(program, town, "--retries", "1")
    assert ended.code == 1, ended.err
    assert town.targets("127.0.0.2") == set()
    assert len(town.robots_asked("127.0.0.2")) == 2, "it is retried like a URL"
    assert town.targets("127.0.0.3") == all_pages(Host(5))
    record = by_url(program.folder / "out")[town.url("/", host="127.0.0.2")]
    assert (record["state"], record["error"]) == ("refused", "robots-unreachable")

    town.town["127.0.0.2"].robots = "User-agent: *\nDisallow: /2\n"
    ended = crawl(program, town, "--retry-failed")
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(5)) - {"/2"}
    assert by_url(program.folder / "out")[town.url("/", host="127.0.0.2")]["state"] == "done"


def test_a_robots_txt_that_is_busy_at_first_is_waited_for(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(h2=Host(3))
    plain = town._serve

    async def busy_once(x: Exchange) -> None:
        if x.hit.path == "/robots.txt" and len(town.robots_asked("127.0.0.2")) == 1:
            await x.answer(503, [("Retry-After", "1")])
        elif x.hit.path == "/robots.txt":
            await x.answer(200, [("Content-Type", "text/plain")], b"User-agent: *\nDisallow: /2\n")
        else:
            await plain(x)

    town.route("/", busy_once)
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    first, second = (hit.started for hit in town.robots_asked("127.0.0.2"))
    assert second - first >= 1 - LATE_S
    assert town.targets("127.0.0.2") == {"/", "/1"}


def test_redirects_of_robots_txt_are_followed_and_the_rules_hold_for_the_first_origin(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(h2=Host(5), h3=Host(5))
    plain = town._serve

    async def moved(x: Exchange) -> None:
        if x.hit.target == "/robots.txt" and x.hit.address == "127.0.0.2":
            await x.answer(301, [("Location", "/rules/1")])
        elif x.hit.target == "/rules/1":
            await x.answer(302, [("Location", "/rules/2")])
        elif x.hit.target == "/rules/2":
            await x.answer(200, [("Content-Type", "text/plain")], b"User-agent: *\nDisallow: /4\n")
        else:
            await plain(x)

    town.route("/", moved)
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(4)) | {"/rules/1", "/rules/2"}
    assert town.targets("127.0.0.3") == all_pages(Host(5))
    assert not [url for url in by_url(program.folder / "out") if "/rules/" in url or "robots" in url]


def test_a_robots_txt_behind_more_than_five_redirects_is_none(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(h2=Host(5))
    plain = town._serve

    async def moved(x: Exchange) -> None:
        path = x.hit.target
        if path == "/rules/7":
            await x.answer(200, [("Content-Type", "text/plain")], b"User-agent: *\nDisallow: /\n")
        elif path == "/robots.txt" or path.startswith("/rules/"):
            last = path.removeprefix("/rules/")
            await x.answer(301, [("Location", f"/rules/{int(last) + 1 if last.isdigit() else 1}")])
        else:
            await plain(x)

    town.route("/", moved)
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(5)) | {f"/rules/{n}" for n in range(1, 6)}


def test_what_robots_txt_refused_has_a_record_and_what_scope_left_out_has_none(
    program: Program, build: Callable[..., Town]
) -> None:
    town = build(h2=Host(3, robots="User-agent: *\nDisallow: /2\n", links=["http://192.0.2.1/far"]))
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    found = by_url(program.folder / "out")
    origin = town.url("")
    assert {url.removeprefix(origin): record["error"] for url, record in found.items()} == {
        "/": None,
        "/1": None,
        "/2": "robots",
    }


def test_a_continued_crawl_keeps_the_rules_it_was_given(program: Program, build: Callable[..., Town]) -> None:
    town = build(h2=Host(5, robots="User-agent: *\nDisallow: /4\n"))
    assert crawl(program, town, "--max-pages", "2").code == 0
    town.town["127.0.0.2"].robots = 404
    ended = crawl(program, town)
    assert ended.code == 0, ended.err
    assert town.targets("127.0.0.2") == all_pages(Host(4))
    assert len(town.robots_asked("127.0.0.2")) == 1


def test_no_more_than_so_many_exchanges_of_one_host_are_in_flight_and_robots_txt_is_alone(
    program: Program, build: Callable[..., Town]
) -> None:
    async def gently(x: Exchange, number: int) -> bool:
        await x.pause(0.02)
        return False

    town = build(h2=Host(40, manner=gently), h3=Host(40, manner=gently))
    ended = crawl(program, town, "--per-host", "3")
    assert ended.code == 0, ended.err
    assert {town.most_active[f"{host}:{town.port}"] for host in town.town} == {3}


@pytest.mark.parametrize("options", CREWS, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "is_bound"), [("mybot/2.0 (+http://me.example/)", True), ("another", False)]
)
def test_a_page_may_forbid_its_links_to_the_crawler_that_we_call_ourselves(
    program: Program, build: Callable[..., Town], name: str, is_bound: bool, options: list[str]
) -> None:
    async def forbids(x: Exchange, number: int) -> bool:
        if x.hit.target == "/1":
            fields = [("Content-Type", "text/html"), ("X-Robots-Tag", "mybot: nofollow")]
            await x.answer(200, fields, b'<a href="/behind">x</a>')
        return x.hit.target == "/1"

    town = build(h2=Host(3, manner=forbids))
    ended = crawl(program, town, "--user-agent", name, *options)
    assert ended.code == 0, ended.err
    assert ("/behind" in town.targets("127.0.0.2")) is not is_bound
