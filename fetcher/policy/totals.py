"""Totals of a run as parts for those who share them, moved to where they are used.

Invariant: the parts that are out, each as the larger of what its holder last confirmed and all that it was
told since, are together never more than the total. So less is said, and confirmed, before more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_UNUSED = 0.8  # below this part of what it has, a holder has more than it uses
_ROOM = 1.5  # over what it uses, to grow into
_NEGLIGIBLE = 1e-9


def divided(total: float, wants: Mapping[int, float], least: float) -> dict[int, float]:
    """Divide a total by max-min fairness: nobody gets more than it wants, nobody less than `least`.

    Those for whom there is not even `least` are left out. `inf` wants all it can have.
    """
    holders = sorted(wants)[: math.floor(total / least + _NEGLIGIBLE)]
    found: dict[int, float] = {}
    left, open_ = total, sorted(holders, key=lambda one: wants[one])
    for index, one in enumerate(open_):
        fair = left / (len(open_) - index)
        found[one] = max(least, min(wants[one], fair))
        left -= found[one]
    return found


class DividedTotal:
    """A total and the parts of it that are out, by holder. A part is `least` or more."""

    def __init__(self, total: float, *, least: float) -> None:
        self._total = total
        self._least = least
        self._told: dict[int, float] = {}
        self._most_told: dict[int, float] = {}  # since the last confirmation: some may be on its way
        self._confirmed: dict[int, float] = {}

    def confirm(self, holder: int, part: float) -> None:
        """Take note that a holder keeps to a part from now on."""
        self._confirmed[holder] = part
        self._most_told[holder] = self._told.get(holder, 0.0)

    def forget(self, holder: int) -> None:
        """Take back what a holder had, for it has ended."""
        for known in (self._told, self._most_told, self._confirmed):
            known.pop(holder, None)

    def tell(self, uses: Mapping[int, float]) -> dict[int, float]:
        """Return what each holder is to have now, given what it uses; one that has to wait is left out."""
        wants = {one: self._want(one, used) for one, used in uses.items()}
        targets = divided(self._total, wants, self._least)
        free = self._total - sum(self._out(one) for one in {*self._most_told, *self._confirmed})
        for one, target in targets.items():
            if target <= self._out(one):
                self._told[one] = target
        for one, target in sorted(targets.items(), key=lambda item: self._out(item[0])):
            out = self._out(one)
            if target > out:
                more = min(target - out, free)
                if out + more >= self._least - _NEGLIGIBLE:
                    self._told[one] = self._most_told[one] = out + more
                    free -= more
        return {one: self._told[one] for one in uses if one in self._told}

    def _out(self, holder: int) -> float:
        return max(self._most_told.get(holder, 0.0), self._confirmed.get(holder, 0.0))

    def _want(self, holder: int, used: float) -> float:
        has = self._confirmed.get(holder, 0.0)
        return math.inf if not has or used >= _UNUSED * has else max(self._least, used * _ROOM)
