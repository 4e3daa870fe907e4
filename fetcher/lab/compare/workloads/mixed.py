"""Several clients, each: a prime test, so many requests one after another, a prime test."""

from __future__ import annotations

from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.models import DRIVERS, measured
from fetcher.lab.compare.primes import numbers
from fetcher.lab.compare.scripts import Script


def run(job: Job) -> Measured:
    """One model. The sequence does a few clients and is reckoned up."""
    requests, candidates = job.option("requests"), numbers(2 * job.size)
    scripts: list[Script] = [
        [
            ("prime", candidates[2 * client]),
            *(("get", f"{job.site}/{job.wait_s}/{client}/{n}") for n in range(requests)),
            ("prime", candidates[2 * client + 1]),
        ]
        for client in range(job.size)
    ]
    few = int(job.options.get("measured", job.size))
    workers = int(job.options.get("workers", 1))
    return measured(DRIVERS[job.model](scripts[:few], workers=workers, is_traced=job.is_traced), of=job.size)
