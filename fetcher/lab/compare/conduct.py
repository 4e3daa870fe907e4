"""How a comparison is conducted: every case in every round in a child of its own, rounds interleaved.

So a noisy minute of the machine meets all models, and none finds the memory or the caches of another.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from fetcher.lab.compare.bench import Bench
from fetcher.lab.compare.catalogue import Case, Workload, cores
from fetcher.lab.compare.conclusions import conclude, shown_count, shown_s
from fetcher.lab.compare.figures import Comparison, Machine, Series, Timeline
from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.rows import rows_of

_EXTRAS = {"curl": "pycurl"}  # an extra, and the module that shows that it is there

_BUSY = 0.7  # of the cores
Progress = Callable[[str], None]


def machine() -> Machine:
    """This machine."""
    return Machine(
        cpus=cores(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.machine()}",
    )


def compare(
    workload: Workload,
    bench: Bench,
    *,
    rounds: int,
    size: int | None = None,
    wait_s: float | None = None,
    models: Sequence[str] = (),
    draws: bool = False,
    on_progress: Progress = lambda _: None,
) -> Comparison:
    """Run a workload on its models, or on those that are named; with `draws`, timelines as well."""
    size = workload.size if size is None else size
    wait_s = workload.wait_s if wait_s is None else wait_s
    wanted = [case for case in workload.cases if not models or case.model in models]
    cases = [case for case in wanted if _is_there(case)]
    site = bench.site() if workload.needs_site else ""
    measured: list[list[Measured]] = [[] for _ in cases]
    for number in range(rounds):
        for case, rounds_of_case in zip(cases, measured, strict=True):
            if any(one.failure for one in rounds_of_case):
                continue
            on_progress(f"{workload.name}: round {number + 1} of {rounds}, {case.name}")
            rounds_of_case.append(bench.measure(_job(workload, case, size, wait_s, site)))
    timelines, undrawn = _timelines(workload, bench, models, site, on_progress) if draws else ([], [])
    rows = rows_of(list(zip(cases, measured, strict=True)), workload.baseline)
    where = machine()
    return Comparison(
        workload=workload.name,
        title=workload.title.format(size=shown_count(size), wait=shown_s(wait_s)),
        parameters={"size": size, "wait_s": wait_s},
        unit=workload.unit,
        rows=rows,
        conclusion=conclude(workload.name, rows, cpus=where.cpus, baseline=workload.baseline),
        machine=where,
        measure=workload.measure,
        rounds=rounds,
        timelines=timelines,
        series=[
            _series(case, one[0]) for case, one in zip(cases, measured, strict=True) if one and one[0].samples
        ],
        notes=[
            *_reckonings(workload, cases, measured),
            *_left_out(wanted),
            *undrawn,
            *_busy(bench.load, where.cpus),
        ],
    )


def _job(workload: Workload, case: Case, size: int, wait_s: float, site: str) -> Job:
    return Job(workload.name, case.model, case.variant, size, wait_s, case.options, site)


def _timelines(
    workload: Workload, bench: Bench, models: Sequence[str], site: str, on_progress: Progress
) -> tuple[list[Timeline], list[str]]:
    """An instrumented round of a smaller size for each model that can be drawn, and notes on what failed."""
    timelines: list[Timeline] = []
    notes: list[str] = []
    for case in workload.traced:
        if models and case.model not in models:
            continue
        on_progress(f"{workload.name}: timeline, {case.name}")
        options = {name: value for name, value in case.options.items() if name != "measured"}
        measured = bench.measure(
            Job(
                workload.name,
                case.model,
                case.variant,
                workload.lanes,
                workload.traced_wait_s,
                options,
                site,
                is_traced=True,
            )
        )
        if measured.failure:
            notes.append(f"no timeline of {case.name}: {measured.failure}")
        else:
            end_s = max((span.end_s for span in measured.spans), default=0.0)
            timelines.append(
                Timeline(
                    case.model, case.variant, workload.lanes, end_s, measured.spans, workload.traced_what
                )
            )
    return timelines, notes


def _series(case: Case, measured: Measured) -> Series:
    times, queued, memory = zip(*measured.samples, strict=True)
    return Series(case.model, case.variant, list(times), list(queued), list(memory))


def _is_there(case: Case) -> bool:
    return not case.extra or find_spec(_EXTRAS[case.extra]) is not None


def _left_out(cases: Sequence[Case]) -> list[str]:
    missing = dict.fromkeys(case.extra for case in cases if not _is_there(case))
    return [f"left out: {extra}; install fetcher[{extra}] to have it" for extra in missing]


def _reckonings(
    workload: Workload, cases: Sequence[Case], measured: Sequence[Sequence[Measured]]
) -> list[str]:
    """What the sign ≈ stands for."""
    few: dict[int, list[str]] = {}
    for case, rounds in zip(cases, measured, strict=True):
        if rounds and rounds[0].is_extrapolated:
            few.setdefault(int(rounds[0].details["measured"]), []).append(case.name)
    if not few:
        return []
    told = "; ".join(f"{' and '.join(names)} from {number}" for number, names in few.items())
    return [f"≈ is reckoned up from a few {workload.unit}: {told}"]


def _busy(load: float, cpus: int) -> list[str]:
    if load <= _BUSY * cpus:
        return []
    return [f"the machine had other work (load {load:.1f} on {cpus} cores): times are longer for it"]
