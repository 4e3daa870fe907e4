"""Workloads `sleep`, `cpu`, `mixed` and `legacy`: scripts of waits, tests and requests, for a driver."""

from __future__ import annotations

import time
from typing import Any

from fetcher.lab.compare.drivers import drive, start_context
from fetcher.lab.compare.meter import Meter, peak_memory
from fetcher.lab.compare.results import Measured, Trial
from fetcher.lab.compare.steps import Script, numbers


def run(trial: Trial) -> Measured:
    """Run the scripts of one model: the first few where the rest is extrapolated."""
    few = min(trial.size, trial.option("measured", trial.size))
    if trial.variant == "one each" and trial.model == "processes":
        return _one_process_each(trial, few)
    scripts, workers = scripts_of(trial)[:few], trial.option("workers")
    return drive(trial.model, scripts, workers=workers, of=trial.size, is_traced=trial.is_traced)


def scripts_of(trial: Trial) -> list[Script]:
    """Return a script for each task."""
    if trial.workload == "sleep":
        return [[("sleep", trial.wait_s)]] * trial.size
    if trial.workload == "cpu":
        return [[("sleep", trial.wait_s), ("prime", number)] for number in numbers(trial.size)]
    if trial.workload == "legacy":
        return [[("read", f"{trial.site}/{trial.wait_s}/{n}")] for n in range(trial.size)]
    tested, requests = numbers(2 * trial.size), range(trial.option("requests"))
    return [
        [
            ("prime", tested[2 * client]),
            *(("get", f"{trial.site}/{trial.wait_s}/{client}/{n}") for n in requests),
            ("prime", tested[2 * client + 1]),
        ]
        for client in range(trial.size)
    ]


def _one_process_each(trial: Trial, few: int) -> Measured:
    """Start and measure a few processes that wait, and extrapolate.

    Starting each takes its time and its memory; when the last is started, it waits.
    """
    context = start_context()
    go_home, slept = context.Event(), context.Semaphore(0)
    started: list[Any] = []

    def start(seconds: float) -> None:
        started.append(context.Process(target=_wait, args=(seconds, slept, go_home)))
        started[-1].start()

    try:
        start(0.0)  # with it the server that they are forked from
        slept.acquire()
        first_bytes = peak_memory()
        with Meter() as meter:
            for _ in range(few):
                start(trial.wait_s)
            creation_s = meter.elapsed_s
            for _ in range(few):
                slept.acquire()
    finally:
        go_home.set()
        for process in started:
            process.join()
    factor = trial.size / few
    figures = meter.measured(["slept"] * few, of=trial.size)
    figures.wall_s = creation_s * factor + meter.wall_s - creation_s
    figures.peak_bytes = first_bytes + int((meter.peak_bytes - first_bytes) * factor)
    figures.details |= {"creation_s": creation_s * factor, "workers": trial.size}
    return figures


def _wait(seconds: float, slept: Any, go_home: Any) -> None:
    time.sleep(seconds)
    slept.release()
    go_home.wait()
