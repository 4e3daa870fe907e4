"""Runner of a comparison: every case in every round in a child process of its own, rounds interleaved.

So a noisy minute of the machine meets all models, and none finds the memory or the caches of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from msgspec.structs import replace

from fetcher.lab.compare.child_runner import ChildRunner
from fetcher.lab.compare.machine_load import can_run, foreign_load, is_busy, machine, shown_load
from fetcher.lab.compare.results import Comparison, Labelled, Measured, Row, Timeline, Trial
from fetcher.lab.compare.units import listed, shown_count, shown_s
from fetcher.lab.compare.verdicts import conclude
from fetcher.lab.compare.workloads import Case, Workload

Run = tuple[Labelled, Sequence[Measured]]  # a case and its rounds


def compare(
    workload: Workload,
    children: ChildRunner,
    *,
    rounds: int,
    size: int | None = None,
    wait_s: float | None = None,
    models: Sequence[str] = (),
    draws: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Run a workload on its models, or on those that are named; with `draws`, timelines as well."""
    size = workload.size if size is None else size
    wait_s = workload.wait_s if wait_s is None else wait_s
    site = children.site if workload.needs_site else ""
    chosen = [case for case in workload.cases if not models or case.model in models]
    measured: list[tuple[Case, list[Measured]]] = [(case, []) for case in chosen if can_run(case.model)]
    missing = dict.fromkeys(case.model for case in chosen if not can_run(case.model))
    load = 0.0
    for number in range(rounds):
        load = max(load, foreign_load())
        for case, before in measured:
            if not any(one.failure for one in before):
                on_progress(f"{workload.name}: round {number + 1} of {rounds}, {case.name}")
                trial = Trial(workload.name, case.model, case.variant, size, wait_s, case.options, site)
                before.append(children.measure(trial))
    watched = [case for case in workload.traced if draws and (not models or case.model in models)]
    timelines, untraced = _timelines(workload, watched, children, site, on_progress)
    rows = rows_of(measured, workload.baseline)
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
        series=[one for _, ones in measured for one in ones[0].series],
        notes=[
            *_extrapolations(workload.unit, measured),
            *(f"left out: {extra}; install fetcher[{extra}] to have it" for extra in missing),
            *untraced,
            *([f"{shown_load(load)}: times are longer for it"] if is_busy(load) else []),
        ],
        foreign_load=load,
    )


def _timelines(
    workload: Workload, cases: Sequence[Case], children: ChildRunner, site: str, say: Callable[[str], None]
) -> tuple[list[Timeline], list[str]]:
    """Have instrumented rounds of a smaller size, done in full; and notes on those that failed."""
    timelines: list[Timeline] = []
    notes: list[str] = []
    for case in cases:
        say(f"{workload.name}: timeline, {case.name}")
        options = {name: value for name, value in case.options.items() if name != "measured"}
        size, wait_s = workload.lanes, workload.traced_wait_s
        trial = Trial(workload.name, case.model, case.variant, size, wait_s, options, site, is_traced=True)
        found = children.measure(trial)
        if found.failure:
            notes.append(f"no timeline of {case.name}: {found.failure}")
            continue
        end_s = max((span.end_s for span in found.spans), default=0.0)
        note = workload.traced_what
        one = Timeline(case.model, case.variant, lanes=size, end_s=end_s, spans=found.spans, note=note)
        timelines.append(one)
    return timelines, notes


def _extrapolations(unit: str, measured: Sequence[Run]) -> list[str]:
    """Return a note on the results that were extrapolated."""
    few: dict[int, list[str]] = {}
    for case, rounds in measured:
        if rounds[0].is_extrapolated:
            few.setdefault(int(rounds[0].details["measured"]), []).append(case.name)
    told = "; ".join(f"{listed(names)} from {number}" for number, names in few.items())
    return [f"≈ is extrapolated from a few {unit}: {told}"] if told else []


def rows_of(runs: Sequence[Run], baseline: str) -> list[Row]:
    """Return a row for each case. `baseline` names the model that is the sequence, or is empty.

    The reference of a case is the first round of the sequence of its variant (or of the only sequence that
    there is); without one, of the first case of its variant that did not fail.
    """
    made = [(_row(case, rounds), rounds) for case, rounds in runs]
    good = [(row, rounds[0]) for row, rounds in made if not row.failure]
    is_shared = sum(row.model == baseline for row, _ in made) == 1
    found: list[Row] = []
    for row, rounds in made:
        alike = [one for one in good if one[0].variant == row.variant]
        bases = [one for one in (good if is_shared else alike) if one[0].model == baseline]
        if row.failure:
            found.append(row)
            continue
        of, expected = (bases + alike)[0]
        speedup = of.wall_s / row.wall_s if of.model == baseline and row.wall_s else None
        is_equal = all(agree(one, expected) for one in rounds)
        found.append(replace(row, is_equal=is_equal, speedup=speedup))
    return found


def agree(one: Measured, other: Measured) -> bool:
    """Return True when two rounds have the same results; of an extrapolated one, as far as they go."""
    if one.is_extrapolated or other.is_extrapolated:
        common = min(len(one.results), len(other.results))
        return common > 0 and one.results[:common] == other.results[:common]
    return one.results == other.results


def _row(case: Labelled, rounds: Sequence[Measured]) -> Row:
    if failure := next((one.failure for one in rounds if one.failure), ""):
        return Row(case.model, case.variant, is_equal=False, failure=failure, rounds=len(rounds))
    walls = [one.wall_s for one in rounds]
    wall_s = median(walls)
    return Row(
        case.model,
        case.variant,
        wall_s=wall_s,
        cpu_s=median(one.cpu_s for one in rounds),
        peak_bytes=int(median(one.peak_bytes for one in rounds)),
        rate=rounds[0].operations / wall_s if wall_s else 0.0,
        is_extrapolated=any(one.is_extrapolated for one in rounds),
        fastest_s=min(walls),
        slowest_s=max(walls),
        rounds=len(rounds),
        details={name: median(one.details.get(name, 0.0) for one in rounds) for name in rounds[0].details},
    )
