"""Distributions of times and sizes in bounded memory.

Invariant: values are counted by their ten first binary digits, so a quantile is off by 0.1 % at most, and
counts between powers of two are exact.
"""

from __future__ import annotations

import math
from collections import Counter

import msgspec

_STEPS = 1024
_ZERO = -(1 << 30)
_frexp = math.frexp
_SIZES = 2  # powers of two in a class of sizes


class Quantiles(msgspec.Struct, kw_only=True, frozen=True):
    """Summary of a distribution; all 0 where nothing was counted."""

    count: int = 0
    total: float = 0
    least: float = 0
    p10: float = 0
    median: float = 0
    p90: float = 0
    p99: float = 0
    most: float = 0


class SizeClass(msgspec.Struct, kw_only=True):
    """The number of bodies with at least `least` bytes and fewer than `below`."""

    least: int
    below: int
    count: int


class Distribution:
    """Counter of values that are not negative."""

    __slots__ = ("_counts", "least", "most", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.total = 0.0
        self.least = math.inf
        self.most = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        if value > 0:
            mantissa, exponent = _frexp(value)
            key = exponent * _STEPS + int(mantissa * _STEPS)
        else:
            value, key = 0.0, _ZERO
        self._counts[key] = self._counts.get(key, 0) + 1
        self.total += value
        if value < self.least:  # noqa: PLR1730  (`min` is a call, and there are millions of values)
            self.least = value
        if value > self.most:  # noqa: PLR1730
            self.most = value

    @property
    def count(self) -> int:
        """The number of values."""
        return sum(self._counts.values())

    def quantiles(self) -> Quantiles:
        """Summarise what was counted; a quantile is the value of that rank."""
        count = self.count
        if not count:
            return Quantiles()
        ranks = [math.ceil(share * count) for share in (0.1, 0.5, 0.9, 0.99)]
        found: list[float] = []
        passed = 0
        for key, number in sorted(self._counts.items()):
            passed += number
            while len(found) < len(ranks) and passed >= ranks[len(found)]:
                found.append(min(max(_value(key), self.least), self.most))
        p10, median, p90, p99 = found
        return Quantiles(
            count=count,
            total=round(self.total, 6),
            least=self.least,
            p10=p10,
            median=median,
            p90=p90,
            p99=p99,
            most=self.most,
        )

    def size_classes(self) -> list[SizeClass]:
        """Count whole numbers by classes of powers of four, from the smallest that there is."""
        by_class: Counter[int] = Counter()
        for key, number in self._counts.items():
            power = -1 if key == _ZERO else (key // _STEPS - 1) // _SIZES
            by_class[power] += number
        if not by_class:
            return []
        return [
            SizeClass(
                least=0 if power < 0 else 2 ** (_SIZES * power),
                below=1 if power < 0 else 2 ** (_SIZES * (power + 1)),
                count=by_class[power],
            )
            for power in range(min(by_class), max(by_class) + 1)
        ]


def _value(key: int) -> float:
    if key == _ZERO:
        return 0.0
    # A mantissa is from 512 to 1023 of 1024, so the exponent is what is left.
    exponent, mantissa = divmod(key, _STEPS)
    return math.ldexp((mantissa + 0.5) / _STEPS, exponent)
