"""What follows from figures: rows, equality, conclusions, spans, and the help's catalogue."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.lab.compare.child_runner import ChildRunner
from fetcher.lab.compare.drivers import drive
from fetcher.lab.compare.machine_load import busy_share
from fetcher.lab.compare.meter import Meter
from fetcher.lab.compare.results import Comparison, Measured, Row, Span, Trial
from fetcher.lab.compare.runner import agree, compare, rows_of
from fetcher.lab.compare.steps import numbers, warm_up
from fetcher.lab.compare.tracing import Track, factor_among, spans_of
from fetcher.lab.compare.units import shown_ratio, shown_s
from fetcher.lab.compare.verdicts import conclude, limit_of
from fetcher.lab.compare.workloads import WORKLOADS, Case

SEQUENCE, ASYNC, THREADS = Case("sequence"), Case("asyncio"), Case("threads")


def ran(wall_s: float, results: str = "a b c", **others: Any) -> Measured:
    words = results.split()
    return Measured(wall_s=wall_s, operations=len(words), results=words, **others)


def rows(*runs: tuple[Case, list[Measured]], baseline: str = "sequence") -> dict[str, Row]:
    return {row.name: row for row in rows_of(runs, baseline)}


# --- rows ---------------------------------------------------------------------------------------------


def test_a_row_has_the_medians_of_its_rounds_and_their_range() -> None:
    rounds = [ran(3.0, cpu_s=1.0), ran(1.0, cpu_s=9.0), ran(2.0, cpu_s=2.0)]
    row = rows((ASYNC, rounds))["asyncio"]
    assert (row.wall_s, row.fastest_s, row.slowest_s, row.cpu_s) == (2.0, 1.0, 3.0, 2.0)
    assert row.rate == 1.5
    assert row.rounds == 3


def test_speed_up_is_over_the_sequence_of_the_same_variant() -> None:
    found = rows(
        (Case("sequence", "10 requests"), [ran(8.0)]),
        (Case("asyncio", "10 requests"), [ran(2.0)]),
        (Case("sequence", "100 requests"), [ran(60.0)]),
        (Case("asyncio", "100 requests"), [ran(3.0)]),
    )
    assert found["asyncio (10 requests)"].speedup == 4.0
    assert found["asyncio (100 requests)"].speedup == 20.0
    assert found["sequence (10 requests)"].speedup == 1.0


def test_the_only_sequence_serves_all_variants() -> None:
    found = rows((SEQUENCE, [ran(8.0)]), (Case("threads", "one each"), [ran(2.0)]))
    assert found["threads (one each)"].speedup == 4.0


def test_without_a_sequence_there_is_no_speed_up_and_results_are_still_compared() -> None:
    found = rows((ASYNC, [ran(1.0)]), (THREADS, [ran(2.0, "a b x")]))
    assert found["asyncio"].speedup is None
    assert found["asyncio"].is_equal
    assert not found["threads"].is_equal


def test_the_sequence_of_another_variant_is_no_reference() -> None:
    found = rows(
        (Case("sequence", "10 requests"), [ran(8.0)]),
        (Case("sequence", "100 requests"), [Measured(failure="gone")]),
        (Case("asyncio", "100 requests"), [ran(3.0, "other")]),
    )
    assert found["asyncio (100 requests)"].speedup is None
    assert found["asyncio (100 requests)"].is_equal


@pytest.mark.parametrize("wrong", ["a b x", "a b", "a c b", "a b c d", ""])
def test_a_model_that_gives_other_results_in_any_round_is_not_equal(wrong: str) -> None:
    found = rows((SEQUENCE, [ran(8.0), ran(8.0)]), (ASYNC, [ran(1.0), ran(1.0, wrong)]))
    assert not found["asyncio"].is_equal
    assert found["sequence"].is_equal


@given(st.lists(st.text(max_size=3), max_size=8), st.lists(st.text(max_size=3), max_size=8))
def test_results_agree_exactly_when_they_are_the_same_and_the_few_of_an_extrapolation_when_they_begin_so(
    one: list[str], other: list[str]
) -> None:
    assert agree(Measured(results=one), Measured(results=other)) == (one == other)
    few = Measured(results=one, is_extrapolated=True)
    begins = bool(one) and bool(other) and all(a == b for a, b in zip(one, other, strict=False))
    assert agree(few, Measured(results=other)) == agree(Measured(results=other), few) == begins


def test_a_failure_in_any_round_makes_a_row_that_says_so() -> None:
    row = rows((SEQUENCE, [ran(8.0)]), (ASYNC, [ran(1.0), Measured(failure="no more threads")]))["asyncio"]
    assert row.failure == "no more threads"
    assert not row.is_equal
    assert row.wall_s == 0


def test_what_is_extrapolated_counts_for_all_and_says_so() -> None:
    with Meter() as meter:
        time.sleep(0.001)
    assert not meter.measured(["slept"] * 3, of=3).is_extrapolated
    figures = meter.measured(["slept"] * 3, of=30)
    assert figures.is_extrapolated
    assert figures.operations == 30
    assert figures.wall_s == pytest.approx(10 * meter.wall_s)
    assert figures.details["measured"] == 3


# --- the check on real models ----------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["threads", "asyncio"])
def test_every_model_finds_what_the_sequence_finds(model: str) -> None:
    scripts = [[("sleep", 0.0), ("prime", number)] for number in (15, 17, 91, 97)]
    expected = ["slept 3", "slept 17", "slept 7", "slept 97"]
    assert drive("sequence", scripts).results == expected
    assert drive(model, scripts).results == expected


def test_a_model_that_cheats_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = [[("prime", number)] for number in (15, 17)]
    honest = drive("sequence", scripts)
    monkeypatch.setattr("fetcher.lab.compare.tracing.factor_among", lambda *_: 0)
    found = rows((SEQUENCE, [honest]), (ASYNC, [drive("asyncio", scripts)]))
    assert not found["asyncio"].is_equal


def test_threads_that_fail_are_a_failure_and_none_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        drive("threads", [[("sleep", 0.0)], [("prime", _Broken(10**6 + 1))]])
    assert threading.active_count() == before


class _Broken(int):
    def __mod__(self, other: int) -> int:
        raise ZeroDivisionError


@given(st.integers(min_value=1, max_value=5000).map(lambda n: 2 * n + 1))
def test_the_smallest_factor_is_one_and_the_smallest(number: int) -> None:
    factor = Track(0).smallest_factor(number)
    assert number % factor == 0
    assert all(number % smaller for smaller in range(2, factor))


def test_the_numbers_to_test_are_primes_and_others_and_all_cost_much() -> None:
    tested = numbers(12)
    assert tested == numbers(12)
    assert not any(factor_among(number, 3, 900_000) for number in tested)
    assert 0 < sum(Track(0).smallest_factor(number) != number for number in tested) < 6


def test_a_script_is_warmed_up_with_one_step_of_each_kind_and_no_sleep() -> None:
    script = [("prime", 9), ("get", "u"), ("get", "v"), ("sleep", 5.0), ("prime", 11)]
    assert sorted(warm_up(script)) == [("get", "u"), ("prime", 9), ("sleep", 0.0)]


async def test_the_meter_sees_how_long_a_loop_stood_still_even_at_the_end() -> None:
    async with Meter() as meter:
        await asyncio.sleep(0.02)
        begun = time.perf_counter()
        while time.perf_counter() < begun + 0.1:
            pass
    assert meter.details["stall_s"] >= 0.09


def test_the_meter_counts_the_time_on_the_cpu_and_not_the_sleep() -> None:
    with Meter() as meter:
        time.sleep(0.05)
        begun = time.process_time()
        while time.process_time() < begun + 0.05:
            pass
    assert meter.wall_s >= 0.1
    assert 0.05 <= meter.cpu_s <= meter.wall_s
    assert meter.peak_bytes > 5_000_000


def test_the_load_of_others_is_the_share_of_ticks_that_were_used() -> None:
    before = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n"
    after = "cpu  130 10 60 900 80 10 5 15 30 0\ncpu0 1 2 3\n"
    # 30 user, 10 nice, 10 system, 10 irq, 5 softirq and 15 stolen; 100 idle and 30 of waiting for disks
    assert busy_share(before, after) == 80 / 210
    assert busy_share(before, before) == 0


# --- conclusions -----------------------------------------------------------------------------------------


def row(model: str, wall_s: float, variant: str = "", **others: Any) -> Row:
    values = {"fastest_s": wall_s, "slowest_s": wall_s, "rate": 10 / wall_s, "rounds": 3, "peak_bytes": 10**7}
    return Row(model, variant, wall_s, **{**values, **others})


def test_the_fastest_wins_and_the_ratio_of_the_others_is_theirs() -> None:
    ones = [row("sequence", 8.0, speedup=1.0), row("asyncio", 2.0, speedup=4.0), row("threads", 3.0)]
    text = conclude("cpu", ones, cpus=2)
    assert "Asyncio won with 2 s, 4.0 × as fast as sequence" in text
    assert "threads took 1.5 ×" in text
    other = conclude("cpu", [*ones[:2], row("threads", 1.0, speedup=8.0)], cpus=2)
    assert "Threads won with 1 s, 8.0 × as fast as sequence" in other
    assert "asyncio took 2.0 ×" in other


def test_a_slow_sequence_may_win() -> None:
    text = conclude("cpu", [row("sequence", 1.0, speedup=1.0), row("asyncio", 2.0)], cpus=2)
    assert text.startswith("Sequence won with 1 s (")
    assert "as fast as" not in text


def test_models_whose_rounds_overlap_are_level() -> None:
    near = [row("a", 2.0, slowest_s=2.6), row("b", 2.4, fastest_s=1.9)]
    assert "are level at 2 s" in conclude("cpu", near, cpus=2)
    apart = [row("a", 2.0, slowest_s=2.3), row("b", 2.4, fastest_s=2.2)]
    assert "A won with 2 s" in conclude("cpu", apart, cpus=2)


@pytest.mark.parametrize(
    ("cpu_s", "details", "limit"),
    [
        (0.1, {}, "mostly waiting"),
        (1.0, {}, "one core busy all the time"),
        (1.5, {}, "1.5 of 2 cores busy"),
        (1.9, {}, "all 2 cores busy"),
        (1.0, {"stall_s": 0.8}, "its loop blocked for up to 80% of the time"),
        (0.1, {"syns_resent": 2}, "waiting, also for a connect that was sent again"),
        (0.5, {"starved_s": 0.5}, "ready to run, but the cores had other work"),
    ],
)
def test_what_limited_a_model_is_read_from_its_figures(
    cpu_s: float, details: dict[str, float], limit: str
) -> None:
    assert limit_of(row("a", 1.0, cpu_s=cpu_s, details=details), 2) == limit


def test_the_memory_of_waiting_is_told_where_it_differs() -> None:
    heavy = conclude("sleep", [row("asyncio", 1.0), row("threads", 2.0, peak_bytes=4 * 10**7)], cpus=2)
    assert "in memory, threads 4.0 × the 10 MB of asyncio" in heavy
    assert "memory" not in conclude("sleep", [row("asyncio", 1.0), row("threads", 2.0)], cpus=2)


def test_what_a_pooled_session_gained_is_computed() -> None:
    def http(pooled_s: float) -> str:
        return conclude(
            "http",
            [
                row("sync", 4.0, "new session", speedup=1.0),
                row("sync", 4.0, "pooled", speedup=1.0),
                row("curl", 1.0, "new session", speedup=4.0),
                row("curl", pooled_s, "pooled", speedup=4 / pooled_s),
            ],
            cpus=2,
            baseline="sync",
        )

    assert "With a pooled session, curl won with 250 ms, 16 × as fast as sync" not in http(1.0)
    assert "gained most for curl (4.0 × as fast) and least for sync (1.0 ×)" in http(0.25)
    assert "a pooled session gained nothing" in http(1.0)


def test_each_number_of_requests_has_its_winner() -> None:
    text = conclude(
        "mixed",
        [
            row("asyncio", 2.0, "10 requests"),
            row("threads", 1.0, "10 requests"),
            row("asyncio", 3.0, "100 requests", cpu_s=0.1),
            row("threads", 9.0, "100 requests", cpu_s=9.0),
        ],
        cpus=2,
    )
    assert "With 10 requests, threads won with 1 s" in text
    assert "with 100 requests, asyncio won with 3 s" in text
    assert "threads was last with 3.0 × its time (one core busy all the time)" in text


def test_wrapping_is_held_against_rewriting() -> None:
    def legacy(wrapped_s: float, rewritten_s: float) -> str:
        stalled = row("blocking", 9.0, details={"stall_s": 8.9})
        return conclude("legacy", [stalled, row("wrapped", wrapped_s), row("rewritten", rewritten_s)], cpus=2)

    assert "rewriting the class was 3.0 × as fast as wrapping it unchanged" in legacy(3.0, 1.0)
    assert "wrapping the class unchanged was 3.0 × as fast as rewriting it" in legacy(1.0, 3.0)
    assert "gained nothing" in legacy(1.0, 1.0)
    assert "held up the loop for 8.9 s, wrapped for 0 s" in legacy(1.0, 1.0)


def test_what_a_bound_costs_and_saves_is_computed() -> None:
    def pressure(bound_s: float) -> str:
        long, short = {"longest_queue": 900.0}, {"longest_queue": 16.0}
        return conclude(
            "backpressure",
            [
                row("asyncio", 1.0, "no bound", details=long),
                row("asyncio", bound_s, "bound 16", details=short),
            ],
            cpus=2,
            baseline="",
        )

    assert "A bound cost no time" in pressure(1.0)
    assert "A bound cost 50% more time" in pressure(1.5)
    assert "A bound saved 50% of the time" in pressure(0.5)
    assert "up to 900 items" in pressure(1.0)
    assert "up to 16 items" in pressure(1.0)


def test_what_a_hop_costs_says_what_work_it_pays_for() -> None:
    ones = [row("call", 1.0, rate=1e7), row("process-pool", 1.0, rate=1e4)]
    text = conclude("overhead", ones, cpus=2, baseline="")
    assert "Call costs 100 ns, process-pool 1,000 × that" in text
    assert "work of less than 900 µs" in text


@pytest.mark.parametrize("workload", WORKLOADS)
def test_wrong_and_failed_models_are_told_first_and_do_not_win(workload: str) -> None:
    ones = [
        row("asyncio", 2.0),
        row("threads", 0.1, is_equal=False),
        Row("processes", is_equal=False, failure="stopped after 1 s"),
    ]
    text = conclude(workload, ones, cpus=2)
    assert text.startswith("Processes could not be measured (stopped after 1 s); threads gave other results")
    assert "threads won" not in text.lower()
    assert conclude(workload, ones[2:], cpus=2).endswith("there is nothing to conclude.")


@given(
    st.sampled_from(sorted(WORKLOADS)),
    st.lists(
        st.tuples(
            st.sampled_from(["sequence", "sync", "asyncio", "threads", "wrapped", "rewritten", "blocking"]),
            st.sampled_from(["", "pooled", "no bound", "bound 16"]),
            st.floats(1e-6, 1e6),
            st.floats(0, 1e6),
        ),
        max_size=6,
    ),
)
def test_any_figures_have_a_sentence(workload: str, made: list[tuple[str, str, float, float]]) -> None:
    ones = [row(model, wall_s, variant, cpu_s=cpu_s) for model, variant, wall_s, cpu_s in made]
    text = conclude(workload, ones, cpus=2)
    assert text.endswith(".")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4000, "4,000 s"), (1.234, "1.23 s"), (0.9999, "1 s"), (0.0456, "45.6 ms"), (8e-8, "80 ns")],
)
def test_times_have_three_figures_and_the_unit_that_suits(seconds: float, text: str) -> None:
    assert shown_s(seconds) == text


def test_ratios_have_two_figures_or_none_behind_the_point() -> None:
    assert [shown_ratio(1.23), shown_ratio(35.4), shown_ratio(3400)] == ["1.2 ×", "35 ×", "3,400 ×"]


# --- timelines ----------------------------------------------------------------------------------------------


def test_what_is_neither_running_nor_waiting_was_blocked() -> None:
    track = Track(3)
    track.running, track.waiting, track.end = [(10.5, 11.0), (14.0, 15.0)], [(11.0, 13.0)], 15.0
    assert spans_of(track, 10.0) == [
        Span(3, 0.0, 0.5, "blocked"),
        Span(3, 0.5, 1.0, "running"),
        Span(3, 1.0, 3.0, "waiting"),
        Span(3, 3.0, 4.0, "blocked"),
        Span(3, 4.0, 5.0, "running"),
    ]


def test_running_wins_over_waiting_and_neighbours_are_one_span() -> None:
    track = Track(0)
    track.running, track.waiting, track.end = [(1.0, 2.0), (2.0, 3.0)], [(0.0, 9.0)], 4.0
    assert spans_of(track, 0.0) == [
        Span(0, 0.0, 1.0, "waiting"),
        Span(0, 1.0, 3.0, "running"),
        Span(0, 3.0, 4.0, "waiting"),
    ]


stretches = st.lists(st.tuples(st.integers(-5, 30), st.integers(-5, 30)).map(sorted).map(tuple), max_size=6)


@given(stretches, stretches, st.integers(1, 25))
def test_the_spans_of_a_lane_follow_each_other_without_a_gap(
    running: list[tuple[float, float]], waiting: list[tuple[float, float]], end: int
) -> None:
    track = Track(0)
    track.running, track.waiting, track.end = running, waiting, float(end)
    spans = spans_of(track, 0.0)
    assert [spans[0].start_s, spans[-1].end_s] == [0.0, float(end)]
    assert all(a.end_s == b.start_s and a.kind != b.kind for a, b in pairwise(spans))
    ran_s = sum(span.end_s - span.start_s for span in spans if span.kind == "running")
    assert ran_s == len({n for a, b in running for n in range(max(a, 0), min(b, end))})


def seconds(spans: list[Span], kind: str, lanes: set[int]) -> float:
    return sum(span.end_s - span.start_s for span in spans if span.kind == kind and span.lane in lanes)


def test_the_lanes_of_a_loop_run_one_at_a_time_and_are_blocked_by_each_other() -> None:
    scripts = [[("prime", number)] for number in numbers(3)]
    spans = drive("asyncio", scripts, is_traced=True).spans
    assert seconds(spans, "blocked", {2}) >= seconds(spans, "running", {0, 1}) > 0
    assert seconds(spans, "waiting", {0, 1, 2}) == 0
    running = sorted((span.start_s, span.end_s) for span in spans if span.kind == "running")
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(running))


def test_the_lanes_of_threads_share_one_core_at_a_time_and_wait_together() -> None:
    scripts = [[("sleep", 0.05), ("prime", number)] for number in numbers(3)]
    spans = drive("threads", scripts, is_traced=True).spans
    end_s = max(span.end_s for span in spans)
    assert 0 < seconds(spans, "running", {0, 1, 2}) <= end_s  # the interpreter's lock
    assert seconds(spans, "waiting", {0, 1, 2}) == pytest.approx(0.15)


def test_the_lanes_of_a_sequence_are_blocked_until_their_turn() -> None:
    spans = drive("sequence", [[("sleep", 0.01)]] * 3, is_traced=True).spans
    last = [span for span in spans if span.lane == 2]
    assert last[0].kind == "blocked"
    assert last[0].end_s >= 0.02


# --- children -------------------------------------------------------------------------------------------------


def test_a_child_that_takes_too_long_is_stopped_and_that_is_its_failure() -> None:
    with ChildRunner(limit_s=1.0) as children:
        found = children.measure(Trial("sleep", "asyncio", "", 1, 30.0))
    assert found.failure == "stopped after 1 s"


def test_a_child_that_fails_says_why() -> None:
    with ChildRunner(limit_s=30.0) as children:
        assert children.measure(Trial("sleep", "guesswork")).failure == "'guesswork'"


def test_a_workload_without_what_it_needs_leaves_models_out_and_says_so() -> None:
    workload = msgspec.structs.replace(WORKLOADS["sleep"], cases=(Case("asyncio"), Case("curl")))
    with ChildRunner(limit_s=30.0) as children, pytest.MonkeyPatch.context() as patch:
        patch.setattr("fetcher.lab.compare.machine_load.find_spec", lambda _: None)
        found = compare(workload, children, rounds=1, size=2, wait_s=0.0)
    assert [row.model for row in found.rows] == ["asyncio"]
    assert "left out: curl; install fetcher[curl] to have it" in found.notes


def test_a_comparison_survives_json() -> None:
    with ChildRunner(limit_s=30.0) as children:
        found = compare(WORKLOADS["sleep"], children, rounds=1, size=3, wait_s=0.0, models=["asyncio"])
    assert msgspec.json.decode(msgspec.json.encode(found), type=Comparison) == found
    assert found.rows[0].rate > 0
