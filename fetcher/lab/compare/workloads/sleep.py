"""N waits at once: what a task costs that does nothing but wait."""

from __future__ import annotations

import time
from typing import Any

from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.meter import Meter, peak_memory
from fetcher.lab.compare.models import DRIVERS, Played, measured, start_context
from fetcher.lab.compare.scripts import Script


def run(job: Job) -> Measured:
    """One model. The sequence and the processes do a few and are reckoned up."""
    few = min(job.size, int(job.options.get("measured", job.size)))
    if job.model == "processes" and job.variant == "one each":
        return _one_process_each(job, few)
    scripts: list[Script] = [[("sleep", job.wait_s)] for _ in range(few)]
    workers = int(job.options.get("workers", 1))
    return measured(DRIVERS[job.model](scripts, workers=workers, is_traced=job.is_traced), of=job.size)


def _one_process_each(job: Job, few: int) -> Measured:
    """A process for each wait: a few are started and measured, the rest is reckoned.

    Starting each takes its time and its memory; when the last is started, it waits.
    """
    context: Any = start_context()
    go_home, slept = context.Event(), context.Semaphore(0)

    def start(seconds: float) -> Any:
        process = context.Process(target=_wait, args=(seconds, slept, go_home))
        process.start()
        return process

    started = [start(0.0)]  # with it the server that they are forked from
    try:
        slept.acquire()
        first_bytes = peak_memory()
        meter = Meter()
        started += [start(job.wait_s) for _ in range(few)]
        creation_s = time.perf_counter() - meter.begun
        for _ in range(few):
            slept.acquire()
        meter.stop()
    finally:
        go_home.set()
        for process in started:
            process.join()
    factor = job.size / few
    figures = measured(Played(["slept"] * few, meter), of=job.size)
    figures.wall_s = creation_s * factor + meter.wall_s - creation_s
    figures.peak_bytes = first_bytes + int((meter.peak_bytes - first_bytes) * factor)
    figures.details |= {"creation_s": creation_s * factor, "workers": job.size}
    return figures


def _wait(seconds: float, slept: Any, go_home: Any) -> None:
    time.sleep(seconds)
    slept.release()
    go_home.wait()
