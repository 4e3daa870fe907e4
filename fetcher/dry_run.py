"""A run without its fetching, on a copy of the state: what would be asked for, and under which names."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fetcher import wiring
from fetcher.engine.job_factory import JobFactory
from fetcher.engine.settler import RECORDED
from fetcher.frontiers.sqlite.schema import read_state
from fetcher.model import Added, Job, Outcome, Record
from fetcher.policy.shares import Share, ShareRules
from fetcher.ports import Source
from fetcher.run_dir import directory_of
from fetcher.settings import Command, Settings
from fetcher.sharding.kept_share import known_share
from fetcher.sharding.list_division import divided_hosts

_AT_ONCE = 1000


async def dry_run(
    settings: Settings,
    sources: Sequence[Source],
    show: Callable[[Job], None],
    command: Command = "get",
    list_again: Callable[[], Sequence[Source]] | None = None,
) -> Added:
    """Read the sources and `show` every job that a run would fetch or refuse, named as it would be.

    Returns what the state made of the list. Nothing is written but a copy of the state, in the
    system's temporary folder, and that is removed. Of a crawl, what its robots.txt would refuse is shown too,
    because nobody is asked. `list_again` is `Download`'s. Raises `ConfigError` and `StorageError`.
    """
    # Without an answer there is no name of the server's.
    settings = msgspec.structs.replace(settings, no_robots=True, server_names=False, extension=False)
    directory = directory_of(settings)
    directory.check()
    wiring.make_policies(settings, {})
    kept = known_share(directory, settings.shard)
    if kept is None and settings.shard is not None:
        listed = None if list_again is None else await divided_hosts(settings, list_again(), {})
        kept = Share(*settings.shard, listed or {})
    share = None if kept is None else ShareRules(kept)
    job_of = JobFactory(settings.method, settings.data).job_of
    total = Added()
    async with contextlib.AsyncExitStack() as stack:
        for source in sources:
            stack.push_async_callback(source.aclose)
        copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fetcher-")))
        if directory.state.exists():
            _copy_state(directory.state, copy / "state.db")
        store = wiring.make_store(settings, directory)
        stack.push_async_callback(store.aclose)
        frontier = wiring.make_frontier(
            settings,
            copy / "state.db",
            copy / "results.jsonl",
            store,
            follows=command == "crawl",
            share=share,
            path_bytes=wiring.most_path_bytes(directory),
        )
        stack.push_async_callback(frontier.aclose, complete=False)
        await frontier.open()
        for source in sources:
            async for entries in source:
                _sum_up(total, await frontier.add([job_of(entry) for entry in entries]))
        while jobs := await frontier.claim(_AT_ONCE, per_host=_AT_ONCE, now=0.0):
            for job in jobs:
                if job.kind in RECORDED:
                    show(job)
            await frontier.settle([Outcome(job=job, record=Record(url="", state="refused")) for job in jobs])
    return total


def _copy_state(state: Path, copy: Path) -> None:
    with contextlib.closing(read_state(state)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _sum_up(total: Added, added: Added) -> None:
    total.new += added.new
    total.again += added.again
    total.duplicates += added.duplicates
    total.pending += added.pending
    for state, number in added.finals.items():
        total.finals[state] = total.finals.get(state, 0) + number
