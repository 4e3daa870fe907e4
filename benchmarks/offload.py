"""A parser that costs CPU: on the loop, in worker processes, and where `auto` puts it.

Run by the suite as a process for each: `python benchmarks/offload.py URLS OUT OFFLOAD COST_MS` prints JSON
with the pages per second, the loop's lag and what was said about the choice.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fetcher import wiring
from fetcher.download import Download
from fetcher.events import Event, LogMessage
from fetcher.settings import build
from fetcher.sources.file_source import FileSource

TICK_S = 0.002


class Listener:
    """Keeps what the run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, LogMessage):
            self.said.append(event.text)


async def lags(into: list[float]) -> None:
    """How late the loop comes to a timer, again and again."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_S
        await asyncio.sleep(TICK_S)
        into.append(loop.time() - due)


async def run(listed: str, out: str, offload: str, cost_ms: str) -> dict[str, Any]:
    parser = f"{Path(__file__).with_name('cpu_parser.py')}:cost_{cost_ms.replace('.', '_')}"
    settings = build({"output": out, "per_host": 64, "offload": offload, "parser": parser, "store": "none"})
    listener = Listener()
    found: list[float] = []
    watching = asyncio.create_task(lags(found))
    started = time.perf_counter()
    summary = await Download(settings, observers=[listener]).run([FileSource(listed)])
    elapsed = time.perf_counter() - started
    watching.cancel()
    found.sort()
    return {
        "pages_per_s": summary.done / elapsed,
        "lag_p99_s": found[int(len(found) * 0.99)] if found else 0.0,
        "said": [text for text in listener.said if text.startswith("parser")],
        "failed": summary.failed,
    }


if __name__ == "__main__":
    print(json.dumps(msgspec.to_builtins(wiring.run_loop(run(*sys.argv[1:])))))
