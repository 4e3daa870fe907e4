"""Bars: the time and the memory of each row side by side, each labelled with its value.

The best is emphasised, and what is level with it. Every group of rows has axes of its own, which begin
at zero, or are logarithmic and say so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from fetcher.lab.compare.picture_style import ALARM, BEST, INK, LABEL, LINE, PLAIN
from fetcher.lab.compare.results import Comparison, Row
from fetcher.lab.compare.units import shown_s, shown_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

_BAR: Final = 0.235  # of a row, inches
_FILLED: Final = 0.68  # of the width; the rest is for the label of the longest bar
_WIDE: Final = 100  # times from the smallest to the largest: beyond that the axis is logarithmic
_LEVEL: Final = 1.05  # closer than this is as good
_LEVEL_ONCE: Final = 1.15  # after a single round
_LONGEST_FAILURE: Final = 44

Group = tuple[str, list[Row]]


class Column(msgspec.Struct, frozen=True):
    """One column of bars: its value of a row, and how that is written. The smallest is the best."""

    title: str
    value: Callable[[Row], float]
    shown: Callable[[float], str]
    spread: Callable[[Row], tuple[float, float]] = lambda _: (0.0, 0.0)  # of the rounds, to both sides


WALL: Final = Column("Time", lambda row: row.wall_s, shown_s, lambda row: row.spread_s)
COST: Final = Column("Time for one", lambda row: row.cost_s, shown_s)
MEMORY: Final = Column(  # in MB, so that a logarithmic axis has round ones
    "Peak memory", lambda row: row.peak_bytes / 1024**2, lambda mega: shown_size(mega * 1024**2)
)
LATENCY: Final = Column("Latency, 90 %", lambda row: row.details.get("p90_ms", 0.0) / 1000, shown_s)


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Group rows by variant where every model is there in every variant, else all without a name."""
    variants = list(dict.fromkeys(row.variant for row in rows))
    models = {row.model for row in rows}
    if min(len(variants), len(models)) < 2 or len(rows) != len(models) * len(variants):
        return [("", list(rows))]
    return [(variant, [row for row in rows if row.variant == variant]) for variant in variants]


def best_of(column: Column, rows: Sequence[Row]) -> list[Row]:
    """The row with the smallest figure and those level with it, measured in full and right; not if all are"""
    good = [row for row in rows if row.counts and not row.is_extrapolated]
    if not good or len(rows) < 2:
        return []
    level = _LEVEL_ONCE if any(row.rounds == 1 for row in good) else _LEVEL
    best = [row for row in good if column.value(row) <= level * min(map(column.value, good))]
    return best if len(best) < len(rows) else []


def columns_of(comparison: Comparison) -> list[Column]:
    """Return the columns of a comparison, the first of them the one that is raced for."""
    if comparison.measure == "cost_s":
        return [COST]
    has_latency = any("p90_ms" in row.details for row in comparison.rows)
    return [WALL, LATENCY, MEMORY] if has_latency else [WALL, MEMORY]


def height_of_bars(comparison: Comparison) -> float:
    """Return inches."""
    return _BAR * len(comparison.rows) + 3 * LINE * len(_groups(comparison))


def draw_bars(comparison: Comparison, place: SubFigure) -> None:
    """Draw the bars of all rows."""
    groups, columns = _groups(comparison), columns_of(comparison)
    heights = [len(rows) or 1 for _, rows in groups]
    grid = place.subplots(len(groups), len(columns), sharey="row", squeeze=False, height_ratios=heights)
    for (name, rows), line in zip(groups, grid, strict=True):
        for column, axes in zip(columns, line, strict=True):
            _draw_column(axes, column, rows, name, tells_failures=column is columns[0])
        best = best_of(columns[0], rows)
        line[0].set_yticks(range(len(rows)), [row.model if name else row.name for row in rows])
        line[0].set_ylim(len(rows) - 0.5, -0.5)
        for row, label in zip(rows, line[0].get_yticklabels(), strict=True):
            label.set(color=INK, fontsize=9, fontweight="bold" if row in best else "normal")


def _groups(comparison: Comparison) -> list[Group]:
    """Make all rows one race where a queue is drawn too; else each variant is one."""
    return [("", comparison.rows)] if comparison.series else groups_of(comparison.rows)


def _draw_column(axes: Axes, column: Column, rows: list[Row], group: str, *, tells_failures: bool) -> None:
    values = [column.value(row) for row in rows]
    spreads = [column.spread(row) for row in rows]
    least = min(filter(None, values), default=1.0)
    most = max((value + above for value, (_, above) in zip(values, spreads, strict=True)), default=0.0) or 1.0
    is_log = max(values, default=0.0) > _WIDE * least
    origin = least / 2 if is_log else 0.0
    scale = "logarithmic" if is_log else "less is better"
    axes.set_title(f"{column.title}{f', {group}' if group else ''} ({scale})")
    if is_log:
        axes.set_xscale("log")
        axes.set_xlim(origin, origin * (most / origin) ** (1 / _FILLED))
        axes.xaxis.set_major_formatter(lambda value, _: column.shown(value))
        axes.minorticks_off()
        axes.grid(axis="x")
    else:
        axes.set_xlim(0, most / _FILLED)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
    best = best_of(column, rows)
    colors = [BEST if row in best else PLAIN for row in rows]
    bars = axes.barh(
        range(len(rows)),
        [max(value - origin, 0) for value in values],
        left=origin,
        height=0.68,
        linewidth=0.7,
        color=["white" if row.is_extrapolated else color for row, color in zip(rows, colors, strict=True)],
        edgecolor=colors,
        hatch=["/////" if row.is_extrapolated else "" for row in rows],
        xerr=list(zip(*spreads, strict=True)),
        ecolor=INK,
        error_kw={"elinewidth": 0.8},
    )
    labels = [_label(column, row) if tells_failures or not row.failure else "" for row in rows]
    for row, label in zip(rows, axes.bar_label(bars, labels, padding=4, **LABEL), strict=True):
        label.set(color=INK if row.counts else ALARM, fontweight="bold" if row in best else "normal")


def _label(column: Column, row: Row) -> str:
    if row.failure:
        return f"failed: {textwrap.shorten(row.failure, _LONGEST_FAILURE, placeholder='…')}"
    few = f" ({row.details['measured']:.0f})" if row.is_extrapolated and "measured" in row.details else ""
    return f"{row.about}{column.shown(column.value(row))}{few}{'' if row.is_equal else ', other results'}"
