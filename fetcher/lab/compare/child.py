"""A child process: one job on standard input, what was measured on standard output.

It leads a process group of its own, and ends with all of it when standard input ends: so nothing is
left behind, however the command that started it ends.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading

import msgspec

from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.meter import settled


def main() -> None:
    """Measure and report; a failure is reported too."""
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    report = os.dup(1)
    os.dup2(2, 1)  # whatever is printed by mistake is not taken for figures
    try:
        measured: Measured = importlib.import_module(f"fetcher.lab.compare.workloads.{job.workload}").run(job)
    except Exception as error:  # noqa: BLE001  (it is a figure of this model that it fails)
        measured = Measured(failure=str(error) or type(error).__name__)
    else:
        workers = measured.details.get("workers", 0)
        measured.cpu_s, measured.peak_bytes = settled(measured.cpu_s, measured.peak_bytes, workers)
    with os.fdopen(report, "wb") as pipe:
        pipe.write(msgspec.json.encode(measured))


def _end_with_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
