"""`python benchmarks/run.py`: every benchmark in turn, a table for each, and which goals are held.

It measures and never judges by its exit code: a loaded machine proves nothing. A full run takes about five
minutes on two cores, `--quick` about one.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import signal
import sys
import sysconfig
from pathlib import Path

from harness import Goal, progress, ram_folder
from scale import full, quick
from suite import BENCHMARKS, run_one

import fetcher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, two rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each benchmark (5, with --quick 2)")
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="one benchmark; repeatable")
    parser.add_argument(
        "--json",
        type=lambda text: Path(text).absolute(),
        metavar="FILE",
        help="write every figure to a file too",
    )
    options = parser.parse_args()
    rounds = max(1, options.rounds or (2 if options.quick else 5))
    scale = quick(rounds) if options.quick else full(rounds)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("stopped"))  # so that servers and folders go
    for name in [name for name in os.environ if name.startswith("FETCHER_")]:
        del os.environ[name]  # the user's settings are not ours to measure
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(Path(fetcher.__file__).parent, quiet=1)  # as what is installed is
    machine = _machine()
    print(machine, flush=True)
    goals: list[Goal] = []
    figures = {}
    with ram_folder() as folder:
        os.chdir(folder)  # where no fetcher.toml is found
        for name in options.only or BENCHMARKS:
            findings = run_one(name, scale, folder)
            progress("")
            print("\n" + "\n".join(findings.texts), flush=True)
            goals += findings.goals
            figures[name] = findings.figures
        os.chdir("/")
    print("Goals")
    print()
    for goal in goals:
        print(goal.line())
    if options.json is not None:
        held = [
            {"goal": goal.text, "limit": goal.limit, "measured": goal.measured, "held": goal.is_held}
            for goal in goals
        ]
        options.json.write_text(json.dumps({"machine": machine, "figures": figures, "goals": held}, indent=1))


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.release()}, {os.cpu_count()} cores, load {load:.1f} at the start\n"
        f"{sys.executable}: {_build()}"
    )


def _build() -> str:
    """How the interpreter was built: it decides about a sixth of all that runs in Python.

    Debian builds with PGO and LTO and takes both out of what the interpreter tells of itself.
    """
    told = sysconfig.get_config_vars()
    options, flags = str(told.get("CONFIG_ARGS") or ""), str(told.get("PY_CORE_CFLAGS"))
    is_told = {
        "PGO": "--enable-optimizations" in options or "-fprofile-use" in flags,
        "LTO": "--with-lto" in options or "-flto" in flags,
    }
    kinds = [f"{name} {'yes' if has else 'not told'}" for name, has in is_told.items()]
    return ", ".join([*kinds, f"shared library {'yes' if _is_shared() else 'no'}"])


def _is_shared() -> bool:
    """Whether this interpreter runs from a shared library, whatever else was built beside it."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        return "/libpython" in maps.read_text()
    return bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
