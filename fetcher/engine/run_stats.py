"""The counters of a run, whoever performs its exchanges."""

from __future__ import annotations

from collections import Counter


class RunStats:
    """Counts since the start of the run: numbers, bytes, and finals by state and by error.

    `unsettled` is the number of outcomes that were handed in and are not safe yet, wherever they are held:
    in the parse stage, with a crawl's consumer, or in the outcome queue.
    """

    def __init__(self) -> None:
        self.unsettled = 0
        self.requests = 0
        self.wire_bytes = 0
        self.stored_bytes = 0
        self.states: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
