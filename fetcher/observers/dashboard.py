"""The live page of a run: what it does now, for anybody who has the address with its token.

Invariants: everything is behind the token, also to be read; nothing can be changed but pausing, resuming and
stopping, by POST. A sample of the run is taken at most twice a second, however many look and however fast the
run is, and none while nobody does; a viewer gets the newest one when it has taken the last, so one that does
not read holds nothing back and costs no memory. What became of a URL is looked up in a thread, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from fetcher.errors import FetcherError
from fetcher.events import Event, HostThrottled, Snapshot
from fetcher.model import Record
from fetcher.observers import formatting
from fetcher.observers.line_display import place_of
from fetcher.policy.redaction import shown

STOPPED: Final = "dashboard"  # the reason of a stop from here
_EVERY_S = 0.5
_MOST_VIEWERS = 64
_PATIENCE_S = 30.0  # with a viewer that does not read
_FAREWELL_S = 0.5  # with all of them, at the end
_FAILURES = 20
_HOLDS = 20
_LONGEST_STORY = 256 * 1024  # characters
_KINDS = {"index.html": "text/html", "style.css": "text/css", "script.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RunControl(Protocol):
    """The part of a run that the page may see and steer."""

    def snapshot(self) -> Snapshot: ...
    def adjust(self, *, is_paused: bool | None = None) -> None: ...
    def stop(self, why: str) -> None: ...


class Dashboard:
    """The page of `run`; `app` serves it below `/token/`.

    `why` blocks while it reads the story of a URL, and gives it as text that may be shown.
    """

    def __init__(
        self, run: RunControl, why: Callable[[str], str], *, title: str, every_s: float = _EVERY_S
    ) -> None:
        self._run = run
        self._why = why
        self._reader = ThreadPoolExecutor(1, "fetcher-why")
        self._title = shown(title)
        self._every_s = every_s
        self._pace = formatting.RateEstimator()
        self._failures: deque[Record] = deque(maxlen=_FAILURES)
        self._holds: OrderedDict[str, tuple[str, float]] = OrderedDict()  # why, and until when (monotonic)
        self._viewers = 0
        self._unwatched = asyncio.Event()  # set when the last viewer has gone
        self._sampled_at = 0.0
        self._has_ended = False
        self._newest = b""
        self._fresh = asyncio.Event()
        self.token = secrets.token_urlsafe(16)
        self.app = app = web.Application(client_max_size=1024)
        for name in _KINDS:
            app.router.add_get(f"/{self.token}/{'' if name == 'index.html' else name}", self._file)
        app.router.add_get(f"/{self.token}/events", self._events)
        app.router.add_get(f"/{self.token}/url", self._url)
        for name, order in self._orders().items():
            app.router.add_post(f"/{self.token}/{name}", order)

    def on_event(self, event: Event) -> None:
        if isinstance(event, HostThrottled):
            self._holds[event.host] = event.reason, time.monotonic() + event.seconds
            self._holds.move_to_end(event.host)
            if len(self._holds) > _HOLDS:
                self._holds.popitem(last=False)
        else:
            self._failures.extend(formatting.troubles(event)[-_FAILURES:])

    async def run(self) -> None:
        """Take samples until cancelled, while anybody looks."""
        while True:
            if self._viewers:
                self._sample()
            await asyncio.sleep(self._every_s)

    async def end(self) -> None:
        """Tell the viewers that the run is over; those that listen have heard it then."""
        self._has_ended = True
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._sample()
        if self._viewers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._unwatched.wait(), _FAREWELL_S)

    # -- what is shown -------------------------------------------------------------------------------

    def _sample(self) -> None:
        fresh, self._fresh = self._fresh, asyncio.Event()
        self._newest, self._sampled_at = msgspec.json.encode(self.state()), time.monotonic()
        fresh.set()

    def state(self) -> dict[str, Any]:
        """The run as it stands, as the page shows it: texts and numbers, secrets masked."""
        now = self._run.snapshot()
        rates = self._pace.sample(now)
        count, size = formatting.count, formatting.size
        tiles = [
            ("URLs per second", formatting.rate(rates.urls_per_s)),
            ("bytes per second", f"{size(rates.bytes_per_s)}/s"),
            ("received", size(now.wire_bytes)),
            ("in flight", f"{count(now.active)} of {count(now.concurrency)}"),
            ("waiting", count(now.waiting)),
            *((name, count(number)) for name, number in now.finals().items()),
            ("pending", count(now.pending)),
            ("time so far", formatting.duration(int(now.elapsed_s))),
            ("time left", "?" if rates.left_s is None else formatting.duration(round(rates.left_s))),
        ]
        clock = time.monotonic()
        return {
            "title": self._title,
            "has_ended": self._has_ended,
            "is_paused": now.is_paused,
            "is_stopping": now.is_stopping,
            "percent": round(formatting.share(now) * 100, 1) if now.input_ended else 0,
            "progress": formatting.progress(now),
            "bottleneck": "" if now.bottleneck is None else shown(now.bottleneck.text),
            "urls_per_s": round(rates.urls_per_s, 2),
            "tiles": tiles,
            "hosts": [(shown(host, 200), count(a), count(q), shown(why)) for host, a, q, why in now.hosts],
            "holds": [
                (shown(host, 200), shown(why, 100), round(until - clock))
                for host, (why, until) in reversed(self._holds.items())
                if until > clock
            ],
            "errors": [
                (shown(slug, 60), count(number))
                for slug, number in sorted(now.errors.items(), key=lambda item: -item[1])[:10]
            ],
            "growing": [
                (shown(url, 300), f"{formatting.body(length, whole)}, {size(rates.bodies.get(url, 0.0))}/s")
                for url, length, whole in now.growing
            ],
            "failures": [
                (
                    shown(each.error or each.state, 60),
                    shown(each.url, 500),
                    shown(each.message or "", 300),
                    place_of(each),
                )
                for each in reversed(self._failures)
            ],
        }

    # -- requests ------------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2] or "index.html"
        body = files("fetcher.observers").joinpath("dashboard_page", name).read_bytes()
        return web.Response(body=body, content_type=_KINDS[name], charset="utf-8", headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send samples as server-sent events, each when the last was taken."""
        if self._viewers >= _MOST_VIEWERS:
            raise web.HTTPServiceUnavailable
        answer = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        self._viewers += 1
        self._unwatched.clear()
        try:
            await answer.prepare(request)
            if time.monotonic() - self._sampled_at >= self._every_s:
                self._sample()
            while True:
                fresh, newest, is_last = self._fresh, self._newest, self._has_ended
                async with asyncio.timeout(_PATIENCE_S):
                    await answer.write(b"data: " + newest + b"\n\n")
                if is_last:
                    return answer
                await fresh.wait()
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return answer
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._unwatched.set()

    def _orders(self) -> dict[str, Callable[[web.Request], Awaitable[web.Response]]]:
        def doing(act: Callable[[], None]) -> Callable[[web.Request], Awaitable[web.Response]]:
            async def obey(_: web.Request) -> web.Response:
                act()
                self._sample()
                return web.Response(status=204, headers=_HEADERS)

            return obey

        return {
            "pause": doing(lambda: self._run.adjust(is_paused=True)),
            "resume": doing(lambda: self._run.adjust(is_paused=False)),
            "stop": doing(lambda: self._run.stop(STOPPED)),
        }

    async def _url(self, request: web.Request) -> web.Response:
        """The story of one URL, as text."""
        url = request.query.get("url", "").strip()
        if not url or self._has_ended:
            text = "the run is over: fetcher why tells it" if url else "which URL?"
        else:
            loop = asyncio.get_running_loop()
            try:
                text = await loop.run_in_executor(self._reader, self._why, url)
            except FetcherError as error:
                text = shown("; ".join(filter(None, (error.message, error.hint))))
        if len(text) > _LONGEST_STORY:
            text = f"{text[:_LONGEST_STORY]}…"
        return web.Response(text=text, headers=_HEADERS)
