"""Timings of exchanges as the state has them: what was waited for, where the time went, and that it adds up."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from support.fakeloop import in_virtual_time
from support.scripted import Answer, fails, redirect, status
from support.stage import Stage

from fetcher.errors import ConnectFailed
from fetcher.timings import Timing, read_timings

A, B = "http://a.example/", "http://b.example/"


def kept(folder: Path) -> list[Timing]:
    """All that a run has kept, in its order."""
    with contextlib.closing(sqlite3.connect(folder / ".fetcher" / "state.db")) as db:
        rows = db.execute("SELECT entries FROM timing ORDER BY id").fetchall()
    return [timing for (entries,) in rows for timing in read_timings(entries)]


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items() if value}


@in_virtual_time
async def test_each_attempt_is_kept_with_its_wait_and_its_phases(tmp_path: Path) -> None:
    stage = Stage(
        {A: [status(500), status(429, retry_after=7), Answer(header_s=2, body=[b"a", 3.0, b"b"])]},
        folder=tmp_path / "out",
    )
    await stage.run([A])
    first, second, third = kept(tmp_path / "out")
    assert [one.status for one in (first, second, third)] == [500, 429, 200]
    assert [rounded(one.waits) for one in (first, second, third)] == [
        {},
        {"backoff": 0.25},
        {"retry-after": 7},
    ]
    assert rounded(third.phases) == {"header": 2, "body": 3}
    assert third.stored is not None
    starts = [one.started_at - first.started_at for one in (first, second, third)]
    assert [round(start, 3) for start in starts] == stage.backend.starts(A)
    record = stage.record(A)
    assert round(sum(one.seconds for one in (first, second, third)), 3) == round(record.elapsed, 3)
    assert round(sum(sum(one.waits.values()) for one in (first, second, third)), 3) == round(record.waited, 3)


@in_virtual_time
async def test_a_failure_before_an_answer_says_which_and_hops_say_where(tmp_path: Path) -> None:
    table = {A: [fails(ConnectFailed("no route")), redirect(B)], B: Answer(body=b"there")}
    stage = Stage(table, folder=tmp_path / "out")
    await stage.run([A])
    failed, moved, there = kept(tmp_path / "out")
    assert (failed.status, failed.notes.error, failed.notes.message) == (0, "connect-failed", "no route")
    assert failed.is_new_connection
    assert (moved.status, moved.notes.url) == (302, None)
    assert (there.status, there.notes.url) == (200, B)


@in_virtual_time
async def test_what_is_waited_for_bandwidth_is_told_from_the_rest_of_the_body(tmp_path: Path) -> None:
    stage = Stage({A: Answer(body=[b"x" * 100_000] * 4)}, folder=tmp_path / "out", max_bandwidth=100_000.0)
    await stage.run([A])
    (timing,) = kept(tmp_path / "out")
    assert timing.phases["bandwidth"] > 2
    assert round(timing.seconds, 3) == round(stage.record(A).elapsed, 3)
