"""A comparison for people: a table, what to conclude, and the small print.

Everything is escaped: the workload `urls` shows what servers said.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fetcher.lab.compare.conclusions import shown_ratio, shown_s, shown_size
from fetcher.lab.compare.figures import Comparison, Row
from fetcher.observers.lines import shown

_WIDTH = 100  # where no terminal tells
_WIDEST = 120
_ROOMY = 110  # columns for what is good to know but not needed
_LINE = 2000


class Column(NamedTuple):
    """A column: its heading and what stands there for a row."""

    heading: str
    cell: Callable[[Row], str]


def rendered(comparison: Comparison) -> str:
    """The text for standard output, in colours if that is a terminal."""
    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDEST)
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=sys.stdout.isatty(), highlight=False)
    console.print(Text(_clean(f"{comparison.workload}: {comparison.title}"), style="bold"))
    console.print(_table(comparison, width))
    console.print()
    console.print(Padding(Text(_clean(comparison.conclusion)), (0, 2)))
    where, rounds = comparison.machine, comparison.rounds
    cores = f"{where.cpus} cores" if where.cpus != 1 else "1 core"
    times = f"medians of {rounds} rounds" if rounds != 1 else "one round"
    console.print()
    notes = list(comparison.notes)
    if comparison.workload == "sleep" and width < _ROOMY:
        took = [f"{row.name} {_shown_starting(comparison, row)}" for row in comparison.rows if row.details]
        notes.insert(0, f"starting them took: {', '.join(one for one in took if one.endswith('s'))}")
    for note in (*notes, f"{times}; {cores}, {where.python}, {where.platform}"):
        console.print(Padding(Text(_clean(note), style="dim"), (0, 2)))
    return text.getvalue()


def _table(comparison: Comparison, width: int) -> Table:
    rows = comparison.rows
    columns = _columns(comparison, is_roomy=width >= _ROOMY)
    groups = _groups(rows)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("model", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for title, ones in groups:
        if title:
            table.add_row(Text(_clean(title), style="italic"))
        best = min(
            (row for row in ones if _counts(row)), key=lambda row: _measure(comparison, row), default=None
        )
        for row in ones:
            name = f"  {row.model}" if title else row.name
            style = "bold green" if row is best else "" if _counts(row) else "red"
            cells = [Text(column.cell(row) if not row.failure else "", style=style) for column in columns]
            if row.failure:
                cells[0] = Text("failed", style=style)
            table.add_row(Text(_clean(name), style=style), *cells)
    return table


def _columns(comparison: Comparison, *, is_roomy: bool) -> list[Column]:
    """What tells the models of this workload apart."""
    rows = comparison.rows
    same = Column("results", lambda row: "equal" if row.is_equal else "DIFFER")
    per_s = Column(f"{comparison.unit}/s", _shown_rate)
    if comparison.measure == "cost_s":
        least = min((row.cost_s for row in rows if row.cost_s), default=1.0)
        times = Column("× the least", lambda row: shown_ratio(row.cost_s / least))
        return [Column("one costs", lambda row: shown_s(row.cost_s)), times, per_s, same]
    columns = [Column("time", lambda row: _about(row) + shown_s(row.wall_s))]
    if is_roomy and comparison.rounds > 1:
        columns.append(Column("±", lambda row: f"{(row.slowest_s - row.fastest_s) / 2 / row.wall_s:.0%}"))
    columns.append(Column("CPU", lambda row: _about(row) + shown_s(row.cpu_s)))
    columns.append(Column("memory", lambda row: shown_size(row.peak_bytes)))
    if any("longest_queue" in row.details for row in rows):
        columns.append(Column("queue", lambda row: f"{row.details.get('longest_queue', 0):,.0f}"))
        columns.append(_detail("waited", "longest_wait_s"))
    elif is_roomy:
        if any(_starting(comparison, row) for row in rows):
            columns.append(Column("starting", lambda row: _shown_starting(comparison, row)))
        if any("stall_s" in row.details for row in rows):
            columns.append(_detail("loop held", "stall_s"))
    columns.append(per_s)
    if any(row.speedup is not None for row in rows):
        columns.append(Column("speed-up", lambda row: shown_ratio(row.speedup) if row.speedup else ""))
    return [*columns, same]


def _starting(comparison: Comparison, row: Row) -> float:
    """What it took to start a pool; where starting is what is compared, also to start each task."""
    created = row.details.get("creation_s", 0.0) if comparison.workload == "sleep" else 0.0
    return created + row.details.get("start_s", 0.0)


def _shown_starting(comparison: Comparison, row: Row) -> str:
    seconds = _starting(comparison, row)
    return shown_s(seconds) if seconds else ""


def _detail(heading: str, name: str) -> Column:
    return Column(heading, lambda row: shown_s(row.details[name]) if name in row.details else "")


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows by variant, under a heading each, where the variants are the same for several models."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    by = [(variant, [row for row in rows if row.variant == variant]) for variant in variants]
    if len(by) > 1 and all(variant and len(ones) > 1 for variant, ones in by):
        return by
    return [("", list(rows))]


def _counts(row: Row) -> bool:
    return row.is_equal and not row.failure


def _measure(comparison: Comparison, row: Row) -> float:
    return row.cost_s if comparison.measure == "cost_s" else row.wall_s


def _about(row: Row) -> str:
    return "≈ " if row.is_extrapolated else ""


def _shown_rate(row: Row) -> str:
    return f"{row.rate:,.0f}" if row.rate >= 99.5 else f"{row.rate:,.1f}"


def _clean(text: str) -> str:
    return shown(text, _LINE)
