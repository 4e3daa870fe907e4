"""The machine: what it can run, and the load that other programs put on it."""

from __future__ import annotations

import os
import platform
import time
from importlib.util import find_spec
from pathlib import Path

from fetcher.lab.compare.results import Machine
from fetcher.processors import cores

BUSY = 0.25  # of the cores: from here on foreign load is in the figures
_SAMPLE_S = 0.4
_STAT = Path("/proc/stat")


def machine() -> Machine:
    """Describe this machine."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Machine(cores(), python, f"{platform.system()} {platform.machine()}")


def can_run(model: str) -> bool:
    """Return False for the model whose library is an extra, where that is not installed."""
    return model != "curl" or find_spec("pycurl") is not None


def foreign_load() -> float:
    """Measure how many cores other programs use, while this one sleeps for a moment.

    Where there is no `/proc/stat` it is the load average of the last minute, this program's part included.
    """
    try:
        before = _STAT.read_text("ascii")
        time.sleep(_SAMPLE_S)
        return cores() * busy_share(before, _STAT.read_text("ascii"))
    except OSError:
        return min(os.getloadavg()[0], float(cores()))


def busy_share(before: str, after: str) -> float:
    """Return the share of all cores' time that was used between two readings of `/proc/stat`; see proc(5)."""
    used, total = (now - then for then, now in zip(_ticks(before), _ticks(after), strict=True))
    return used / total if total > 0 else 0.0


def is_busy(load: float) -> bool:
    """Return True when this many cores used by others show in the figures."""
    return load > BUSY * cores()


def shown_load(load: float) -> str:
    """Say the load in words."""
    return f"other programs used {load:.1f} of {cores()} cores"


def _ticks(stat: str) -> tuple[int, int]:
    """Return used and all ticks: user, nice, system, idle, iowait, irq, softirq, steal."""
    ticks = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)
