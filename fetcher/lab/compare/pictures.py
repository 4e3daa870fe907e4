"""Pictures of comparisons: bars for time and memory, and below them what shows why a model wins.

For each comparison: its title, its verdict, the bars, then timelines (one lane for each task) where there are
any, or the queue and the memory over time. Everything is drawn from the results alone; matplotlib's
constrained layout finds the place of everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fetcher.errors import ConfigError
from fetcher.lab.compare.bars import draw_bars, height_of_bars
from fetcher.lab.compare.picture_style import ALARM, BEST, LEFT, LINE, SOFT, STYLE, WIDTH, wrapped
from fetcher.lab.compare.results import Comparison, Series
from fetcher.lab.compare.timelines import draw_timelines, height_of_timelines

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

    Part = tuple[float, Callable[[SubFigure], None]]  # its height in inches, and what draws it

_SUFFIXES: Final = (".svg", ".png")
_QUEUE_HEIGHT: Final = 1.5
_QUEUE_COLUMNS: Final[dict[str, Callable[[Series], list[float]]]] = {
    "Items in the queue": lambda one: [float(number) for number in one.queued],
    "Resident memory, MB": lambda one: [size / 1024**2 for size in one.memory_bytes],
}


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw the comparisons below each other into a file, `.svg` or `.png`.

    The same figures give the same SVG, whose text can be searched.

    Raises:
        ConfigError: the suffix is another one, matplotlib is missing, or the file can't be written.
    """
    suffix = checked_suffix(path)
    from matplotlib import style  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    heights = [sum(height for height, _ in _parts(one)) + 4 * LINE for one in comparisons]
    with style.context(cast("Any", STYLE), after_reset=True):  # whatever the user's own matplotlibrc says
        figure = Figure(figsize=(WIDTH, sum(heights)), facecolor="white", layout="constrained")
        places = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for comparison, place in zip(comparisons, places, strict=True):
            _draw(comparison, place)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in figure.axes:  # the solver's last digits differ from time to time; the picture must not
            x, y, width, height = (round(share, 4) for share in axes.get_position().bounds)
            axes.set_position((x, y, width, height))
        metadata = {"Date": None, "Creator": "fetcher compare"} if suffix == ".svg" else {}
        try:
            figure.savefig(path, format=suffix[1:], dpi=192, metadata=metadata)
        except OSError as cause:
            raise ConfigError(f"cannot write {path}: {cause.strerror or cause}") from cause


def checked_suffix(path: Path) -> str:
    """Return the suffix of a picture that can be made.

    Raises:
        ConfigError: it is another one, or matplotlib is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"cannot draw {path}: pictures end in {' or '.join(_SUFFIXES)}", hint="rename it")
    try:
        import matplotlib.figure  # noqa: F401, PLC0415  (an extra, and slow to import)
    except ImportError as cause:
        raise ConfigError("pictures need matplotlib", hint="install fetcher[plot]") from cause
    return suffix


def _parts(comparison: Comparison) -> list[Part]:
    """Return what stands below each other."""
    lines = wrapped(comparison.conclusion).count("\n") + 1
    parts: list[Part] = [(LINE * lines + height_of_bars(comparison), partial(_draw_figures, comparison))]
    if ones := comparison.timelines:
        parts.append((height_of_timelines(ones), partial(draw_timelines, ones)))
    if series := comparison.series:
        models = list(dict.fromkeys(one.model for one in series))
        parts.append((_QUEUE_HEIGHT * len(models), partial(_draw_queues, series, models)))
    return parts


def _draw(comparison: Comparison, place: SubFigure) -> None:
    place.suptitle(f"{comparison.workload}: {comparison.title}", **LEFT, fontsize=11, fontweight="bold")
    place.supxlabel(_where(comparison), **LEFT, color=SOFT)
    heights, drawing = zip(*_parts(comparison), strict=True)
    parts = place.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    for draw_part, part in zip(drawing, parts[:, 0], strict=True):
        draw_part(part)


def _draw_figures(comparison: Comparison, place: SubFigure) -> None:
    place.suptitle(wrapped(comparison.conclusion), **LEFT, color=SOFT)
    draw_bars(comparison, place)
    if any(row.is_extrapolated for row in comparison.rows):
        told = "Hatched: extrapolated (≈) from a few, whose number stands in brackets."
        place.supxlabel(told, **LEFT, color=SOFT)


def _draw_queues(series: Sequence[Series], models: Sequence[str], place: SubFigure) -> None:
    """Draw one row for each model, the queue at the left, the memory at the right; all to the same scales."""
    rows = place.subplots(len(models), 2, sharex=True, sharey="col", squeeze=False)
    for (title, values), column in zip(_QUEUE_COLUMNS.items(), rows.T, strict=True):
        for model, axes in zip(models, column, strict=True):
            axes.set_title(f"{title}: {model}")
            for one in series:
                if one.model == model:
                    color = ALARM if one.variant == "no bound" else BEST
                    axes.plot(one.times_s, values(one), color=color, label=one.variant)
            most = max(max(values(one)) for one in series) or 1
            axes.set(xlim=(0, None), ylim=(0, 1.4 * most))  # with a place for the legend
            axes.xaxis.set_major_formatter("{x:g} s")
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.tick_params(labelbottom=True)
            axes.grid(axis="y")
            axes.legend(loc="upper right", ncols=2)


def _where(comparison: Comparison) -> str:
    told = comparison.shown_rounds
    if comparison.rounds > 1 and comparison.measure == "wall_s":
        told += ", thin lines from the best to the worst"
    return f"Measured by fetcher compare: {told}; {comparison.machine.shown}."
