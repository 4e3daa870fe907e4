"""Timelines: what each task of a model did, one lane for each, all models on one axis of time.

What is shorter than a column of the picture can't be seen, so a lane is told by columns: each is of the kind
that fills most of it. That also bounds the size of the file, whatever the number of spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fetcher.lab.compare.figures import Kind, Span, Timeline
from fetcher.lab.compare.page import ALARM, BEST, CALM, FAINT, MARGIN, NAMES, SOFT, WIDTH, Block, Page, space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS: Final = 1600
_FEWEST_COLUMNS: Final = 25
_MOST_STRIPES: Final = 2200  # in a picture
_ENDS: Final = 0.72  # what the longest needs at the right for its label
_LANE: Final = 0.068
_LEVEL: Final = 1.05
_COLORS: Final[dict[Kind, str]] = {"waiting": CALM, "running": BEST, "blocked": "#fbe3d3"}
_MEANINGS: Final[dict[Kind, str]] = {
    "waiting": "waiting for a reply or a sleep",
    "running": "running on a processor",
    "blocked": "blocked: ready, and kept waiting for its turn",
}
_HATCH: Final = "//////"

Stripe = tuple[int, int, int, Kind]  # lane, first column, column after the last


def stripes_of(spans: Iterable[Span], end_s: float, columns: int = COLUMNS) -> list[Stripe]:
    """The spans by columns of `end_s / columns`: runs of one kind, in order, none overlapping another.

    A column in which a lane was there for less than half is left empty.
    """
    shares: dict[int, dict[int, dict[Kind, float]]] = {}
    width = end_s / columns
    for span in spans:
        lane = shares.setdefault(span.lane, {})
        start, end = max(span.start_s / width, 0.0), min(span.end_s / width, float(columns))
        for column in range(int(start), min(int(end) + 1, columns)):
            share = min(end, column + 1) - max(start, column)
            if share > 0:
                cell = lane.setdefault(column, {})
                cell[span.kind] = cell.get(span.kind, 0.0) + share
    stripes: list[Stripe] = []
    for number, lane in sorted(shares.items()):
        for column, cell in sorted(lane.items()):
            if sum(cell.values()) < 0.5:
                continue
            kind = max(cell, key=cell.__getitem__)
            last = stripes[-1] if stripes else None
            if last is not None and last[0] == number and last[2] == column and last[3] == kind:
                stripes[-1] = (number, last[1], column + 1, kind)
            else:
                stripes.append((number, column, column + 1, kind))
    return stripes


def timeline_blocks(timelines: Sequence[Timeline]) -> list[Block]:
    """All timelines below each other, on the axis of the longest."""
    if not timelines:
        return []
    end_s = max(timeline.end_s for timeline in timelines) or 1.0
    columns = COLUMNS
    while True:
        drawn = [stripes_of(timeline.spans, end_s, columns) for timeline in timelines]
        if sum(map(len, drawn)) <= _MOST_STRIPES or columns <= _FEWEST_COLUMNS:
            break
        columns //= 2
    shortest_s = min(timeline.end_s for timeline in timelines)
    tells_variant = len({timeline.variant for timeline in timelines}) > 1
    panels = [
        _panel(
            timeline,
            [
                (first * end_s / columns, last * end_s / columns, lane, kind)
                for lane, first, last, kind in stripes
            ],
            end_s,
            variant=timeline.variant if tells_variant else "",
            is_best=timeline.end_s <= _LEVEL * shortest_s,
            is_last=number == len(timelines) - 1,
        )
        for number, (timeline, stripes) in enumerate(zip(timelines, drawn, strict=True))
    ]
    note = next((timeline.note for timeline in timelines if timeline.note), "")
    return [space(0.2), _legend(timelines[0].lanes, note), *panels]


def _legend(lanes: int, note: str) -> Block:
    def draw_legend(page: Page, top: float) -> None:
        told = f": {note}" if note else ""
        page.text(
            MARGIN, top, f"A smaller run, watched. Each of {lanes} lanes is one task{told}.", fontsize=9
        )
        axes = page.axes(MARGIN, top + 0.2, WIDTH - 2 * MARGIN, 0.2)
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH - 2 * MARGIN)
        axes.set_ylim(0, 1)
        left = 0.0
        for kind, meaning in _MEANINGS.items():
            _draw(axes, [(left, left + 0.3, 0.5)], kind, 0.6)
            axes.text(left + 0.37, 0.46, meaning, va="center", fontsize=8, color=SOFT)
            left += 0.37 + 0.062 * len(meaning) + 0.25

    return Block(0.48, draw_legend)


def _panel(
    timeline: Timeline,
    stripes: Sequence[tuple[float, float, int, Kind]],  # start and end in seconds, lane, kind
    end_s: float,
    *,
    variant: str,
    is_best: bool,
    is_last: bool,
) -> Block:
    height = max(0.36, _LANE * timeline.lanes)
    weight = "bold" if is_best else "normal"

    def draw_panel(page: Page, top: float) -> None:
        middle = top + height / 2
        page.text(MARGIN, middle - (0.08 if variant else 0), timeline.model, va="center", fontweight=weight)
        if variant:
            page.text(MARGIN, middle + 0.08, variant, va="center", fontsize=8, color=SOFT)
        axes = page.axes(MARGIN + NAMES, top, WIDTH - 2 * MARGIN - NAMES - _ENDS, height)
        axes.set_xlim(0, end_s)
        axes.set_ylim(timeline.lanes, 0)
        axes.set_yticks([])
        axes.spines["bottom"].set_color(SOFT if is_last else FAINT)
        axes.tick_params(axis="x", length=2 if is_last else 0, labelbottom=is_last)
        axes.xaxis.set_major_formatter(lambda tick, _: _shown(tick, end_s))
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        for kind in _COLORS:
            _draw(axes, [(a, b, lane + 0.5) for a, b, lane, what in stripes if what == kind], kind, 0.8)
        axes.annotate(
            _shown(timeline.end_s, end_s),
            (timeline.end_s, timeline.lanes / 2),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            fontweight=weight,
            annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )

    return Block(height + (0.32 if is_last else 0.12), draw_panel)


def _draw(axes: Axes, rows: Sequence[tuple[float, float, float]], kind: Kind, height: float) -> None:
    """All stretches (start, end, middle) of a kind as one path, so that the file stays small.

    `height` is in the units of the axis. A thick line takes half the bytes of a rectangle, but has no hatch.
    """
    if not rows:
        return
    from matplotlib.patches import PathPatch  # noqa: PLC0415
    from matplotlib.path import Path as Outline  # noqa: PLC0415

    corners: list[tuple[float, float]] = []
    codes: list[Any] = []
    if kind != "blocked":
        for start, end, middle in rows:
            corners += [(start, middle), (end, middle)]
            codes += [Outline.MOVETO, Outline.LINETO]
        below, above = axes.transData.transform([(0, 0), (0, height)])[:, 1]
        points = abs(above - below) * 72 / axes.figure.dpi
        line = {"fill": False, "edgecolor": _COLORS[kind], "linewidth": points, "capstyle": "butt"}
        axes.add_patch(PathPatch(Outline(corners, codes), **line))
        return
    for start, end, middle in rows:
        low, high = middle - height / 2, middle + height / 2
        corners += [(start, low), (end, low), (end, high), (start, high), (start, low)]
        codes += [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    area = PathPatch(Outline(corners, codes), facecolor=_COLORS[kind], linewidth=0)
    area.set(edgecolor=ALARM, hatch=_HATCH)
    axes.add_patch(area)


def _shown(seconds: float, end_s: float) -> str:
    return f"{seconds * 1000:,.0f} ms" if end_s < 5 else f"{seconds:,.1f} s"
