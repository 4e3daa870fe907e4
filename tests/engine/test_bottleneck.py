"""The bottleneck has its name: one cause is made for each run, in virtual time, and is what the run tells."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fakeloop import in_virtual_time, virtual_loop
from support.scripted import Answer
from support.stage import Stage

from fetcher.engine.holdup_sampler import loop_work
from fetcher.events import RunEnded
from fetcher.model import Bottleneck, Holdup, SpeedSettings
from fetcher.policy.bottleneck import add_holdups, bottleneck_of

A = "http://a.example/"
ONE_HOST = [f"{A}{n}" for n in range(400)]
MANY_HOSTS = [f"http://h{n % 40}.example/{n}" for n in range(400)]


def answer(**fields: Any) -> Callable[..., Answer]:
    return lambda request, _: Answer(body=fields.get("body", b"x"), header_s=fields.get("header_s", 0.1))


async def told(urls: list[str], *, default: Any = None, table: Any = None, **settings: Any) -> Bottleneck:
    stage = Stage(table, default=default or answer(), **settings)
    await stage.run(urls)
    (ended,) = [event for event in stage.diary.events if isinstance(event, RunEnded)]
    assert ended.snapshot.bottleneck is not None
    return ended.snapshot.bottleneck


@in_virtual_time
async def test_a_hosts_limit() -> None:
    found = await told([*ONE_HOST, *MANY_HOSTS], per_host=2)
    assert (found.cause, found.host) == ("per-host", "a.example:80")
    assert found.text.startswith("a.example's limit of 2 held ")
    assert "--per-host 4 would save about" in found.text
    longer = 400 / 2 * 0.1
    assert found.saves_s == pytest.approx(longer / 2, rel=0.15)
    # What it says is so: with the setting, the run is shorter by that.
    again = await told([*ONE_HOST, *MANY_HOSTS], per_host=4)
    assert again.cause == "per-host"


@in_virtual_time
async def test_the_limit_of_many_hosts_names_none() -> None:
    found = await told(MANY_HOSTS, per_host=1, concurrency=400)
    assert (found.cause, found.host) == ("per-host", "")
    assert "the limit of 1 of each host (40 hosts) held" in found.text


@in_virtual_time
async def test_a_hosts_delay() -> None:
    found = await told(ONE_HOST[:50], delay=0.5)
    assert (found.cause, found.host, found.setting) == ("delay", "a.example:80", "--delay 0.25")
    assert found.share > 0.9
    assert found.saves_s == pytest.approx(50 * 0.25, rel=0.1)


@in_virtual_time
async def test_a_host_that_asks_for_time() -> None:
    busy = Answer(status=429, headers={"Retry-After": "60"}, header_s=0.1)
    found = await told(ONE_HOST[:50], table={f"{A}0": [busy, Answer()]}, default=answer(), per_host=1)
    assert (found.cause, found.host, found.saves_s) == ("retry-after", "a.example:80", None)
    assert found.text.startswith("a.example's Retry-After held ")


@in_virtual_time
async def test_failures_that_are_tried_again() -> None:
    found = await told(ONE_HOST[:20], default=lambda *_: Answer(status=500), retries=4)
    assert found.cause == "backoff"


@in_virtual_time
async def test_the_rate() -> None:
    found = await told(MANY_HOSTS, rate=20.0)
    assert (found.cause, found.setting, found.host) == ("rate", "--rate 40/s", "")
    assert found.text.startswith("the rate of 20/s held ")
    assert found.saves_s == pytest.approx(10, rel=0.1)


@in_virtual_time
async def test_the_bandwidth() -> None:
    found = await told(MANY_HOSTS, default=answer(body=[b"x" * 1024] * 100), max_bandwidth=1024 * 1024)
    assert (found.cause, found.setting) == ("bandwidth", "--max-bandwidth 2M")


@in_virtual_time
async def test_the_slots() -> None:
    found = await told(MANY_HOSTS, default=answer(header_s=1.0), concurrency=4)
    assert (found.cause, found.setting) == ("concurrency", "--concurrency 8")
    assert found.saves_s == pytest.approx(50, rel=0.1)


@in_virtual_time
async def test_a_server_that_is_slow_with_the_last() -> None:
    found = await told([f"{A}last", *MANY_HOSTS], table={f"{A}last": Answer(header_s=50.0)})
    assert found.cause == "answers"
    assert found.setting is None


@in_virtual_time
async def test_a_pause_is_nobodys_fault() -> None:
    stage = Stage(None, default=answer(), rate=20.0)
    virtual_loop().call_later(2.5, lambda: stage.engine.adjust(is_paused=True))
    virtual_loop().call_later(1000, lambda: stage.engine.adjust(is_paused=False))
    await stage.run(MANY_HOSTS)
    (ended,) = [event for event in stage.diary.events if isinstance(event, RunEnded)]
    found = ended.snapshot.bottleneck
    assert found is not None
    assert found.cause == "rate"
    assert found.saves_s == pytest.approx(10, rel=0.1)


def test_the_processor_is_named_where_the_loop_is_always_at_work() -> None:
    held = [Holdup("per-host", "a:80", 5.0, 40.0, 4.8), Holdup("answers", "", 1.0, 1.0, 0.1)]
    settings = SpeedSettings(cores=2, processes=1)
    found = bottleneck_of(held, settings, 6.0)
    assert found is not None
    assert found.text == "the processor held 83 % of the time; --processes 2 would save about 2.5 s"
    idle = bottleneck_of([Holdup("per-host", "a:80", 5.0, 40.0, 1.0)], settings, 5.0)
    assert idle is not None
    assert idle.cause == "per-host"


@pytest.mark.parametrize(
    ("held", "settings", "text"),
    [
        (
            Holdup("parser", "", 10.0),
            {"parser_workers": 1, "cores": 4},
            "--parser-workers 4 would save about 7.5 s",
        ),
        (Holdup("parser", "", 10.0), {"cores": 4}, "a faster parser, or more processors"),
        (Holdup("disk", "", 10.0), {}, "the disk held 100 % of the time"),
        (Holdup("disk", "", 10.0), {"stores_objects": True}, "the object store held 100 % of the time"),
        (Holdup("per-host", "a:80", 10.0, 80.0), {"concurrency": 8}, "--per-host 16 --concurrency 16"),
        (
            Holdup("per-host", "a:80", 10.0),
            {"own_hosts": frozenset({"a"})},
            'a larger per_host in [host."a"]',
        ),
        (Holdup("per-host", "a:80", 10.0, 80.0, 8.0), {}, "would save about 2.0 s"),
        (Holdup("crawl-delay", "a:443", 10.0), {}, "a's Crawl-delay of robots.txt held"),
        (Holdup("rate", "", 10.0), {"rate": 0.5}, "the rate of 30/m held 100 % of the time; --rate 1/s"),
    ],
)
def test_what_is_said_of_a_cause(held: Holdup, settings: dict[str, Any], text: str) -> None:
    found = bottleneck_of([held], SpeedSettings(**settings), 10.0)
    assert found is not None
    assert text in found.text


def test_nothing_is_said_of_a_short_run_or_one_that_many_things_held() -> None:
    assert bottleneck_of([Holdup("rate", "", 0.3)], SpeedSettings(rate=1.0), 0.3) is None
    many = [Holdup(cause, "", 1.0) for cause in ("rate", "delay", "disk", "answers", "input")]
    assert bottleneck_of(many, SpeedSettings(), 5.0) is None


def test_hosts_beyond_the_first_are_one() -> None:
    sums = add_holdups(Holdup("per-host", f"h{n}:80", 1.0 + n) for n in range(1000))
    assert len(sums) == 201
    assert sum(each.seconds for each in sums) == sum(1.0 + n for n in range(1000))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not tell")
def test_work_of_the_loop_is_measured_and_sleep_is_not() -> None:
    with loop_work() as worked:
        began = worked()
        time.sleep(0.05)
        slept = worked() - began
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass
        assert worked() - began - slept >= 0.09
    assert slept < 0.045
    assert not any(re.search("schedstat", link) for link in map(_link, os.listdir("/proc/self/fd")))


def _link(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
