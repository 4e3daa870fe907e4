"""The course of a run in time: what ended when, in bounded memory, whatever its length.

Invariant: there are at most `_MOST_CELLS` cells; when there would be more, each becomes twice as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fetcher.model import FINAL_STATES, FinalCounts

_MOST_CELLS = 2048
_MOST_COLUMNS = 150
_SHORTEST_S = 1 / 16
_LARGE = 1024**2  # bytes
_MOST_POINTS = 256  # for one body
_LEAST_PAUSE_S = 60.0
STATES = tuple(FINAL_STATES)


class TimelineColumn(FinalCounts, frozen=True, kw_only=True):
    """Counts of what ended in `seconds` from `at` (epoch seconds, UTC); a pause before if `is_resumed`.

    `wire_bytes` is what came in them, as far as records tell: a large body is taken to have come evenly.
    """

    at: float
    seconds: float
    wire_bytes: int = 0
    is_resumed: bool = False


class ReportTimeline:
    """Counter of ends by time."""

    def __init__(self) -> None:
        self._width = _SHORTEST_S
        self._cells: dict[int, list[int]] = {}

    def add(self, at: float, state: str, wire_bytes: int, elapsed_s: float = 0.0) -> None:
        """Count a URL that ended at `at`, UTC epoch seconds.

        The bytes of a large body are spread over the `elapsed_s` before: it did not come all at its end.
        """
        self._cell(at)[STATES.index(state)] += 1
        points = 1
        if wire_bytes >= _LARGE:
            points = min(int(elapsed_s // self._width) + 1, _MOST_POINTS)
        each, rest = divmod(wire_bytes, points)
        self._cell(at)[-1] += each + rest
        for number in range(1, points):
            self._cell(at - elapsed_s * number / points)[-1] += each

    def _cell(self, at: float) -> list[int]:
        cell = self._cells.get(int(at // self._width))
        if cell is None:
            while len(self._cells) >= _MOST_CELLS:
                self._widen()
            cell = self._cells.setdefault(int(at // self._width), [0] * (len(STATES) + 1))
        return cell

    def _widen(self) -> None:
        wider: dict[int, list[int]] = {}
        for key, cell in self._cells.items():
            there = wider.get(key // 2)
            wider[key // 2] = cell if there is None else [a + b for a, b in zip(there, cell, strict=True)]
        self._width *= 2
        self._cells = wider

    def columns(self) -> list[TimelineColumn]:
        """Return the course in equal columns; pauses between runs are left out."""
        stretches = list(self._stretches())
        length = sum(last - first + 1 for first, last in stretches)
        step = max(math.ceil(length / _MOST_COLUMNS), 1)
        columns = []
        for number, (first, last) in enumerate(stretches):
            for start in range(first, last + 1, step):
                keys = range(start, min(start + step, last + 1))
                cells = [cell for key in keys if (cell := self._cells.get(key)) is not None]
                sums = [sum(numbers) for numbers in zip(*cells, strict=True)]
                columns.append(
                    TimelineColumn(
                        at=start * self._width,
                        seconds=step * self._width,
                        is_resumed=number > 0 and start == first,
                        **dict(zip((*STATES, "wire_bytes"), sums, strict=False)),
                    )
                )
        return columns

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Yield the first and last cell between pauses: a minute or more, room for a tenth of all."""
        keys = sorted(self._cells)
        if not keys:
            return
        pause = max(_LEAST_PAUSE_S / self._width, len(keys) / 10)
        first = last = keys[0]
        for key in keys[1:]:
            if key - last > pause:
                yield first, last
                first = key
            last = key
        yield first, last
