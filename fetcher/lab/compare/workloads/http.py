"""GETs by the backends of this project, through its public API: a new session for each, or one for all.

A new session is a `fetch` of its own, with its backend and its connection; one session is a `fetch_all`.
The timelines are drawn with the plain clients that the backends stand on (aiohttp, urllib3), because a
lane must be a task, and the engine's are not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import fetcher
from fetcher.lab.compare.jobs import Job, Measured
from fetcher.lab.compare.meter import Meter, StallWatch
from fetcher.lab.compare.models import DRIVERS, Played, measured, process_pool
from fetcher.lab.compare.scripts import Script, seen

_DRIVERS = {"sync": "sequence", "threads": "threads", "processes": "processes", "asyncio": "asyncio"}


def run(job: Job) -> Measured:
    """One model."""
    urls = [f"{job.site}/{job.wait_s}/{n}" for n in range(job.size)]
    workers = int(job.options.get("workers", 1))
    if job.is_traced:
        scripts: list[Script] = [[("get", url)] for url in urls]
        return measured(DRIVERS[_DRIVERS[job.model]](scripts, workers=workers, is_traced=True))
    few = int(job.options.get("measured", job.size))
    is_pooled = job.variant == "pooled"
    if job.model == "processes":
        return measured(_across(urls, workers, is_pooled=is_pooled))
    at_once = 1 if job.model == "sync" else min(job.size, job.option("at_once"))
    return measured(
        asyncio.run(_on_backend(job.model, urls[:few], at_once, is_pooled=is_pooled)), of=job.size
    )


async def _on_backend(backend: str, urls: Sequence[str], at_once: int, *, is_pooled: bool) -> Played:
    results: list[fetcher.Result]
    settings = {"backend": backend, "retries": 0}
    async with StallWatch() as watch:
        await fetcher.fetch.aio(urls[0], **settings)
        watch.forget()
        meter = Meter()
        if is_pooled:
            results = await fetcher.fetch_all.aio(urls, concurrency=at_once, per_host=at_once, **settings)
        else:
            places = asyncio.Semaphore(at_once)

            async def fetch(url: str) -> fetcher.Result:
                async with places:
                    return await fetcher.fetch.aio(url, **settings)

            results = await asyncio.gather(*map(fetch, urls))
        meter.stop()
        details = {"stall_s": await watch.longest()}
    return Played(_seen(results), meter, details=details)


def _across(urls: Sequence[str], workers: int, *, is_pooled: bool) -> Played:
    """Shares of the URLs to processes, each with the blocking backend."""
    begun = time.perf_counter()
    with process_pool(workers) as pool:
        list(pool.map(_fetch_share, [urls[:1]] * workers, [True] * workers))  # warm
        details = {"start_s": time.perf_counter() - begun, "workers": float(workers)}
        meter = Meter()
        shares = [urls[n::workers] for n in range(min(workers, len(urls)))]
        ended = list(pool.map(_fetch_share, shares, [is_pooled] * len(shares)))
        meter.stop()
    results = [""] * len(urls)
    for n, share in enumerate(ended):
        results[n::workers] = share
    return Played(results, meter, details=details)


def _fetch_share(urls: Sequence[str], is_pooled: bool) -> list[str]:  # noqa: FBT001  (called through a pool)
    if is_pooled:
        return _seen(fetcher.fetch_all.sync(urls, backend="sync", retries=0))
    return _seen([fetcher.fetch.sync(url, backend="sync", retries=0) for url in urls])


def _seen(results: Sequence[fetcher.Result]) -> list[str]:
    return [seen(result.status or 0, result.body or b"") for result in results]
