"""What a URL costs in counts that no other load on the machine changes, per 1,000 URLs, as JSON.

The run is that of `engine_cost.py` with SQLite: 4,000 URLs of one host, answered at once, nothing stored.
Counted are Python calls and calls of C functions on the loop's thread, transactions, and hops to threads.
System calls are strace's to count, see `tests/engine/test_counts.py`, which holds bounds on all of them.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from engine_cost import InstantBackend, timed, urls, write_input

from fetcher import wiring
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.serial_executor import SerialExecutor
from fetcher.settings import make
from fetcher.stores.none import NoneStore

URLS = 4000
NAMED = {"SqliteFrontier._transaction": "transactions", "ThreadPoolExecutor.submit": "thread_hops"}


async def count(folder: Path) -> dict[str, float]:
    """The counts of one run in an empty folder."""
    write_input(folder / "urls.txt", urls(URLS, 1, shuffled=False))
    lane = SerialExecutor("state", quick_s=60.0)  # so that no slow moment sends it to a thread
    frontier = SqliteFrontier(folder / "state.db", folder / "results.jsonl", mode=Mode(), lane=lane)
    settings = make({"concurrency": 64, "per_host": 64})
    run = wiring.make_local_run(settings, InstantBackend(), frontier, NoneStore())
    counts: collections.Counter[str] = collections.Counter()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        counts[event] += 1
        if event == "call" and (name := NAMED.get(frame.f_code.co_qualname)) is not None:
            counts[name] += 1

    sys.setprofile(profile)
    try:
        await timed(run, folder / "urls.txt")
    finally:
        sys.setprofile(None)
    wanted = {"python_calls": "call", "c_calls": "c_call", **{name: name for name in NAMED.values()}}
    return {name: round(counts[key] * 1000 / URLS, 1) for name, key in wanted.items()}


def main() -> None:
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(count(Path(folder)))))


if __name__ == "__main__":
    main()
