"""The way of events to the observers. Events inform and never steer."""

from __future__ import annotations

from collections.abc import Sequence

from fetcher.events import Event, LogMessage
from fetcher.ports import Observer


class EventBus:
    """Tells observers of events, in the order in which they happen."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = list(observers)
        self._said: set[str] = set()
        self.wants_exchanges = any(getattr(each, "wants_exchanges", False) for each in observers)

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
                self.emit(LogMessage("warning", f"{name} failed and is switched off: {error}"))

    def notice_once(self, level: str, text: str, key: str | None = None) -> None:
        """Tell the observers what was not told before under `key`, by default the text."""
        key = text if key is None else key
        if key not in self._said:
            self._said.add(key)
            self.emit(LogMessage(level, text))
