"""Bars: the time and the memory of each row side by side, each labelled with its value.

The best is emphasised, and what is level with it. An axis begins at zero, or is logarithmic and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fetcher.lab.compare.conclusions import shown_s, shown_size
from fetcher.lab.compare.figures import Comparison, Row
from fetcher.lab.compare.page import (
    ALARM,
    BEST,
    FAINT,
    INK,
    MARGIN,
    MB,
    NAMES,
    PLAIN,
    SOFT,
    WIDTH,
    Block,
    Page,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE: Final = 0.235  # of a row, inches
_GAP: Final = 0.25
_FILLED: Final = 0.68  # of the width; the rest is for the label of the longest bar
_WIDE: Final = 100  # times from the smallest to the largest: beyond that the axis is logarithmic
_LEVEL: Final = 1.05  # closer than this is as good
_LEVEL_ONCE: Final = 1.15  # after a single round
_HATCH: Final = "/////"

Group = tuple[str, list[Row]]


class Column(msgspec.Struct, frozen=True):
    """One column of bars: what it shows of a row, and how that is written. The smallest is the best."""

    title: str
    value: Callable[[Row], float]
    shown: Callable[[float], str]
    span: Callable[[Row], tuple[float, float]] | None = None  # of the rounds


WALL: Final = Column("Time", lambda row: row.wall_s, shown_s, lambda row: (row.fastest_s, row.slowest_s))
COST: Final = Column("Time for one", lambda row: row.cost_s, shown_s)
MEMORY: Final = Column("Peak memory", lambda row: row.peak_bytes / MB, lambda size: shown_size(size * MB))
LATENCY: Final = Column("Latency, 90 %", lambda row: row.details.get("p90_ms", 0.0) / 1000, shown_s)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Rows by variant where every model is there in every variant, else all in one group without a name."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    models = {row.model for row in rows}
    if len(variants) == 1 or len(rows) != len(models) * len(variants):
        return [("", list(rows))]
    return [(variant, [row for row in rows if row.variant == variant]) for variant in variants]


def best_of(column: Column, rows: Sequence[Row]) -> list[Row]:
    """The row with the smallest figure and those level with it, measured in full and right; not if all are"""
    good = [row for row in rows if not (row.failure or row.is_extrapolated) and row.is_equal]
    if not good or len(rows) < 2:
        return []
    least = min(map(column.value, good))
    level = _LEVEL_ONCE if any(row.rounds == 1 for row in good) else _LEVEL
    best = [row for row in good if column.value(row) <= level * least]
    return best if len(best) < len(rows) else []


def columns_of(comparison: Comparison) -> list[Column]:
    """What is shown of each row, the first of them the one that is raced for."""
    if comparison.measure == "cost_s":
        return [COST]
    has_latency = any("p90_ms" in row.details for row in comparison.rows)
    return [WALL, LATENCY, MEMORY] if has_latency else [WALL, MEMORY]


def bars(comparison: Comparison) -> Block:
    """The bars of all rows. Where a queue is drawn too, all rows are one race, else each variant is."""
    groups = groups_of(comparison.rows)
    columns = columns_of(comparison)
    races = [list(comparison.rows)] if comparison.series else [rows for _, rows in groups]
    best = {column.title: [row for race in races for row in best_of(column, race)] for column in columns}
    is_reckoned = any(row.is_extrapolated for row in comparison.rows)
    are_wide = [_is_wide(column, comparison.rows) for column in columns]
    body = _LINE * sum(len(rows) + (len(groups) > 1) for _, rows in groups)
    head, foot = 0.24, 0.32 if any(are_wide) else 0.1
    width = (WIDTH - 2 * MARGIN - NAMES - _GAP * (len(columns) - 1)) / len(columns)

    def draw_bars(page: Page, top: float) -> None:
        _draw_names(page, groups, top + head, best[columns[0].title])
        for number, (column, is_log) in enumerate(zip(columns, are_wide, strict=True)):
            left = MARGIN + NAMES + number * (width + _GAP)
            scale = "logarithmic" if is_log else "less is better"
            page.text(left, top, f"{column.title} ({scale})", fontsize=8, color=SOFT)
            axes = page.axes(left, top + head, width, body)
            _prepare(axes, column, comparison.rows, is_log=is_log)
            _draw_column(axes, column, groups, best[column.title], tells_failures=number == 0)
        if is_reckoned:
            told = "Hatched: reckoned up (≈) from a few, whose number stands in brackets."
            page.text(MARGIN, top + head + body + foot, told, fontsize=7.5, color=SOFT)

    return Block(head + body + foot + (0.2 if is_reckoned else 0), draw_bars)


def _draw_names(page: Page, groups: Sequence[Group], top: float, best: Sequence[Row]) -> None:
    middle = top + _LINE / 2
    for name, rows in groups:
        if name:
            page.text(MARGIN, middle, name, va="center", color=SOFT, fontstyle="italic")
            middle += _LINE
        for row in rows:
            text, indent = (row.model, 0.12) if name else (row.name, 0)
            weight = "bold" if row in best else "normal"
            page.text(MARGIN + indent, middle, text, va="center", fontweight=weight)
            middle += _LINE


def _prepare(axes: Axes, column: Column, rows: Sequence[Row], *, is_log: bool) -> None:
    """The axis, long enough for the longest bar and its label."""
    values = _values(column, rows)
    most = max([*values, *(column.span(row)[1] for row in rows if column.span)], default=1.0) or 1.0
    axes.set_yticks([])
    axes.spines["left"].set_visible(True)
    axes.spines["bottom"].set_visible(is_log)
    if not is_log:
        axes.set_xlim(0, most / _FILLED)
        axes.set_xticks([])
        return
    first, last = math.floor(math.log10(min(values)) - 0.3), math.log10(most)
    axes.set_xscale("log")
    axes.set_xlim(10.0**first, 10 ** (first + (last - first) / _FILLED))
    step = math.ceil((last - first) / 5)
    ticks = [10.0**power for power in range(first, math.floor(last) + 1, step)]
    axes.set_xticks(ticks, [column.shown(tick) for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(axis="x", length=2)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)


def _draw_column(
    axes: Axes, column: Column, groups: Sequence[Group], best: Sequence[Row], *, tells_failures: bool
) -> None:
    middle = 0.5
    for name, rows in groups:
        middle += bool(name)
        for row in rows:
            if not row.failure:
                _draw_bar(axes, column, row, middle, is_best=row in best)
            elif tells_failures:
                failure = row.failure if len(row.failure) <= 44 else f"{row.failure[:43]}…"
                _label(axes, f"failed: {failure}", axes.get_xlim()[0], middle, color=ALARM)
            middle += 1
    axes.set_ylim(middle - 0.5, 0)


def _draw_bar(axes: Axes, column: Column, row: Row, middle: float, *, is_best: bool) -> None:
    value, origin = column.value(row), axes.get_xlim()[0]
    color = BEST if is_best else PLAIN
    axes.barh(
        middle,
        max(value - origin, 0),
        left=origin,
        height=0.68,
        color="white" if row.is_extrapolated else color,
        edgecolor=color if row.is_extrapolated else "none",
        hatch=_HATCH if row.is_extrapolated else None,
        linewidth=0.7,
    )
    end = value
    if column.span is not None and row.rounds > 1 and not row.is_extrapolated:
        fastest, slowest = column.span(row)
        axes.plot([fastest, slowest], [middle, middle], color=INK, linewidth=0.8, solid_capstyle="butt")
        end = max(value, slowest)
    label = column.shown(value)
    if row.is_extrapolated:
        label = f"≈ {label} ({row.details['measured']:.0f})" if "measured" in row.details else f"≈ {label}"
    if not row.is_equal:
        label += ", other results"
    weight = "bold" if is_best else "normal"
    _label(axes, label, end, middle, color=INK if row.is_equal else ALARM, fontweight=weight)


def _label(axes: Axes, text: str, end: float, middle: float, **style: Any) -> None:
    """A text right of a bar's end, on white, so that no line of the grid runs through it."""
    axes.annotate(
        text,
        (end, middle),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        **style,
    )


def _is_wide(column: Column, rows: Sequence[Row]) -> bool:
    values = _values(column, rows)
    return bool(values) and max(values) > _WIDE * min(values)


def _values(column: Column, rows: Sequence[Row]) -> list[float]:
    return [value for row in rows if not row.failure and (value := column.value(row)) > 0]
