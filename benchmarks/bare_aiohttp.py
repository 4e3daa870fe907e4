"""What a good engineer writes in forty lines: workers over one aiohttp session, each page into its file.

No retries, no limits, no resuming, no records, no hash: the fair baseline for speed.
`python benchmarks/bare_aiohttp.py urls.txt out [--loop uvloop]` prints the seconds of the fetching alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

WORKERS = 64


async def work(session: aiohttp.ClientSession, urls: Iterator[str], out: Path, folders: set[Path]) -> None:
    for url in urls:
        async with session.get(url) as response:
            response.raise_for_status()
            body = await response.read()
        parts = urlsplit(url)
        path = out / parts.netloc / parts.path.lstrip("/")
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        with open(path, "wb") as file:
            file.write(body)


async def fetch_all(listed: Path, out: Path) -> float:
    started = time.perf_counter()
    folders: set[Path] = set()
    with listed.open() as lines:
        urls = (line.rstrip("\n") for line in lines)
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(work(session, urls, out, folders))
    return time.perf_counter() - started


def main() -> None:
    listed, out = Path(sys.argv[1]), Path(sys.argv[2])
    factory = None
    if "uvloop" in sys.argv[3:]:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(runner.run(fetch_all(listed, out)))


if __name__ == "__main__":
    main()
