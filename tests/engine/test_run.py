"""A whole run: it is fair, it ends by itself, it stops when told, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakeloop import in_virtual_time, run_virtually, virtual_loop
from support.scripted import Answer, fails, redirect, status
from support.stage import UNSETTLED, Stage

from fetcher.errors import ConfigError, ConnectionLost, StorageError
from fetcher.events import Event, HostThrottled, LogMessage, OutcomesSettled, RunEnded, RunStarted
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Entry, Outcome
from fetcher.policy.throttle import MOST_DELAY_S
from fetcher.sources.iterables import IterableSource
from fetcher.stores.files import FilesStore

A, B = "http://a.example/", "http://b.example/"
HOSTS = [f"http://{letter}.example/" for letter in "abcde"]


def pages(host: str, number: int) -> list[str]:
    return [f"{host}{n}" for n in range(number)]


def slow_at(host: str, seconds: float, otherwise: float = 0.1) -> Any:
    """A default answer: one host takes its time."""
    return lambda request, _: Answer(
        body=request.url.encode(), header_s=seconds if request.url.startswith(host) else otherwise
    )


@pytest.fixture(params=["memory", "sqlite"])
def make(request: Any, tmp_path: Path) -> Any:
    """Make a stage with either frontier."""
    return partial(Stage, folder=None if request.param == "memory" else tmp_path / "out")


# -- the ordinary run ------------------------------------------------------------------------------------


@in_virtual_time
async def test_every_url_ends_in_one_state_and_is_asked_for_once(make):
    urls = [url for host in HOSTS for url in pages(host, 200)]
    stage = make()
    summary = await stage.run(urls)
    assert summary.done == 1000
    assert summary.ok
    assert Counter(stage.backend.urls()) == Counter(urls)
    assert Counter(record.url for record in stage.records) == Counter(urls)
    assert summary.bytes == summary.wire_bytes == sum(map(len, urls))


@in_virtual_time
async def test_an_empty_list_ends_at_once(make):
    stage = make()
    summary = await stage.run([])
    assert summary.ok
    assert (summary.done, stage.elapsed) == (0, 0)


@in_virtual_time
async def test_a_list_of_bad_lines_alone_ends_and_has_a_record_for_each(make):
    stage = make()
    lines = [f"no url {n}" for n in range(600)]
    summary = await stage.run(lines)
    assert summary.refused == 600
    assert stage.backend.hits == []
    assert {record.error for record in stage.records} == {"bad-url"}
    assert sorted(record.line or 0 for record in stage.records) == list(range(1, 601))


@in_virtual_time
async def test_a_repeated_url_is_counted_and_fetched_once(make):
    stage = make()
    summary = await stage.run([A, B, A, A + "#fragment"])
    assert (summary.done, summary.duplicates) == (2, 2)
    assert sorted(stage.backend.urls()) == [A, B]


@in_virtual_time
async def test_the_summary_says_how_many_ended_how_and_why(make):
    stage = make({A: status(404), A + "1": status(410), A + "2": fails(ConnectionLost("gone"))}, retries=0)
    summary = await stage.run([A, A + "1", A + "2", B, "nonsense"])
    assert (summary.done, summary.failed, summary.refused, summary.pending) == (1, 3, 1, 0)
    assert summary.errors == {"http-status": 2, "connection-lost": 1, "bad-url": 1}
    assert not summary.ok
    assert summary.stopped is None
    assert summary.requests == 4


@in_virtual_time
async def test_observers_hear_the_beginning_each_batch_and_the_end(make):
    stage = make()
    await stage.run(pages(A, 100))
    kinds = [type(event) for event in stage.diary.events]
    assert kinds[0] is RunStarted
    assert kinds[-1] is RunEnded
    assert set(kinds[1:-1]) == {OutcomesSettled}
    assert sum(len(event.records) for event in stage.events(OutcomesSettled)) == 100
    snapshot = stage.events(RunEnded)[0].snapshot
    assert (snapshot.listed, snapshot.done, snapshot.pending, snapshot.active) == (100, 100, 0, 0)


@in_virtual_time
async def test_a_snapshot_tells_how_the_run_stands(make):
    stage = make({B: status(429, retry_after=50)}, default=Answer(header_s=5.0), per_host=2)
    seen = []
    virtual_loop().call_later(1, lambda: seen.append(stage.engine.snapshot()))
    await stage.run([B, *pages(A, 10)])
    (snapshot,) = seen
    assert (snapshot.listed, snapshot.pending, snapshot.active, snapshot.waiting) == (11, 11, 2, 1)
    assert snapshot.input_ended
    assert snapshot.elapsed_s == pytest.approx(1.0, abs=0.01)
    hosts = {name: (active, queued) for name, active, queued, _ in snapshot.hosts}
    assert hosts == {"a.example:80": (2, 8), "b.example:80": (0, 1)}


@in_virtual_time
async def test_larger_priorities_are_claimed_first(make):
    stage = make(concurrency=1, per_host=1)
    urls = [{"url": A + str(n), "priority": n} for n in range(50)]
    await stage.run(urls)
    assert stage.backend.urls() == [A + str(n) for n in reversed(range(50))]


# -- limits and fairness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("concurrency", "per_host"), [(1, 1), (4, 2), (16, 3), (7, 64)])
@in_virtual_time
async def test_no_limit_on_exchanges_is_ever_passed_and_each_is_used(make, concurrency, per_host):
    stage = make(default=Answer(header_s=1.0), concurrency=concurrency, per_host=per_host)
    await stage.run([url for host in HOSTS for url in pages(host, 40)])
    assert stage.backend.most_active == min(concurrency, 5 * per_host)
    assert max(stage.backend.most_active_at.values()) <= per_host


@in_virtual_time
async def test_one_slow_host_never_stops_the_others(make):
    stage = make(default=slow_at(A, 100.0), concurrency=4, per_host=2, header_timeout=200)
    fast = [url for host in HOSTS[1:] for url in pages(host, 25)]
    await stage.run([*pages(A, 20), *fast])
    ended = {hit.url: hit.ended - stage.begun for hit in stage.backend.hits if hit.ended}
    assert max(ended[url] for url in fast) < 20
    assert stage.elapsed == pytest.approx(1000, abs=1)


@in_virtual_time
async def test_a_long_list_of_one_host_does_not_keep_the_next_host_waiting(make):
    stage = make(default=slow_at(A, 10.0), concurrency=8, per_host=4)
    await stage.run([*pages(A, 3000), B])
    assert stage.backend.starts(B)[0] < 0.5


@in_virtual_time
async def test_a_host_that_asks_for_time_delays_nobody_else(make):
    """429 with Retry-After 2 for every URL of one of five hosts, once."""

    def answer(request: Any, number: int) -> Answer:
        if request.url.startswith(A) and number == 0:
            return Answer(status=429, headers={"Retry-After": "2"}, header_s=0.1)
        return Answer(header_s=0.1)

    stage = make(default=answer, retries=0, concurrency=10, per_host=2)
    lists = [pages(host, 20) for host in HOSTS]
    await stage.run([url for each in zip(*lists, strict=True) for url in each])
    assert stage.states() == dict.fromkeys((url for each in lists for url in each), "done")
    for host in HOSTS[1:]:
        starts = [hit.started - stage.begun for hit in stage.backend.hits if hit.url.startswith(host)]
        assert len(starts) == 20
        assert max(starts) < 2
    assert all(event.seconds >= 2 for event in stage.events(HostThrottled))
    holds = sorted(hit.started for hit in stage.backend.at("a.example:80"))
    assert all(after - before <= 2.1 + 1e-6 for before, after in pairwise(holds))


@in_virtual_time
async def test_a_delay_and_a_rate_hold_over_the_whole_run(make):
    stage = make(default=Answer(header_s=0.3), delay=1.5)
    await stage.run([*pages(A, 5), *pages(B, 5)])
    assert stage.backend.starts("a.example:80") == [0, 1.5, 3, 4.5, 6]
    assert stage.backend.starts("b.example:80") == [0, 1.5, 3, 4.5, 6]


@in_virtual_time
async def test_a_huge_delay_of_robots_txt_is_told_once_with_what_is_kept_of_it():
    class Asked(MemoryFrontier):
        async def claim(self, limit, *, per_host, now):
            claimed = await super().claim(limit, per_host=per_host, now=now)
            for job in claimed:
                job.crawl_delay_s = MOST_DELAY_S
            return claimed

    stage = Stage(default=Answer(), frontier=Asked())
    await stage.run(pages(A, 3))
    assert stage.backend.starts("a.example:80") == [0, 60, 120]
    told = [notice for notice in stage.notices() if "60 s" in notice]
    assert told == ["a.example:80 asks for 60 s or more between requests; it gets 60 s"]


@in_virtual_time
async def test_a_rate_spaces_all_starts(make):
    stage = make(rate="4/s")
    await stage.run([url for host in HOSTS for url in pages(host, 4)])
    starts = sorted(hit.started - stage.begun for hit in stage.backend.hits)
    assert [round(start - starts[0], 6) for start in starts] == [n / 4 for n in range(20)]


@in_virtual_time
async def test_settings_for_one_host_are_its_own():
    own = {"a.example": {"per_host": 1}, "b.example:80": {"delay": 2}}
    stage = Stage(default=Answer(header_s=1.0), hosts=own)
    await stage.run([*pages(A, 3), *pages(B, 3), *pages(HOSTS[2], 3)])
    assert stage.backend.starts("a.example:80") == [0, 1, 2]
    assert stage.backend.starts("b.example:80") == [0, 2, 4]
    assert stage.backend.starts("c.example:80") == [0, 0, 0]


@in_virtual_time
async def test_what_is_in_flight_and_not_settled_is_bounded_while_storing_is_slow(tmp_path):
    class SlowStore(FilesStore):
        async def put(self, batch: Any) -> Any:
            seen.append(stage.context.stats.unsettled + stage.pool.active)
            await asyncio.sleep(5.0)
            return await super().put(batch)

    seen: list[int] = []
    folder = tmp_path / "out"
    store = SlowStore(folder, parts=folder / ".fetcher" / "parts", overwrite=False, mtime=False, fsync=False)
    stage = Stage(folder=folder, store=store, concurrency=8, per_host=8)
    summary = await stage.run([url for n in range(25) for url in pages(f"http://{n}.example/", 20)])
    assert summary.done == 500
    assert max(seen) == 8 + UNSETTLED
    assert len(stage.backend.hits) == 500


@in_virtual_time
async def test_no_more_jobs_are_in_hand_than_the_window_holds(make):
    stage = make(concurrency=4)
    stage.pool._window = 64
    seen: list[int] = []
    stage.on_start = lambda _: seen.append(stage.pool._scheduler.queued)
    await stage.run([url for n in range(50) for url in pages(f"http://{n}.example/", 20)])
    assert len(stage.backend.hits) == 1000
    assert 32 < max(seen) <= 64


@in_virtual_time
async def test_jobs_that_wait_for_their_time_are_bounded_too(make):
    stage = make(default=status(429, retry_after=50), concurrency=4, max_wait=60)
    stage.pool._window, stage.pool._most_claimed = 64, 256
    seen: list[int] = []
    stage.on_start = lambda _: seen.append(stage.pool._scheduler.queued + stage.pool._scheduler.deferred)
    await stage.run(f"http://{n}.example/" for n in range(1000))
    assert len(stage.backend.hits) == 2000
    assert 192 < max(seen) <= 256


@in_virtual_time
async def test_there_are_no_more_workers_than_exchanges(make):
    stage = make(default=Answer(header_s=1.0), concurrency=4, per_host=20)
    await stage.run([url for host in HOSTS for url in pages(host, 20)])
    assert len(stage.pool._timers) == stage.backend.most_active == 4


# -- ending by itself ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_run_that_waits_does_not_poll(make):
    stage = make({A: [status(429, retry_after=60), Answer()]})
    loop = virtual_loop()
    turns: list[int] = []
    loop.call_later(5, lambda: turns.append(loop.turns))
    loop.call_later(55, lambda: turns.append(loop.turns))
    await stage.run([A])
    assert stage.elapsed >= 60
    samples = 450  # of what holds the run up: ever fewer a second
    assert (
        turns[1] - turns[0] <= 50 * 2 + 10 + 2 * samples
    )  # the watchdog's tick once a second, and nothing else


@in_virtual_time
async def test_a_run_whose_input_is_slow_waits_for_it_and_does_not_poll(make):
    async def slowly() -> AsyncIterator[str]:
        for n in range(5):
            await asyncio.sleep(100)
            yield A + str(n)

    stage = make()
    loop = virtual_loop()
    before = loop.turns
    summary = await stage.run(slowly())
    assert summary.done == 5
    assert stage.backend.starts("a.example:80") == [0, 100, 200, 300, 400]
    samples = 1100  # of what holds the run up
    assert loop.turns - before < 500 * 2 + 200 + 2 * samples


@in_virtual_time
async def test_a_run_ends_as_soon_as_its_last_url_is_settled(make):
    stage = make(default=Answer(header_s=3.0))
    await stage.run([A])
    assert stage.elapsed == pytest.approx(3.0, abs=0.001)


@in_virtual_time
async def test_the_input_is_read_no_further_ahead_than_the_plan_says():
    read = 0

    def endless() -> Any:
        nonlocal read
        while read < 5000:
            read += 1
            yield A + str(read)

    stage = Stage(default=Answer(header_s=1.0), concurrency=4, per_host=4)
    stage.engine._input._ahead = 500
    most: list[int] = []
    stage.on_start = lambda _: most.append(read - len(stage.records))
    await stage.run(endless())
    assert max(most) <= 500 + 256


KINDS = [
    Answer(body=b"x"),
    Answer(header_s=3.0),
    Answer(header_s=None),
    Answer(body=[b"x", 50.0, b"y"]),
    Answer(body=b"12", length=3),
    status(404),
    status(500),
    status(429, retry_after=3),
    status(503),
    status(304),
    redirect(B + "elsewhere"),
    redirect("/0"),
    redirect("nowhere:"),
    fails(ConnectionLost("gone"), "header"),
]


def any_site(data: st.DataObject) -> tuple[dict[str, list[Answer]], dict[str, Any]]:
    """Answers for some URLs at three hosts, and limits."""
    urls = [f"{host}{n}" for host in HOSTS[:3] for n in range(data.draw(st.integers(0, 6)))]
    table = {url: data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)) for url in urls}
    limits = {
        "concurrency": data.draw(st.integers(1, 6)),
        "per_host": data.draw(st.integers(1, 4)),
        "retries": data.draw(st.integers(0, 3)),
        "delay": data.draw(st.sampled_from([0, 0.5])),
        "max_wait": 10,
    }
    return table, limits


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_mixture_of_answers_ends_with_every_url_in_one_state(data):
    """Slow, failing, redirecting, asking for time: each URL ends once, whatever the limits."""
    table, limits = any_site(data)

    async def go() -> None:
        stage = Stage(table, **limits)
        summary = await stage.run(list(table))
        assert Counter(record.url for record in stage.records) == Counter(list(table))
        assert summary.pending == 0
        assert summary.done + summary.failed + summary.refused == len(table)

    run_virtually(go())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_runs_stopped_or_cancelled_at_any_moment_end_with_one_line_for_each_url(data):
    """However often it is interrupted, nothing is lost, and what was settled is not asked for again."""
    table, limits = any_site(data)
    ways = st.sampled_from(["stop", "twice", "cancel"])
    interruptions = data.draw(st.lists(st.tuples(ways, st.floats(0, 30)), max_size=3))

    async def go(folder: Path) -> None:
        settled: set[str] = set()
        passed_through = {B + "elsewhere", *(host + "0" for host in HOSTS)}  # by redirects too
        for way, after_s in [*interruptions, ("end", 0.0)]:
            stage = Stage(table, folder=folder, grace=1, **limits)
            task = asyncio.create_task(stage.run(list(table)))
            for _ in range({"stop": 1, "twice": 2}.get(way, 0)):
                stage.alien_timers.append(virtual_loop().call_later(after_s, stage.engine.stop, "SIGINT"))
            if way == "cancel":
                stage.alien_timers.append(virtual_loop().call_later(after_s, task.cancel))
            await asyncio.wait({task})
            for timer in stage.alien_timers:
                timer.cancel()
            assert task.cancelled() or task.exception() is None
            assert not ({hit.url for hit in stage.backend.hits} - passed_through) & settled
            settled |= {record.url for record in stage.records}
        assert task.result().pending == 0
        lines = [json.loads(line)["url"] for line in (folder / "results.jsonl").read_bytes().splitlines()]
        assert Counter(lines) == Counter(list(table))

    with tempfile.TemporaryDirectory() as folder:
        run_virtually(go(Path(folder)))


# -- the byte budget ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_nothing_starts_while_the_byte_budget_is_spent_and_then_it_goes_on():
    table = {A: Answer(body=[b"x" * 2000, 10.0, b"y"])}
    stage = Stage(table, budget=1000, concurrency=4)
    summary = await stage.run([A, *pages(B, 10)])
    assert summary.done == 11
    assert min(stage.backend.starts("b.example:80")) == 10.0


@in_virtual_time
async def test_a_stop_while_the_byte_budget_is_spent_ends_the_run(make):
    stage = make({A: Answer(body=[b"x" * 2000, 1000.0, b"y"], completeness="chunked")}, budget=1000, grace=5)
    virtual_loop().call_later(3, stage.engine.stop, "SIGINT")
    summary = await stage.run([A, *pages(B, 10)])
    assert summary.stopped == "SIGINT"
    assert stage.elapsed == pytest.approx(8, abs=0.1)


@in_virtual_time
async def test_a_large_body_goes_to_a_part_file_and_then_under_its_name(tmp_path):
    block = b"z" * 300_000
    stage = Stage({A: Answer(body=[block, 1.0, block, 1.0, block])}, folder=tmp_path)
    await stage.run([A])
    assert (tmp_path / "a.example" / "index.html").read_bytes() == block * 3


# -- stopping --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stop_lets_what_is_in_flight_end_and_starts_nothing(make):
    stage = make(default=Answer(body=b"x", header_s=5.0), concurrency=2)
    virtual_loop().call_later(7, stage.engine.stop, "SIGINT")
    summary = await stage.run(pages(A, 10))
    assert (summary.done, summary.pending, summary.stopped) == (4, 6, "SIGINT")
    assert len(stage.backend.hits) == 4
    assert stage.elapsed == pytest.approx(10, abs=0.1)


@in_virtual_time
async def test_what_does_not_end_within_the_grace_is_abandoned_and_stays_pending(make):
    stage = make(default=Answer(body=b"x", header_s=50.0), concurrency=2, grace=3)
    virtual_loop().call_later(7, stage.engine.stop, "SIGTERM")
    summary = await stage.run(pages(A, 5))
    assert (summary.done, summary.pending) == (0, 5)
    assert stage.elapsed == pytest.approx(10, abs=0.1)
    assert all(hit.was_cancelled for hit in stage.backend.hits)


@in_virtual_time
async def test_a_second_stop_ends_at_once(make):
    stage = make(default=Answer(body=b"x", header_s=50.0), concurrency=2, grace=30)
    virtual_loop().call_later(7, stage.engine.stop, "SIGINT")
    virtual_loop().call_later(9, stage.engine.stop, "SIGTERM")
    summary = await stage.run(pages(A, 5))
    assert (summary.pending, summary.stopped) == (5, "SIGINT")
    assert stage.elapsed == pytest.approx(9, abs=0.1)


@in_virtual_time
async def test_two_stops_in_the_same_moment_end_at_once(make):
    stage = make(default=Answer(body=b"x", header_s=50.0), grace=30)
    for _ in range(2):
        virtual_loop().call_later(7, stage.engine.stop, "SIGINT")
    await stage.run(pages(A, 5))
    assert stage.elapsed == pytest.approx(7, abs=0.1)


@in_virtual_time
async def test_a_stop_before_the_run_fetches_nothing(make):
    stage = make()
    stage.engine.stop("SIGINT")
    summary = await stage.run(pages(A, 5))
    assert summary.stopped == "SIGINT"
    assert stage.backend.hits == []


@in_virtual_time
async def test_a_stop_does_not_wait_for_a_host_that_asked_for_time(make):
    stage = make({A: status(429, retry_after=100)})
    virtual_loop().call_later(5, stage.engine.stop, "SIGINT")
    summary = await stage.run([A])
    assert summary.pending == 1
    assert stage.elapsed == pytest.approx(5, abs=0.1)


@in_virtual_time
async def test_a_stop_does_not_wait_for_an_input_that_never_ends(make):
    async def never() -> AsyncIterator[str]:
        yield A
        await asyncio.get_running_loop().create_future()

    stage = make()
    virtual_loop().call_later(5, stage.engine.stop, "SIGINT")
    summary = await stage.run(never())
    assert summary.done == 1
    assert stage.elapsed == pytest.approx(5, abs=0.1)


@in_virtual_time
async def test_the_deadline_stops_the_run_cleanly(make):
    stage = make(default=Answer(body=b"x", header_s=4.0), concurrency=1, deadline="10s")
    summary = await stage.run(pages(A, 10))
    assert (summary.done, summary.pending, summary.stopped) == (3, 7, "deadline")
    assert stage.elapsed == pytest.approx(12, abs=0.1)


@in_virtual_time
async def test_a_deadline_during_a_stop_does_not_cut_its_grace_short(make):
    stage = make(default=Answer(body=b"x", header_s=20.0), deadline="10s", grace=30)
    virtual_loop().call_later(5, stage.engine.stop, "SIGINT")
    summary = await stage.run(pages(A, 5))
    assert (summary.done, summary.stopped) == (5, "SIGINT")


@in_virtual_time
async def test_so_many_failures_stop_the_run_cleanly(make):
    stage = make(default=status(404), concurrency=1, max_failures=3)
    summary = await stage.run(pages(A, 300))
    assert summary.stopped == "max-failures"
    assert summary.failed >= 3
    assert summary.failed + summary.pending == 300
    assert summary.pending > 0


@in_virtual_time
async def test_too_little_room_on_the_disk_stops_the_run_cleanly(make):
    room = {"bytes": 1 << 40}
    stage = make(
        default=Answer(body=b"x", header_s=1.0), concurrency=1, min_free="1M", free=lambda: room["bytes"]
    )
    virtual_loop().call_later(5, room.update, {"bytes": 1000})
    summary = await stage.run(pages(A, 100))
    assert summary.stopped == "disk-full"
    assert 4 <= summary.done <= 8
    assert any("bytes free" in notice.text for notice in stage.events(LogMessage) if notice.level == "error")


@in_virtual_time
async def test_a_cancelled_run_leaves_nothing_and_its_urls_stay_pending(tmp_path):
    stage = Stage(default=Answer(body=[b"x" * 300_000, 50.0, b"y"]), folder=tmp_path, concurrency=3)
    task = asyncio.create_task(stage.run(pages(A, 9)))
    await asyncio.sleep(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = Stage(folder=tmp_path)
    summary = await again.run()
    assert summary.done == 9


@in_virtual_time
async def test_a_run_cancelled_while_bodies_wait_to_be_stored_leaves_no_part(tmp_path):
    class Stuck(FilesStore):
        async def put(self, batch: Any) -> Any:
            await asyncio.sleep(1000)
            return await super().put(batch)

    store = Stuck(tmp_path, parts=tmp_path / ".fetcher" / "parts", overwrite=False, mtime=False, fsync=False)
    stage = Stage(
        default=Answer(body=[b"x" * 600_000, 1.0, b"y"]), folder=tmp_path, store=store, concurrency=4
    )
    task = asyncio.create_task(stage.run(pages(A, 20)))
    await asyncio.sleep(30)
    assert stage.context.stats.unsettled > 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("at", [0.0, 0.01, 0.02, 0.5, 1.0, 1.015, 2.5])
@in_virtual_time
async def test_a_run_cancelled_at_any_moment_leaves_nothing(make, at):
    stage = make(
        {A: status(429, retry_after=2)}, default=Answer(body=[b"x" * 70_000, 0.5] * 3), concurrency=3
    )
    task = asyncio.create_task(stage.run([A, *pages(B, 9)]))
    await asyncio.sleep(at)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- continuing ------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stopped_run_is_continued_without_asking_twice_for_what_was_settled(tmp_path):
    urls = pages(A, 50) + pages(B, 50)
    first = Stage(default=Answer(body=b"x", header_s=1.0), folder=tmp_path, concurrency=4, grace=0)
    virtual_loop().call_later(5.5, first.engine.stop, "SIGINT")
    before = await first.run(urls)
    assert 0 < before.done < 100
    second = Stage(default=Answer(body=b"x", header_s=1.0), folder=tmp_path)
    after = await second.run(urls)
    assert (after.done, after.earlier, after.pending) == (100, before.done, 0)
    assert {record.url for record in first.records} & set(second.backend.urls()) == set()
    lines = [json.loads(line)["url"] for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert Counter(lines) == Counter(urls)


@in_virtual_time
async def test_what_an_earlier_list_left_pending_is_fetched_too(tmp_path):
    first = Stage(folder=tmp_path)
    first.engine.stop("SIGINT")
    await first.run(pages(A, 3))
    listed = Stage(folder=tmp_path, default=Answer(header_s=1.0))
    virtual_loop().call_later(0.5, listed.engine.stop, "SIGINT")
    await listed.run(pages(A, 30))
    last = Stage(folder=tmp_path)
    summary = await last.run([B])
    assert last.events(RunStarted)[0].left == 30 - len(listed.records)
    assert summary.done == 1 + 30 - len(listed.records)


@in_virtual_time
async def test_a_finished_run_asks_for_nothing_again(tmp_path):
    await Stage(folder=tmp_path).run(pages(A, 5))
    again = Stage(folder=tmp_path)
    summary = await again.run(pages(A, 5))
    assert (summary.done, summary.earlier) == (5, 5)
    assert again.backend.hits == []


@in_virtual_time
async def test_failed_urls_are_put_back_with_fresh_attempts_when_asked(tmp_path):
    await Stage(default=status(500), folder=tmp_path, retries=1).run(pages(A, 3))
    again = Stage(default=[status(500), Answer(body=b"x")], folder=tmp_path, retries=1, retry_failed=True)
    summary = await again.run(pages(A, 3))
    assert summary.done == 3
    assert {record.attempts for record in again.records} == {2}


@in_virtual_time
async def test_credentials_in_a_url_are_withheld_until_it_is_listed_again(tmp_path):
    url = "http://me:secret@a.example/"
    first = Stage(folder=tmp_path, default=Answer(header_s=9.0), grace=0)
    virtual_loop().call_later(1, first.engine.stop, "SIGINT")
    await first.run([url])
    second = Stage(folder=tmp_path)
    summary = await second.run([B])
    assert (summary.withheld, summary.ok) == (1, False)
    assert any("credentials" in text for text in second.notices())
    third = Stage(folder=tmp_path)
    summary = await third.run([url])
    assert (summary.done, summary.withheld) == (1, 0)
    assert "authorization" in third.backend.hits[0].headers


# -- what fails -------------------------------------------------------------------------------------------------


class Faulty(FilesStore):
    """Fails as a whole after so many files, or for some URLs."""

    def __init__(self, folder: Path, *, after: int = 1 << 60, bad: Sequence[str] = ()) -> None:
        super().__init__(
            folder, parts=folder / ".fetcher" / "parts", overwrite=False, mtime=False, fsync=False
        )
        self._left = after
        self._bad = bad

    async def put(self, batch: Any) -> Any:
        self._left -= len(batch)
        if self._left < 0:
            raise StorageError("cannot write: the disk is full", hint="free some space")
        stored = await super().put(batch)
        return [
            StorageError("file name too long", systemic=False) if outcome.job.url in self._bad else place
            for outcome, place in zip(batch, stored, strict=True)
        ]


@in_virtual_time
async def test_storage_that_fails_ends_the_run_with_that_error_and_loses_nothing(tmp_path):
    urls = pages(A, 300) + pages(B, 300)
    stage = Stage(folder=tmp_path, store=Faulty(tmp_path, after=200), default=Answer(body=b"x", header_s=0.1))
    with pytest.raises(StorageError, match="the disk is full") as caught:
        await stage.run(urls)
    assert caught.value.hint == "free some space"
    settled = [json.loads(line)["url"] for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert 0 < len(settled) <= 200
    again = Stage(folder=tmp_path)
    summary = await again.run(urls)
    assert (summary.done, summary.earlier) == (600, len(settled))
    assert not set(again.backend.urls()) & set(settled)
    lines = [json.loads(line)["url"] for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert Counter(lines) == Counter(urls)


@in_virtual_time
async def test_storage_that_fails_leaves_no_part_of_what_waited(tmp_path):
    stage = Stage(
        folder=tmp_path, store=Faulty(tmp_path, after=0), default=Answer(body=[b"x" * 600_000, 1.0, b"y"])
    )
    with pytest.raises(StorageError):
        await stage.run(pages(A, 100))


@in_virtual_time
async def test_one_file_that_cannot_be_stored_fails_its_url_alone(tmp_path):
    bad = A + "3"
    stage = Stage(folder=tmp_path, store=Faulty(tmp_path, bad=[bad]))
    summary = await stage.run(pages(A, 9))
    assert (summary.done, summary.failed) == (8, 1)
    record = stage.record(bad)
    assert (record.error, record.message, record.bytes, record.sha256) == (
        "storage-failed",
        "file name too long",
        0,
        None,
    )
    assert record.path is None
    assert summary.errors == {"storage-failed": 1}


@in_virtual_time
async def test_a_part_file_that_finds_no_descriptor_costs_its_url_nothing(tmp_path):
    large = A + "large"
    stage = Stage({large: Answer(body=[b"x" * 300_000, 0.5, b"y"])}, folder=tmp_path, delay=1)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)

    def exhaust(hit: Any) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
        if hit.url == large and len(stage.backend.at(large)) == 1:
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, most[1]))

    stage.on_start = exhaust
    try:
        summary = await stage.run([large, A])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert (summary.done, stage.record(large).attempts) == (2, 1)
    assert len(stage.backend.at(large)) == 2


@pytest.mark.parametrize("method", ["open", "add", "claim", "settle", "is_user_host", "counts"])
@in_virtual_time
async def test_a_frontier_that_fails_ends_the_run_with_its_error(method):
    class Broken(MemoryFrontier):
        is_durable = True

    async def broken(*_: Any, **__: Any) -> Any:
        raise StorageError("the state is broken")

    frontier = Broken()
    setattr(frontier, method, broken)
    stage = Stage({A: redirect(B)}, frontier=frontier, default=Answer(header_s=0.5))
    with pytest.raises(StorageError, match="the state is broken"):
        await stage.run([A, *pages(B, 20)])


@in_virtual_time
async def test_the_cause_of_an_error_is_kept():
    class Broken(MemoryFrontier):
        async def settle(self, outcomes: Sequence[Outcome]) -> int:
            raise StorageError("the state is broken") from OSError(5, "Input/output error")

    with pytest.raises(StorageError) as caught:
        await Stage(frontier=Broken()).run([A])
    assert isinstance(caught.value.__cause__, OSError)


@in_virtual_time
async def test_a_defect_is_raised_as_itself_and_not_in_a_group():
    class Broken(MemoryFrontier):
        async def settle(self, outcomes: Sequence[Outcome]) -> int:
            raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError, match="a defect"):
        await Stage(frontier=Broken()).run([A])


class FailingSource:
    """Some entries, then an error."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        if self._urls:
            yield [Entry(url) for url in self._urls]
        raise ConfigError("list.gz: line 7: the file is cut short")

    async def aclose(self) -> None:
        self.is_closed = True


