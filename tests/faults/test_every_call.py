"""A seeded sample of `make torture`, and by name what it has found: kills and faults at calls of the system.

Each trial is a run of 200 URLs that strace kills, or whose call it lets fail; the same command then continues, and
nothing may differ from a run that was left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture.faults import FAULTS, KILL
from torture.ground import BIG
from torture.large import torture_large
from torture.modes import BACKENDS
from torture.sweep import STOPPED, Sweep, Trial

SEED = 1
OTHERS = tuple(name for name in FAULTS if name not in {KILL, "EMFILE+"})
pytestmark = [pytest.mark.strace, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with Sweep(tmp_path_factory.mktemp("sweep")) as running:
        yield running


def assert_nothing_differs(sweep: Sweep, mode: str, backend: str, faults: list[str], number: int) -> None:
    results = [
        sweep.run(trial) for fault in faults for trial in sweep.sample(mode, backend, fault, number, SEED)
    ]
    assert results
    assert {str(result.trial): result.differences for result in results if result.differences} == {}


@pytest.mark.parametrize(
    ("mode", "backend"),
    [
        *(("get", backend) for backend in BACKENDS),  # what a backend does itself is alike in every mode
        ("crawl", "asyncio"),
        ("refresh", "curl"),
        ("retry-failed", "threads"),
        ("parser", "sync"),
        ("convert-refresh", "asyncio"),
        ("fsync", "curl"),
    ],
)
def test_a_run_that_is_killed_at_any_call_loses_nothing(mode: str, backend: str, sweep: Sweep) -> None:
    assert_nothing_differs(sweep, mode, backend, [KILL], 2)


@pytest.mark.parametrize("fault", OTHERS)
def test_a_call_that_fails_costs_no_url(fault: str, sweep: Sweep) -> None:
    backend = BACKENDS[OTHERS.index(fault) % len(BACKENDS)]
    assert_nothing_differs(sweep, "get", backend, [fault], 3)


@pytest.mark.parametrize("mode", ["processes", "parser-processes"])
def test_a_run_or_a_worker_that_is_killed_at_any_call_loses_nothing(mode: str, sweep: Sweep) -> None:
    assert_nothing_differs(sweep, mode, "asyncio", [KILL, "EIO"], 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_part_is_continued_though_a_signal_interrupts_its_cutting(backend: str, sweep: Sweep) -> None:
    result = sweep.run(Trial("get", backend, "EINTR", "ftruncate", 1))
    assert (result.was_met, result.differences) == (True, [])
    records = [json.loads(line) for line in (sweep.out / "results.jsonl").read_text().splitlines()]
    (big,) = [record for record in records if "/big/" in record["url"]]
    assert (big["attempts"], big["wire_bytes"], len(big["resumed_at"])) == (2, BIG, 1)


def test_a_run_that_can_open_nothing_to_wait_with_says_so(sweep: Sweep) -> None:
    result = sweep.run(Trial("get", "asyncio", "EMFILE", "epoll_create1", 1))
    assert (result.code, result.differences) == (STOPPED, [])
    assert "Too many open files" in result.said
    assert "ulimit" in result.said
    assert "never awaited" not in result.said


def test_a_large_body_killed_again_and_again_is_asked_for_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torture_large(tmp_path, "asyncio", 24 << 20, kills=2, seed=SEED), capsys.readouterr().out
