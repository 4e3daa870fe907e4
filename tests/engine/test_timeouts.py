"""Limits on time and speed: each attempt ends, and only for what the server did."""

from __future__ import annotations

import pytest
from support.fakeloop import in_virtual_time, virtual_loop
from support.scripted import Answer, redirect
from support.stage import Stage

from fetcher.engine.timeouts import Limits

A, B = "http://a.example/", "http://b.example/"


def limits(**seconds: float | None) -> Limits:
    none = {"connect_s": None, "header_s": None, "read_s": None, "total_s": None, "min_speed": None}
    return Limits(**{**none, **seconds})


@pytest.mark.parametrize(
    ("given", "tick"),
    [
        ({}, 1.0),
        ({"connect_s": 4.0}, 0.5),
        ({"connect_s": 4.0, "total_s": 0.8}, 0.1),
        ({"read_s": 0.01}, 0.05),
    ],
)
def test_it_looks_eight_times_within_the_shortest_limit(given, tick):
    assert limits(**given).tick_s == tick


# -- each limit ------------------------------------------------------------------------------------------

CASES = {
    "connect": ({"connect_timeout": 4}, Answer(connect_s=None), 4.0, "no connection within 4 s"),
    "header": ({"header_timeout": 8}, Answer(header_s=None), 8.0, "no complete header within 8 s"),
    "silence": (
        {"read_timeout": 6},
        Answer(body=[b"12345", 1e6], completeness="chunked"),
        6.0,
        "silent for 6 s after 5 bytes",
    ),
    "total": ({"timeout": 9}, Answer(body=[b"x" * 999, 1.0] * 99), 9.0, "not complete within 9 s"),
    "speed": ({}, Answer(body=[b"x", 1.0] * 999), 60.0, "slower than 100 bytes/s for a minute"),
}


@pytest.mark.parametrize("case", CASES)
@in_virtual_time
async def test_an_attempt_beyond_a_limit_is_given_up_and_says_which(case):
    settings, answer, after_s, message = CASES[case]
    stage = Stage({A: answer}, retries=0, **settings)
    await stage.run([A])
    record = stage.record(A)
    assert (record.error, record.message) == ("timed-out", message)
    assert after_s <= stage.elapsed <= after_s + 2.5
    (hit,) = stage.backend.hits
    assert hit.was_cancelled


@pytest.mark.parametrize("case", CASES)
@in_virtual_time
async def test_what_took_too_long_is_tried_again(case):
    settings, answer, _, _ = CASES[case]
    stage = Stage({A: [answer, answer, Answer(body=b"x")]}, **settings)
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert stage.record(A).attempts == 3


@pytest.mark.parametrize(
    "answer",
    [
        Answer(connect_s=3.5, header_s=7.5, body=[b"x" * 600, 5.5, b"x" * 600]),
        Answer(body=[b"x" * 120, 1.0] * 200),
        Answer(body=[b"x" * 300, 5.9] * 20),
    ],
    ids=["just-within", "just-fast-enough", "in-bursts"],
)
@in_virtual_time
async def test_what_stays_within_every_limit_is_left_alone(answer):
    stage = Stage({A: answer}, connect_timeout=4, header_timeout=8, read_timeout=6, min_speed=50)
    await stage.run([A])
    assert stage.record(A).state == "done"


@in_virtual_time
async def test_without_limits_an_answer_may_take_all_day():
    day = Answer(connect_s=30_000, header_s=30_000, body=[b"x", 30_000.0, b"y"])
    stage = Stage(
        {A: day}, connect_timeout=40_000, header_timeout=40_000, read_timeout=40_000, min_speed=None
    )
    await stage.run([A])
    assert stage.record(A).state == "done"


@in_virtual_time
async def test_time_before_the_body_does_not_count_against_its_speed():
    slow_start = Answer(connect_s=5.0, header_s=50.0, body=[b"x" * 200, 1.0] * 30)
    stage = Stage({A: slow_start}, retries=0)
    await stage.run([A])
    assert stage.record(A).state == "done"


