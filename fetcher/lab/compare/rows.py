"""From what the children measured to rows: medians, speed-ups, and whether all results are the same.

Pure: no clock, no process.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from fetcher.lab.compare.catalogue import Case
from fetcher.lab.compare.figures import Row
from fetcher.lab.compare.jobs import Measured

Run = tuple[Case, Sequence[Measured]]  # a case and its rounds


def rows_of(runs: Sequence[Run], baseline: str) -> list[Row]:
    """A row for each case. `baseline` names the model that is the sequence, or is empty.

    The reference of a case is the first round of the sequence of its variant (or of the only sequence that
    there is); without one, of the first case of its variant that did not fail.
    """
    rows = [_row(case, rounds) for case, rounds in runs]
    walls = {case.name: row.wall_s for (case, _), row in zip(runs, rows, strict=True)}
    found: list[Row] = []
    for row, (case, rounds) in zip(rows, runs, strict=True):
        reference = _reference(case, runs, baseline)
        if row.failure or reference is None:
            found.append(row)
            continue
        of, expected = reference
        found.append(
            msgspec.structs.replace(
                row,
                is_equal=all(agree(one, expected) for one in rounds),
                speedup=walls[of.name] / row.wall_s if of.model == baseline and row.wall_s else None,
            )
        )
    return found


def agree(one: Measured, other: Measured) -> bool:
    """Whether two runs of a workload have the same results; of an extrapolated one, as far as they go."""
    if one.is_extrapolated or other.is_extrapolated:
        common = min(len(one.results), len(other.results))
        return common > 0 and one.results[:common] == other.results[:common]
    return one.results == other.results


def _reference(case: Case, runs: Sequence[Run], baseline: str) -> tuple[Case, Measured] | None:
    good = [(other, rounds[0]) for other, rounds in runs if not _failure(rounds)]
    bases = [found for found in good if found[0].model == baseline]
    if len(bases) == 1:
        # One for all; but not where each variant has its own, and this one's was left out or failed.
        has_one_each = len([other for other, _ in runs if other.model == baseline]) > 1
        bases = [found for found in bases if not has_one_each or found[0].variant == case.variant]
    else:
        bases = [found for found in bases if found[0].variant == case.variant]
    alike = [found for found in good if found[0].variant == case.variant]
    return next(iter(bases + alike), None)


def _failure(rounds: Sequence[Measured]) -> str:
    return next((one.failure for one in rounds if one.failure), "" if rounds else "not measured")


def _row(case: Case, rounds: Sequence[Measured]) -> Row:
    if failure := _failure(rounds):
        return Row(case.model, case.variant, is_equal=False, failure=failure, rounds=len(rounds))
    walls = [one.wall_s for one in rounds]
    wall_s = median(walls)
    return Row(
        model=case.model,
        variant=case.variant,
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
