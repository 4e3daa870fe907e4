"""What most answers on the web show: `gather` over all URLs, a semaphore, aiofiles.

`python benchmarks/usual_script.py urls.txt out` prints the seconds of the fetching alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from urllib.parse import urlsplit

import aiofiles
import aiohttp


async def fetch(session: aiohttp.ClientSession, semaphore: asyncio.Semaphore, url: str, out: str) -> None:
    async with semaphore:
        async with session.get(url) as response:
            response.raise_for_status()
            body = await response.read()
        parts = urlsplit(url)
        path = os.path.join(out, parts.netloc, parts.path.lstrip("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        async with aiofiles.open(path, "wb") as file:
            await file.write(body)


async def main() -> None:
    with open(sys.argv[1]) as file:
        urls = file.read().split()
    started = time.perf_counter()
    semaphore = asyncio.Semaphore(64)
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[fetch(session, semaphore, url, sys.argv[2]) for url in urls])
    print(time.perf_counter() - started)


if __name__ == "__main__":
    asyncio.run(main())
