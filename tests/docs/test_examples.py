"""The examples run: each program against a site on the loopback, the job as cron and systemd start it."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.faultserver import FaultServer, content

from fetcher.config import load_job

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT_S = 60.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class Run:
    """Runs an example, or the program, in a folder of its own, with a clean environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def example(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._python("-W", "error", str(EXAMPLES / name), *arguments)

    def program(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._python("-m", "fetcher", *arguments)

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )


def test_every_example_program_has_a_test_and_says_how_it_is_called() -> None:
    tested = set(re.findall(r'example\(\s*"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
    for name in tested:
        assert f"    python examples/{name} " in (EXAMPLES / name).read_text()


def test_one_page_prints_the_page(run: Run, server: FaultServer) -> None:
    ended = run.example("one_page.py", server.url("/ok/1?size=20&type=text/plain"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("200 text/plain, 20 bytes in ")


def test_one_page_that_is_missing_is_told_and_fails(run: Run, server: FaultServer) -> None:
    ended = run.example("one_page.py", server.url("/status/404"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"http-status: {server.url('/status/404')}: HTTP 404\n"


def test_a_batch_tells_its_progress_and_its_totals(run: Run, server: FaultServer) -> None:
    urls = [server.url(f"/bytes/{n}") for n in range(1, 30)] + [server.url("/status/410")]
    ended = run.example("batch_async.py", *urls)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stderr.splitlines()) == 30
    assert ended.stderr.splitlines()[-1].startswith("30/30 ")
    assert "'done': 29" in ended.stdout
    assert "'failed': 1" in ended.stdout


def test_save_all_saves_and_saves_nothing_twice(run: Run, server: FaultServer) -> None:
    urls = [server.url("/ok/a.txt?size=9"), server.url("/ok/b.txt?size=9")]
    first = run.example("save_all.py", "pages", *urls)
    assert (first.returncode, first.stdout) == (0, "2 done, 0 failed, 0 of them earlier\n"), first.stderr
    assert (run.folder / "pages" / "a-1.txt").read_bytes() == content("/ok/a.txt", 9)
    again = run.example("save_all.py", "pages", *urls)
    assert (again.returncode, again.stdout) == (0, "2 done, 0 failed, 2 of them earlier\n")
    assert len(server.log) == 2


def test_save_all_counts_errors_and_fails(run: Run, server: FaultServer) -> None:
    ended = run.example("save_all.py", "pages", server.url("/status/404"))
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == ["0 done, 1 failed, 0 of them earlier", "  http-status: 1"]


def test_link_status_lists_every_link_in_order_and_fails_for_a_broken_one(
    run: Run, server: FaultServer
) -> None:
    urls = [server.url("/redirect/1?to=/ok/9"), server.url("/status/404"), server.url("/ok/1"), "nowhere"]
    ended = run.example("link_status.py", *urls)
    assert ended.returncode == 1, ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert rows == [
        ["200", urls[0]],
        ["→", server.url("/ok/9")],
        ["404", urls[1]],
        ["200", urls[2]],
        ["bad-url", urls[3]],
    ]
    assert {hit.method for hit in server.log} == {"HEAD"}


def test_link_status_is_content_with_good_links(run: Run, server: FaultServer) -> None:
    assert run.example("link_status.py", server.url("/ok/1")).returncode == 0


def test_the_hooks_give_the_same_in_plain_code_in_async_code_and_in_a_thread(
    run: Run, server: FaultServer
) -> None:
    ended = run.example("blocking_hooks.py", server.url("/ok/1"))
    assert ended.returncode == 0, ended.stderr
    rows = [line.split(maxsplit=1) for line in ended.stdout.splitlines()]
    assert [row[0] for row in rows] == ["plain", "async", "thread"]
    assert len({row[1] for row in rows}) == 1
    assert rows[0][1].startswith("200 ")


# --- the nightly job -----------------------------------------------------------------------------------


def test_the_nightly_job_runs_silently_and_the_next_night_asks_conditionally(
    run: Run, server: FaultServer
) -> None:
    shutil.copy(EXAMPLES / "nightly.toml", run.folder)
    (run.folder / "urls.txt").write_text("".join(f"{server.url(f'/ok/{n}')}\n" for n in range(5)))
    for states in ({"done": 5}, {"unchanged": 5}):
        ended = run.program("run", "nightly.toml", "--quiet")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        report = json.loads(run.program("status", "pages", "--json").stdout)
        assert {state: number for state, number in report["states"].items() if number} == states
    assert len(server.log) == 10
    assert all(hit.header("if-none-match") for hit in server.log[5:])
    log = (run.folder / "nightly.log").read_text().splitlines()
    assert log
    assert all(json.loads(line) for line in log)


def test_the_nightly_job_speaks_up_when_something_failed(run: Run, server: FaultServer) -> None:
    shutil.copy(EXAMPLES / "nightly.toml", run.folder)
    (run.folder / "urls.txt").write_text(f"{server.url('/ok/1')}\n{server.url('/status/404')}\n")
    ended = run.program("run", "nightly.toml", "--quiet")
    assert ended.returncode == 1
    assert f"{server.url('/status/404')}: http-status" in ended.stderr


def test_the_nightly_job_loads_with_all_its_keys() -> None:
    job = load_job(EXAMPLES / "nightly.toml", flags={}, environ={})
    assert job.command == "get"
    assert job.inputs == (str(EXAMPLES / "urls.txt"),)
    assert job.effective.settings.refresh
    assert job.effective.settings.hosts["example.org"].per_host == 2


def test_the_crontab_line_is_five_fields_and_the_command_of_the_service() -> None:
    lines = [line for line in (EXAMPLES / "nightly.cron").read_text().splitlines() if line[:1].isdigit()]
    (fields,) = [line.split(maxsplit=5) for line in lines]
    assert all(re.fullmatch(r"[\d*,/-]+", field) for field in fields[:5])
    assert "%" not in fields[5]  # a newline to cron
    assert shlex.split(fields[5]) == shlex.split(unit("fetcher-nightly.service")["Service"]["ExecStart"])


def test_the_units_name_each_other_and_allow_a_stop_its_time() -> None:
    service, timer = unit("fetcher-nightly.service"), unit("fetcher-nightly.timer")
    command = shlex.split(service["Service"]["ExecStart"])
    assert command[1] == "run"
    assert Path(command[2]).parent == Path(service["Service"]["WorkingDirectory"])
    assert service["Service"]["ReadWritePaths"] == service["Service"]["WorkingDirectory"]
    settings = load_job(EXAMPLES / "nightly.toml", flags={}, environ={}).effective.settings
    assert float(service["Service"]["TimeoutStopSec"]) > settings.grace
    assert service["Service"]["SuccessExitStatus"].split() == ["4", "143"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:\d\d", timer["Timer"]["OnCalendar"])


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(EXAMPLES / name)
    return parser
