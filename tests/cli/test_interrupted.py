"""Runs that are killed or told to stop, and the same command again: nothing lost, nothing twice, little repeated.

The site holds its answers after so many, so a run is always in the middle of its work when the signal comes.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest
from support.program import Program, parts, records, stored, write_list
from support.site import Site
from support.whole import assert_whole, listed

MakeSite = Callable[..., Site]

CONCURRENCY = 32
UNSETTLED = 64
MOST_REPEATED = CONCURRENCY + UNSETTLED
COMMAND = ("get", "-i", "urls.txt", "-o", "out", "-c", str(CONCURRENCY), "--per-host", str(CONCURRENCY))


def test_a_run_killed_three_times_ends_with_every_file_whole_and_each_url_recorded_once(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(2000)
    urls = listed(program, site)
    for reached in (40, 500, 1300):  # requests seen when the kill comes
        site.hold_after(reached - len(site.log) + 300)
        with program.start(*COMMAND) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            run.send(signal.SIGKILL)
            assert run.end().code == 137
        site.release()
        assert not (program.folder / "out" / "results.jsonl").read_bytes().count(b"\0")

    ended = program.run(*COMMAND)

    assert ended.code == 0, ended.err
    assert_whole(site, program.folder / "out", urls)
    repeats = {target: times for target, times in site.requests().items() if times > 1}
    assert sum(times - 1 for times in repeats.values()) <= 3 * MOST_REPEATED
    assert set(site.requests()) == set(site.pages)
    status = program.run("status", "out")
    assert status.code == 0
    assert re.search(r"^  complete$", status.out, re.MULTILINE)


def test_what_a_kill_left_in_the_records_beyond_what_was_settled_is_cut_off(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(100)
    urls = listed(program, site)
    site.hold_after(50)
    with program.start(*COMMAND) as run:
        assert site.wait(lambda s: len(s.log) >= 50 + CONCURRENCY, 30)
        run.send(signal.SIGKILL)
        run.end()
    site.release()
    with (program.folder / "out" / "results.jsonl").open(
        "ab"
    ) as file:  # as if between append and transaction
        file.write(f'{{"url":"{urls[70]}","state":"done"}}\n{{"url":"{urls[71]}","st'.encode())
    assert program.run(*COMMAND).code == 0
    assert_whole(site, program.folder / "out", urls)


def test_what_was_reported_on_standard_output_before_a_kill_is_never_fetched_again(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(600)
    urls = listed(program, site)
    site.hold_after(300)
    with program.start(*COMMAND, "--json", "-q") as run:
        assert run.process.stdout is not None
        reported = [run.process.stdout.readline() for _ in range(100)]
        run.send(signal.SIGKILL)
        reported += run.process.stdout.readlines()
    site.release()
    before = len(site.log)

    ended = program.run(*COMMAND)

    assert ended.code == 0, ended.err
    again = {hit.target for hit in site.log[before:]}
    told = {line.split(b'"url":"')[1].split(b'"')[0].decode() for line in reported if line.endswith(b"\n")}
    assert len(told) >= 100
    assert not {site.url(target) for target in again} & told
    assert_whole(site, program.folder / "out", urls)


def test_the_status_of_a_killed_run_says_that_it_can_be_resumed(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(300)
    listed(program, site)
    site.hold_after(150)
    with program.start(*COMMAND) as run:
        assert site.wait(lambda s: len(s.log) >= 150, 30)
        working = program.run("status", "out")
        assert f"running now, process {run.pid}" in working.out
        run.send(signal.SIGKILL)
        run.end()
    status = program.run("status", "out")
    assert status.code == 0
    assert "can be resumed" in status.out
    assert "running now" not in status.out


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_the_run_after_what_is_in_flight_and_the_same_command_continues(
    program: Program, make_site: MakeSite, name: str, code: int
) -> None:
    site = make_site(400)
    urls = listed(program, site)
    site.hold_after(150)
    with program.start(*COMMAND) as run:
        assert site.wait(lambda s: len(s.log) >= 150 + CONCURRENCY, 30)
        stopping = len(site.log)
        run.send(signal.Signals[name])
        assert run.says("stopping: up to 10 s")
        again_by = "press Ctrl-C again" if name == "SIGINT" else "a second signal"
        assert f"{again_by} to stop at once\n".replace("signal to stop", "signal stops") in run.said()
        site.release()  # what is in flight ends well within the grace period
        ended = run.end()
    assert ended.code == code
    assert len(site.log) == stopping, "a request was started after the signal"
    told = "interrupted (SIGINT)" if name == "SIGINT" else name
    assert f"stopped: {told}" in ended.err
    assert "to continue:  fetcher get -i urls.txt -o out" in ended.err
    assert "Traceback" not in ended.err
    settled = {record["url"] for record in records(program.folder / "out")}
    assert len(settled) == stopping, "what was in flight was thrown away"

    again = program.run(*COMMAND)

    assert again.code == 0, again.err
    assert_whole(site, program.folder / "out", urls)
    assert max(site.requests().values()) == 1, "a clean stop repeats nothing"


def test_the_grace_period_ends_what_hangs_and_the_urls_stay_pending(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(100)
    urls = listed(program, site)
    site.hold_after(40)
    with program.start(*COMMAND, "--grace", "0.2") as run:
        assert site.wait(lambda s: len(s.log) >= 40 + CONCURRENCY, 30)
        run.send(signal.SIGINT)
        ended = run.end(20)  # the site never lets go: only the grace period ends it
    assert ended.code == 130
    site.release()
    again = program.run(*COMMAND)
    assert again.code == 0
    assert_whole(site, program.folder / "out", urls)


def test_a_second_signal_ends_at_once_and_the_run_can_still_be_continued(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(100)
    urls = listed(program, site)
    site.hold_after(40)
    with program.start(*COMMAND, "--grace", "1000") as run:
        assert site.wait(lambda s: len(s.log) >= 40 + CONCURRENCY, 30)
        run.send(signal.SIGINT)
        assert run.says("stopping: up to 1000 s")
        run.send(signal.SIGTERM)
        ended = run.end(20)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert parts(program.folder / "out") == []
    site.release()
    again = program.run(*COMMAND)
    assert again.code == 0, again.err
    assert_whole(site, program.folder / "out", urls)


def test_a_signal_before_the_first_answer_loses_nothing(program: Program, make_site: MakeSite) -> None:
    site = make_site(50)
    urls = listed(program, site)
    site.hold_after(0)
    with program.start(*COMMAND, "--grace", "0") as run:
        assert site.wait(lambda s: len(s.log) >= 1, 30)
        run.send(signal.SIGTERM)
        assert run.end().code == 143
    site.release()
    assert program.run(*COMMAND).code == 0
    assert_whole(site, program.folder / "out", urls)


def test_a_signal_that_the_caller_ignores_stays_ignored_as_under_nohup(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(100)
    urls = listed(program, site)
    site.hold_after(20)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with program.start(*COMMAND, is_fresh=True) as run:
            assert site.wait(lambda s: len(s.log) >= 20, 30)
            run.send(signal.SIGHUP)
            site.release()
            ended = run.end()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.code == 0, ended.err
    assert_whole(site, program.folder / "out", urls)


def test_large_bodies_cut_by_a_kill_leave_no_part_and_no_half_file(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(3)
    site.pages = {f"/big/{n}": bytes([n]) * 3_000_000 for n in range(6)}
    urls = listed(program, site)
    hanging = site.url("/hang-body?at=2000000&of=3000000")
    write_list(program.folder / "both.txt", [*urls, hanging])
    both = ("get", "-i", "both.txt", "-o", "out")
    with program.start(*both) as run:
        assert site.wait(lambda s: len(s.log) >= 7, 30)
        assert site.wait(lambda _: (out := program.folder / "out").exists() and parts(out) != [], 30)
        run.send(signal.SIGKILL)
        run.end()
    assert all(
        path.read_bytes() in site.pages.values() for path in stored(program.folder / "out").values()
    ), "a half file stands under a final name"
    with program.start(*both, "--grace", "0") as run:
        found = program.folder / "out"
        assert site.wait(lambda s: s.count("/hang-body") == 2 and len(stored(found)) == 6, 30)
        run.send(signal.SIGINT)
        assert run.end().code == 130
    assert parts(found) == []
    assert {path.read_bytes() for path in stored(found).values()} == set(site.pages.values())
