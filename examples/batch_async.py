"""Many pages, in async code: results as they end, with progress, and memory that stays flat.

    python examples/batch_async.py https://example.org/a https://example.org/b

`stream` reads its URLs only as fast as its results are taken, so they may be a generator without end.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence

import fetcher


async def main(urls: Sequence[str]) -> None:
    states: Counter[str] = Counter()
    received = 0
    async with fetcher.Fetcher(concurrency=100, per_host=10, retries=2) as f:
        async for result in f.stream(urls):
            states[result.state] += 1
            received += len(result.body)
            print(f"{states.total()}/{len(urls)} {result.state} {result.url}", file=sys.stderr)
    print(f"{dict(states)}, {received} bytes")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
