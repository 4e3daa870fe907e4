"""A comparison for people: a table, what to conclude, and the small print.

Everything is escaped: the workload `urls` shows what servers said.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fetcher.lab.compare.bars import groups_of
from fetcher.lab.compare.results import Comparison, Row
from fetcher.lab.compare.units import shown_number, shown_ratio, shown_s, shown_size
from fetcher.policy.redaction import shown

_WIDTH = 100  # where no terminal tells
_WIDEST = 120
_ROOMY = 110  # columns for what is good to know but not needed
_LINE = 2000


class TableColumn(NamedTuple):
    """A column: its heading and what stands there for a row."""

    heading: str
    cell: Callable[[Row], str]


def rendered(comparison: Comparison) -> str:
    """Return the text for standard output, in colours if that is a terminal."""
    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDEST)
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=sys.stdout.isatty(), highlight=False)
    console.print(Text(_clean(f"{comparison.workload}: {comparison.title}"), style="bold"))
    console.print(_table(comparison, width))
    console.print()
    console.print(Padding(Text(_clean(comparison.conclusion)), (0, 2)))
    console.print()
    notes = list(comparison.notes)
    if comparison.workload == "sleep" and width < _ROOMY:
        took = [f"{row.name} {_shown_starting(comparison, row)}" for row in comparison.rows if row.details]
        notes.insert(0, f"starting them took: {', '.join(one for one in took if one.endswith('s'))}")
    for note in (*notes, f"{comparison.shown_rounds}; {comparison.machine.shown}"):
        console.print(Padding(Text(_clean(note), style="dim"), (0, 2)))
    return text.getvalue()


def _table(comparison: Comparison, width: int) -> Table:
    columns = _columns(comparison, is_roomy=width >= _ROOMY)
    groups = groups_of(comparison.rows)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("model", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for title, ones in groups:
        if title:
            table.add_row(Text(_clean(title), style="italic"))
        best = min(
            (row for row in ones if row.counts), key=lambda row: _measure(comparison, row), default=None
        )
        for row in ones:
            name = f"  {row.model}" if title else row.name
            style = "bold green" if row is best else "" if row.counts else "red"
            cells = [Text(column.cell(row) if not row.failure else "", style=style) for column in columns]
            if row.failure:
                cells[0] = Text("failed", style=style)
            table.add_row(Text(_clean(name), style=style), *cells)
    return table


def _columns(comparison: Comparison, *, is_roomy: bool) -> list[TableColumn]:
    """Return the columns that tell the models of this workload apart."""
    rows = comparison.rows
    same = TableColumn("results", lambda row: "equal" if row.is_equal else "DIFFER")
    per_s = TableColumn(f"{comparison.unit}/s", lambda row: shown_number(row.rate))
    if comparison.measure == "cost_s":
        least = min((row.cost_s for row in rows if row.cost_s), default=1.0)
        times = TableColumn("× the least", lambda row: shown_ratio(row.cost_s / least))
        return [TableColumn("one costs", lambda row: shown_s(row.cost_s)), times, per_s, same]
    columns = [TableColumn("time", lambda row: _about(row) + shown_s(row.wall_s))]
    if is_roomy and comparison.rounds > 1:
        columns.append(
            TableColumn("±", lambda row: f"{(row.slowest_s - row.fastest_s) / 2 / row.wall_s:.0%}")
        )
    columns.append(TableColumn("CPU", lambda row: _about(row) + shown_s(row.cpu_s)))
    columns.append(TableColumn("memory", lambda row: shown_size(row.peak_bytes)))
    if any("longest_queue" in row.details for row in rows):
        columns.append(TableColumn("queue", lambda row: f"{row.details.get('longest_queue', 0):,.0f}"))
        columns.append(_detail("waited", "longest_wait_s"))
    elif is_roomy:
        if any(_starting(comparison, row) for row in rows):
            columns.append(TableColumn("starting", lambda row: _shown_starting(comparison, row)))
        if any("stall_s" in row.details for row in rows):
            columns.append(_detail("loop held", "stall_s"))
    columns.append(per_s)
    if any(row.speedup is not None for row in rows):
        columns.append(TableColumn("speed-up", lambda row: shown_ratio(row.speedup) if row.speedup else ""))
    return [*columns, same]


def _starting(comparison: Comparison, row: Row) -> float:
    """Seconds to start a pool; where starting is what is compared, also to start each task."""
    created = row.details.get("creation_s", 0.0) if comparison.workload == "sleep" else 0.0
    return created + row.details.get("start_s", 0.0)


def _shown_starting(comparison: Comparison, row: Row) -> str:
    seconds = _starting(comparison, row)
    return shown_s(seconds) if seconds else ""


def _detail(heading: str, name: str) -> TableColumn:
    return TableColumn(heading, lambda row: shown_s(row.details[name]) if name in row.details else "")


def _measure(comparison: Comparison, row: Row) -> float:
    return row.cost_s if comparison.measure == "cost_s" else row.wall_s


def _about(row: Row) -> str:
    return "≈ " if row.is_extrapolated else ""


def _clean(text: str) -> str:
    return shown(text, _LINE)