@in_virtual_time
async def test_a_body_that_becomes_slow_is_given_up_a_minute_later():
    stage = Stage({A: Answer(body=[*[b"x" * 999, 1.0] * 60, *[b"x", 1.0] * 999])}, retries=0)
    await stage.run([A])
    assert stage.record(A).message == "slower than 100 bytes/s for a minute"
    assert 110 < stage.elapsed < 125


@in_virtual_time
async def test_the_limit_on_one_hop_begins_anew_with_the_next():
    table = {A: [Answer(status=302, headers={"Location": B}, header_s=7.0)], B: Answer(header_s=7.0)}
    stage = Stage(table, timeout=9)
    await stage.run([A])
    assert stage.record(A).state == "done"


@in_virtual_time
async def test_time_in_queues_never_counts():
    stage = Stage({A: redirect(B)}, default=Answer(header_s=7.0), timeout=9, per_host=1, concurrency=2)
    summary = await stage.run([A, *[B + str(n) for n in range(10)]])
    assert summary.done == 11
    assert {record.attempts for record in stage.records} == {1}


@in_virtual_time
async def test_each_exchange_is_judged_by_its_own_times():
    stage = Stage(default=Answer(header_s=5.0), header_timeout=6, per_host=1)
    summary = await stage.run([A + str(n) for n in range(20)])
    assert summary.done == 20
    assert len(stage.backend.hits) == 20


# -- who is to blame -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer(connect_s=3.0),
        Answer(header_s=3.0),
        Answer(body=[b"x", 3.0, b"y"]),
        Answer(body=[b"x" * 120, 1.0] * 90),
    ],
    ids=["connect", "header", "body", "speed"],
)
@in_virtual_time
async def test_a_loop_that_stood_still_is_no_servers_fault(answer):
    limits = {"connect_timeout": 4, "header_timeout": 4, "read_timeout": 4, "timeout": 95}
    stage = Stage({A: answer}, retries=0, **limits)
    loop = virtual_loop()
    loop.call_later(1.5, loop.freeze, 60.0)
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert stage.elapsed > 60


@in_virtual_time
async def test_a_server_that_stays_silent_after_the_loop_stood_still_is_given_up():
    stage = Stage({A: Answer(header_s=None)}, retries=0, header_timeout=8)
    loop = virtual_loop()
    loop.call_later(1.5, loop.freeze, 60.0)
    await stage.run([A])
    assert stage.record(A).error == "timed-out"
    assert 67 < stage.elapsed < 72


@in_virtual_time
async def test_a_server_that_is_made_to_wait_is_not_silent():
    """The bandwidth limit pauses the reading for longer than the limits on silence and speed."""
    stage = Stage({A: Answer(body=[b"x" * 4000, b"y" * 4000])}, max_bandwidth="40", read_timeout=5, retries=0)
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert stage.elapsed > 150


# -- what follows ----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_worker_that_lost_its_exchange_goes_on_with_the_next():
    table = {A + str(n): Answer(header_s=None) for n in range(5)}
    stage = Stage(table, retries=0, header_timeout=8, concurrency=1)
    summary = await stage.run([*table, B])
    assert (summary.failed, summary.done) == (5, 1)
    assert len(stage.pool._timers) == 1


@in_virtual_time
async def test_an_exchange_that_ends_as_its_limit_is_reached_ends_once():
    """The verdict and the answer come in the same turn of the loop."""
    for header_s in (8.0, 8.875, 9.0, 9.000001):
        stage = Stage({A: [Answer(header_s=header_s), Answer(body=b"x")]}, header_timeout=8)
        await stage.run([A])
        assert stage.record(A).state == "done"
        assert len(stage.records) == 1


@in_virtual_time
async def test_a_stop_is_not_taken_for_a_timeout():
    stage = Stage({A: Answer(header_s=None)}, header_timeout=100, grace=2)
    virtual_loop().call_later(3, stage.engine.stop, "SIGINT")
    summary = await stage.run([A])
    assert summary.pending == 1
    assert stage.records == []
