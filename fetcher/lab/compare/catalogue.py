"""The workloads: what each does, on which models, and how much of it by default.

The defaults are chosen so that all of them end within a few minutes on two cores. Adding a workload is an
entry here, a module in `workloads/`, and what there is to conclude in `conclusions`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from fetcher.lab.compare.figures import Measure

Options = dict[str, float]


class Case(msgspec.Struct, frozen=True):
    """A model in one variant. Of `options`, `measured` says how many are done; the rest is reckoned.

    `extra` is the optional dependency that it needs.
    """

    model: str
    variant: str = ""
    options: Options = {}
    extra: str = ""

    @property
    def name(self) -> str:
        return f"{self.model} ({self.variant})" if self.variant else self.model


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One workload. `size` counts `unit`s, `wait_s` is one wait, `baseline` names the model in sequence."""

    name: str
    title: str  # with {size} and {wait}
    what: str
    unit: str
    size: int
    wait_s: float
    cases: Sequence[Case]
    baseline: str = "sequence"
    measure: Measure = "wall_s"
    needs_site: bool = False
    traced: Sequence[Case] = ()  # drawn as timelines, `lanes` tasks each
    lanes: int = 12
    traced_wait_s: float = 0.0
    traced_what: str = ""  # what a lane does

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(case.model for case in self.cases))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_CORES: Options = {"workers": cores()}
_MANY: Options = {"workers": 4 * cores()}  # processes that mostly wait: more than there are cores
_POOL: Options = {"workers": 8}


def _sleep() -> Workload:
    return Workload(
        name="sleep",
        title="{size} waits of {wait} at once",
        what="N waits at once, nothing else: what a task costs that only waits",
        unit="waits",
        size=4000,
        wait_s=1.0,
        cases=(
            Case("sequence", "", {"measured": 1}),
            Case("threads", "one each"),
            Case("processes", "one each", {"measured": 12}),
            Case("processes", "pool of 8", {**_POOL, "measured": 8}),
            Case("asyncio"),
        ),
        traced=(
            Case("sequence"),
            Case("threads"),
            Case("processes", "pool of 8", _POOL),
            Case("asyncio"),
        ),
        traced_wait_s=0.05,
        traced_what="a wait of 50 ms",
    )


def _http() -> Workload:
    models: dict[str, Options] = {
        "sync": {},
        "threads": {"at_once": 50},
        "processes": _POOL,
        "asyncio": {"at_once": 50},
        "curl": {"at_once": 50},
    }
    variants = ("new session", "pooled")
    return Workload(
        name="http",
        title="{size} GETs from the loopback, each answered after {wait}",
        what="GETs with latency by this project's backends: a new session for each, and one pooled",
        unit="GETs",
        size=200,
        wait_s=0.02,
        baseline="sync",
        needs_site=True,
        cases=tuple(
            Case(model, variant, options, extra="curl" if model == "curl" else "")
            for variant in variants
            for model, options in models.items()
        ),
        traced=(Case("sync"), Case("threads"), Case("processes", "", _POOL), Case("asyncio")),
        traced_wait_s=0.02,
        traced_what="a GET, answered after 20 ms",
    )


def _cpu() -> Workload:
    return Workload(
        name="cpu",
        title="{size} × (a wait of {wait}, then a prime test)",
        what="a wait, then a prime test of some 20 ms: who blocks the loop, who uses all cores",
        unit="tests",
        size=40,
        wait_s=0.05,
        cases=(
            Case("sequence", "", {"measured": 20}),
            Case("asyncio"),
            Case("threads"),
            Case("processes", "", _MANY),
            Case("asyncio-offload", "", _CORES),
        ),
    )


def _mixed() -> Workload:
    models: dict[str, Options] = {
        "sequence": {"measured": 1},
        "asyncio": {},
        "threads": {},
        "processes": _MANY,
        "asyncio-processes": _CORES,
        "asyncio-offload": _CORES,
    }
    return Workload(
        name="mixed",
        title="{size} clients: a prime test, requests of {wait} one by one, a prime test",
        what="a prime test, 10 (then 100) requests, a prime test, for several clients at once",
        unit="clients",
        size=8,
        wait_s=0.01,
        needs_site=True,
        cases=tuple(
            Case(model, f"{requests} requests", {**options, "requests": requests})
            for requests in (10, 100)
            for model, options in models.items()
        ),
        traced=tuple(
            Case(model, "3 requests", {**options, "requests": 3}) for model, options in models.items()
        ),
        traced_wait_s=0.02,
        traced_what="a prime test, 3 requests answered after 20 ms, a prime test",
    )


def _legacy() -> Workload:
    return Workload(
        name="legacy",
        title="{size} calls of a class that blocks for {wait}",
        what="a class with blocking methods in async code: as it is, wrapped in an executor, rewritten",
        unit="calls",
        size=60,
        wait_s=0.02,
        needs_site=True,
        cases=(
            Case("sequence"),
            Case("blocking"),
            Case("wrapped", "", {"at_once": 32}),
            Case("rewritten"),
        ),
    )


def _backpressure() -> Workload:
    return Workload(
        name="backpressure",
        title="{size} items of 256 KB, one taken every {wait}, made ten times as fast",
        what="a fast producer and a slow consumer, with and without a bound: queue and memory over time",
        unit="items",
        size=300,
        wait_s=0.004,
        baseline="",
        cases=tuple(
            Case(model, f"bound {bound}" if bound else "no bound", {"bound": bound})
            for bound in (0, 16)
            for model in ("asyncio", "threads")
        ),
    )


def _overhead() -> Workload:
    ways = ("call", "coroutine", "task", "asyncio.run", "to_thread", "thread-pool", "process-pool")
    return Workload(
        name="overhead",
        title="what one call costs, by the way it is made",
        what="a call, a coroutine, a task, asyncio.run, and hops to a thread and to a process",
        unit="calls",
        size=2000,
        wait_s=0.0,
        baseline="",
        measure="cost_s",
        cases=tuple(Case(way) for way in ways),
    )


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (_sleep(), _http(), _cpu(), _mixed(), _legacy(), _backpressure(), _overhead())
}
