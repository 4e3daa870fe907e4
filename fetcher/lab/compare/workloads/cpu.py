"""n × (a wait, then a prime test): tasks that wait, and then want a core."""

from __future__ import annotations

from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.models import DRIVERS, measured
from fetcher.lab.compare.primes import numbers
from fetcher.lab.compare.scripts import Script


def run(job: Job) -> Measured:
    """One model."""
    scripts: list[Script] = [[("sleep", job.wait_s), ("prime", number)] for number in numbers(job.size)]
    few = int(job.options.get("measured", job.size))
    workers = int(job.options.get("workers", 1))
    return measured(DRIVERS[job.model](scripts[:few], workers=workers, is_traced=job.is_traced), of=job.size)
