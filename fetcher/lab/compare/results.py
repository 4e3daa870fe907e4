"""Results: of one trial, as its child process sends them, and of a comparison, as `--json` shows it.

Tables and pictures are made of them, and nothing else. Times are seconds, sizes bytes, rates operations per
second.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["waiting", "running", "blocked"]
Measure = Literal["wall_s", "cost_s"]
URLS = "urls"  # the workload that is the user's own list


class Labelled(msgspec.Struct, frozen=True):
    """Model in one variant, which tells those of one model apart (`pooled`, `100 requests`), or is empty."""

    model: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Model and variant, as people are shown them."""
        return f"{self.model} ({self.variant})" if self.variant else self.model


class Span(msgspec.Struct, frozen=True):
    """Part of a task's life: waiting for a reply or a sleep, on the CPU, or ready and kept waiting."""

    lane: int  # the task, from 0
    start_s: float  # since all tasks were ready
    end_s: float
    kind: Kind


class Trial(msgspec.Struct, frozen=True):
    """One round of one workload on one model."""

    workload: str
    model: str
    variant: str = ""
    size: int = 1
    wait_s: float = 0.0  # one wait: a sleep, or the server's latency
    options: dict[str, float] = {}  # of the case: workers, requests, measured …
    site: str = ""  # the loopback server, `http://127.0.0.1:port`
    is_traced: bool = False  # wanted are the spans of a timeline, not figures
    urls: list[str] = []  # of the workload `urls`, which is fetched with `settings`
    settings: dict[str, Any] = {}

    def option(self, name: str, default: int = 1) -> int:
        """Return a whole number among the options."""
        return int(self.options.get(name, default))


class Answer(msgspec.Struct, frozen=True):
    """Result of one URL of the list. `COMPARED` are the fields that should not depend on the backend."""

    url: str  # credentials masked
    state: str
    status: int | None = None
    error: str | None = None
    bytes: int = 0
    sha256: str | None = None
    elapsed_s: float = 0.0  # all attempts, without the time in queues


COMPARED = ("state", "status", "error", "bytes", "sha256")


class Timeline(Labelled, frozen=True, kw_only=True):
    """Activity of every task, one lane each, in an instrumented round of a smaller size.

    The spans of a lane follow each other without a gap, from 0 to the lane's end.
    """

    lanes: int
    end_s: float
    spans: list[Span]
    note: str = ""  # what the lanes do, in a line


class Series(Labelled, frozen=True, kw_only=True):
    """Samples over time of one model's queue: three lists of one length."""

    times_s: list[float]
    queued: list[int]  # items made and not yet taken
    memory_bytes: list[int]  # resident, of the whole process


class Measured(msgspec.Struct):
    """Figures of one trial. Times are seconds; `operations` is what the wall time is of."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    operations: int = 0
    results: list[str] = []  # one for each operation that was done, in order
    is_extrapolated: bool = False  # fewer were done than `operations` says
    details: dict[str, float] = {}
    spans: list[Span] = []
    series: list[Series] = []
    answers: list[Answer] = []  # in the order of the list
    failure: str = ""


class Row(Labelled, frozen=True):
    """One model's figures: medians over the rounds. One that was not measured has a `failure`, and zeros."""

    wall_s: float = 0.0  # a pool of processes is started before: `start_s`
    cpu_s: float = 0.0  # of the process and all its workers
    peak_bytes: int = 0  # of the process and all its workers; shared pages count once where that is known
    rate: float = 0.0
    speedup: float | None = None  # over the sequence of the same variant; None where there is none
    is_equal: bool = True  # every result of every round is the reference's
    is_extrapolated: bool = False  # measured on a few, and reckoned up
    fastest_s: float = 0.0  # wall of the best and of the worst round
    slowest_s: float = 0.0
    rounds: int = 0
    details: dict[str, float] = {}  # creation_s, start_s, stall_s, starved_s, longest_queue, workers …
    failure: str = ""

    @property
    def cost_s(self) -> float:
        """Seconds of one operation."""
        return 1 / self.rate if self.rate else 0.0

    @property
    def counts(self) -> bool:
        """True when its results are right."""
        return self.is_equal and not self.failure

    @property
    def about(self) -> str:
        """Mark before a figure that was not measured in full."""
        return "≈ " if self.is_extrapolated else ""

    @property
    def spread_s(self) -> tuple[float, float]:
        """By how much the best and the worst round differ from the median; 0 where that tells nothing."""
        if self.rounds <= 1 or self.is_extrapolated:
            return 0.0, 0.0
        return self.wall_s - self.fastest_s, max(self.slowest_s - self.wall_s, 0.0)


class Machine(msgspec.Struct, frozen=True):
    """Machine that it was measured on."""

    cpus: int
    python: str
    platform: str

    @property
    def shown(self) -> str:
        """The machine in a line: cores, interpreter, system."""
        return f"{self.cpus} core{'s' if self.cpus != 1 else ''}, {self.python}, {self.platform}"


class Comparison(msgspec.Struct, frozen=True):
    """One workload on all its models.

    `measure` is the figure of a row that a bar shows: `wall_s`, or `cost_s` where operations are so
    short that only the cost of one is of interest (those want a logarithmic axis).
    """

    workload: str
    title: str
    parameters: dict[str, float | int | str]
    unit: str  # of what `rate` counts: waits, GETs, clients …
    rows: list[Row]
    conclusion: str
    machine: Machine
    measure: Measure = "wall_s"
    rounds: int = 1
    timelines: list[Timeline] = []
    series: list[Series] = []
    notes: list[str] = []
    foreign_load: float = 0.0  # cores that other programs used before a round, the most of all rounds

    @property
    def shown_rounds(self) -> str:
        """The rounds behind each figure, in words."""
        return f"medians of {self.rounds} rounds" if self.rounds != 1 else "one round"
