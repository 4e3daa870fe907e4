"""The pictures of comparisons: bars for time and memory, and what shows why a model wins.

For each comparison: its title, what it means, and the bars. Below them are timelines (one lane for each task)
where there are any, or the queue and the memory over time. Everything is drawn from the figures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fetcher.lab.compare.figures import Comparison
from fetcher.lab.compare.page import SOFT, Block, paragraph, rule, space, write
from fetcher.lab.compare.plot_bars import bars
from fetcher.lab.compare.plot_series import series_blocks
from fetcher.lab.compare.plot_timelines import timeline_blocks


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draw the comparisons below each other into a file, `.svg` or `.png`.

    The same figures give the same SVG, whose text can be searched.

    Raises:
        ConfigError: the suffix is another one, matplotlib is missing, or the file can't be written.
    """
    blocks: list[Block] = []
    for number, comparison in enumerate(comparisons):
        if number:
            blocks += [space(0.3), rule(), space(0.25)]
        blocks += _blocks(comparison)
    write(blocks, path)


def _blocks(comparison: Comparison) -> list[Block]:
    return [
        paragraph(f"{comparison.workload}: {comparison.title}", size=11, weight="bold", gap=0.07),
        paragraph(comparison.conclusion, color=SOFT, gap=0.16),
        *([bars(comparison)] if comparison.rows else []),
        *timeline_blocks(comparison.timelines),
        *series_blocks(comparison.series),
        space(0.1),
        paragraph(_where(comparison), size=7.5, color=SOFT),
    ]


def _where(comparison: Comparison) -> str:
    where, rounds = comparison.machine, comparison.rounds
    told = "1 round" if rounds == 1 else f"medians of {rounds} rounds"
    if rounds > 1 and comparison.measure == "wall_s":
        told += ", thin lines from the best to the worst"
    cores = "1 core" if where.cpus == 1 else f"{where.cpus} cores"
    return f"Measured by fetcher compare: {told}; {cores}, {where.python}, {where.platform}."
