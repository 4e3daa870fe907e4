"""A comparison for people: a table, what to conclude, and the small print.

Everything is escaped: the workload `urls` shows what servers said.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from functools import partial
from operator import attrgetter

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

Cell = Callable[[Row], str]  # what stands in a column for a row


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
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for title, ones in groups_of(comparison.rows):
        if title:
            table.add_row(Text(_clean(title), style="italic"))
        counted = [row for row in ones if row.counts]
        best = min(counted, key=attrgetter(comparison.measure), default=None)
        for row in ones:
            name = f"  {row.model}" if title else row.name
            style = "bold green" if row is best else "" if row.counts else "red"
            cells = ["failed"] if row.failure else [cell(row) for cell in columns.values()]
            table.add_row(_clean(name), *cells, style=style)
    return table


def _columns(comparison: Comparison, *, is_roomy: bool) -> dict[str, Cell]:
    """Return the columns that tell the models of this workload apart, by their headings."""
    rows, is_of_costs = comparison.rows, comparison.measure == "cost_s"
    least_s = min((row.cost_s for row in rows if row.cost_s), default=1.0)
    known = {name for row in rows for name in row.details}
    has_queue = "longest_queue" in known
    has_starts = any(_starting(comparison, row) for row in rows)

    def detail(name: str) -> Cell:
        return lambda row: shown_s(row.details[name]) if name in row.details else ""

    columns: list[tuple[object, str, Cell]] = [  # where it is shown, its heading, what it shows
        (is_of_costs, "one costs", lambda row: shown_s(row.cost_s)),
        (is_of_costs, "× the least", lambda row: shown_ratio(row.cost_s / least_s)),
        (not is_of_costs, "time", lambda row: row.about + shown_s(row.wall_s)),
        (not is_of_costs and is_roomy and comparison.rounds > 1, "±", _shown_spread),
        (not is_of_costs, "CPU", lambda row: row.about + shown_s(row.cpu_s)),
        (not is_of_costs, "memory", lambda row: shown_size(row.peak_bytes)),
        (has_queue, "queue", lambda row: f"{row.details.get('longest_queue', 0):,.0f}"),
        (has_queue, "waited", detail("longest_wait_s")),
        (has_starts and is_roomy and not has_queue, "starting", partial(_shown_starting, comparison)),
        ("stall_s" in known and is_roomy and not has_queue, "loop held", detail("stall_s")),
        (True, f"{comparison.unit}/s", lambda row: shown_number(row.rate)),
        (
            any(row.speedup is not None for row in rows),
            "speed-up",
            lambda row: shown_ratio(row.speedup) if row.speedup else "",
        ),
        (True, "results", lambda row: "equal" if row.is_equal else "DIFFER"),
    ]
    return {heading: cell for is_there, heading, cell in columns if is_there}


def _shown_spread(row: Row) -> str:
    return f"{(row.slowest_s - row.fastest_s) / 2 / row.wall_s:.0%}"


def _starting(comparison: Comparison, row: Row) -> float:
    """Seconds to start a pool; where starting is what is compared, also to start each task."""
    created = row.details.get("creation_s", 0.0) if comparison.workload == "sleep" else 0.0
    return created + row.details.get("start_s", 0.0)


def _shown_starting(comparison: Comparison, row: Row) -> str:
    seconds = _starting(comparison, row)
    return shown_s(seconds) if seconds else ""


def _clean(text: str) -> str:
    return shown(text, _LINE)
