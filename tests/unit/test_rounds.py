"""Rounds: which shards of a crawl have something to do, and how many pages each may claim."""

from __future__ import annotations

from fetcher.cluster.lease import ShardEnd
from fetcher.cluster.rounds import Rounds
from fetcher.model import Summary


def end(*, pending: int = 0, claimed: int = 0, read: list[tuple[int, str]] | None = None) -> ShardEnd:
    summary = Summary(pending=pending)
    return ShardEnd(is_complete=True, list_number=1, summary=summary, claimed=claimed, read=read or [])


def begun(max_pages: int | None = None, listed: tuple[int, ...] = (3, 0, 1)) -> Rounds:
    rounds = Rounds(max_pages)
    for shard, number in enumerate(listed):
        rounds.begin(shard, number, None, was_begun=False, list_number=1, again=False)
    return rounds


def test_a_shard_runs_for_its_list_and_for_links_that_it_has_not_read() -> None:
    rounds = begun()
    assert rounds.runnable(()) == [0, 2]
    rounds.ended(0, end())
    rounds.posted(0, {1: ["a", "b"], 2: ["c"]})
    assert rounds.runnable({2}) == [1]
    rounds.ended(2, end())
    assert rounds.runnable(()) == [2, 1]
    assert rounds.undelivered == 3
    rounds.ended(1, end(read=[(0, "a"), (0, "b")]))
    rounds.ended(2, end(read=[(0, "c")]))
    assert (rounds.runnable(()), rounds.undelivered) == ([], 0)


def test_what_a_killed_shard_did_is_looked_at_though_it_has_no_list() -> None:
    rounds = Rounds()
    rounds.begin(0, 0, None, was_begun=True, list_number=1, again=False)
    rounds.begin(1, 5, end(), was_begun=True, list_number=1, again=False)
    rounds.begin(2, 5, end(), was_begun=True, list_number=2, again=False)
    assert rounds.runnable(()) == [2, 0]


def test_granted_pages_are_never_more_than_the_total_and_what_is_left_over_goes_on() -> None:
    rounds = begun(10, (5, 5, 5))
    grants = [rounds.pages(shard) for shard in rounds.runnable(())]
    assert sum(filter(None, grants)) == 10
    assert rounds.pages(0) == grants[0]  # begun again elsewhere: no more, and no less
    rounds.ended(0, end(claimed=1))
    rounds.ended(1, end(pending=7, claimed=3))
    assert rounds.runnable({2}) == [1]
    assert rounds.pages(1) == 3 + (10 - 1 - 3 - 3)
    rounds.ended(2, end(claimed=3))
    rounds.ended(1, end(pending=4, claimed=6))
    assert rounds.runnable(()) == []


def test_a_killed_shard_tells_what_it_claimed_before_anybody_gets_more() -> None:
    rounds = Rounds(10)
    rounds.begin(0, 5, None, was_begun=True, list_number=1, again=False)
    rounds.begin(1, 5, end(pending=3, claimed=2), was_begun=True, list_number=1, again=False)
    assert rounds.pages(0) == 0
    assert rounds.runnable({0}) == []
    rounds.ended(0, end(pending=9, claimed=4))
    assert rounds.runnable(()) == [0, 1]
    assert rounds.pages(0) == 4 + 2
    assert rounds.pages(1) == 2 + 2
