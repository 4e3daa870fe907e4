"""What passes between the command and its children: a job in, what was measured out, each as JSON."""

from __future__ import annotations

import msgspec

from fetcher.lab.compare.figures import Span


class Job(msgspec.Struct, frozen=True):
    """One workload on one model, once."""

    workload: str
    model: str
    variant: str = ""
    size: int = 1
    wait_s: float = 0.0  # one wait: a sleep, or the server's latency
    options: dict[str, float] = {}  # of the workload and the case: workers, requests, measured …
    site: str = ""  # the loopback server, `http://127.0.0.1:port`
    is_traced: bool = False  # wanted are the spans of a timeline, not figures

    def option(self, name: str) -> int:
        """A whole number among the options."""
        return int(self.options[name])


class Measured(msgspec.Struct):
    """What a child measured. Times are seconds; `operations` is what the wall time is of."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    operations: int = 0
    results: list[str] = []  # one for each operation that was done, in order
    is_extrapolated: bool = False  # fewer were done than `operations` says
    details: dict[str, float] = {}
    spans: list[Span] = []
    samples: list[tuple[float, int, int]] = []  # time, queued, resident bytes
    failure: str = ""
