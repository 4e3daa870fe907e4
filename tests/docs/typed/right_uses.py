"""Uses of the library that type checkers must find right. They are only checked, never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import assert_type

import fetcher
from fetcher import Fetcher, FetcherError, FetchFailed, Result, Summary, async_or_sync, async_wrap


@async_wrap(ThreadPoolExecutor(1))
def digest(data: bytes, *, times: int = 1) -> str:
    return str(hash(data) * times)


@async_or_sync
async def size(url: str) -> int:
    result = await fetcher.fetch.aio(url, retries=1)
    return len(result.body)


class Site:
    @async_or_sync
    async def pages(self, number: int) -> list[Result]:
        return await fetcher.fetch_all.aio([f"https://example.org/{n}" for n in range(number)])


async def urls() -> AsyncIterator[str]:
    yield "https://example.org/"


async def in_async_code() -> None:
    one = await fetcher.fetch("https://example.org/", timeout=5, params={"page": 2}, json={"a": [1]})
    assert_type(one, Result)
    assert_type(await fetcher.fetch_all(["https://example.org/"], headers={"Accept": "*/*"}), list[Result])
    async with Fetcher(concurrency=100, per_host=10, hosts={"example.org": {"rate": "10/s"}}) as f:
        async for result in f.stream(urls()):
            kind: str | None = result.headers.get("content-type")
            print(result.ok, kind, result.text(), result.json(), await digest(result.body, times=2))
        result = await f.fetch("https://example.org/", headers=[("Accept", "*/*")], data={"q": "x"})
        assert_type(result, Result)
        task = asyncio.create_task(f.fetch("https://example.org/", timeout="2s"))
        assert_type(await task, Result)
        both = await asyncio.gather(f.fetch("https://example.org/a"), f.fetch("https://example.org/b"))
        print(both[0].status, both[1].status)
        summary = await f.download(["https://example.org/"], "out")
        assert_type(summary, Summary)
        summary = await f.download.aio(Path("urls.txt"))
        print(summary.done + summary.failed, summary.errors.get("http-status", 0))
        async for page in f.crawl("https://example.org/", depth=2, scope="domain", max_size="32M"):
            print(page.title, page.links)
    print(one.status, await size.aio("x") + 1, len(await Site().pages.aio(3)))


def in_plain_code() -> int:
    one = fetcher.fetch("https://example.org/", user=("me", "secret"), proxy=None)
    try:
        one.raise_for_error()
    except FetchFailed as error:
        print(error.slug.upper(), error.url, error.status)
    except FetcherError as error:
        print(error.hint)
    for result in fetcher.stream(["https://example.org/"], max_size="1M", retry_on={429, 503}):
        print(result.url, result.elapsed)
    found = fetcher.fetch_all.sync(["https://example.org/"])
    saver = Fetcher(rate="5/s", deadline="06:00", cookies=Path("cookies.txt"))
    number = one.status or 0
    return number + size.sync("x") + len(found) + len(Site().pages.sync(2)) + saver.download([]).done


asyncio.run(in_async_code())
