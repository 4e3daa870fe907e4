"""Torture of the program: kills and faults at every call of the system, a large body, a crowd, a cluster.

    python -m torture                                   # all of it, the sweep whole: many hours
    python -m torture sweep --minutes 30                # as much of the sweep, by chance, as fits
    python -m torture sweep --modes get --backends curl --faults KILL,EIO
    python -m torture sweep --trial 'get curl EIO write 17'
    python -m torture large --size 1G --kills 20
    python -m torture crowd --urls 100000 --kills 10 --minutes 60
    python -m torture cluster --urls 20000

The sweep kills a run of 200 URLs at its n-th call of each kind, or lets that call fail, for every n; then it runs the
same command again, verifies, and compares with a run that was left alone. Needs strace. What it says of a trial
that went wrong repeats it with `--trial`.

Exit status 1: something differed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torture.clusters import torture_cluster
from torture.crowd import torture_crowd
from torture.faults import FAULTS
from torture.large import torture_large
from torture.modes import BACKENDS, MODES
from torture.sweep import Sweep, Trial

WHAT = ("sweep", "large", "crowd", "cluster")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="torture", description="Kill and break runs; nothing may be lost.")
    options.add_argument("what", nargs="*", help=f"of {', '.join(WHAT)}; all by default")
    options.add_argument("--modes", type=_names(MODES), default=list(MODES), help="of the sweep")
    options.add_argument("--backends", type=_names(BACKENDS), default=list(BACKENDS))
    options.add_argument("--faults", type=_names(FAULTS), default=list(FAULTS), help="of the sweep")
    options.add_argument("--seed", type=int, default=1, help="of the order and of what is random (1)")
    options.add_argument("--minutes", type=float, help="sweep: stop after these; crowd: go on for them")
    options.add_argument("--trial", help="do one trial of the sweep, and say what it said")
    options.add_argument("--size", type=_size, default=_size("200M"), help="of the large body (200M)")
    options.add_argument("--urls", type=int, default=20_000, help="of the crowd, or the cluster (20000)")
    options.add_argument("--kills", type=int, help="of the large body (20) or the crowd (10)")
    given = options.parse_args(arguments)
    if unknown := set(given.what) - set(WHAT):
        options.error(f"there is no {', '.join(unknown)}")
    is_good = True
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        for what in given.what or WHAT:
            place = folder / what
            place.mkdir()
            if what == "sweep":
                is_good &= _sweep(place, given)
            elif what == "large":
                for backend in given.backends:
                    is_good &= torture_large(place, backend, given.size, given.kills or 20, given.seed)
            elif what == "cluster":
                is_good &= torture_cluster(place, urls=given.urls, seed=given.seed)
            else:
                ends = time.monotonic() + 60 * (given.minutes or 0)
                for backend in given.backends:
                    is_good &= torture_crowd(place, backend, given.urls, given.kills or 10, given.seed)
                while time.monotonic() < ends:
                    given.seed += 1
                    is_good &= torture_crowd(place, "asyncio", given.urls, given.kills or 10, given.seed)
    return 0 if is_good else 1


def _sweep(folder: Path, given: argparse.Namespace) -> bool:
    """The trials, in an order of which any beginning is a fair sample, and a table."""
    done: Counter[tuple[str, str]] = Counter()
    off: Counter[tuple[str, str]] = Counter()
    ends = time.monotonic() + 60 * (given.minutes or 1e9)
    with Sweep(folder) as sweep:
        if given.trial:
            result = sweep.run(Trial.parse(given.trial.split()))
            print(f"{result.trial}: ended with {result.code}, met: {result.was_met}\n{result.said}")
            print("\n".join(result.differences))
            return not result.differences
        trials = _in_fair_order(
            [
                trial
                for mode in given.modes
                for backend in given.backends
                for fault in given.faults
                for trial in sweep.trials(mode, backend, fault)
            ],
            given.seed,
        )
        print(f"{len(trials):,} calls to be met", flush=True)
        for trial in trials:
            if time.monotonic() > ends:
                break
            result = sweep.run(trial)
            if not result.was_met:
                continue  # the run did not come to that call
            done[trial.mode, trial.fault] += 1
            if result.differences:
                off[trial.mode, trial.fault] += 1
                print(f"OFF  {trial}: ended with {result.code}", flush=True)
                for difference in result.differences[:3]:
                    print(f"     {difference[:400]}", flush=True)
    print(_table(done, off, given.modes, given.faults))
    return not off


def _in_fair_order(trials: list[Trial], seed: int) -> list[Trial]:
    """Each kind of call of each kind of run has its first turn before any has its second."""
    random.Random(seed).shuffle(trials)
    turns: Counter[tuple[str, str, str, str]] = Counter()
    ordered = []
    for trial in trials:
        kind = (trial.mode, trial.backend, trial.fault, trial.call)
        turns[kind] += 1
        ordered.append((turns[kind], trial))
    return [trial for _, trial in sorted(ordered, key=lambda each: each[0])]


def _table(
    done: Counter[tuple[str, str]],
    off: Counter[tuple[str, str]],
    modes: Sequence[str],
    faults: Sequence[str],
) -> str:
    """Trials by mode and fault; behind a slash, those in which something differed."""

    def cell(mode: str, fault: str) -> str:
        bad = off[mode, fault]
        return f"{done[mode, fault]}{f'/{bad}' if bad else ''}"

    rows = [["", *faults, "all"]]
    for mode in modes:
        total = sum(done[mode, fault] for fault in faults)
        rows.append([mode, *(cell(mode, fault) for fault in faults), str(total)])
    totals = [sum(done[mode, fault] for mode in modes) for fault in faults]
    rows.append(["all", *map(str, totals), str(sum(totals))])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, f"{off.total()} of {done.total()} differed"])


def _names(known: Sequence[str] | dict[str, object]) -> object:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse


def _size(text: str) -> int:
    unit = _UNITS.get(text[-1].upper())
    return int(text) if unit is None else int(text[:-1]) * unit


if __name__ == "__main__":
    sys.exit(main())
