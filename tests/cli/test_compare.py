"""`fetcher compare` as a process: every workload at a tiny size, its figures, its exit codes, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from support.program import Program, eventually

from fetcher.lab.compare.results import Comparison
from fetcher.lab.compare.workloads import WORKLOADS

TINY = {
    "sleep": ("-n", "12", "--wait", "0.01"),
    "http": ("-n", "6", "--wait", "0.001"),
    "cpu": ("-n", "3", "--wait", "0.001"),
    "mixed": ("-n", "2", "--wait", "0.001", "--models", "sequence,asyncio,asyncio-processes,asyncio-offload"),
    "legacy": ("-n", "5", "--wait", "0.005"),
    "backpressure": ("-n", "20", "--wait", "0.001"),
    "overhead": ("-n", "10"),
}


def processes_of(folder: Path) -> list[int]:
    """The processes that were started there, by their environment."""
    mark = f"HOME={folder / 'home'}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                is_ours = mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if is_ours:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("workload", TINY)
def test_a_workload_runs_on_all_its_models_with_equal_results_and_leaves_nothing(
    program: Program, workload: str
) -> None:
    ended = program.run("compare", workload, "--rounds", "1", "--json", *TINY[workload], limit_s=180)

    assert ended.code == 0, ended.err
    found = msgspec.json.decode(ended.stdout, type=Comparison)
    assert found.workload == workload
    assert {row.model for row in found.rows} >= set(WORKLOADS[workload].models[:2])
    for row in found.rows:
        assert row.is_equal, row
        assert not row.failure, row
        assert row.wall_s > 0
        assert row.rate > 0
        assert row.peak_bytes > 5_000_000
    assert found.conclusion.endswith(".")
    drawn = [timeline.model for timeline in found.timelines]
    models = {row.model for row in found.rows}
    assert drawn == [case.model for case in WORKLOADS[workload].traced if case.model in models]
    for timeline in found.timelines:
        assert {span.lane for span in timeline.spans} == set(range(timeline.lanes))
        kinds = (
            {"waiting"} if workload == "sleep" else {"running", "waiting"}
        )  # a sleep costs next to nothing
        assert kinds <= {span.kind for span in timeline.spans}
    assert bool(found.series) == (workload == "backpressure")
    assert eventually(lambda: not processes_of(program.folder))
    assert list((program.folder / "home").iterdir()) == []


def test_a_table_and_one_sentence_are_printed(program: Program) -> None:
    ended = program.run(
        "compare", "sleep", "--rounds", "2", *TINY["sleep"], variables={"COLUMNS": "80"}, limit_s=60
    )

    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == "sleep: 12 waits of 10 ms at once"
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines[3:8]] == [
        "sequence", "threads", "processes", "processes", "asyncio"
    ]  # fmt: skip
    assert "≈" in lines[3]
    assert "medians of 2 rounds" in ended.out
    assert "≈ is extrapolated from a few waits: sequence from 1" in " ".join(ended.out.split())


def test_a_bound_holds_the_queue_and_none_lets_it_grow(program: Program) -> None:
    ended = program.run("compare", "backpressure", "--rounds", "1", "--json", "-n", "60", "--wait", "0.002")

    (found,) = ended.lines
    longest = {(row["model"], row["variant"]): row["details"]["longest_queue"] for row in found["rows"]}
    for model in ("asyncio", "threads"):
        assert longest[model, "bound 16"] <= 16 < longest[model, "no bound"]
    assert max(found["series"][0]["queued"]) > 16


def test_a_model_that_is_stopped_makes_the_exit_code_1_and_the_others_are_told(program: Program) -> None:
    ended = program.run(
        "compare", "sleep", "--rounds", "1", "--models", "sequence,asyncio", "--limit", "1", "--wait", "5"
    )

    assert ended.code == 1
    assert "could not be measured (stopped after 1 s)" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("guess",), "there is no workload 'guess': choose from sleep, http"),
        (("cpu", "sleep", "-n", "3"), "--size and --wait are of one workload"),
        (("cpu", "--models", "asyncio,curl"), "there is no model 'curl' here: choose from sequence"),
        (("urls",), "give the list by -i FILE"),
        (("cpu", "-i", "list.txt"), "-i is for the workload urls"),
        (("cpu", "--plot", "picture.gif"), "picture.gif"),
        (("cpu", "--rounds", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage_is_exit_2_at_once(program: Program, arguments: tuple[str, ...], says: str) -> None:
    ended = program.run("compare", *arguments)
    assert ended.code == 2
    assert says in ended.err
    assert ended.stdout == b""


def test_a_picture_without_matplotlib_is_exit_2_and_names_the_extra(program: Program) -> None:
    (program.folder / "matplotlib.py").write_text("raise ImportError('not here')")
    ended = program.run("compare", "cpu", "--plot", "a.svg", variables={"PYTHONPATH": str(program.folder)})
    assert ended.code == 2
    assert "install fetcher[plot]" in ended.err


def test_no_picture_is_made_while_others_keep_the_machine_busy_unless_that_is_wanted(
    program: Program,
) -> None:
    arguments = ("compare", "sleep", "-n", "2", "--wait", "0", "--models", "asyncio", "--rounds", "1")
    spin = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    spinners = [subprocess.Popen(spin, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    try:
        for spinner in spinners:
            assert spinner.stdout is not None
            spinner.stdout.readline()
        refused = program.run(*arguments, "--plot", "a.svg")
        drawn = program.run(*arguments, "--plot", "b.svg", "--ignore-load")
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.communicate()
    assert refused.code == 2
    assert "cannot draw a.svg: other programs used" in refused.err
    assert "--ignore-load" in refused.err
    assert refused.stdout == b""
    assert not (program.folder / "a.svg").exists()
    assert drawn.code == 0, drawn.err
    assert "other programs used" in " ".join(drawn.out.split())
    assert (program.folder / "b.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, 137)],
)
def test_a_signal_ends_the_command_and_all_that_it_started(
    program: Program, number: signal.Signals, code: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        program.environment["TMPDIR"] = folder  # short enough to be used
        with program.start(
            "compare", "cpu", "-n", "40", "--models", "processes", "--wait", "10", is_fresh=True
        ) as run:
            # the command, the child, its two helpers, and the first of its workers
            assert eventually(lambda: len(processes_of(program.folder)) > 4)
            assert list(Path(folder).iterdir()) != []
            os.kill(run.pid, number)
            assert run.end().code == code
            assert eventually(lambda: not processes_of(program.folder))
        if number is not signal.SIGKILL:
            assert list(Path(folder).iterdir()) == []


def test_a_users_own_list_is_compared(program: Program, site: object) -> None:
    urls = [site.url(path) for path in site.pages][:4]  # type: ignore[attr-defined]
    (program.folder / "urls.txt").write_text("\n".join(urls))
    ended = program.run("compare", "urls", "-i", "urls.txt", "--models", "sync,asyncio", "--json")
    assert ended.code == 0, ended.err
    (found,) = ended.lines
    assert [row["model"] for row in found["rows"]] == ["asyncio", "sync"]
