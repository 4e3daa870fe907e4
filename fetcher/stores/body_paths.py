"""Paths that a body may have in a store that gives each a place of its own."""

from __future__ import annotations

from collections.abc import Iterator

from fetcher.model import Job
from fetcher.policy import filenames

_MOST_SUFFIXES = 100


def own_path(job: Job) -> str | None:
    """Return the path whose content is the URL's own, None where something else may be there."""
    if job.cached is not None and job.cached.path is not None:
        return job.cached.path
    return None if job.is_foreign else job.path or ""


def free_paths(job: Job) -> Iterator[str]:
    """Yield the path that was given to the URL, and others for when something else stands there."""
    wanted = job.path or ""
    url = job.url if job.target is None else job.target.url
    yield wanted
    for count in range(2, _MOST_SUFFIXES - 1):
        yield filenames.deduplicated(wanted, url if count == 2 else f"{url}#{count}")
