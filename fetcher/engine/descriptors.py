"""The file descriptors of a run's exchanges: how many may be open, where the system allows only few.

Invariants: beside a limit that is known from the start, a reserve stays free for what the run itself opens:
state, records, files, folders, the resolver. An exchange takes `cost` of the rest, a part file one, and none
starts, no part is opened, beyond it; one exchange may always start. Where descriptors run out all the same,
because others hold them, there are fewer exchanges, and more again as descriptors come free. The shortage is
told once, when it first keeps an exchange from starting.
"""

from __future__ import annotations

from collections.abc import Callable

from fetcher import open_files
from fetcher.errors import ExchangeError, FetcherError, NameNotResolved, StorageError

_OWN = 26  # the state 5, records 2, the store 6, input 3, the loop and the resolver 6, modules and the rest 4
_SOME = 4  # part files that may always be opened: so there is progress with the largest bodies
_SPARE = 8  # stay free, where others took what was reserved
PATIENCE_S = 60.0  # for the first descriptor of all


class DescriptorLimit:
    """The descriptors that exchanges may use. `most` exchanges at once would be wanted, `cost` each.

    `active` counts exchanges in flight; `number` the descriptors that are open, None if that can't be known.
    `on_change` is told how many connections there may be from now on, idle ones included; `tell` is given
    the shortage as a text.
    """

    def __init__(
        self,
        most: int,
        cost: int,
        *,
        active: Callable[[], int],
        on_change: Callable[[int], None],
        tell: Callable[[str], None],
        reserve: int = 0,
        number: Callable[[], int | None] = open_files.number,
    ) -> None:
        self._cost = cost
        self._unit = cost  # of one exchange, with its part file once it was seen that they need some
        self._enough = (cost + 1) * most
        self._active = active
        self._on_change = on_change
        self._tell = tell
        self._number = number
        self._reserve = _OWN + open_files.folders() + reserve
        self._others = (number() or 0) + self._reserve  # beside the exchanges', at most
        self._parts = 0
        self._room = self._measured(0)
        self._in_vain_since: float | None = None
        self.is_short = self._room < self._enough
        if self.is_short:
            self._changed()

    def want(self, most: int) -> None:
        """Change how many exchanges at once would be wanted."""
        self._enough = (self._cost + 1) * most
        self._room = self._measured(0)
        self.is_short = self._room < self._enough
        if self.is_short:
            self._changed()

    def may_start(self) -> bool:
        """Return True if one exchange more may start. To be asked when it `is_short`."""
        active = self._active()
        if not active or (active + 1) * self._unit <= self._room:
            return True
        self._say()
        return False

    def take_part(self) -> None:
        """Count a part file that is about to be opened; `give_part` must follow.

        Raises:
            StorageError: it is for later, when others have ended; `exhausted`.
        """
        if self.is_short:
            if self._parts >= _SOME and self._active() * self._cost + self._parts >= self._room:
                self._unit = self._cost + 1
                raise out_of_descriptors()
            self._parts += 1
            self._changed()
        else:
            self._parts += 1

    def give_part(self) -> None:
        """Note that a part file is closed."""
        self._parts -= 1
        if self.is_short:
            self._changed()

    def reduce(self, now: float) -> bool:
        """Go on with fewer exchanges: there was no descriptor left. False: all was in vain.

        That is so if none could be had for a minute, though nothing of ours was left to wait for.
        """
        self.is_short = True
        active = self._active()
        self._say()
        self._room = max(self._cost, min(self._room, active * self._unit) - self._unit)
        self._changed()
        if active > 1:
            self._in_vain_since = None
        elif self._in_vain_since is None:
            self._in_vain_since = now
        return self._in_vain_since is None or now - self._in_vain_since < PATIENCE_S

    def grow(self, unopened: int) -> int:
        """Look whether descriptors have come free. Returns how many exchanges more may start.

        So many of those in flight are `unopened`: they may have no connection yet.
        """
        more = min(self._measured(unopened), self._room + max(self._cost, self._room // 4)) - self._room
        if more <= 0:
            return 0
        self._room += more
        self._changed()
        self.is_short = self._room < self._enough
        return -(-more // self._cost)

    def _measured(self, unopened: int) -> int:
        """Return the descriptors that exchanges may use, as far as the system lets us know."""
        most, number = open_files.limit(), self._number()
        if most is None or number is None:
            return self._enough
        others = number - (self._active() - unopened) - self._parts
        self._others = min(self._others, others + self._reserve)
        return max(self._cost, min(self._enough, most - max(self._others, others + _SPARE)))

    def succeeded(self) -> None:
        """Note that an exchange had all that it needed."""
        self._in_vain_since = None

    def _changed(self) -> None:
        self._on_change(max(1, (self._room - self._parts) // self._cost))

    def _say(self) -> None:
        self._tell(shortage())


def shortage() -> str:
    """Return what people are told of it."""
    most = open_files.limit()
    allowed = "" if most is None else f" (the limit is {most}, see ulimit -n)"
    return f"too many open files{allowed}; going on with fewer exchanges at once"


def out_of_descriptors() -> StorageError:
    """Return the error of a file that can't be opened at this moment, and can later."""
    error = StorageError("too many open files", hint="raise the limit (ulimit -n)", systemic=False)
    error.exhausted = True
    return error


def is_out_of_descriptors(error: FetcherError | None) -> bool:
    """Return True if nothing but descriptors was wanting; a resolver without any knows no better."""
    if isinstance(error, ExchangeError | StorageError) and error.exhausted:
        return True
    return isinstance(error, NameNotResolved) and error.temporary and open_files.are_spent()
