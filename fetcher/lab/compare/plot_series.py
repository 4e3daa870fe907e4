"""A queue over time: how long it was and how much memory the process held, with and without a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fetcher.lab.compare.figures import Series
from fetcher.lab.compare.page import ALARM, BEST, FAINT, MARGIN, MB, SOFT, WIDTH, Block, Page, space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS: Final = 240  # of a line
_NAMES: Final = 1.2
_GAP: Final = 0.75
_HEIGHT: Final = 1.05
_HEAD: Final = 0.22

Values = Callable[[Series], list[float]]
_COLUMNS: Final[dict[str, Values]] = {
    "Items in the queue": lambda one: [float(number) for number in one.queued],
    "Resident memory, MB": lambda one: [size / MB for size in one.memory_bytes],
}


def series_blocks(series: Sequence[Series]) -> list[Block]:
    """One row for each model, the queue at the left, the memory at the right; all to the same scales."""
    drawn = [one for one in series if one.times_s]
    if not drawn:
        return []
    models = list(dict.fromkeys(one.model for one in drawn))
    return [
        space(0.18),
        *(_panels([one for one in drawn if one.model == model], drawn) for model in models),
    ]


def _panels(own: Sequence[Series], every: Sequence[Series]) -> Block:
    def draw_panels(page: Page, top: float) -> None:
        page.text(MARGIN, top, own[0].model, fontweight="bold")
        width = (WIDTH - 2 * MARGIN - _NAMES - _GAP) / 2
        for number, (title, values) in enumerate(_COLUMNS.items()):
            left = MARGIN + _NAMES + number * (width + _GAP)
            page.text(left, top, title, fontsize=8, color=SOFT)
            axes = page.axes(left, top + _HEAD, width, _HEIGHT)
            _prepare(axes, every, values)
            for one in own:
                _draw_line(axes, one, values(one))

    return Block(_HEAD + _HEIGHT + 0.42, draw_panels)


def _prepare(axes: Axes, every: Sequence[Series], values: Values) -> None:
    axes.set_xlim(0, max(one.times_s[-1] for one in every) * 1.02)
    axes.set_ylim(0, max(max(values(one)) for one in every) * 1.2)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_formatter("{x:g} s")
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(length=2)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)


def _draw_line(axes: Axes, one: Series, values: Sequence[float]) -> None:
    """The line, and its name above the middle of where it is highest."""
    step = math.ceil(len(values) / _POINTS)
    times, drawn = [*one.times_s[::step], one.times_s[-1]], [*values[::step], values[-1]]
    color = ALARM if one.variant == "no bound" else BEST
    axes.plot(times, drawn, color=color, linewidth=1.6)
    highest = max(drawn)
    near = [time for time, value in zip(times, drawn, strict=True) if value >= 0.97 * highest]
    axes.annotate(
        one.variant,
        (sum(near) / len(near), highest),
        (0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color=color,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )
