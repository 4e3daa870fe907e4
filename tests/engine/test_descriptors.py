"""The limit on the descriptors of exchanges, with a system that has so many open."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from fetcher.engine.descriptors import DescriptorLimit
from fetcher.errors import StorageError


class System:
    """A process that may open 256 descriptors: `others` are open beside those of `active` exchanges."""

    def __init__(self, most: int = 200, cost: int = 1) -> None:
        self.others = 10
        self.active = 0
        self.connections: list[int] = []
        self.told: list[str] = []
        self.limit = DescriptorLimit(
            most,
            cost,
            active=lambda: self.active,
            on_change=self.connections.append,
            tell=self.told.append,
            number=lambda: self.others + self.active,
        )

    def start(self) -> int:
        """Start as many exchanges as may be."""
        while self.active < 500 and self.limit.may_start():
            self.active += 1
        return self.active


@pytest.fixture(autouse=True)
def few() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("cost", [1, 3])
def test_what_the_run_itself_opens_stays_free(cost: int) -> None:
    system = System(cost=cost)
    started = system.start()
    free = 256 - system.others - started * cost
    assert 50 <= free < 80
    assert system.connections[-1] == started


def test_there_is_no_limit_where_it_would_not_be_met() -> None:
    system = System(most=20)
    assert not system.limit.is_short
    assert system.connections == []


def test_large_bodies_make_for_fewer_exchanges_and_some_part_may_always_be_opened() -> None:
    system = System()
    before = system.start()
    for _ in range(4):
        system.limit.take_part()
    with pytest.raises(StorageError) as caught:
        system.limit.take_part()
    assert caught.value.exhausted
    system.active = before // 2
    assert not system.limit.may_start()
    for _ in range(before // 2 - 4):
        system.limit.take_part()


def test_when_others_take_descriptors_there_are_fewer_exchanges_and_more_again_when_they_let_go() -> None:
    system = System()
    before = system.start()
    system.others += 200
    for now in range(before - 40):
        assert system.limit.reduce(now)
        system.active -= 1
    assert not system.limit.may_start()
    assert system.limit.grow(0) == 0
    system.others -= 200
    for _ in range(20):
        system.limit.grow(0)
        system.start()
    assert system.active == before


def test_exchanges_without_a_connection_yet_are_not_taken_for_descriptors_that_are_free() -> None:
    system = System()
    system.start()
    opened = system.active
    for _ in range(3):
        system.limit.reduce(0.0)
    room = system.connections[-1]
    system.others -= opened  # none of them has opened a socket
    assert system.limit.grow(opened) <= opened - room
    assert system.connections[-1] <= opened


def test_nothing_at_all_for_a_minute_is_the_end() -> None:
    system = System()
    system.active = 1
    assert system.limit.reduce(0.0)
    assert system.limit.reduce(59.0)
    assert not system.limit.reduce(60.0)
    system.limit.succeeded()
    assert system.limit.reduce(61.0)
