"""Workloads `http` and `urls`: this project's backends through its public API.

For `http` a new session is a `fetch` of its own, with its backend and its connection; one session is a
`fetch_all`. The timelines are drawn with the plain clients that the backends stand on (aiohttp, urllib3),
because a lane must be a task, and the engine's are not. `urls` is one fetch of the user's list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import fetcher
from fetcher.errors import FetcherError
from fetcher.lab.compare.drivers import dealt, drive, timed_pool
from fetcher.lab.compare.meter import Meter
from fetcher.lab.compare.results import Answer, Measured, Trial
from fetcher.lab.compare.steps import seen


def run(trial: Trial) -> Measured:
    """Fetch the URLs on one model."""
    if trial.urls:
        return _list(trial)
    urls = [f"{trial.site}/{trial.wait_s}/{n}" for n in range(trial.size)]
    workers = trial.option("workers")
    if trial.is_traced:
        return drive(trial.model, [[("get", url)] for url in urls], workers=workers, is_traced=True)
    is_pooled = trial.variant == "pooled"
    if trial.model == "processes":
        return _across(urls, workers, is_pooled=is_pooled)
    at_once = 1 if trial.model == "sync" else min(trial.size, trial.option("at_once"))
    return asyncio.run(_on_backend(trial.model, urls, at_once, is_pooled=is_pooled))


async def _on_backend(backend: str, urls: Sequence[str], at_once: int, *, is_pooled: bool) -> Measured:
    settings: dict[str, Any] = {"backend": backend, "retries": 0}
    places = asyncio.Semaphore(at_once)

    async def fetch(url: str) -> fetcher.Result:
        async with places:
            return await fetcher.fetch.aio(url, **settings)

    await fetch(urls[0])
    async with Meter() as meter:
        if is_pooled:
            results = await fetcher.fetch_all.aio(urls, concurrency=at_once, per_host=at_once, **settings)
        else:
            results = await asyncio.gather(*map(fetch, urls))
    return meter.measured(_seen(results))


def _across(urls: Sequence[str], workers: int, *, is_pooled: bool) -> Measured:
    """Give shares of the URLs to processes, each with the blocking backend."""
    with timed_pool(workers) as (pool, started):
        list(pool.map(_fetch_share, [urls[:1]] * workers, [True] * workers))  # warm
        with Meter() as meter:
            shares = [urls[n::workers] for n in range(min(workers, len(urls)))]
            ended = list(pool.map(_fetch_share, shares, [is_pooled] * len(shares)))
    meter.details |= started
    return meter.measured(dealt(ended, len(urls)))


def _fetch_share(urls: Sequence[str], is_pooled: bool) -> list[str]:  # noqa: FBT001  (called through a pool)
    if is_pooled:
        return _seen(fetcher.fetch_all.sync(urls, backend="sync", retries=0))
    return _seen([fetcher.fetch.sync(url, backend="sync", retries=0) for url in urls])


def _seen(results: Sequence[fetcher.Result]) -> list[str]:
    return [seen(result.status or 0, result.body or b"") for result in results]


def _list(trial: Trial) -> Measured:
    """Fetch every URL once by the backend `trial.model`; a backend that can't be used is a `failure`."""
    answers = [Answer("", "failed")] * len(trial.urls)
    settings = {**trial.settings, "backend": trial.model}
    try:
        list(fetcher.stream([], **settings))  # imports are no part of what is measured
        stream = fetcher.stream(trial.urls, **settings)
        with Meter() as meter:
            for got in stream:
                assert got.line is not None  # the place in the list, from 1
                answers[got.line - 1] = Answer(
                    got.url, got.state, got.status, got.error, got.bytes, got.sha256, got.elapsed
                )
    except (FetcherError, ImportError) as error:
        return Measured(failure=str(error))
    figures = meter.measured([answer.state for answer in answers])
    figures.answers = answers
    return figures
