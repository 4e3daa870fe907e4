"""Timings and sessions in the state: a row for a batch, and bounded over the years."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support.frontiers import Place, claim_all, ended, jobs

from fetcher.model import Outcome
from fetcher.timings import pack_ordinary


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "run")


def timed(outcome: Outcome) -> Outcome:
    outcome.timings = pack_ordinary(outcome.job.id, 1.0, 0, 0.0, 0.0, 200, 0.5, 0.5)
    return outcome


def ask(place: Place, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(place.state)) as db:
        return db.execute(statement).fetchall()


async def run(place: Place, **mode: Any) -> None:
    """Fetch two URLs in one batch."""
    async with place.session(complete=True, **mode) as frontier:
        await frontier.add(jobs(["http://a/1", "http://a/2"]))
        await frontier.settle([timed(ended(job)) for job in await claim_all(frontier)])


async def test_a_batch_is_one_row_and_one_without_timings_none(place: Place) -> None:
    await run(place)
    assert ask(place, "SELECT session, length(entries) FROM timing") == [(1, 72)]
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/3"]))
        await frontier.settle([ended(job) for job in await claim_all(frontier)])
    assert len(ask(place, "SELECT 1 FROM timing")) == 1


async def test_only_the_last_whole_asking_and_the_one_before_are_kept(place: Place) -> None:
    for _ in range(4):
        await run(place, refresh=True)
    assert ask(place, "SELECT session FROM timing ORDER BY id") == [(3,), (4,)]
    await run(place, retry_failed=True)
    await run(place)
    assert ask(place, "SELECT session FROM timing ORDER BY id") == [(3,), (4,)]
    await run(place, restart=True)
    assert ask(place, "SELECT session FROM timing ORDER BY id") == [(4,), (7,)]


async def test_a_session_that_was_killed_has_no_end(place: Place) -> None:
    async with place.session(refresh=True):
        left = place.killed()
    assert ask(place, "SELECT mode, ended IS NULL FROM session") == [("--refresh", 0)]
    assert ask(left, "SELECT mode, ended IS NULL FROM session") == [("--refresh", 1)]


async def test_a_state_of_an_earlier_version_gets_the_tables_as_it_is_opened(place: Place) -> None:
    await run(place)
    with contextlib.closing(sqlite3.connect(place.state)) as db:
        db.executescript("DROP TABLE timing; DROP TABLE session;")
    await run(place, refresh=True)
    assert ask(place, "SELECT session FROM timing") == [(2,)]