@in_virtual_time
async def test_a_source_that_fails_midway_has_what_was_read_fetched(make):
    stage = make(default=Answer(header_s=1.0))
    source = FailingSource(pages(A, 20))
    summary = await stage.run(sources=[source])
    assert (summary.done, summary.stopped) == (20, "input-failed")
    assert "list.gz: line 7: the file is cut short" in stage.notices()
    assert source.is_closed


@in_virtual_time
async def test_a_source_that_fails_at_once_ends_the_run_with_its_error(make):
    stage = make()
    source = FailingSource([])
    with pytest.raises(ConfigError, match="cut short"):
        await stage.run(sources=[source])
    assert source.is_closed
    assert stage.backend.hits == []


@in_virtual_time
async def test_a_source_that_fails_midway_has_what_an_earlier_session_left_fetched_too(tmp_path):
    first = Stage(folder=tmp_path, default=Answer(header_s=9.0), grace=0)
    virtual_loop().call_later(1, first.engine.stop, "SIGINT")
    await first.run(pages(A, 5))
    second = Stage(folder=tmp_path)
    summary = await second.run(sources=[FailingSource(pages(A, 5))])
    assert (summary.done, summary.stopped) == (5, "input-failed")


@in_virtual_time
async def test_every_source_is_closed_however_the_run_ends(make):
    sources = [FailingSource(pages(A, 3)), FailingSource([])]
    stage = make(default=Answer(header_s=5.0))
    virtual_loop().call_later(1, stage.engine.stop, "SIGINT")
    await stage.run(sources=sources)
    assert [source.is_closed for source in sources] == [True, True]


