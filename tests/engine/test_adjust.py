"""A run that is paused, or has its concurrency changed, while it goes."""

from __future__ import annotations

import msgspec
import pytest
from support.fakeloop import in_virtual_time, virtual_loop
from support.scripted import Answer
from support.stage import Stage

URLS = [f"http://{letter}.example/{n}" for n in range(20) for letter in "abcde"]


def starts(stage: Stage) -> list[float]:
    return [round(hit.started - stage.begun, 1) for hit in stage.backend.hits]


@in_virtual_time
async def test_nothing_starts_during_a_pause_and_what_is_in_flight_ends() -> None:
    stage = Stage(default=Answer(header_s=1.0), concurrency=10)
    seen = []
    virtual_loop().call_later(2.5, lambda: stage.engine.adjust(is_paused=True))
    virtual_loop().call_later(50, lambda: seen.append(stage.engine.snapshot()))
    virtual_loop().call_later(100, lambda: stage.engine.adjust(is_paused=False))
    summary = await stage.run(URLS)
    assert summary.done == len(URLS)
    assert not [at for at in starts(stage) if 2.5 < at < 100]
    assert (seen[0].is_paused, seen[0].active, seen[0].done) == (True, 0, 30)
    assert stage.backend.most_active == 10
    assert stage.elapsed == pytest.approx(100 + 7, abs=0.2)


@in_virtual_time
async def test_fewer_and_more_exchanges_are_in_flight_as_it_is_told() -> None:
    stage = Stage(default=Answer(header_s=1.0), concurrency=4, per_host=50)
    stage.settings = msgspec.structs.replace(stage.settings, concurrency=20)  # what the stage allows
    in_flight = []
    for at, concurrency in ((2.5, 1), (10.5, 20)):
        virtual_loop().call_later(at, lambda number=concurrency: stage.engine.adjust(concurrency=number))
    for at in (2.2, 4.2, 9.2, 11.7):
        virtual_loop().call_later(at, lambda: in_flight.append(stage.engine.snapshot().active))
    await stage.run(URLS)
    assert in_flight == [4, 1, 1, 20]
    assert stage.engine.snapshot().concurrency == 20


@in_virtual_time
async def test_a_paused_run_can_be_stopped() -> None:
    stage = Stage(default=Answer(header_s=1.0), concurrency=4)
    virtual_loop().call_later(2.5, lambda: stage.engine.adjust(is_paused=True))
    virtual_loop().call_later(10, lambda: stage.engine.stop("SIGINT"))
    summary = await stage.run(URLS)
    assert (summary.stopped, summary.done) == ("SIGINT", 12)
    assert stage.elapsed == pytest.approx(10, abs=0.1)
