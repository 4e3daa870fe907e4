"""`fetcher.crawl` and `Fetcher.download` with processes: what a caller may do in the middle, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.faultserver import Exchange
from support.processes import is_alive
from support.site import Site, pages

import fetcher
from fetcher import Fetcher

LIMIT_S = 60.0
HTML = [("Content-Type", "text/html")]


class Web(Site):
    """`/` links to `/a/0` and on, each of which links to two more; robots.txt by `robots`."""

    def __init__(self, width: int = 200, hosts: tuple[str, ...] = ()) -> None:
        super().__init__({}, hosts)
        self.width = width
        self.robots: Any = None
        self._routes.insert(0, ("/", self._page))

    async def _page(self, x: Exchange) -> None:
        path = x.hit.path
        if path == "/robots.txt" or path.startswith("/r/"):
            if self.robots is None:
                await x.answer(404)
            else:
                await self.robots(x)
            return
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                await self._wait_for_release(x)
        number = self.width if path == "/" else 2 if path.count("/") < 4 else 0
        base = path.rstrip("/")
        links = "".join(f'<a href="{base}/{n}">x</a>' for n in range(number))
        await x.answer(200, HTML, f"<html>{path}{links}".encode())


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(hosts=("127.0.0.2",)) as running:
        yield running
    assert not running.errors


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


async def turns(number: int = 50) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


# -- leaving in the middle ---------------------------------------------------------------------------------


async def test_leaving_the_loop_early_leaves_no_task(web: Web) -> None:
    async with Fetcher(concurrency=8) as f:
        async with contextlib.aclosing(aiter(f.crawl(web.url("/")))) as found:  # type: ignore[type-var]
            async for _ in found:
                break
        await turns()
        assert others() == set()
    assert len(web.log) < 203


async def test_an_error_of_the_consumer_passes_and_leaves_no_task_behind_an_open_fetcher(web: Web) -> None:
    async def consume() -> None:
        async with Fetcher(concurrency=8) as f:
            async for page in f.crawl(web.url("/")):
                raise ZeroDivisionError(page.url)

    with pytest.raises(ZeroDivisionError):
        await consume()
    await turns()
    assert others() == set()


async def test_a_consumer_that_is_cancelled_leaves_no_task(web: Web) -> None:
    started = asyncio.Event()

    async def consume() -> None:
        async with Fetcher(concurrency=8) as f:
            async for _ in f.crawl(web.url("/")):
                started.set()
                web.hold_after(0)

    task = asyncio.create_task(consume())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    web.release()
    await turns()
    assert others() == set()


async def test_a_consumer_that_never_takes_bounds_what_is_fetched(web: Web) -> None:
    found = aiter(fetcher.crawl(web.url("/"), concurrency=4, per_host=4))
    first = await anext(found)
    assert first.url == web.url("/")
    second = await anext(found)  # its links were not to be had before the first was taken
    assert second.depth == 1
    before = -1
    while before != len(web.log):
        before = len(web.log)
        await asyncio.sleep(0.3)
    assert before <= 1 + 1 + 4 + 64 + 1  # robots.txt, the seed, in flight, unsettled, the one in hand
    await found.aclose()  # type: ignore[attr-defined]


async def test_a_deadline_ends_the_loop_with_the_pages_that_came(web: Web) -> None:
    web.hold_after(5)
    limited = fetcher.crawl(web.url("/"), deadline="5s", grace=0, concurrency=4)
    async with asyncio.timeout(LIMIT_S):
        seen = [page.url async for page in limited]
    web.release()
    assert len(seen) == 5
    await turns()
    assert others() == set()


async def test_no_more_than_max_pages_are_given_and_the_loop_ends(web: Web) -> None:
    async with asyncio.timeout(LIMIT_S):
        seen = [page.url async for page in fetcher.crawl(web.url("/"), max_pages=17)]
    assert len(seen) == len(set(seen)) == 17


def test_a_crawl_in_plain_code_can_be_left_and_begun_again(web: Web) -> None:
    crawl = fetcher.crawl(web.url("/"), depth=1)
    for _ in crawl:
        break
    assert len([page.url for page in crawl]) == 201


# -- robots.txt (RFC 9309) -----------------------------------------------------------------------------------


async def crawled(web: Web, **settings: Any) -> dict[str, str]:
    async with asyncio.timeout(LIMIT_S):
        return {
            page.url.removeprefix(web.url("")): page.error or page.state
            async for page in fetcher.crawl(web.url("/"), depth=1, **settings)
        }


RULE = b"User-agent: *\nDisallow: /0\n"


async def test_rules_of_the_first_500_kib_hold_and_what_comes_later_is_not_read(web: Web) -> None:
    async def large(x: Exchange) -> None:
        filler = b"# " + b"x" * 97 + b"\n"
        await x.answer(200, body=RULE + filler * 6000 + b"Disallow: /1\n")

    web.width, web.robots = 3, large
    assert await crawled(web) == {"/": "done", "/0": "robots", "/1": "done", "/2": "done"}


async def test_a_compressed_robots_txt_is_read_and_one_that_is_a_bomb_is_cut(web: Web) -> None:
    async def bomb(x: Exchange) -> None:
        body = gzip.compress(RULE + b"# padding\n" * 5_000_000)
        await x.answer(200, [("Content-Encoding", "gzip")], body)

    web.width, web.robots = 3, bomb
    assert (await crawled(web))["/0"] == "robots"


async def test_an_endless_robots_txt_is_cut_and_its_rules_hold(web: Web) -> None:
    async def endless(x: Exchange) -> None:
        await x.head(200, [("Content-Type", "text/plain")])
        await x.send(RULE)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                await x.send(b"# and so on\n" * 1000)

    web.width, web.robots = 3, endless
    assert (await crawled(web))["/0"] == "robots"


@pytest.mark.parametrize(("hops", "ends"), [(5, "robots"), (6, "done")])
async def test_five_redirects_lead_to_robots_txt_and_a_sixth_to_none(web: Web, hops: int, ends: str) -> None:
    async def moved(x: Exchange) -> None:
        number = 0 if x.hit.path == "/robots.txt" else int(x.hit.path[3:])
        if number < hops:
            host = "127.0.0.2" if number % 2 else "127.0.0.1"
            await x.answer(302, [("Location", web.url(f"/r/{number + 1}", host=host))])
        else:
            await x.answer(200, body=RULE)

    web.width, web.robots = 3, moved
    found = await crawled(web, private_addresses="allow")
    assert found["/0"] == ends
    assert found["/1"] == "done"


# -- processes from the library ------------------------------------------------------------------------------


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(pages(60)) as running:
        yield running
    assert not running.errors


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_downloads_with_processes_leave_no_process_task_or_descriptor(
    tmp_path: Path, site: Site, factory: Any
) -> None:
    async def thrice() -> None:
        urls = [site.url(path) for path in site.pages]
        counts = []
        for n in range(3):
            summary = await Fetcher(processes=2).download(urls, tmp_path / str(n))
            assert summary.done == 60
            await turns()
            assert others() == set()
            assert children() == []
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[1] == counts[2]

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(thrice())


@pytest.mark.timeout(240)
async def test_a_stopped_worker_process_is_killed_and_replaced_and_one_that_only_waits_is_not(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.processes.supervisor.SILENCE_S", 4.0)
    monkeypatch.setattr("fetcher.processes.supervisor._START_S", 20.0)  # one may not have been heard of yet
    urls = [site.url(path) for path in site.pages]
    site.hold_after(20)
    task = asyncio.create_task(Fetcher(processes=2).download.aio(urls, tmp_path))
    await asyncio.to_thread(site.wait, lambda s: len(s.log) > 20, 30)
    stopped, other = map(int, children())
    os.kill(stopped, signal.SIGSTOP)
    async with asyncio.timeout(150):
        while is_alive(stopped):
            await asyncio.sleep(0.05)
    assert is_alive(other)  # as long without an answer, but it says so
    site.release()
    assert (await task).done == 60
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len({json.loads(line)["url"] for line in lines}) == len(lines) == 60


async def test_a_download_with_processes_that_is_cancelled_leaves_nothing_and_goes_on(
    tmp_path: Path, site: Site
) -> None:
    urls = [site.url(path) for path in site.pages]
    site.hold_after(20)
    task = asyncio.create_task(Fetcher(processes=2).download.aio(urls, tmp_path))
    await asyncio.to_thread(site.wait, lambda s: len(s.log) > 20, 30)
    assert len(children()) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()
    assert others() == set()
    assert children() == []
    assert list((tmp_path / ".fetcher" / "parts").iterdir()) == []
    site.release()
    assert (await Fetcher(processes=2).download(urls, tmp_path)).done == 60


def test_a_module_that_lies_in_the_working_directory_is_not_imported_by_workers(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("open('imported', 'w')")  # as a download could be called
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    assert Fetcher(processes=2).download([site.url("/p/1")], "out").done == 1
    assert not (tmp_path / "imported").exists()


def test_a_page_that_ends_its_worker_at_once_costs_that_page_only(tmp_path: Path, site: Site) -> None:
    parser = tmp_path / "deadly.py"
    parser.write_text(
        "import os\n\ndef parse(page):\n    if page.url.endswith('/p/7'):\n        os._exit(9)\n    return {}\n"
    )
    urls = [site.url(path) for path in site.pages]
    f = Fetcher(processes=2, parser=f"{parser}:parse", offload="inline")
    summary = f.download(urls, tmp_path / "out")
    assert (summary.done, summary.failed) == (59, 1)
