"""Division of a list: which of its hosts are too large for one share, found by reading it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fetcher import wiring
from fetcher.engine.job_factory import JobFactory
from fetcher.policy.shares import HeavyHosts
from fetcher.ports import Source
from fetcher.settings import Settings


async def divided_hosts(
    settings: Settings,
    sources: Sequence[Source],
    environ: Mapping[str, str],
    is_stopped: Callable[[], bool] = lambda: False,
) -> dict[str, int] | None:
    """Return over how many of the shards each host of more than two shards' worth of the list is divided.

    A host is divided at most over as many as it may have exchanges at once. Memory does not grow with the
    list. The sources are closed. Returns None once it `is_stopped`; raises what the sources raise.
    """
    assert settings.shard is not None
    heavy = HeavyHosts(settings.shard[1])
    job_of = JobFactory(settings.method, settings.data).job_of
    throttle_of = wiring.make_policies(settings, environ).throttle_of
    try:
        for source in sources:
            async for entries in source:
                if is_stopped():
                    return None
                targets = (job_of(entry).target for entry in entries)
                heavy.count(target.host for target in targets if target is not None)
    finally:
        for source in sources:
            await source.aclose()
    return heavy.divided(lambda host: throttle_of(host).most)
