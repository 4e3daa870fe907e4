"""The data of a comparison: what was measured, what it means, and what can be drawn from it.

Only figures and text, no behaviour: `fetcher compare --json` prints it, the table and the pictures are
made of it, and nothing else. Times are seconds, sizes bytes, rates operations per second.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["waiting", "running", "blocked"]
Measure = Literal["wall_s", "cost_s"]


class Span(msgspec.Struct, frozen=True):
    """A stretch of one task's life: waiting for a reply or a sleep, on the CPU, or ready and kept waiting."""

    lane: int  # the task, from 0
    start_s: float  # since all tasks were ready
    end_s: float
    kind: Kind


class Timeline(msgspec.Struct, frozen=True):
    """What every task did, one lane each, in an instrumented round of a smaller size.

    The spans of a lane follow each other without a gap, from 0 to the lane's end.
    """

    model: str
    variant: str
    lanes: int
    end_s: float
    spans: list[Span]
    note: str = ""  # what the lanes do, in a line


class Series(msgspec.Struct, frozen=True):
    """Samples over time of one model's queue: three lists of one length."""

    model: str
    variant: str
    times_s: list[float]
    queued: list[int]  # items made and not yet taken
    memory_bytes: list[int]  # resident, of the whole process


class Row(msgspec.Struct, frozen=True):
    """One model's figures: medians over the rounds.

    `variant` tells rows of one model apart (`pooled`, `100 requests`), or is empty. A model that could not
    be measured has a `failure`, and its figures are zero.
    """

    model: str
    variant: str = ""
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
        """What one operation takes."""
        return 1 / self.rate if self.rate else 0.0

    @property
    def name(self) -> str:
        """Model and variant, as people are shown them."""
        return f"{self.model} ({self.variant})" if self.variant else self.model


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    cpus: int
    python: str
    platform: str


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
