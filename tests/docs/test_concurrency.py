"""docs/concurrency.md has every workload with its picture, and its program fills in what is measured."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from support.documents import program_beside_the_documents

from fetcher.lab.compare.results import Comparison, Machine, Row
from fetcher.lab.compare.workloads import WORKLOADS

FOLDER = Path(__file__).parents[2] / "docs"
PAGE = (FOLDER / "concurrency.md").read_text("utf-8")
PARTS = dict(re.findall(r"^<!-- (\w+) -->\n(.*?)^<!-- end -->$", PAGE, re.MULTILINE | re.DOTALL))
MADE = Comparison(
    workload="sleep",
    title="40 waits at once",
    parameters={},
    unit="waits",
    rows=[
        Row("sequence", wall_s=4, cpu_s=0.5, peak_bytes=20 << 20, speedup=1.0, is_extrapolated=True),
        Row("asyncio", wall_s=1, cpu_s=0.25, peak_bytes=30 << 20, speedup=4.0, is_equal=False),
        Row("processes", failure="not allowed"),
    ],
    conclusion="It costs \\g<0> nothing.",
    machine=Machine(2, "CPython 3.11.7", "Linux x86_64"),
    rounds=3,
)


@pytest.fixture
def program(tmp_path: Path) -> ModuleType:
    """make_pictures.py, with a page of its own and nothing to measure."""
    module = program_beside_the_documents("make_pictures")
    module.PAGE = tmp_path / "page.md"
    module.PAGE.write_text(
        "# T\n<!-- sleep -->\nold\n<!-- end -->\nprose\n<!-- http -->\nold\n<!-- end -->\n"
    )
    return module


def test_every_workload_has_a_part_and_every_part_is_one():
    assert set(PARTS) == {*WORKLOADS, "urls"}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_has_a_picture_that_is_small_a_table_and_a_conclusion(name):
    part = PARTS[name]
    assert f"]({name}.svg)" in part
    assert 5_000 < (FOLDER / f"{name}.svg").stat().st_size < 200_000
    assert len(re.findall(r"^\| ", part, re.MULTILINE)) >= 3
    assert re.search(r"^> \w+.*\.$", part, re.MULTILINE)
    assert f"`fetcher compare {name}" in PAGE


@pytest.mark.parametrize("name", PARTS)
def test_what_a_part_shows_was_measured_in_full(name):
    assert "failed:" not in PARTS[name]
    assert "other results" not in PARTS[name]


def test_a_table_tells_what_was_reckoned_what_differs_and_what_failed(program):
    assert program.table_of(MADE)[2:] == [
        "| sequence | ≈ 4 s | ≈ 500 ms | ≈ 20 MB | 1.0 × |",
        "| asyncio (other results) | 1 s | 250 ms | 30 MB | 4.0 × |",
        "| processes | failed: not allowed | | | |",
    ]


def test_a_part_is_replaced_and_nothing_else(program):
    program.replace("sleep", program.part_of("sleep", MADE))
    text = program.PAGE.read_text("utf-8")
    assert text.startswith("# T\n<!-- sleep -->\n![40 waits at once](sleep.svg)\n")
    assert "> It costs \\g<0> nothing." in text
    assert text.endswith("<!-- end -->\nprose\n<!-- http -->\nold\n<!-- end -->\n")
    assert text.count("old") == 1


def test_a_part_that_there_is_not_ends_the_program(program):
    with pytest.raises(SystemExit, match="has no part cpu"):
        program.replace("cpu", "new")
