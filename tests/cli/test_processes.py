"""`--processes`: one run with several workers: one set of limits, one outcome, and nothing lost when any dies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from support.faultserver import Hit
from support.processes import children_of, is_alive
from support.program import Program, by_url, eventually, parts, records, stored, write_list
from support.site import Site
from support.whole import assert_whole, listed

MakeSite = Callable[..., Site]

COMMAND = ("get", "-i", "urls.txt", "-o", "out", "-c", "32", "--per-host", "32")
TWO = (*COMMAND, "--processes", "2")
LATE_S = 0.7  # how much later than others a request may reach a busy server


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@linux
def test_two_workers_fetch_a_list_that_is_recorded_and_counted_once(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(1000)
    urls = listed(program, site)
    site.hold_after(100)
    with program.start(*TWO) as run:
        assert site.wait(lambda s: len(s.log) >= 100, 30)
        workers = children_of(run.pid)
        assert len(workers) == 2
        site.release()
        ended = run.end()
    assert ended.code == 0, ended.err
    assert_whole(site, program.folder / "out", urls)
    assert set(site.requests().values()) == {1}
    assert re.search(r"done +1,000$", ended.err, re.MULTILINE)
    assert not any(is_alive(worker) for worker in workers)


def test_one_process_and_two_end_every_url_alike(program: Program, make_site: MakeSite) -> None:
    site = make_site(60)
    urls = [
        *(site.url(path) for path in site.pages),
        site.url("/gone"),
        site.url("/status/503"),
        site.url("/redirect/2?to=/p/3"),
        site.url("/loop"),
        site.url("/cut?at=10&of=100"),
        site.url("/chunked/100"),
        "http://no-such-host.invalid/",
        "not a url",
        site.url("/p/1"),
    ]
    write_list(program.folder / "urls.txt", urls)
    outcome = {}
    for processes in (1, 2):
        out = f"out{processes}"
        command = ("get", "-i", "urls.txt", "-o", out, "--retries", "1", "--max-size", "1M")
        ended = program.run(*command, "--processes", processes)
        assert ended.code == 1, ended.err
        told = (
            "state",
            "error",
            "status",
            "final_url",
            "path",
            "sha256",
            "bytes",
            "attempts",
            "line",
            "redirects",
        )
        found = {url: [record[key] for key in told] for url, record in by_url(program.folder / out).items()}
        assert len(records(program.folder / out)) == len(found)
        files = {path: file.read_bytes() for path, file in stored(program.folder / out).items()}
        outcome[processes] = found, files
    for one, two in zip(outcome[1], outcome[2], strict=True):
        assert {key: (value, two.get(key)) for key, value in one.items() if two.get(key) != value} == {}
        assert one.keys() == two.keys()


@linux
def test_a_worker_that_is_killed_is_replaced_and_its_urls_are_fetched_by_another(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(2000)
    urls = listed(program, site)
    site.hold_after(500)
    with program.start(*TWO) as run:
        assert site.wait(lambda s: len(s.log) >= 500 + 32, 30)
        first = children_of(run.pid)
        os.kill(first[0], signal.SIGKILL)
        assert run.says("a worker process died")
        site.release()
        ended = run.end()
    assert ended.code == 0, ended.err
    assert_whole(site, program.folder / "out", urls)
    assert sum(times - 1 for times in site.requests().values()) <= 32 + 64


@linux
def test_a_run_whose_workers_keep_dying_fails_no_url_and_says_how_to_continue(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(300)
    urls = listed(program, site)
    with program.start(*TWO) as run:
        while run.process.poll() is None:
            for worker in children_of(run.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.005)
        ended = run.end()
    assert ended.code == 5, ended.err
    assert "worker processes end as they start (exit code -9)" in ended.err
    assert "stopped: no worker process could be kept running" in ended.err
    assert not re.search(r"failed +\d", ended.err)
    assert re.search(r"continue: +fetcher get -i urls.txt -o out .*--processes 2$", ended.err, re.MULTILINE)
    assert program.run(*TWO).code == 0
    assert_whole(site, program.folder / "out", urls)


@linux
def test_when_the_parent_is_killed_its_workers_end_and_the_same_command_goes_on_with_another_number(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(2000)
    urls = listed(program, site)
    for reached, processes in ((300, 2), (900, 3)):
        site.hold_after(reached - len(site.log) + 200)
        with program.start(*COMMAND, "--processes", processes) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            workers = children_of(run.pid)
            assert len(workers) == processes
            run.send(signal.SIGKILL)
            assert run.end().code == 137
            assert eventually(lambda w=workers: not any(map(is_alive, w)))
        site.release()

    ended = program.run(*COMMAND)

    assert ended.code == 0, ended.err
    assert_whole(site, program.folder / "out", urls)
    assert sum(times - 1 for times in site.requests().values()) <= 2 * (32 + 64)


@linux
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_workers_cleanly_and_the_run_can_go_on(
    program: Program, make_site: MakeSite, number: signal.Signals, code: int
) -> None:
    site = make_site(800)
    urls = listed(program, site)
    site.hold_after(300)
    with program.start(*TWO, "--grace", "1", start_new_session=True) as run:
        assert site.wait(lambda s: len(s.log) >= 300 + 32, 30)
        workers = children_of(run.pid)
        os.killpg(run.pid, number)  # as a terminal or a service manager does: to all of them
        ended = run.end()
        assert ended.code == code, ended.err
        assert not any(map(is_alive, workers))
    assert parts(program.folder / "out") == []
    site.release()
    assert program.run(*TWO).code == 0
    assert_whole(site, program.folder / "out", urls)


def test_the_log_of_two_processes_says_of_a_url_all_that_its_record_does(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(3)
    moved = site.url("/redirect/2?to=/p/1")
    (program.folder / "urls.csv").write_text(f"url,label\n{moved},first\n{site.url('/p/2')},second\n")
    verbose = ("-v", "--log-file", "run.log", "--log-format", "json")
    ended = program.run("get", "-i", "urls.csv", "-o", "out", "--processes", "2", *verbose)
    assert ended.code == 0, ended.err
    entries = map(json.loads, (program.folder / "run.log").read_text().splitlines())
    logged = {entry["url"]: entry for entry in entries if entry["event"] == "settled"}
    kept = by_url(program.folder / "out")
    told = ("backend", "http_version", "redirects", "meta", "started_at", "ended_at", "final_url", "path")
    for url, record in kept.items():
        assert {key: logged[url][key] for key in told} == {key: record[key] for key in told}
        assert record["backend"] == "asyncio"
        assert record["http_version"] == "1.1"
    assert len(kept[moved]["redirects"]) == 2
    assert kept[moved]["meta"] == {"label": "first"}


def spread(hits: list[Hit]) -> dict[str, list[float]]:
    """When each host was asked."""
    times = defaultdict(list)
    for hit in hits:
        times[hit.host_header].append(hit.started)
    return times


def test_the_limit_of_a_host_holds_over_all_workers(program: Program, make_site: MakeSite) -> None:
    """One host's answers are withheld until another's pages, which stand between its own, have all come."""
    site = make_site(300, hosts=("127.0.0.2",))
    held, other = "127.0.0.1", "127.0.0.2"
    write_list(
        program.folder / "urls.txt",
        [site.url(path, host=host) for path in site.pages for host in (held, other)],
    )
    site.hold_host(held)
    command = ("get", "-i", "urls.txt", "-o", "out", "-c", "32", "--per-host", "3", "--processes", "2")
    with program.start(*command) as run:
        assert site.wait(lambda s: sum(hit.address == other for hit in s.log) == 300, 60)
        assert site.wait(lambda s: s.most_active[f"{held}:{s.port}"] >= 3, 60)
        site.release_host()
        ended = run.end()
    assert ended.code == 0, ended.err
    assert max(site.most_active.values()) == 3


@linux
def test_what_is_in_flight_and_not_settled_is_bounded_over_all_workers(
    program: Program, make_site: MakeSite
) -> None:
    """While the parent stands still nothing is settled; the workers fetch what they may and no more."""
    site = make_site(1000)
    listed(program, site)
    site.hold_after(200)
    with program.start(*TWO) as run:
        assert site.wait(lambda s: len(s.log) > 200, 30)
        run.send(signal.SIGSTOP)
        settled = len((program.folder / "out" / "results.jsonl").read_bytes().splitlines())
        site.release()
        most = settled + 32 + 64
        assert site.wait(lambda s: len(s.log) >= most, 30)
        assert not site.wait(lambda s: len(s.log) > most, 1), "more than may be fetched again after a kill"
        run.send(signal.SIGCONT)
        ended = run.end()
    assert ended.code == 0, ended.err


def test_the_bandwidth_of_the_run_is_one_over_both_workers(program: Program, make_site: MakeSite) -> None:
    site = make_site(hosts=("127.0.0.2",))
    urls = [
        site.url(f"/ok/{n}?size=20000", host=host) for n in range(20) for host in ("127.0.0.1", "127.0.0.2")
    ]
    write_list(program.folder / "urls.txt", urls)
    ended = program.run(*TWO, "--max-bandwidth", "200000")
    over = time.monotonic()
    assert ended.code == 0, ended.err
    assert over - min(hit.started for hit in site.log) > 4.0 - 2 * 0.1 - 0.1  # each may make up for 0.1 s


def test_the_delay_of_a_host_holds_over_all_workers_and_over_redirects_to_it(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(12, hosts=("127.0.0.2", "127.0.0.3", "127.0.0.4"))
    slow = f"127.0.0.2:{site.port}"
    direct = [site.url(f"/p/{n}", host="127.0.0.2") for n in range(4)]
    moved = [
        site.url(f"/redirect/1?to=http:%2F%2F{slow}%2Fp%2F{n}", host=host)
        for n, host in ((4, "127.0.0.1"), (5, "127.0.0.3"), (6, "127.0.0.4"), (7, "127.0.0.1"))
    ]
    write_list(program.folder / "urls.txt", [*direct, *moved])
    (program.folder / "fetcher.toml").write_text(f'[host."{slow}"]\ndelay = 0.5\n')
    ended = program.run("get", "-i", "urls.txt", "-o", "out", "--processes", "2")
    assert ended.code == 0, ended.err
    times = sorted(spread(site.log)[slow])
    assert len(times) == 8
    assert times[-1] - times[0] > 7 * 0.5 - LATE_S


def test_retry_after_holds_the_host_in_every_worker(program: Program, make_site: MakeSite) -> None:
    site = make_site(400)
    urls = [site.url("/once/429/a?retry-after=3"), *(site.url(path) for path in site.pages)]
    write_list(program.folder / "urls.txt", urls)
    ended = program.run("get", "-i", "urls.txt", "-o", "out", "--per-host", "4", "--processes", "2")
    assert ended.code == 0, ended.err
    assert len(by_url(program.folder / "out")) == 401
    starts = sorted(hit.started for hit in site.log)
    refused, again = (hit.started for hit in site.hits("/once/429/a"))
    assert again - refused > 3 - LATE_S
    asked_meanwhile = [start for start in starts if refused + 1 < start < refused + 3 - LATE_S]
    assert asked_meanwhile == []  # by neither of the two


def test_failures_are_counted_over_all_workers(program: Program, make_site: MakeSite) -> None:
    site = make_site(300)
    write_list(
        program.folder / "urls.txt",
        [*(site.url(f"/gone/{n}") for n in range(50)), *map(site.url, site.pages)],
    )
    ended = program.run(*TWO, "--max-failures", "5", "--per-host", "2", "-c", "4")
    assert ended.code == 4, ended.err
    assert "as many URLs failed as --max-failures allows" in ended.err


def test_a_setting_that_a_worker_cannot_use_is_exit_2_in_one_line(program: Program, site: Site) -> None:
    ended = program.run("get", site.url("/p/1"), "--processes", "2", "--http", "3", "-c", "4")
    assert ended.code == 2
    assert "the asyncio backend can't do HTTP/3" in ended.err
    assert "Traceback" not in ended.err
