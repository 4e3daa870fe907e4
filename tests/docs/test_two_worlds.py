"""docs/two-worlds.md is so: its programs run, its cells run in a running loop, and its tables are kept."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.documents import KERNEL, MYPY_CACHE
from support.faultserver import Exchange, FaultServer

import fetcher

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/two-worlds.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SITE = "https://example.org"
NOTEBOOK = "In a notebook"
LIMIT_S = 60.0


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PROGRAMS = [
    pytest.param(block, id=f"{title}-{number}".replace(" ", "-"))
    for title, text in SECTIONS.items()
    for number, block in enumerate(blocks(text))
    if title != NOTEBOOK
]


@pytest.fixture
def site(server: FaultServer) -> FaultServer:
    """Stands in for https://example.org: every path is a page."""

    async def page(x: Exchange) -> None:
        await x.answer(200, [("Content-Type", "text/html")], f"<title>{x.hit.path}</title>".encode())

    server.route("/", page)
    return server


def run(
    code: str, site: FaultServer, folder: Path, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace(SITE, site.url(""))],
        cwd=folder,
        input="" if stdin is None else stdin.replace(SITE, site.url("")),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.mark.parametrize("block", PROGRAMS)
def test_a_block_runs_as_it_stands(block: str, site: FaultServer, tmp_path: Path) -> None:
    ended = run(block, site, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert site.log or "https" not in block


def test_the_cells_run_in_a_running_loop_and_what_is_refused_there_is_said_as_told(
    site: FaultServer, tmp_path: Path
) -> None:
    cells = blocks(SECTIONS[NOTEBOOK])
    assert any(re.search(r"^(await|async for|\w+ = await) ", cell, re.MULTILINE) for cell in cells)
    ended = run(KERNEL, site, tmp_path, stdin=json.dumps(cells))
    assert (ended.returncode, ended.stderr) == (0, "")
    told = re.findall(r"print\(error\)  # (.*)$", "".join(cells), re.MULTILINE)
    assert ended.stdout.splitlines() == ["/", *told]
    assert len(told) == 2


@pytest.mark.timeout(360)
def test_the_types_are_exact_to_a_strict_checker(tmp_path: Path) -> None:
    (block,) = blocks(SECTIONS["Exact types"])
    (tmp_path / "block.py").write_text(block)
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", MYPY_CACHE, "block.py"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode in {0, 1}, ended.stderr
    assert [line for line in ended.stdout.splitlines() if line.startswith("block.py")] == []


def test_it_leads_to_headings_that_there_are() -> None:
    for path, heading in re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", PAGE):
        text = (ROOT / "docs" / path).read_text("utf-8")
        headings = [
            line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
        ]
        assert not heading or heading in headings


# --- what is said without a block -------------------------------------------------------------------------


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def plainly(page: Any) -> Any:
    return WHO.get()


async def asynchronously(page: Any) -> Any:
    return WHO.get()


@pytest.mark.parametrize(
    ("parser", "offload"),
    [
        (plainly, "inline"),
        (plainly, "threads"),
        (asynchronously, "inline"),
        (asynchronously, "threads"),
        (asynchronously, "processes"),
    ],
)
def test_a_parser_in_this_process_sees_the_context_variables_of_the_call(
    parser: Any, offload: str, site: FaultServer, tmp_path: Path
) -> None:
    WHO.set("the caller")
    saver = fetcher.Fetcher(parser=parser, offload=offload)
    assert saver.download.sync([site.url("/")], tmp_path / "out").ok
    assert json.loads((tmp_path / "out" / "data.jsonl").read_text()) == "the caller"


def test_a_generator_of_urls_sees_the_context_variables_of_the_call(site: FaultServer) -> None:
    WHO.set("the caller")
    seen = []

    def urls() -> Any:
        seen.append(WHO.get())
        yield site.url("/a")

    assert [result.status for result in fetcher.stream(urls())] == [200]
    assert fetcher.fetch_all(urls())[0].ok
    assert seen == ["the caller", "the caller"]


async def test_an_open_fetcher_says_that_it_belongs_to_another_loop(
    site: FaultServer, tmp_path: Path
) -> None:
    async with fetcher.Fetcher() as f:

        async def elsewhere() -> None:
            async for _ in f.stream([site.url("/a")]):
                pass

        for use in (
            lambda: asyncio.run(elsewhere()),
            lambda: f.download.sync([site.url("/a")], tmp_path / "out"),
        ):
            with pytest.raises(RuntimeError, match="belongs to the loop that opened it"):
                await asyncio.to_thread(use)
        assert (await f.download([site.url("/a")], tmp_path / "out")).ok
    assert len(site.log) == 1


async def test_a_wrapped_function_that_has_no_thread_yet_never_begins() -> None:
    go, ran = threading.Event(), []
    with ThreadPoolExecutor(1) as one:
        first = asyncio.create_task(fetcher.async_wrap(one)(go.wait)(20))
        second = asyncio.create_task(fetcher.async_wrap(one)(ran.append)("second"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        assert await first
    assert ran == []


def test_a_plain_call_that_is_interrupted_ends_with_the_threads_of_its_loop() -> None:
    told = []

    @fetcher.async_wrap()
    def work(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(_thread.interrupt_main)  # while the call waits for this
        go.wait(20)
        told.append("the thread")

    @fetcher.async_or_sync
    async def verb() -> None:
        try:
            await work(asyncio.get_running_loop())
        except asyncio.CancelledError:
            told.append("cancelled")
            go.set()
            raise

    go = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        verb()
    assert told == ["cancelled", "the thread"]
