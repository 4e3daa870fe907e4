"""Notice of times in which the program did not run: a closed laptop, a stopped process, a frozen container.

What broke in such a time is nobody's fault. The clock of the loop stands still while a machine sleeps, and
goes on while a process is stopped; so both clocks are looked at.
"""

from __future__ import annotations

from fetcher.ports import Clock

_ASLEEP_S = 5.0  # a turn of the loop, or a step of the clock, that is longer


class SleepWatch:
    """The last time at which the program woke. `look` is to be called once a second or so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen = clock.now()
        self._offset = clock.utc() - self._seen
        self._woke = float("-inf")

    def look(self) -> None:
        """Compare the clocks with those of the last look."""
        now = self._clock.now()
        offset = self._clock.utc() - now
        if now - self._seen > _ASLEEP_S or offset - self._offset > _ASLEEP_S:
            self._woke = now
        self._seen, self._offset = now, offset

    def slept_since(self, began: float) -> bool:
        """Return True if the program slept after `began`, the loop's time."""
        self.look()
        return self._woke >= began
