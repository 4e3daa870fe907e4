"""Makes display.svg anew, the display of a real run as the program draws it: `python docs/make_display.py`.

A small server on the loopback stands in for a few hosts, as the proxy of the run: it is slow, has large
bodies, and asks for patience once. What is drawn is the frame that a terminal would show.
"""  # noqa: INP001  (a program beside the documents)

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import tempfile
from collections import deque
from pathlib import Path

from aiohttp import web
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from fetcher.download import Download
from fetcher.events import Event
from fetcher.model import Record
from fetcher.observers.formatting import RateEstimator, troubles
from fetcher.observers.live_display import render
from fetcher.settings import build
from fetcher.sources.iterables import IterableSource

PICTURE = Path(__file__).parent / "display.svg"
WIDTH, HEIGHT = 96, 18
HOSTS = ("museum.example", "library.example", "weather.example", "archive.example", "maps.example")
SECONDS = 9.0  # of the run, until the frame is drawn
_FONTS = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)  # rich's format has them loaded from elsewhere
FORMAT = _FONTS.sub("", CONSOLE_SVG_FORMAT).replace(
    "Fira Code", "ui-monospace, DejaVu Sans Mono, Menlo, Consolas"
)


class LastErrors(deque[Record]):
    """The last records of failures, as the display keeps them."""

    def on_event(self, event: Event) -> None:
        self.extend(troubles(event))


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """One page, slowly; by its path it is missing, large, or refused until later."""
    number = int("".join(filter(str.isdigit, request.path)) or 0)
    await asyncio.sleep(0.15 + number % 7 * 0.05)
    if request.path.endswith(".zip"):
        body = web.StreamResponse(headers={"Content-Length": str(48 << 20)})
        await body.prepare(request)
        with contextlib.suppress(ConnectionError):  # the run is stopped before it is through
            for _ in range(48 * 8):
                await body.write(bytes(128 * 1024))
                await asyncio.sleep(0.03 + number % 3 * 0.02)
        return body
    if request.host == "weather.example" and number % 90 == 60:
        return web.Response(status=429, headers={"Retry-After": "20"})
    if number % 211 == 97:
        return web.Response(status=404)
    return web.Response(body=bytes(8000 + number % 40 * 900), content_type="text/html")


async def picture() -> str:
    """Run for a while, and draw what a terminal shows then."""
    urls = [f"http://{host}/{('page', 'item')[n % 2]}/{n}" for n in range(700) for host in HOSTS]
    urls[3:3] = [f"http://archive.example/scans-{year}.zip" for year in (1912, 1913)]
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy = f"http://127.0.0.1:{runner.addresses[0][1]}"
    errors, pace = LastErrors(maxlen=3), RateEstimator()
    console = Console(
        file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, color_system="truecolor"
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = build({"output": folder, "proxy": proxy, "grace": 0.1})
        download = Download(settings, observers=[errors])
        run = asyncio.create_task(download.run([IterableSource(urls, batch=64)]))
        rates = pace.sample(download.snapshot())
        for _ in range(round(SECONDS / 0.25)):
            await asyncio.sleep(0.25)
            rates = pace.sample(download.snapshot())
        console.print(Text.assemble(("$ ", "dim"), "fetcher get -i urls.txt -o pages"))
        console.print(render(download.snapshot(), rates, errors, WIDTH, HEIGHT, title="fetcher get → pages"))
        download.stop("SIGINT")
        download.stop("SIGINT")
        await run
    await runner.cleanup()
    return console.export_svg(title="fetcher", code_format=FORMAT, unique_id="display")


if __name__ == "__main__":
    PICTURE.write_text(asyncio.run(picture()), "utf-8")
