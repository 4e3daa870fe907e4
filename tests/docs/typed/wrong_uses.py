"""Uses of the library that type checkers must find wrong: each line that is marked, and no other."""

from __future__ import annotations

import fetcher
from fetcher import Fetcher


@fetcher.async_wrap()
def digest(data: bytes, *, times: int = 1) -> str:
    return str(hash(data) * times)


@fetcher.async_or_sync
async def size(url: str) -> int:
    return len((await fetcher.fetch(url)).body)


async def in_async_code() -> None:
    async with Fetcher() as f:
        await f.fetch(5)  # wrong
        await f.fetch("https://example.org/", retries=3)  # wrong
        await f.fetch("https://example.org/", header={})  # wrong
        (await f.fetch("https://example.org/")).body.encode()  # wrong
        print((await f.download(["https://example.org/"])).finished)  # wrong
        await f.download(["https://example.org/"], directory=5)  # wrong
        f.crawl("https://example.org/", scope="page")  # wrong
        f.crawl("https://example.org/", dept=2)  # wrong
        [item async for item in f.stream(5)]  # wrong
    await digest(b"", times="2")  # wrong


Fetcher(retrys=3)  # wrong
Fetcher(retries="many")  # wrong
Fetcher(insecure=1.5)  # wrong
Fetcher(verify=False)  # wrong
Fetcher(backend="aiohttp")  # wrong
Fetcher(headers=[1])  # wrong
Fetcher(hosts={"example.org": {"retries": 3}})  # wrong
Fetcher(output="out")  # wrong
fetcher.fetch("https://example.org/", retries="many")  # wrong
fetcher.fetch("https://example.org/").body.encode()  # wrong
fetcher.fetch_all(["https://example.org/"], json={})  # wrong
fetcher.fetch_all.sync(5)  # wrong
fetcher.stream(["https://example.org/"], max_size=[])  # wrong
size.sync(5)  # wrong
