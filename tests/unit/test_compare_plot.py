"""The pictures of comparisons, drawn from made-up figures."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.lab.compare.bars import MEMORY, WALL, best_of, columns_of, groups_of
from fetcher.lab.compare.pictures import draw
from fetcher.lab.compare.results import Comparison, Machine, Row, Series, Span, Timeline
from fetcher.lab.compare.timelines import stripes_of

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    Row("sequence", wall_s=40, peak_bytes=20 << 20, is_extrapolated=True, rounds=3, details={"measured": 2}),
    Row("threads", "one each", wall_s=1.7, peak_bytes=90 << 20, fastest_s=1.6, slowest_s=2.0, rounds=3),
    Row("asyncio", wall_s=1.1, peak_bytes=33 << 20, fastest_s=1.05, slowest_s=1.2, rounds=3),
    Row("processes", failure="the system allowed 12 of 4,000", is_equal=False),
]


def comparison(**changes) -> Comparison:
    made = Comparison(
        workload="sleep",
        title="40 waits of 1 s at once",
        parameters={"size": 40},
        unit="waits",
        rows=ROWS,
        conclusion="Asyncio won, & <nobody> paid $1 of $2.",
        machine=Machine(2, "CPython 3.11.7", "Linux x86_64"),
        rounds=3,
    )
    return msgspec.structs.replace(made, **changes)


def timeline(model: str, lanes: int = 3, variant: str = "") -> Timeline:
    spans = [
        span
        for lane in range(lanes)
        for span in (
            Span(lane, 0.0, 0.1 * lane, "blocked"),
            Span(lane, 0.1 * lane, 0.1 * lane + 0.2, "waiting"),
            Span(lane, 0.1 * lane + 0.2, 0.1 * lane + 0.3, "running"),
        )
    ]
    end_s = max(span.end_s for span in spans)
    return Timeline(model, variant, lanes=lanes, end_s=end_s, spans=spans, note="a wait, then work")


def drawn(path: Path, *comparisons: Comparison) -> str:
    """The text of a picture, a line for each piece."""
    draw(comparisons, path)
    return "\n".join(
        "".join(piece.itertext()).strip() for piece in ET.parse(path).getroot().iter(f"{SVG}text")
    )


def test_a_picture_says_title_conclusion_values_and_where_it_was_measured(tmp_path):
    text = drawn(tmp_path / "a.svg", comparison())
    assert "sleep: 40 waits of 1 s at once" in text
    assert "Asyncio won, & <nobody> paid $1 of $2." in text
    for piece in ("asyncio", "1.1 s", "33 MB", "threads (one each)", "1.7 s", "90 MB"):
        assert piece in text.splitlines()
    assert "medians of 3 rounds" in text
    assert "2 cores, CPython 3.11.7, Linux x86_64" in text


def test_what_was_extrapolated_is_hatched_and_said(tmp_path):
    text = drawn(tmp_path / "a.svg", comparison())
    assert "≈ 40 s (2)" in text.splitlines()
    assert "Hatched: extrapolated" in text
    assert "url(#h" in (tmp_path / "a.svg").read_text()
    assert "Hatched" not in drawn(tmp_path / "b.svg", comparison(rows=ROWS[1:]))
    assert "url(#h" not in (tmp_path / "b.svg").read_text()


def test_a_failure_stands_where_its_bar_would(tmp_path):
    text = drawn(tmp_path / "a.svg", comparison())
    assert text.splitlines().count("failed: the system allowed 12 of 4,000") == 1


def test_other_results_are_said_beside_the_bar(tmp_path):
    rows = [*ROWS[:2], msgspec.structs.replace(ROWS[2], is_equal=False)]
    assert "1.1 s, other results" in drawn(tmp_path / "a.svg", comparison(rows=rows))


def test_a_logarithmic_axis_is_announced_and_only_used_for_wide_figures(tmp_path):
    assert "Time (less is better)" in drawn(tmp_path / "a.svg", comparison())
    wide = [ROWS[1], msgspec.structs.replace(ROWS[2], wall_s=400.0, slowest_s=400.0)]
    text = drawn(tmp_path / "b.svg", comparison(rows=wide))
    assert "Time (logarithmic)" in text
    assert "Peak memory (less is better)" in text


def test_a_logarithmic_axis_of_memory_has_round_numbers(tmp_path):
    wide = [ROWS[1], msgspec.structs.replace(ROWS[2], peak_bytes=14 << 30)]
    lines = drawn(tmp_path / "a.svg", comparison(rows=wide)).splitlines()
    assert {"Peak memory (logarithmic)", "100 MB", "1,000 MB", "10 GB", "14 GB"} <= set(lines)


def test_every_group_has_an_axis_of_its_own(tmp_path):
    short = [Row("a", "10 requests", wall_s=0.2, rounds=1), Row("b", "10 requests", wall_s=0.1, rounds=1)]
    long = [Row("a", "100 requests", wall_s=500, rounds=1), Row("b", "100 requests", wall_s=1, rounds=1)]
    lines = drawn(tmp_path / "a.svg", comparison(rows=short + long)).splitlines()
    assert {"Time, 10 requests (less is better)", "Time, 100 requests (logarithmic)"} <= set(lines)


def test_costs_of_calls_have_bars_of_cost_alone(tmp_path):
    rows = [Row("call", rate=5e6, wall_s=1), Row("process-pool", rate=2.5e3, wall_s=1)]
    text = drawn(tmp_path / "a.svg", comparison(rows=rows, measure="cost_s"))
    assert "Time for one (logarithmic)" in text
    assert {"200 ns", "400 µs"} <= set(text.splitlines())
    assert "memory" not in text


def test_latencies_have_a_column_where_there_are_any(tmp_path):
    rows = [msgspec.structs.replace(row, details={"p90_ms": 12.5}) for row in ROWS[1:3]]
    text = drawn(tmp_path / "a.svg", comparison(rows=rows))
    assert "Latency, 90 %" in text
    assert "12.5 ms" in text.splitlines()


def test_every_model_has_a_timeline_with_its_end_and_the_colours_are_explained(tmp_path):
    text = drawn(
        tmp_path / "a.svg", comparison(timelines=[timeline("sequence", 6), timeline("loop", 3)])
    ).splitlines()
    assert {"sequence", "loop", "800 ms", "500 ms"} <= set(text)
    for kind in ("waiting", "running", "blocked"):
        assert any(line.startswith(kind) for line in text)
    assert "A smaller run, watched. Each of 6 lanes is one task: a wait, then work." in text


def test_variants_of_timelines_are_told_where_they_tell_them_apart(tmp_path):
    alike = [timeline("a", variant="3 requests"), timeline("b", variant="3 requests")]
    assert "3 requests" not in drawn(tmp_path / "a.svg", comparison(timelines=alike))
    apart = [timeline("a", variant="pool of 8"), timeline("b")]
    assert "pool of 8" in drawn(tmp_path / "b.svg", comparison(timelines=apart))


def test_a_queue_is_drawn_over_time_for_each_model(tmp_path):
    series = [
        Series(
            model,
            variant,
            times_s=[0.0, 0.5, 1.0],
            queued=[0, 200, 0],
            memory_bytes=[20 << 20, 80 << 20, 80 << 20],
        )
        for model in ("asyncio", "threads")
        for variant in ("no bound", "bound 16")
    ]
    lines = drawn(tmp_path / "a.svg", comparison(series=series)).splitlines()
    for model in ("asyncio", "threads"):
        assert {f"Items in the queue: {model}", f"Resident memory, MB: {model}"} <= set(lines)
    assert lines.count("no bound") == lines.count("bound 16") == 4


def test_comparisons_stand_below_each_other_in_one_picture(tmp_path):
    second = comparison(workload="http", title="200 GETs")
    text = drawn(tmp_path / "a.svg", comparison(), second)
    assert text.index("sleep: 40 waits") < text.index("http: 200 GETs")

    def height(name: str) -> float:
        return float(ET.parse(tmp_path / name).getroot().get("height", "").removesuffix("pt"))

    draw([second], tmp_path / "b.svg")
    assert height("a.svg") > 1.8 * height("b.svg")


def test_the_same_figures_give_the_same_svg_without_a_date(tmp_path):
    made = comparison(timelines=[timeline("a")])
    for name in ("a.svg", "b.svg"):
        draw([made], tmp_path / name)
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert b"<dc:date>" not in first


def test_a_busy_timeline_stays_a_small_file(tmp_path):
    spans = [
        Span(lane, n / 1000, (n + 1) / 1000, ("running", "blocked", "waiting")[n % 3])
        for lane in range(12)
        for n in range(3000)
    ]
    busy = [Timeline(f"model {n}", lanes=12, end_s=3.0, spans=spans) for n in range(6)]
    draw([comparison(timelines=busy)], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size < 200_000


def test_a_png_is_twice_800_pixels_wide(tmp_path):
    draw([comparison(timelines=[timeline("a")])], tmp_path / "a.PNG")
    body = (tmp_path / "a.PNG").read_bytes()
    assert body.startswith(b"\x89PNG")
    assert abs(struct.unpack(">I", body[16:20])[0] - 1600) <= 1


@pytest.mark.parametrize("name", ["a.pdf", "a", "svg", "a.svg.gz"])
def test_another_suffix_is_an_error_of_usage(tmp_path, name):
    with pytest.raises(ConfigError, match=re.escape(".svg or .png")):
        draw([comparison()], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_there_is_not_is_an_error_of_usage(tmp_path):
    with pytest.raises(ConfigError, match="cannot write"):
        draw([comparison()], tmp_path / "none" / "a.svg")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    program = (
        "from pathlib import Path\nfrom fetcher.errors import ConfigError\n"
        "from fetcher.lab.compare.pictures import draw\n"
        "try:\n    draw([], Path('a.svg'))\nexcept ConfigError as error:\n    print(error.hint)"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environ
    )
    assert run.stdout.strip() == "install fetcher[plot]", run.stderr


def test_to_import_the_module_does_not_import_matplotlib():
    program = "import sys, fetcher.lab.compare.pictures; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr


def test_drawing_neither_uses_nor_changes_the_settings_of_matplotlib(tmp_path):
    import matplotlib as mpl

    with mpl.rc_context({"axes.facecolor": "#123456"}):
        draw([comparison()], tmp_path / "a.svg")
        assert mpl.rcParams["axes.facecolor"] == "#123456"
        assert "#123456" not in (tmp_path / "a.svg").read_text()


# --- what is decided without drawing ------------------------------------------------------------------


def test_rows_are_grouped_by_variant_where_every_model_has_every_variant():
    rows = [Row(model, variant) for variant in ("new", "pooled") for model in ("a", "b")]
    assert [(name, [row.model for row in group]) for name, group in groups_of(rows)] == [
        ("new", ["a", "b"]),
        ("pooled", ["a", "b"]),
    ]
    assert groups_of(ROWS) == [("", ROWS)]


def test_the_best_is_measured_in_full_and_right():
    assert best_of(WALL, ROWS) == [ROWS[2]]
    assert best_of(MEMORY, ROWS) == [ROWS[2]]  # the sequence has less, but was reckoned up
    wrong = msgspec.structs.replace(ROWS[2], is_equal=False)
    assert best_of(WALL, [*ROWS[:2], wrong]) == [ROWS[1]]


def test_what_is_level_with_the_best_is_best_too_and_all_level_is_none():
    rows = [Row("a", wall_s=1.0, rounds=3), Row("b", wall_s=1.04, rounds=3), Row("c", wall_s=1.1, rounds=3)]
    assert best_of(WALL, rows) == rows[:2]
    assert best_of(WALL, rows[:2]) == []


def test_after_a_single_round_more_is_level():
    rows = [Row("a", wall_s=1.0, rounds=1), Row("b", wall_s=1.1, rounds=1), Row("c", wall_s=1.2, rounds=1)]
    assert best_of(WALL, rows) == rows[:2]


def test_the_first_column_is_what_is_raced_for():
    assert [column.title for column in columns_of(comparison())] == ["Time", "Peak memory"]


KINDS = st.sampled_from(["waiting", "running", "blocked"])
LANES = st.lists(
    st.lists(st.tuples(st.floats(0.001, 5), KINDS), min_size=1, max_size=30), min_size=1, max_size=4
)


@given(LANES, st.integers(1, 60))
def test_stripes_follow_each_other_and_cover_what_the_spans_cover(lanes, columns):
    spans, ends = [], []
    for lane, pieces in enumerate(lanes):
        at = 0.0
        for length, kind in pieces:
            spans.append(Span(lane, at, at + length, kind))
            at += length
        ends.append(at)
    end_s = max(ends)
    stripes = stripes_of(spans, end_s, columns)
    for lane, end in enumerate(ends):
        own = [stripe for stripe in stripes if stripe[0] == lane]
        covered = sum(last - first for _, first, last, _ in own)
        assert abs(covered - end / end_s * columns) <= 0.5 + 1e-6
        for before, after in pairwise(own):
            assert before[2] == after[1]
            assert before[3] != after[3]
        assert not own or own[0][1] == 0


def test_a_column_is_of_the_kind_that_fills_most_of_it():
    spans = [
        Span(0, 0.0, 0.6, "waiting"),
        Span(0, 0.6, 1.0, "running"),
        Span(0, 1.0, 1.3, "waiting"),
        Span(0, 1.3, 2.0, "blocked"),
    ]
    assert stripes_of(spans, 2.0, 2) == [(0, 0, 1, "waiting"), (0, 1, 2, "blocked")]
