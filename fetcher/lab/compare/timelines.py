"""Timelines: the activity of each task of a model, one lane for each, all models on one axis of time.

What is shorter than a column of the picture can't be seen, so a lane is told by columns: each is of the kind
that fills most of it. That also bounds the size of the file, whatever the number of spans.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fetcher.lab.compare.picture_style import ALARM, BEST, CALM, LABEL, LEFT, LINE, SOFT
from fetcher.lab.compare.results import Kind, Span, Timeline
from fetcher.lab.compare.units import shown_s

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

COLUMNS: Final = 1600
_FEWEST_COLUMNS: Final = 25
_MOST_STRIPES: Final = 1100  # in a picture
_LANE: Final = 0.075  # inches
_LEVEL: Final = 1.05
_KINDS: Final[dict[Kind, dict[str, Any]]] = {
    "waiting": {"facecolor": CALM, "label": "waiting for a reply or a sleep"},
    "running": {"facecolor": BEST, "label": "running on a processor"},
    "blocked": {
        "facecolor": "#fbe3d3",
        "edgecolor": ALARM,
        "hatch": "//////",
        "label": "blocked: ready, and kept waiting for its turn",
    },
}

Stripe = tuple[int, int, int, Kind]  # lane, first column, column after the last


def stripes_of(spans: Iterable[Span], end_s: float, columns: int = COLUMNS) -> list[Stripe]:
    """Sort the spans into columns of `end_s / columns`: runs of one kind, in order, none overlapping another.

    A column in which a lane was there for less than half is left empty.
    """
    cells: dict[tuple[int, int], Counter[Kind]] = {}  # lane and column: how much of it is of a kind
    width = end_s / columns
    for span in spans:
        start, end = max(span.start_s / width, 0.0), min(span.end_s / width, float(columns))
        for column in range(int(start), min(math.ceil(end), columns)):
            cell = cells.setdefault((span.lane, column), Counter())
            cell[span.kind] += min(end, column + 1) - max(start, column)  # type: ignore[assignment]
    stripes: list[Stripe] = []
    for (lane, column), cell in sorted(cells.items()):
        if cell.total() >= 0.5:
            kind = max(cell, key=cell.__getitem__)
            first = column
            if stripes and (stripes[-1][0], *stripes[-1][2:]) == (lane, column, kind):
                first = stripes.pop()[1]
            stripes.append((lane, first, column + 1, kind))
    return stripes


def height_of_timelines(ones: Sequence[Timeline]) -> float:
    """Return inches."""
    return sum(map(_height, ones)) + 5 * LINE


def draw_timelines(ones: Sequence[Timeline], place: SubFigure) -> None:
    """Draw all timelines below each other, on the axis of the longest."""
    from matplotlib.patches import Patch, PathPatch  # noqa: PLC0415
    from matplotlib.path import Path as Outline  # noqa: PLC0415
    from matplotlib.transforms import Affine2D  # noqa: PLC0415

    told = f"A smaller run, watched. Each of {ones[0].lanes} lanes is one task"
    place.suptitle(f"{told}{f': {ones[0].note}' if ones[0].note else ''}.", **LEFT)
    end_s = max(one.end_s for one in ones) or 1.0
    width_s, stripes = _fitting(ones, end_s)
    best_s = _LEVEL * min(one.end_s for one in ones)
    tells_variant = len({one.variant for one in ones}) > 1
    panels = place.subplots(len(ones), 1, sharex=True, squeeze=False, height_ratios=[*map(_height, ones)])
    for axes, one, own in zip(panels[:, 0], ones, stripes, strict=True):
        weight = "bold" if one.end_s <= best_s else "normal"
        name = f"{one.model}\n{one.variant}" if tells_variant and one.variant else one.model
        axes.set_yticks([one.lanes / 2], [name], fontsize=9, color="black", fontweight=weight)
        axes.set(ylim=(one.lanes, 0), xlim=(0, 1.1 * end_s))
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(lambda tick, _: shown_s(tick))
        axes.grid(axis="x")
        for kind, look in _KINDS.items():  # one path for each, so that the file stays small
            boxes = [
                Outline.unit_rectangle().transformed(
                    Affine2D().scale(width_s * (after - first), 0.8).translate(width_s * first, lane + 0.1)
                )
                for lane, first, after, of in own
                if of == kind
            ]
            if boxes:
                axes.add_patch(PathPatch(Outline.make_compound_path(*boxes), **look, linewidth=0))
        end = (one.end_s + 0.008 * end_s, one.lanes / 2)
        axes.text(*end, shown_s(one.end_s), va="center", fontweight=weight, **LABEL)
    legend = [Patch(**look, linewidth=0) for look in _KINDS.values()]
    panels[0, 0].legend(handles=legend, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, labelcolor=SOFT)


def _fitting(ones: Sequence[Timeline], end_s: float) -> tuple[float, list[list[Stripe]]]:
    """Return the stripes of each timeline, of columns as narrow as the size of the file allows."""
    columns = COLUMNS
    while True:
        stripes = [stripes_of(one.spans, end_s, columns) for one in ones]
        if sum(map(len, stripes)) <= _MOST_STRIPES or columns <= _FEWEST_COLUMNS:
            return end_s / columns, stripes
        columns //= 2


def _height(one: Timeline) -> float:
    return max(0.48, _LANE * one.lanes + 0.12)
