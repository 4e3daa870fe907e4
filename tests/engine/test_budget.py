"""The byte budget and the bandwidth limit."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.engine.budget import Bandwidth, ByteBudget


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def utc(self) -> float:
        return self.time


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def test_it_is_spent_from_its_limit_on():
    budget = ByteBudget(100)
    budget.reserve(99)
    assert not budget.is_spent
    budget.reserve(1)
    assert budget.is_spent
    budget.release(1)
    assert not budget.is_spent


async def test_a_wait_ends_at_once_while_there_is_room():
    budget = ByteBudget(1)
    async with asyncio.timeout(60):
        await budget.wait()
    assert not budget.is_spent


async def test_a_wait_ends_when_bytes_are_given_back():
    budget = ByteBudget(100)
    budget.reserve(150)
    waiting = asyncio.create_task(budget.wait())
    await turns()
    budget.release(50)
    await turns()
    assert not waiting.done()
    budget.release(1)
    await turns()
    assert waiting.done()


async def test_those_who_wait_go_in_the_order_they_came_as_far_as_there_is_room():
    budget = ByteBudget(100)
    budget.reserve(100)
    went: list[int] = []

    async def go(number: int) -> None:
        await budget.wait()
        budget.reserve(60)
        went.append(number)

    tasks = [asyncio.create_task(go(number)) for number in range(5)]
    await turns()
    budget.release(100)
    await turns(20)
    assert went == [0, 1]
    assert budget.used == 120
    budget.release(60)
    await turns(20)
    assert went == [0, 1, 2]
    late = asyncio.create_task(go(9))
    for _ in range(3):
        budget.release(60)
        await turns(20)
    await asyncio.gather(*tasks, late)
    assert went == [0, 1, 2, 3, 4, 9]


async def test_one_who_comes_while_others_wait_does_not_overtake():
    budget = ByteBudget(100)
    budget.reserve(100)
    went: list[str] = []

    async def go(name: str) -> None:
        await budget.wait()
        went.append(name)

    first = asyncio.create_task(go("first"))
    await turns()
    budget.release(50)
    await go("second")
    await first
    assert went == ["first", "second"]


@pytest.mark.parametrize("is_woken", [False, True])
async def test_one_who_is_cancelled_leaves_the_room_to_the_next(is_woken):
    budget = ByteBudget(100)
    budget.reserve(100)
    first, second = (asyncio.create_task(budget.wait()) for _ in range(2))
    await turns()
    if is_woken:
        budget.release(50)
        first.cancel()
    else:
        first.cancel()
        await turns()
        budget.release(50)
    await asyncio.wait_for(second, timeout=60)
    assert first.cancelled()


def test_an_idle_line_costs_no_wait():
    clock = Hand()
    limit = Bandwidth(1000, clock)
    for _ in range(50):
        assert limit.account(100) == 0
        clock.time += 0.1


def test_more_than_the_rate_waits_for_what_was_charged():
    clock = Hand()
    limit = Bandwidth(1000, clock)
    limit.account(100)  # the burst
    assert limit.account(2000) == pytest.approx(2.0)
    assert limit.account(500) == pytest.approx(2.5)
    clock.time += 2.0
    assert limit.account(0) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 70_000), st.floats(0, 0.5)), min_size=1, max_size=60))
def test_no_pattern_of_reads_passes_the_rate_and_the_burst(reads):
    clock = Hand()
    limit = Bandwidth(50_000, clock)
    total = 0
    for size, pause in reads:
        wait = limit.account(size)
        total += size
        clock.time += wait
        passed = clock.time - 1000.0
        assert total <= 50_000 * (passed + 0.1 + 0.005) + 1e-3
        clock.time += pause
