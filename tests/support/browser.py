"""Debian's Chromium, headless, driven by its own DevTools protocol: a page, its script, its picture.

    async with Browser(tmp_path) as page:
        await page.open(url)
        assert await page.value("document.title") == "…"

`errors` holds what the console and the page's scripts complained of, `asked` every URL that was requested.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

import aiohttp

LIMIT_S = 60.0


class Browser:
    """One browser with one page."""

    def __init__(self, *, dark: bool = False, size: tuple[int, int] = (1200, 1000)) -> None:
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._dark = dark
        self._size = size
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> Self:
        program = shutil.which("chromium")
        assert program, "install chromium"
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        self._process = await asyncio.create_subprocess_exec(
            *(
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-dev-shm-usage",
            ),
            *("--remote-debugging-port=0", f"--user-data-dir={self._folder.name}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        told = Path(self._folder.name) / "DevToolsActivePort"
        async with asyncio.timeout(LIMIT_S):
            while not (told.exists() and told.read_text().count("\n")):
                await asyncio.sleep(0.02)
        port = told.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            [address] = [
                each["webSocketDebuggerUrl"] for each in await answer.json() if each["type"] == "page"
            ]
        self._socket = await self._session.ws_connect(address, max_msg_size=0)
        self._reading = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        width, height = self._size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._session.close()
        self._reading.cancel()
        self._process.terminate()
        await self._process.wait()
        self._folder.cleanup()

    async def _read(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Network.requestWillBeSent":
                self.asked.append(told["params"]["request"]["url"])
            elif told["method"] == "Runtime.exceptionThrown":
                self.errors.append(str(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.errors.append(str(told["params"]["entry"]))
            elif told["method"] == "Page.javascriptDialogOpening":
                self.errors.append(f"dialog: {told['params']['message']}")
                await self._socket.send_json(
                    {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
                )
                self._answers[0] = asyncio.get_running_loop().create_future()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(LIMIT_S):
            told = await answer
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    async def open(self, url: str) -> None:
        """Go to a URL."""
        await self.call("Page.navigate", url=url)
        await self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    async def value(self, script: str) -> Any:
        """What an expression gives in the page."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true in the page."""
        async with asyncio.timeout(LIMIT_S):
            while not await self.value(f"Boolean({script})"):
                await asyncio.sleep(0.02)

    async def picture(self, path: Path) -> None:
        """Save the whole page as PNG."""
        told = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))
