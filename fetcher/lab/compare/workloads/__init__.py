"""Table of workloads: what each does, on which models, and how much of it by default.

The defaults are chosen so that all of them end within a few minutes on two cores. Adding a workload is an
entry here, the module that performs it, and its rules in `verdicts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fetcher.lab.compare.results import URLS, Labelled, Measure
from fetcher.processors import cores

Options = dict[str, float]


class Case(Labelled, frozen=True):
    """A model in one variant. Of `options`, `measured` says how many are done; the rest is extrapolated."""

    options: Options = msgspec.field(default_factory=dict)


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One workload. `size` counts `unit`s, `wait_s` is one wait, `baseline` names the model in sequence."""

    name: str
    module: str  # in this package: its `run` performs a trial
    title: str  # with {size} and {wait}
    what: str
    unit: str
    size: int
    cases: Sequence[Case]
    wait_s: float = 0.0
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


def cases(models: Mapping[str, Options], variant: str = "", **options: float) -> tuple[Case, ...]:
    """Return the models in one variant, `options` for all."""
    return tuple(Case(model, variant, {**own, **options}) for model, own in models.items())


_CORES: Options = {"workers": cores()}
_MANY: Options = {"workers": 4 * cores()}  # processes that mostly wait: more than there are cores
_POOL: Options = {"workers": 8}
_AT_ONCE: Options = {"at_once": 50}
_CLIENTS = {
    "sequence": {"measured": 1.0},
    "asyncio": {},
    "threads": {},
    "processes": _MANY,
    "asyncio-processes": _CORES,
    "asyncio-offload": _CORES,
}
_BACKENDS = {"sync": {}, "threads": _AT_ONCE, "processes": _POOL, "asyncio": _AT_ONCE, "curl": _AT_ONCE}
_QUEUES: dict[str, Options] = {"asyncio": {}, "threads": {}}
_CALLS = ("call", "coroutine", "task", "asyncio.run", "to_thread", "thread-pool", "process-pool")

_TABLE = (
    Workload(
        name="sleep",
        module="scripted",
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
        traced=(Case("sequence"), Case("threads"), Case("processes", "pool of 8", _POOL), Case("asyncio")),
        traced_wait_s=0.05,
        traced_what="a wait of 50 ms",
    ),
    Workload(
        name="http",
        module="backend_gets",
        title="{size} GETs from the loopback, each answered after {wait}",
        what="GETs with latency by this project's backends: a new session for each, and one pooled",
        unit="GETs",
        size=200,
        wait_s=0.02,
        baseline="sync",
        needs_site=True,
        cases=(*cases(_BACKENDS, "new session"), *cases(_BACKENDS, "pooled")),
        traced=(Case("sync"), Case("threads"), Case("processes", "", _POOL), Case("asyncio")),
        traced_wait_s=0.02,
        traced_what="a GET, answered after 20 ms",
    ),
    Workload(
        name="cpu",
        module="scripted",
        title="{size} × (a wait of {wait}, then a prime test)",
        what="a wait, then a prime test of some 20 ms: who blocks the loop, who uses all cores",
        unit="tests",
        size=40,
        wait_s=0.05,
        cases=(
            Case("sequence", "", {"measured": 20}),
            *cases({"asyncio": {}, "threads": {}, "processes": _MANY, "asyncio-offload": _CORES}),
        ),
    ),
    Workload(
        name="mixed",
        module="scripted",
        title="{size} clients: a prime test, requests of {wait} one by one, a prime test",
        what="a prime test, 10 (then 100) requests, a prime test, for several clients at once",
        unit="clients",
        size=8,
        wait_s=0.01,
        needs_site=True,
        cases=(*cases(_CLIENTS, "10 requests", requests=10), *cases(_CLIENTS, "100 requests", requests=100)),
        traced=cases(_CLIENTS, "3 requests", requests=3),
        traced_wait_s=0.02,
        traced_what="a prime test, 3 requests answered after 20 ms, a prime test",
    ),
    Workload(
        name="legacy",
        module="scripted",
        title="{size} calls of a class that blocks for {wait}",
        what="a class with blocking methods in async code: as it is, wrapped in an executor, rewritten",
        unit="calls",
        size=60,
        wait_s=0.02,
        needs_site=True,
        cases=(Case("sequence"), Case("blocking"), Case("wrapped", "", {"workers": 32}), Case("rewritten")),
    ),
    Workload(
        name="backpressure",
        module="bounded_queue",
        title="{size} items of 256 KB, one taken every {wait}, made ten times as fast",
        what="a fast producer and a slow consumer, with and without a bound: queue and memory over time",
        unit="items",
        size=300,
        wait_s=0.004,
        baseline="",
        cases=(*cases(_QUEUES, "no bound", bound=0), *cases(_QUEUES, "bound 16", bound=16)),
    ),
    Workload(
        name="overhead",
        module="call_cost",
        title="what one call costs, by the way it is made",
        what="a call, a coroutine, a task, asyncio.run, and hops to a thread and to a process",
        unit="calls",
        size=2000,
        baseline="",
        measure="cost_s",
        cases=tuple(map(Case, _CALLS)),
    ),
)
WORKLOADS = {workload.name: workload for workload in _TABLE}
BACKENDS = ("asyncio", "curl", "threads", "sync")
_LIST = Workload(
    name=URLS,
    module="backend_gets",
    title="{size} of your list, by every backend",
    what="your own list (-i FILE) by every backend, each URL once",
    unit="URLs",
    size=200,
    baseline="sync",
    cases=tuple(map(Case, BACKENDS)),
)
ALL_WORKLOADS = {**WORKLOADS, URLS: _LIST}
