"""A run without its fetching, on a copy of the state: what would be asked for, and under which names."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from fetcher import compose
from fetcher.directory import RunDirectory
from fetcher.engine.settler import RECORDED
from fetcher.frontiers.state import read_state
from fetcher.model import Added, Job, Outcome, Record
from fetcher.ports import Source
from fetcher.settings import Command, Settings

_AT_ONCE = 1000


async def rehearse(
    settings: Settings, sources: Sequence[Source], show: Callable[[Job], None], command: Command = "get"
) -> Added:
    """Read the sources and `show` every job that a run would fetch or refuse, named as it would be.

    Returns what the state made of the list. Nothing is written but a copy of the state, in the
    system's temporary folder, and that is removed. Of a crawl, what its robots.txt would refuse is shown too,
    because nobody is asked. Raises `ConfigError` and `StorageError`.
    """
    settings = msgspec.structs.replace(settings, no_robots=True)
    directory = RunDirectory(Path(settings.output))
    compose.make_policies(settings, {})
    intake = compose.make_intake(settings)
    total = Added()
    async with contextlib.AsyncExitStack() as stack:
        for source in sources:
            stack.push_async_callback(source.aclose)
        copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fetcher-")))
        if directory.state.exists():
            _copy_state(directory.state, copy / "state.db")
        store = compose.make_store(settings, directory)
        stack.push_async_callback(store.aclose)
        frontier = compose.make_frontier(settings, copy / "state.db", copy / "results.jsonl", store, command)
        stack.push_async_callback(frontier.aclose, complete=False)
        await frontier.open()
        for source in sources:
            async for entries in source:
                _sum_up(total, await frontier.add([intake.job_of(entry) for entry in entries]))
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
