"""The live page of a run, in a real browser, and with viewers that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.attacks import ATTACKS
from support.browser import Browser
from support.faultserver import Exchange
from support.program import Program, Running, by_url, eventually, write_list
from support.site import Site

from fetcher.download import Download
from fetcher.events import HostThrottled, OutcomesSettled, Snapshot
from fetcher.model import Bottleneck, Record
from fetcher.observers import dashboard
from fetcher.observers.dashboard import Dashboard
from fetcher.observers.web_listener import listening
from fetcher.policy.redaction import shown
from fetcher.settings import make

HOSTILE = "<img src=x onerror=alert(1)>"


def address(running: Running) -> str:
    assert eventually(lambda: "dashboard: " in running.said())
    [url] = re.findall(r"dashboard: (http://127\.0\.0\.1:\d+/[\w-]{20,}/)\n", running.said())
    return url


def post(url: str) -> int:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30) as answer:
        return answer.status


@pytest.mark.parametrize(("processes", "browser"), [("1", {}), ("2", {"dark": True, "size": (390, 800)})])
async def test_a_browser_sees_the_run_pauses_it_finds_a_url_and_stops_it(
    program: Program, site: Site, processes: str, browser: dict[str, Any]
) -> None:
    async def rude(x: Exchange) -> None:
        x.writer.write(f"HTTP/1.1 404 {HOSTILE}\r\nContent-Length: 0\r\n\r\n".encode())
        await x.writer.drain()

    site.route("/rude", rude)
    site.pages |= {f"/q/{n}": b"x" for n in range(400)}
    urls = [
        site.url("/p/1"),
        site.url(f"/rude?{HOSTILE}".replace(" ", "%20")),
        *(site.url(f"/q/{n}") for n in range(400)),
    ]
    write_list(program.folder / "urls.txt", urls)
    site.hold_after(30)
    options = ("--rate", "100/s", "--processes", processes, "-c", "8", "--grace", "1")
    with program.start("get", "-i", "urls.txt", "-o", "<b>out", "--dashboard", "0", *options) as running:
        url = address(running)
        async with Browser(**browser) as page:
            await page.open(url)
            await page.until("document.getElementById('failures').textContent.includes('http-status')")
            await page.until("document.getElementById('progress').textContent.includes('of 402')")
            assert await page.value("document.querySelectorAll('img, b b, h1 b').length") == 0
            assert "<b>out" in await page.value("document.getElementById('title').textContent")
            assert HOSTILE.replace(" ", "%20") in await page.value(
                "document.getElementById('failures').textContent"
            )

            await page.value("document.getElementById('pause').click()")
            await page.until("document.getElementById('state').textContent === 'paused'")
            site.release()
            await page.until("/^\\d/.test(document.querySelectorAll('#tiles b')[3].textContent)")
            await page.until("document.querySelectorAll('#tiles b')[3].textContent.startsWith('0 ')")
            asked = len(site.log)
            await asyncio.sleep(0.2)
            assert len(site.log) == asked, "nothing is started"

            await page.value("document.getElementById('pause').click()")
            await page.until("document.getElementById('state').textContent === 'running'")
            assert eventually(lambda: len(site.log) > asked)
            for url_asked, told in (
                (site.url("/q/none"), "never seen"),
                (urls[-1], f"the run that is under way, process {running.pid}"),
                (urls[1], "ended "),
            ):
                await page.value(f"document.getElementById('url').value = {json.dumps(url_asked)}")
                await page.value("document.querySelector('form button').click()")
                await page.until(f"document.getElementById('found').textContent.includes({json.dumps(told)})")
            assert await page.value("document.querySelectorAll('#found *').length") == 0
            story = await page.value("document.getElementById('found').textContent")
            assert HOSTILE.replace(" ", "%20") in story
            assert story == program.run("why", "<b>out", urls[1]).out.rstrip("\n")
            if folder := os.environ.get("FETCHER_PICTURES"):
                await page.picture(Path(folder) / f"dashboard-{processes}.png")
            assert [text for text in page.errors if not text.startswith("dialog")] == []
            assert all(asked.startswith(url) for asked in page.asked)

            await page.value("document.getElementById('stop').click()")
            await page.until("document.getElementById('state').textContent === 'ended'")
            assert [text for text in page.errors if not text.startswith("dialog: Stop this run?")] == []
        ended = running.end()
    assert ended.code == 4, ended.err
    assert "stopped: somebody stopped it on the dashboard" in ended.err
    assert program.run("get", "-i", "urls.txt", "-o", "<b>out").code == 1
    assert len(by_url(program.folder / "<b>out")) == 402


def test_everything_is_behind_the_token_and_viewers_change_nothing(program: Program, site: Site) -> None:
    site.hold_after(1)
    with program.start("get", site.url("/p/1"), site.url("/p/2"), "--dashboard", "0") as running:
        url = address(running)
        root = url[: url.index("/", 8)]
        for path in ("/", "/events", "/pause", "/stop", "/style.css", "/x" + url[url.index("/", 8) + 1 :]):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(root + path, timeout=30)
        for path in ("pause", "stop"):
            with pytest.raises(urllib.error.HTTPError, match="405"):
                urllib.request.urlopen(url + path, timeout=30)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                post(f"{root}/{path}")
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        port, path = int(root.rpartition(":")[2]), url[len(root) :]
        deaf = []
        for number in range(11):  # the first never reads
            viewer = socket.create_connection(("127.0.0.1", port), timeout=30)
            viewer.sendall(f"GET {path}events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            if number:
                assert b"data: {" in viewer.recv(65536) + viewer.recv(65536)
            deaf.append(viewer)
        assert post(url + "pause") == 204
        assert post(url + "resume") == 204
        site.release()
        ended = running.end()
        for viewer in deaf:
            viewer.close()
    assert ended.code == 0, ended.err


async def test_a_search_that_takes_long_keeps_nobody_else_waiting() -> None:
    is_found = threading.Event()

    def why(url: str) -> str:
        assert is_found.wait(10)
        return f"the story of {url}"

    page = Dashboard(Download(make({})), why, title="a run")
    async with listening(page.app, ("127.0.0.1", 0), "dashboard") as root, aiohttp.ClientSession() as session:
        url = f"{root}/{page.token}/"
        looking = [asyncio.create_task(_text(session, f"{url}url?url=http://h/{n}")) for n in range(3)]
        assert "<title>fetcher" in await _text(session, url)
        async with session.get(f"{url}events") as events:
            assert json.loads((await events.content.readline()).removeprefix(b"data: "))["title"] == "a run"
        assert not any(task.done() for task in looking)
        is_found.set()
        assert await asyncio.gather(*looking) == [f"the story of http://h/{n}" for n in range(3)]
        assert await _text(session, f"{url}url?url=") == "which URL?"
        await page.end()
        assert "the run is over" in await _text(session, f"{url}url?url=http://h/1")


async def _text(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


class HostileRun:
    """A run of which everything that a server or a list can say is an attack."""

    def snapshot(self) -> Snapshot:
        return Snapshot(
            listed=1,
            input_ended=True,
            hosts=[(attack, 1, 2, attack) for attack in ATTACKS],
            errors=dict.fromkeys(ATTACKS, 1),
            growing=[(attack, 1, 2) for attack in ATTACKS],
            bottleneck=Bottleneck(cause="delay", share=1.0, text=" ".join(ATTACKS)),
        )

    def adjust(self, *, is_paused: bool | None = None) -> None:
        raise NotImplementedError

    def stop(self, why: str) -> None:
        raise NotImplementedError


async def test_nothing_hostile_is_markup_or_is_run_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the page's own policy, which would stop a script even if it got in.
    headers = {key: value for key, value in dashboard._HEADERS.items() if "Policy" not in key}
    monkeypatch.setattr(dashboard, "_HEADERS", headers)
    page = Dashboard(HostileRun(), lambda _: shown("\n".join(ATTACKS)), title=ATTACKS[1])
    failed = [
        Record(
            url=attack, error=attack, message=attack, parent=attack if n % 2 else None, source=attack, line=n
        )
        for n, attack in enumerate(ATTACKS)
    ]
    page.on_event(OutcomesSettled(failed, []))
    for attack in ATTACKS:
        page.on_event(HostThrottled(attack, attack, 60.0, 1))
    async with listening(page.app, ("127.0.0.1", 0), "dashboard") as root, Browser() as browser:
        url = f"{root}/{page.token}/"
        await browser.open(url)
        await browser.until("document.querySelectorAll('#failures tr').length > 10")
        kinds = "[...new Set([...document.querySelectorAll('*')].map(e => e.localName))].join(' ')"
        handlers = (
            "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => /^on/.test(a.name)))"
        )
        before = await browser.value(kinds)
        await browser.value("document.getElementById('url').value = 'http://h/'")
        await browser.value("document.querySelector('form button').click()")
        await browser.until("document.getElementById('found').textContent.includes('script')")
        assert await browser.value(kinds) == before
        assert not set(before.split()) & {"img", "iframe", "base", "a", "object"}
        assert await browser.value(f"{handlers}.length") == 0
        assert await browser.value("document.title") == f"100 % · {ATTACKS[1]}"
        text = await browser.value("document.querySelector('main').textContent")
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e\u2066]", text)
        icon = f"{root}/favicon.ico"  # which only the policy keeps a browser from asking for
        assert [error for error in browser.errors if icon not in error] == []
        assert [asked for asked in browser.asked if not asked.startswith(url) and asked != icon] == []
