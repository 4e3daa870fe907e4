"""What every frontier must do. Differences are told by `is_durable`."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frontiers import MEMORY, PLENTY, Place, claim_all, deferred, ended, job, jobs, urls_of

from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Counts, Job, Outcome
from fetcher.ports import Frontier

FRONTIERS: dict[str, Callable[[Path], Frontier]] = {
    "memory": lambda root: MemoryFrontier(),
    "sqlite": lambda root: Place(root).frontier(),
}


@pytest.fixture(params=FRONTIERS)
async def frontier(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Frontier]:
    frontier = FRONTIERS[request.param](tmp_path / "run")
    assert await frontier.open() == Counts()
    yield frontier
    await frontier.aclose(complete=True)


# ---- adding ----


async def test_what_is_added_is_counted_as_new_and_pending(frontier: Frontier) -> None:
    added = await frontier.add(jobs(["http://a/1", "http://a/2", "http://b/"]))
    assert (added.new, added.duplicates, added.again, added.pending) == (3, 0, 0, 0)
    assert await frontier.counts() == Counts(pending=3)


async def test_adding_nothing_is_fine(frontier: Frontier) -> None:
    assert (await frontier.add([])).new == 0
    assert await frontier.claim(10, per_host=10, now=0.0) == []


SAME = [
    ("in another batch", {}, {}),
    ("with a fragment", {"url": "http://h/p#top"}, {}),
    ("with another spelling of the host", {"url": "http://H:80/p"}, {}),
    ("with the default method spelled out", {"method": "get"}, {}),
    (
        "with another name, meta, digest and place",
        {},
        {"name": "n", "meta": {"k": 1}, "sha256": "00" * 32, "line": 9},
    ),
    ("with another priority", {}, {"priority": 5}),
    ("with headers in another case", {"headers": {"Accept": "x"}}, {"headers": {"ACCEPT": "x"}}),
]


@pytest.mark.parametrize(("first", "second"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
async def test_the_same_request_is_one_job_and_a_duplicate(
    frontier: Frontier, first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert (await frontier.add([job(**{"url": "http://h/p", **first})])).new == 1
    added = await frontier.add([job(**{"url": "http://h/p", **second})])
    assert (added.new, added.duplicates) == (0, 1)
    assert len(await claim_all(frontier)) == 1


async def test_a_request_is_found_twice_within_one_batch(frontier: Frontier) -> None:
    added = await frontier.add(jobs(["http://h/1", "http://h/2", "http://h/1", "http://h/3", "http://h/1"]))
    assert (added.new, added.duplicates) == (3, 2)
    assert urls_of(await claim_all(frontier)) == ["http://h/1", "http://h/2", "http://h/3"]


DIFFERENT: dict[str, dict[str, Any]] = {
    "path": {"url": "http://h/P"},
    "query": {"url": "http://h/p?"},
    "scheme": {"url": "https://h/p"},
    "port": {"url": "http://h:81/p"},
    "method": {"method": "HEAD"},
    "body": {"body": "x", "method": "GET"},
    "headers": {"headers": {"Accept": "x"}},
    "secret header": {"headers": {"Authorization": "x"}},
    "credentials": {"url": "http://u:p@h/p"},
    "other credentials": {"url": "http://u:q@h/p"},
}


async def test_another_method_url_header_body_or_credential_is_another_request(frontier: Frontier) -> None:
    batch = [job("http://h/p"), *(job(**{"url": "http://h/p", **one}) for one in DIFFERENT.values())]
    added = await frontier.add(batch)
    assert (added.new, added.duplicates) == (len(DIFFERENT) + 1, 0)
    assert len(await claim_all(frontier)) == len(DIFFERENT) + 1


async def test_ids_follow_the_input_from_one(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://h/{n}" for n in range(5)))
    await frontier.add(jobs(["http://h/0", "http://i/5", "http://h/6"]))
    claimed = sorted(await claim_all(frontier), key=lambda job: job.id)
    assert [job.url[-1] for job in claimed] == list("0123456")
    assert claimed[0].id == 1


async def test_a_job_comes_back_with_all_that_was_said_of_it(frontier: Frontier) -> None:
    entry: dict[str, Any] = {
        "url": "HTTPS://H:8443/p?q#f",
        "source": "list.jsonl",
        "line": 7,
        "name": "n.txt",
        "sha256": "ab" * 32,
        "priority": 3,
        "method": "PUT",
        "body": "some",
        "headers": {"Accept": "x", "X-Api-Key": "canary"},
        "meta": {"a": [1, None, "ü"], "b": {"c": 0.5}},
    }
    wanted = job(**entry)
    await frontier.add([job(**entry)])
    (got,) = await claim_all(frontier)
    wanted.id = 1
    assert got == wanted


async def test_a_line_that_is_no_url_is_a_job_with_its_refusal(frontier: Frontier) -> None:
    added = await frontier.add([job("ftp://h/x", source="s", line=3, meta={"k": "v"}), job("ftp://h/x")])
    assert (added.new, added.duplicates) == (1, 1)
    (got,) = await claim_all(frontier)
    assert got.target is None
    assert got.host == ""
    assert got.refusal is not None
    assert got.refusal[0] == "bad-url"
    assert "ftp" in got.refusal[1]
    assert (got.url, got.source, got.line) == ("ftp://h/x", "s", 3)
    assert got.overrides is not None
    assert got.overrides.meta == {"k": "v"}


async def test_credentials_come_back_within_the_session_and_the_url_is_masked(frontier: Frontier) -> None:
    await frontier.add([job("http://user:canary@h/"), job("http://i/", headers={"Cookie": "canary"})])
    claimed = {job.target.hostname: job for job in await claim_all(frontier) if job.target}
    assert claimed["h"].secret == "user:canary"
    assert "canary" not in claimed["h"].url
    assert claimed["i"].secret_headers == {"Cookie": "canary"}


# ---- claiming ----


async def test_the_smallest_rank_is_claimed_first_on_whatever_host(frontier: Frontier) -> None:
    await frontier.add(jobs(["http://a/1", "http://b/1"]))
    await frontier.add(jobs(["http://a/2", "http://c/2"], priority=10))
    await frontier.add(jobs(["http://b/3"], priority=5) + jobs(["http://d/4"], priority=-1))
    claimed = await claim_all(frontier)
    assert [job.rank for job in claimed] == [-10, -10, -5, 0, 0, 1]


async def test_one_host_that_is_left_of_many_gives_all_it_has_before_a_larger_rank_gives_any(
    frontier: Frontier,
) -> None:
    await frontier.add(jobs([f"http://h{n}/x" for n in range(60)]))
    await frontier.add(jobs([f"http://big/{n}" for n in range(1000)]))
    first = await claim_all(frontier, per_host=1)
    assert len(first) == 61
    await frontier.settle([ended(each) for each in first])
    await frontier.add([job(f"http://low/{n}", priority=-5) for n in range(500)])
    for _ in range(2):
        claimed = await frontier.claim(400, per_host=1000, now=0.0)
        assert {each.host for each in claimed} == {"big:80"}
        assert len(claimed) == 400


async def test_within_a_host_and_rank_jobs_come_in_the_order_of_the_input(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://{host}/{n}" for n in range(30) for host in "abc"))
    seen: dict[str, list[int]] = {"a:80": [], "b:80": [], "c:80": []}
    while some := await frontier.claim(7, per_host=PLENTY, now=0.0):
        for got in some:
            seen[got.host].append(int(got.url.rpartition("/")[2]))
    assert all(numbers == list(range(30)) for numbers in seen.values())


async def test_no_host_has_more_than_per_host_until_something_of_it_is_settled(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://a/{n}" for n in range(10)))
    first = await frontier.claim(100, per_host=3, now=0.0)
    assert urls_of(first) == ["http://a/0", "http://a/1", "http://a/2"]
    assert await frontier.claim(100, per_host=3, now=0.0) == []
    await frontier.settle([ended(first[1])])
    assert urls_of(await frontier.claim(100, per_host=3, now=0.0)) == ["http://a/3"]
    await frontier.settle([ended(first[0]), ended(first[2], "failed")])
    assert urls_of(await frontier.claim(100, per_host=3, now=0.0)) == ["http://a/4", "http://a/5"]


async def test_ports_of_one_name_are_hosts_of_their_own(frontier: Frontier) -> None:
    await frontier.add(jobs(["http://a/", "http://a:81/", "https://a/", "http://a:443/"]))
    assert urls_of(await frontier.claim(100, per_host=1, now=0.0)) == [
        "http://a/",
        "http://a:81/",
        "https://a/",
    ]


async def test_one_large_host_never_fills_the_window_while_others_have_work(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://large/{n}" for n in range(1000)))
    await frontier.add(jobs(f"http://small{host}/{n}" for host in range(9) for n in range(20)))
    hosts = Counter(job.host for job in await frontier.claim(256, per_host=32, now=0.0))
    assert hosts == {"large:80": 32, **{f"small{host}:80": 20 for host in range(9)}}


async def test_a_large_host_keeps_the_others_waiting_for_one_claim_at_most(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://large/{n}" for n in range(1000)))
    await frontier.add(jobs(["http://small/1", "http://smaller/1"]))
    claimed = [await frontier.claim(90, per_host=PLENTY, now=0.0) for _ in range(2)]
    assert Counter(job.host for some in claimed for job in some) == {
        "large:80": 178,
        "small:80": 1,
        "smaller:80": 1,
    }


async def test_a_host_that_was_alone_does_not_keep_later_ones_waiting(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://first/{n}" for n in range(5)))
    assert len(await frontier.claim(100, per_host=PLENTY, now=0.0)) == 5
    assert await frontier.claim(100, per_host=PLENTY, now=0.0) == []
    await frontier.add(jobs(f"http://first/{n}" for n in range(5, 1000)))
    await frontier.add(jobs(["http://later/1"]))
    claimed = [await frontier.claim(50, per_host=PLENTY, now=0.0) for _ in range(2)]
    assert "http://later/1" in urls_of(claimed[0] + claimed[1])


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=12), limit=st.integers(1, 40))
@pytest.mark.parametrize("kind", FRONTIERS)
def test_no_host_has_a_second_turn_before_every_other_with_work_had_one(
    kind: str, sizes: list[int], limit: int
) -> None:
    async def turns() -> None:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            frontier = FRONTIERS[kind](Path(folder, "run"))
            await frontier.open()
            for host, size in enumerate(sizes):
                await frontier.add(jobs(f"http://h{host}/{n}" for n in range(size)))
            left = {f"h{host}:80": size for host, size in enumerate(sizes)}
            waiting: dict[str, set[str]] = {}  # host: who had work and no turn since its own last one
            last = ""
            while claimed := await frontier.claim(limit, per_host=PLENTY, now=0.0):
                for got in claimed:
                    if got.host != last:
                        assert not waiting.get(got.host), f"{got.host} before {waiting[got.host]}"
                    for others in waiting.values():
                        others.discard(got.host)
                    left[got.host] -= 1
                    last = got.host
                    waiting[last] = {host for host, size in left.items() if size and host != last}
            assert not any(left.values())
            await frontier.aclose(complete=False)

    asyncio.run(turns())


async def test_hosts_have_their_turns_over_several_claims(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://{host}/{n}" for host in "abc" for n in range(10)))
    turns = [(await frontier.claim(1, per_host=PLENTY, now=0.0))[0].host for _ in range(9)]
    assert turns[:3] == turns[3:6] == turns[6:]
    assert sorted(turns[:3]) == ["a:80", "b:80", "c:80"]


async def test_lines_that_are_no_urls_have_no_limit_and_do_not_stop_the_others(frontier: Frontier) -> None:
    await frontier.add(jobs(f"not a url {n}" for n in range(50)) + jobs(f"http://a/{n}" for n in range(5)))
    claimed = await frontier.claim(1000, per_host=2, now=0.0)
    assert Counter(job.host for job in claimed) == {"": 50, "a:80": 2}
    await frontier.settle([ended(job, "refused", error="bad-url") for job in claimed if not job.host])
    assert await frontier.counts() == Counts(pending=5, refused=50)


async def test_what_is_added_before_the_last_claimed_of_a_smaller_rank_is_found(frontier: Frontier) -> None:
    await frontier.add(jobs(["http://a/1", "http://a/2"]))
    assert len(await frontier.claim(10, per_host=10, now=0.0)) == 2
    await frontier.add(jobs(["http://a/3"], priority=1) + jobs(["http://a/4"]))
    assert urls_of(await frontier.claim(10, per_host=10, now=0.0)) == ["http://a/3", "http://a/4"]


async def test_a_host_that_has_room_again_is_claimed_from_in_every_rank(frontier: Frontier) -> None:
    await frontier.add([job(f"http://a/{n}", priority=-n) for n in range(6)])
    claimed = await frontier.claim(10, per_host=2, now=0.0)
    assert urls_of(claimed) == ["http://a/0", "http://a/1"]
    assert await frontier.claim(10, per_host=2, now=0.0) == []
    await frontier.settle([ended(job) for job in claimed])
    assert urls_of(await frontier.claim(10, per_host=2, now=0.0)) == ["http://a/2", "http://a/3"]


async def test_what_is_added_while_every_host_is_full_is_found(frontier: Frontier) -> None:
    await frontier.add([job("http://a/0"), job("http://a/1", priority=-1), job("http://a/2", priority=-2)])
    (first,) = await frontier.claim(10, per_host=1, now=0.0)
    assert await frontier.claim(10, per_host=1, now=0.0) == []
    await frontier.add([job("http://a/3", priority=-9), job("http://b/4", priority=-9)])
    assert urls_of(await frontier.claim(10, per_host=1, now=0.0)) == ["http://b/4"]
    assert await frontier.claim(10, per_host=1, now=0.0) == []
    await frontier.settle([ended(first)])
    assert urls_of(await frontier.claim(10, per_host=1, now=0.0)) == ["http://a/1"]


# ---- settling ----


async def test_final_outcomes_are_counted_by_state(frontier: Frontier) -> None:
    await frontier.add(jobs(f"http://a/{n}" for n in range(10)))
    claimed = await frontier.claim(7, per_host=10, now=0.0)
    states = ["done", "done", "done", "unchanged", "failed", "failed", "refused"]
    await frontier.settle([ended(job, state) for job, state in zip(claimed, states, strict=True)])
    assert await frontier.counts() == Counts(pending=3, done=3, unchanged=1, failed=2, refused=1)


async def test_a_deferred_job_stays_claimed_and_holds_its_place(frontier: Frontier) -> None:
    await frontier.add(jobs(["http://a/1", "http://a/2"]))
    (first,) = await frontier.claim(10, per_host=1, now=0.0)
    await frontier.settle([deferred(first)])
    assert await frontier.counts() == Counts(pending=2)
    assert await frontier.claim(10, per_host=1, now=2e9) == []
    await frontier.settle([ended(first)])
    assert urls_of(await frontier.claim(10, per_host=1, now=0.0)) == ["http://a/2"]


async def test_settling_nothing_is_fine(frontier: Frontier) -> None:
    await frontier.settle([])
    assert await frontier.counts() == Counts()


async def test_a_final_request_that_is_listed_again_is_a_duplicate(frontier: Frontier) -> None:
    await frontier.add(jobs(["http://a/1"]))
    await frontier.settle([ended(job) for job in await claim_all(frontier)])
    added = await frontier.add(jobs(["http://a/1"]))
    assert (added.new, added.duplicates) == (0, 1)
    assert await claim_all(frontier) == []


async def test_closing_before_opening_is_fine(tmp_path: Path) -> None:
    for make in FRONTIERS.values():
        frontier = make(tmp_path / "run")
        await frontier.aclose(complete=False)
        assert await frontier.open() == Counts()
        await frontier.aclose(complete=False)


# ---- hosts that the user named ----

NAMED = [
    "http://example.org/",
    "https://api.example.org:8443/x",
    "http://127.0.0.1/",
    "http://[::1]:8080/",
    "http://[fe80::2]/",
]
ASKED = [
    ("example.org", None, True),
    ("example.org", 80, True),
    ("example.org", 443, False),
    ("api.example.org", None, True),
    ("api.example.org", 8443, True),
    ("api.example.org", 844, False),
    ("xample.org", None, False),
    ("example.or", None, False),
    ("example.orgs", None, False),
    ("org", None, False),
    ("127.0.0.1", 80, True),
    ("127.0.0.1", None, True),
    ("127.0.0.10", None, False),
    ("::1", None, True),
    ("::1", 8080, True),
    ("::1", 80, False),
    ("::1:8080", None, False),
    ("::", None, False),
    ("fe80::2", 80, True),
    ("fe80::2:80", None, False),
    ("fe80:", None, False),
    ("", None, False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "port", "is_named"), ASKED)
async def test_a_host_is_named_at_the_ports_that_were_listed(
    frontier: Frontier, name: str, port: int | None, is_named: bool
) -> None:
    await frontier.add(jobs([*NAMED, "not a url"]))
    assert await frontier.is_user_host(name, port) is is_named


async def test_a_host_stays_named_when_its_urls_have_ended(frontier: Frontier) -> None:
    await frontier.add(jobs(["http://a/1"]))
    await frontier.settle([ended(job) for job in await claim_all(frontier)])
    assert await frontier.is_user_host("a", 80)


# ---- any sequence of calls, against a simple reference ----

HOSTS = ["a", "b", "[::1]", "c:81", ""]
ADD = st.tuples(
    st.just("add"),
    st.lists(st.tuples(st.sampled_from(HOSTS), st.integers(0, 12), st.integers(-1, 2)), max_size=12),
)
CLAIM = st.tuples(st.just("claim"), st.tuples(st.integers(0, 9), st.integers(1, 4)))
SETTLE = st.tuples(
    st.just("settle"),
    st.lists(
        st.tuples(st.integers(0, 99), st.sampled_from(["done", "failed", "refused", "defer"])), max_size=6
    ),
)
REOPEN = st.tuples(st.sampled_from(["kill", "refresh"]), st.none())


class Model:
    """What is pending and what is held, in the plainest way."""

    def __init__(self) -> None:
        self.pending: dict[str, Job] = {}
        self.held: dict[str, Job] = {}
        self.final: dict[str, str] = {}
        self.order: dict[str, int] = {}  # when a URL was first listed
        self.asked: set[str] = set()  # what this refresh has put back, or found pending
        self.refreshes = False

    def add(self, batch: list[Job]) -> tuple[int, int]:
        """How many are new, and how many are put back."""
        new = again = 0
        for one in batch:
            is_new = one.url not in self.order
            if is_new or (self.refreshes and one.url not in self.asked):
                new += is_new
                again += not is_new
                self.order.setdefault(one.url, len(self.order))
                self.final.pop(one.url, None)
                self.pending[one.url] = one
                self.asked.add(one.url)
        return new, again

    def refresh(self) -> None:
        self.refreshes = True
        self.asked = set(self.pending)

    def load(self, host: str) -> int:
        return sum(1 for job in self.held.values() if job.host == host)

    def check_claim(self, claimed: list[Job], limit: int, per_host: int) -> None:
        before = {job.host: self.load(job.host) for job in self.pending.values()}
        assert len(claimed) <= limit
        assert [job.rank for job in claimed] == sorted(job.rank for job in claimed)
        for got in claimed:
            wanted = self.pending[got.url]  # KeyError: never added, ended, or
            assert got.url not in self.held, "handed out twice"
            assert (got.host, got.rank) == (wanted.host, wanted.rank)
            self.held[got.url] = got
        loads = {host: self.load(host) for host in before}
        for host, load in loads.items():
            assert not host or load <= max(per_host, before[host])
        for job in [job for url, job in self.pending.items() if url not in self.held]:  # noqa: F402
            has_room = not job.host or loads[job.host] < per_host
            if has_room:
                assert len(claimed) == limit, f"{job.url} could have been claimed"
                assert all(got.rank <= job.rank for got in claimed), "a larger rank went first"
            assert all(
                self.order[got.url] < self.order[job.url]
                for got in claimed
                if (got.host, got.rank) == (job.host, job.rank)
            ), "out of order"


async def follow(
    frontier: Frontier, steps: list[Any], reopen: Callable[[Frontier, str], Any] | None = None
) -> None:
    model = Model()
    await frontier.open()
    try:
        for step, detail in steps:
            if step == "add":
                batch = [
                    job(f"http://{host}/{number}" if host else f"line {number}", priority=-rank)
                    for host, number, rank in detail
                ]
                added = await frontier.add(batch)
                assert (added.new, added.again) == model.add(batch)
                others = added.duplicates + added.pending + sum(added.finals.values())
                assert added.new + added.again + others == len(batch)
            elif step == "claim":
                limit, per_host = detail
                model.check_claim(await frontier.claim(limit, per_host=per_host, now=0.0), limit, per_host)
            elif step == "settle":
                outcomes: dict[str, Outcome] = {}
                for index, state in detail:
                    if model.held:
                        one = list(model.held.values())[index % len(model.held)]
                        outcomes[one.url] = deferred(one) if state == "defer" else ended(one, state)
                await frontier.settle(list(outcomes.values()))
                for url, outcome in outcomes.items():
                    if outcome.record is not None:
                        del model.pending[url], model.held[url]
                        model.final[url] = outcome.record.state
            elif reopen is not None:
                frontier = await reopen(frontier, step)
                model.held.clear()
                if step == "refresh":
                    model.refresh()
            states = Counter(model.final.values())
            assert await frontier.counts() == Counts(pending=len(model.pending), **states)
        rest = {job.url for job in await claim_all(frontier)}
        assert rest == set(model.pending) - set(model.held), "lost or handed out twice"
    finally:
        await frontier.aclose(complete=False)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.one_of(ADD, CLAIM, SETTLE), max_size=30))
def test_no_sequence_of_calls_loses_a_job_of_the_memory_or_hands_it_out_twice(steps: list[Any]) -> None:
    asyncio.run(follow(MemoryFrontier(), steps))


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.one_of(ADD, CLAIM, SETTLE, REOPEN), max_size=30))
def test_no_sequence_of_calls_kills_and_refreshes_loses_a_job_of_the_state_or_hands_it_out_twice(
    steps: list[Any],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        place = Place(Path(folder, "run"))
        mode: dict[str, bool] = {}

        async def reopen(old: Frontier, step: str) -> Frontier:
            nonlocal place
            if step == "refresh":
                mode["refresh"] = True
                await old.aclose(complete=True)
            else:
                place = place.killed()
                await old.aclose(complete=False)
            fresh = place.frontier(**mode)
            await fresh.open()
            return fresh

        asyncio.run(follow(place.frontier(), steps, reopen))
