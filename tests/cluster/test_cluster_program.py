"""`--cluster local:N`, as a person types it: streams, exit codes, signals, and the commands that read it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.program import Program, eventually, records, write_list
from support.site import Site

HOSTS = [f"127.0.0.{n}" for n in range(1, 9)]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_processes_of_this_machine_are_stopped_by_ctrl_c_and_go_on(program: Program) -> None:
    out = program.folder / "out"
    with Site({f"/{n}": b"page %d" % n for n in range(20)}, HOSTS[1:]) as site:
        urls = [f"http://{host}:{site.port}/{n}" for n in range(20) for host in HOSTS]
        listed = write_list(program.folder / "urls.txt", urls)
        command = ("get", "-i", listed, "-o", out, "--cluster", "local:1", "--shards", "3", "--grace", "0.1")
        site.hold_after(40)
        # Ctrl-C reaches all processes of the terminal, the workers too.
        with program.start(*command, start_new_session=True) as run:
            assert site.wait(lambda s: len(s.log) > 40, 60)
            os.killpg(run.pid, signal.SIGINT)
            ended = run.end()
        assert ended.code == 130, ended.err
        assert "press Ctrl-C again" in ended.err
        assert "to continue:" in ended.err
        assert len(records(out)) == 40
        site.release()
        ended = program.run(*command, "--json", limit_s=120, is_fresh=True)
        assert ended.code == 0, ended.err
        assert len(ended.lines) == len(urls) - 40
        assert sorted(line["url"] for line in records(out)) == sorted(urls)
        asked = len(site.log)
    report = json.loads(program.run("status", out, "--json").out)
    assert report["states"]["done"] == len(urls)
    assert program.run("verify", out, "-q").code == 0
    assert asked >= len(urls)
    assert eventually(lambda: not [*(program.folder / "home").glob("fetcher-cluster-*")])


def test_a_scheduler_that_is_not_there_is_told_in_one_line(program: Program) -> None:
    ended = program.run("get", "http://127.0.0.1:9/", "--cluster", "nowhere.json")
    assert ended.code == 2
    assert "cluster: there is no scheduler file nowhere.json" in ended.err
    ended = program.run("get", "http://127.0.0.1:9/", "--cluster", "local:0")
    assert ended.code == 2
