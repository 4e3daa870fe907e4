"""Totals divided among holders: never more is out than there is, and what one does not use another has."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fetcher.policy.totals import DividedTotal, divided


def test_a_total_is_divided_by_what_each_wants() -> None:
    assert divided(12, {1: math.inf, 2: 2, 3: math.inf}, 1) == {1: 5, 2: 2, 3: 5}
    assert divided(2, {1: math.inf, 2: math.inf, 3: math.inf}, 1) == {1: 1, 2: 1}


def test_what_is_not_used_moves_once_its_holder_has_confirmed() -> None:
    total = DividedTotal(10, least=1)
    assert total.tell({1: 0}) == {1: 10}
    total.confirm(1, 10)
    assert total.tell({1: 1, 2: 0}) == {1: 1.5}  # the second one waits for what the first gives back
    total.confirm(1, 1.5)
    assert total.tell({1: 1, 2: 0})[2] == 8.5
    total.forget(1)
    total.confirm(2, 8.5)
    assert total.tell({2: 8.5}) == {2: 10}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 20), st.sampled_from(["tell", "confirm", "end"]))),
    st.integers(1, 12),
)
def test_never_more_is_out_than_the_total(steps: list[tuple[int, float, str]], amount: int) -> None:
    total = DividedTotal(amount, least=1)
    on_way: dict[int, list[float]] = {}  # told and not confirmed
    has: dict[int, float] = {}
    uses: dict[int, float] = {}
    for holder, used, what in steps:
        if what == "tell":
            uses[holder] = used
            told = total.tell(uses)
            for one, part in told.items():
                on_way.setdefault(one, []).append(part)
        elif what == "confirm" and on_way.get(holder):
            has[holder] = on_way.pop(holder)[-1]
            total.confirm(holder, has[holder])
        elif what == "end":
            total.forget(holder)
            for known in (on_way, has, uses):
                known.pop(holder, None)
        out = [max([has.get(one, 0), *on_way.get(one, [])]) for one in {*on_way, *has}]
        assert sum(out) <= amount + 1e-6