class Grumpy:
    """An observer that fails at every event."""

    def __init__(self) -> None:
        self.told = 0

    def on_event(self, event: Event) -> None:
        self.told += 1
        raise RuntimeError(f"I do not like {type(event).__name__}")


@in_virtual_time
async def test_an_observer_that_raises_is_dropped_and_that_is_said_once(make):
    grumpy = Grumpy()
    stage = make(observers=[grumpy])
    summary = await stage.run(pages(A, 200))
    assert summary.done == 200
    assert grumpy.told == 1
    assert [text for text in stage.notices() if "Grumpy" in text] == [
        "Grumpy failed and is switched off: I do not like RunStarted"
    ]


@in_virtual_time
async def test_several_observers_that_raise_are_each_dropped(make):
    observers = [Grumpy(), Grumpy(), Grumpy()]
    stage = make(observers=observers)
    summary = await stage.run(pages(A, 20))
    assert summary.done == 20
    assert max(observer.told for observer in observers) <= 3  # the beginning, and the others' ends
    assert len(stage.notices()) == 3


@in_virtual_time
async def test_a_notice_that_was_said_is_not_said_again(make):
    stage = make()
    for _ in range(3):
        stage.engine.notice("warning", "certificates are not checked")
    await stage.run([])
    assert stage.notices() == ["certificates are not checked"]


@in_virtual_time
async def test_two_runs_at_once_know_nothing_of_each_other():
    first, second = Stage(default=Answer(header_s=1.0)), Stage(default=status(404))

    one, two = await asyncio.gather(
        *(stage.engine.run([IterableSource(pages(A, 20), batch=8)]) for stage in (first, second))
    )
    assert (one.done, two.failed) == (20, 20)
