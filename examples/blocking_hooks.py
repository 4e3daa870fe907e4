"""Between the two worlds: blocking code in async code, and one verb that both may call.

    python examples/blocking_hooks.py https://example.org/

`async_wrap` makes a blocking function awaitable; `async_or_sync` makes a coroutine function callable from
plain code. The library's own verbs are made with them.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import time

import fetcher


@fetcher.async_wrap()  # or async_wrap(your_executor)
def fingerprint(data: bytes) -> str:
    """A blocking function: it runs in a thread, and the loop goes on meanwhile."""
    time.sleep(0.05)
    return hashlib.sha256(data).hexdigest()[:16]


@fetcher.async_or_sync
async def describe(url: str) -> str:
    """A verb of our own, made of the library's."""
    result = await fetcher.fetch.aio(url)
    return f"{result.status} {await fingerprint(result.body)}"


async def in_async_code(url: str) -> str:
    return str(await describe(url))  # inside a running loop a call gives an awaitable


def in_a_thread(url: str) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(describe.sync(url)))  # no loop runs there
    thread.start()
    thread.join()
    return found[0]


def main(url: str) -> None:
    print("plain ", describe(url))  # elsewhere it gives the result
    print("async ", asyncio.run(in_async_code(url)))
    print("thread", in_a_thread(url))


if __name__ == "__main__":
    main(sys.argv[1])
