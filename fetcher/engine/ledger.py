"""What a run tells and counts, whoever performs its exchanges: the frontier, the observers, the counters.

Invariant: `unsettled` is the number of outcomes that were handed in and are not safe yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from fetcher.engine.records import Recorder
from fetcher.events import Event, Notice
from fetcher.model import Outcome
from fetcher.ports import Clock, Frontier, Observer, Store


class Ledger:
    """See the module. `settle` is set by whoever runs the settler, which outcomes are handed to."""

    def __init__(
        self,
        *,
        frontier: Frontier,
        store: Store,
        clock: Clock,
        recorder: Recorder,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.frontier = frontier
        self.store = store
        self.clock = clock
        self.recorder = recorder
        self._observers = list(observers)
        self.settle: Callable[[Outcome], None]
        self.is_stopping = False
        self.unsettled = 0
        self.requests = 0
        self.wire_bytes = 0
        self.stored_bytes = 0
        self.states: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._said: set[str] = set()

    def emit(self, event: Event) -> None:
        """Tell the observers. One that raises is dropped, and that is said once."""
        for observer in self._observers[:]:
            try:
                observer.on_event(event)
            except Exception as error:  # noqa: BLE001  (whatever a foreign observer raises)
                if observer not in self._observers:  # it was dropped while it was told of another's end
                    continue
                self._observers.remove(observer)
                name = type(observer).__name__
                self.emit(Notice("warning", f"{name} failed and is switched off: {error}"))

    def notice_once(self, level: str, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.emit(Notice(level, text))
