"""Timings: what was packed is what is read, and figures of exchanges add up to their time."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.timings import (
    CAUSES,
    PHASES,
    TimingNotes,
    pack_ordinary,
    pack_parsed,
    pack_stored,
    pack_unusual,
    read_timings,
)

seconds = st.floats(0, 1e6, width=32)
numbers = st.integers(1, 2**63 - 1)
notes = st.builds(
    TimingNotes,
    waits=st.dictionaries(st.sampled_from(CAUSES), st.floats(0, 1e6), max_size=4),
    url=st.none() | st.text(max_size=40),
    error=st.none() | st.text(max_size=10),
    message=st.none() | st.text(max_size=40),
    resumed_at=st.none() | st.integers(0, 2**53),
)


@given(numbers, st.floats(0, 4e9), st.sampled_from(range(len(CAUSES))), seconds, seconds, seconds)
def test_an_ordinary_exchange_is_36_bytes_and_read_as_it_was(
    number: int, started: float, cause: int, waited: float, header: float, body: float
) -> None:
    packed = pack_ordinary(number, started, cause, waited, 0.0, 200, header, body)
    assert len(packed) == 36
    (timing,) = read_timings(packed)
    assert (timing.id, timing.started_at, timing.status) == (number, started, 200)
    assert timing.waits == {CAUSES[cause]: waited}
    assert timing.seconds == pytest.approx(header + body)


@given(st.lists(st.tuples(numbers, st.lists(seconds, min_size=7, max_size=7), notes), max_size=4))
def test_unusual_exchanges_follow_one_another_with_all_that_they_have(unusual: list[Any]) -> None:
    packed = b"".join(
        pack_unusual(number, 1.5, 0, tuple(phases), 7, rest, is_new_connection=True)
        for number, phases, rest in unusual
    )
    read = list(read_timings(packed))
    assert [(one.id, list(one.phases.values()), one.notes) for one in read] == unusual
    assert all(list(one.phases) == list(PHASES) and one.is_new_connection for one in read)


def test_what_follows_an_exchange_is_added_to_it() -> None:
    one, other = (pack_ordinary(number, 0.0, 0, 0.0, 0.0, 200, 0.25, 0.5) for number in (1, 2))
    entries = one + pack_parsed(1, 2.0, 0.5) + pack_stored(4.0) + other + pack_parsed(9, 1.0, 1.0)
    first, second = read_timings(entries)
    assert (first.parse, first.stored) == ((2.0, 0.5), 4.0)
    assert (second.parse, second.stored) == (None, None)


@given(st.binary(max_size=200))
def test_damaged_entries_are_an_error_that_is_foreseen(entries: bytes) -> None:
    with contextlib.suppress(struct.error, ValueError, msgspec.MsgspecError):
        list(read_timings(entries))
