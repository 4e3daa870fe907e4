"""`--on-done`: each new file has its turn, at least once, whatever ends the run, and no name is run as code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from support.program import Program, eventually, write_list
from support.site import Site

from fetcher import ConfigError, Fetcher
from fetcher.model import Record

GET = ("get", "-i", "urls.txt", "-o", "out", "--min-free", "0")


def turns(folder: Path) -> Counter[str]:
    """How often each file had its turn, by its path."""
    log = folder / "log"
    return Counter(log.read_text().splitlines() if log.exists() else [])


def listed(program: Program, site: Site) -> set[str]:
    urls = [site.url(path) for path in site.pages]
    write_list(program.folder / "urls.txt", urls)
    return {f"127.0.0.1_{site.port}{path}" for path in site.pages}


def test_each_new_file_has_one_turn_and_a_failure_is_counted_and_told(program: Program, site: Site) -> None:
    paths = listed(program, site)
    hook = (
        """sh -c 'test -f "$RECORD_FILE" && echo "$RECORD_PATH" >>log; echo said; test "$RECORD_LINE" != 3'"""
    )
    ended = program.run(*GET, "--on-done", hook, "--json")
    assert ended.code == 1
    assert {record["state"] for record in ended.lines} == {"done"}  # standard output is for data
    assert turns(program.folder) == dict.fromkeys(paths, 1)
    assert ended.err.count("said\n") == len(paths)
    assert "on-done: " in ended.err
    assert "exit code 1" in ended.err
    assert "failures of --on-done: 1" in ended.err
    again = program.run(*GET, "--on-done", hook, "-q")
    assert (again.code, again.stderr) == (0, b"")
    assert turns(program.folder) == dict.fromkeys(paths, 1)


def test_a_path_is_one_word_and_never_code(program: Program, site: Site) -> None:
    row = {"url": site.url("/p/0"), "name": "a b;touch x $(touch y).txt"}
    (program.folder / "l.jsonl").write_text(json.dumps(row))
    command = "get", "-i", "l.jsonl", "-o", "out", "-q", "--min-free", "0", "--on-done"
    assert program.run(*command, "cp {path} copy").code == 0
    assert (program.folder / "copy").read_bytes() == site.pages["/p/0"]
    assert not {"x", "y"} & {*os.listdir(program.folder)}


def test_a_command_that_cannot_be_run_is_a_failure_and_the_files_stay(program: Program, site: Site) -> None:
    paths = listed(program, site)
    ended = program.run(*GET, "--on-done", "./no-such-command {path}")
    assert ended.code == 1
    assert "cannot run ./no-such-command" in ended.err
    assert all((program.folder / "out" / path).is_file() for path in paths)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_or_a_stop_the_next_run_begins_with_what_was_due(
    how: signal.Signals, program: Program, site: Site
) -> None:
    paths = listed(program, site)
    hook = """sh -c 'echo "$RECORD_PATH" >>begun; exec sleep 20'"""
    results = program.folder / "out" / "results.jsonl"
    with program.start(*GET, "--on-done", hook, "--grace", "0") as running:
        eventually((program.folder / "begun").exists)
        eventually(lambda: results.read_bytes().count(b"\n") == len(paths))
        running.process.send_signal(how)
        running.process.wait(20)
    site.log.clear()
    hook = """sh -c 'echo "$RECORD_PATH" >>log'"""
    assert program.run(*GET, "--on-done", hook).code == 0
    assert turns(program.folder) == dict.fromkeys(paths, 1)
    assert not site.log  # nothing was fetched again


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_of_the_library_has_the_record(is_async: bool, site: Site, tmp_path: Path) -> None:
    seen: list[Record] = []

    async def awaited(record: Record) -> None:
        await asyncio.sleep(0)
        plain(record)

    def plain(record: Record) -> None:
        assert (tmp_path / str(record.path)).is_file()
        seen.append(record)
        if record.url.endswith("/3"):
            raise ValueError("no")

    urls = [*map(site.url, site.pages), site.url("/none")]
    fetcher = Fetcher(on_done=awaited if is_async else plain, min_free=0)
    summary = await fetcher.download.aio(urls, tmp_path)
    assert sorted(record.url for record in seen) == sorted(map(site.url, site.pages))
    assert (summary.done, summary.failed, summary.hook_failures, summary.ok) == (10, 1, 1, False)


@pytest.mark.parametrize("command", ["", "cat '", "bash -ec 'cat {path}'", 3])
def test_what_is_no_command_is_refused(command: object) -> None:
    with pytest.raises(ConfigError, match="on_done"):
        Fetcher(on_done=command)
