"""`fetcher rehearse` as a user runs it: bounded, clean, and honest about their parser and options."""

from __future__ import annotations

import signal

import pytest
from support.program import Program

QUICK = (
    *(
        "--kills",
        "1",
        "--seed",
        "4",
        "--min-free",
        "0",
        "--retries",
        "0",
        "--max-wait",
        "0",
        "--max-size",
        "100K",
    ),
    *("--header-timeout", "1", "--read-timeout", "1", "--timeout", "1", "--per-host", "64"),
)
PARSER = """
def parse(page):
    if not page.body:
        raise ValueError("nothing there")
    return {"url": page.url}
"""


def leftovers(program: Program) -> list[str]:
    return [path.name for path in (program.folder / "home").iterdir()]


def test_a_rehearsal_ends_in_time_tells_all_as_json_and_leaves_nothing(program: Program) -> None:
    (program.folder / "own.py").write_text(PARSER)
    ended = program.run("rehearse", *QUICK, "--json", "--parser", "own.py:parse", "--offload", "inline")
    assert ended.code == 0, ended.err
    (report,) = ended.lines
    assert (report["lost"], report["seed"], report["command"], report["backend"]) == ([], 4, "get", "asyncio")
    assert [start["killed"] for start in report["starts"]] == [True, False]
    assert report["kills"] == 1
    assert (report["ended"], report["pending"]) == (True, 0)
    for kind in report["kinds"].values():
        assert sum(kind["ended"].values()) == kind["urls"]
    assert report["kinds"]["plain"]["ended"]["done"] > 0
    assert report["kinds"]["silent"]["ended"] == {"failed: timed-out": 3}
    assert report["parser"]["items"] > 0
    assert set(report["parser"]["failed"]) <= {f"ValueError: nothing there ({program.folder}/own.py:4)"}
    assert [text for text in report["advice"] if "--offload inline" in text]
    assert "start 1: killed" in ended.err
    assert leftovers(program) == []


def test_the_report_is_for_people_and_what_is_kept_stays(program: Program) -> None:
    (program.folder / "job.toml").write_text(
        '[job]\ncommand = "crawl"\nurls = ["https://example.org/"]\n[common]\nproxy = "http://proxy:1"\n'
    )
    ended = program.run("rehearse", "job.toml", *QUICK, "--keep", "kept")
    assert ended.code == 0, ended.err
    assert "lost: nothing (" in ended.out
    assert "crawl on asyncio: 2 starts, 1 kill" in ended.out
    assert "--seed 4 --kills 1" in ended.out
    assert "not rehearsed, since they concern other servers or runs: --proxy" in ended.err
    kept = program.folder / "kept"
    assert {path.name for path in kept.iterdir()} == {"list.jsonl", "out", "run-1.log", "run-2.log"}
    assert program.run("verify", kept / "out", "-q").code == 0
    assert program.run("rehearse", "--keep", "kept").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_run_and_leaves_nothing(program: Program, number: signal.Signals) -> None:
    with program.start("rehearse", "--seed", "4", "--kills", "99") as running:
        assert running.says("start 1: killed")
        running.send(number)
        ended = running.end()
    assert ended.code == 128 + number
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert leftovers(program) == []


def test_what_the_run_does_not_take_is_said_as_it_says_it(program: Program) -> None:
    ended = program.run("rehearse", *QUICK, "--parser", "nowhere:parse")
    assert ended.code == 2
    assert "the run ended with exit 2: " in ended.err
    assert "nowhere" in ended.err
    assert program.run("rehearse", "nowhere.toml").code == 2
    assert program.run("rehearse", "--concurrency", "many").code == 2
    assert leftovers(program) == []
