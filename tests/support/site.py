"""A plain static site on a `FaultServer`: pages from a dict, validators, and a gate to hold answers at.

    with Site({"/a": b"one"}) as site:
        program.run("get", site.url("/a"))
        site.pages["/a"] = b"two"          # its ETag and Last-Modified change with it

`hold_after(n)` answers n more requests and keeps the rest waiting until `release`: so a test stops a run in
the middle of its work without a race. Paths of the fault server's scripts keep their meaning.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from email.utils import formatdate

from support.faultserver import Exchange, FaultServer

BEGUN = 1_700_000_000


class Site(FaultServer):
    """Serves `pages` (path without query: body) to GET and HEAD, 404 for the rest."""

    def __init__(self, pages: Mapping[str, bytes], hosts: Iterable[str] = ()) -> None:
        super().__init__(hosts=hosts)
        self.pages = dict(pages)
        self.has_validators = True
        self.content_type = "application/octet-stream"
        self._opened = asyncio.Event()
        self._opened.set()
        self._left: int | None = None
        self._held_host: str | None = None
        self._routes.append(("/", self._serve))

    def hold_after(self, answers: int) -> None:
        """Answer so many more requests, then none until `release`."""
        self._do(self._hold, answers)

    def release(self) -> None:
        """Answer everything again, what waits included."""
        self._do(self._hold, None)

    def hold_host(self, address: str) -> None:
        """Answer nothing at that address of ours until `release_host`."""
        self._held_host = address
        self._opened.clear()

    def release_host(self) -> None:
        """Answer everything again."""
        self._held_host = None
        self._do(self._opened.set)

    def requests(self) -> Counter[str]:
        """How often each target was asked for."""
        return Counter(hit.target for hit in self.log)

    def _do(self, what: object, *arguments: object) -> None:
        done = asyncio.run_coroutine_threadsafe(_call(what, *arguments), self._loop)
        done.result(timeout=60)

    def _hold(self, answers: int | None) -> None:
        self._left = answers
        if answers is None:
            self._opened.set()
        else:
            self._opened.clear()

    async def _serve(self, x: Exchange) -> None:
        if x.hit.address == self._held_host:
            await self._wait_for_release(x)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                await self._wait_for_release(x)
        body = self.pages.get(x.hit.path)
        if body is None:
            await x.answer(404, body=b"no such page\n")
            return
        if not self.has_validators:
            await x.answer(200, [("Content-Type", self.content_type)], body)
            return
        digest = hashlib.sha256(body).digest()
        etag = f'"{digest[:8].hex()}"'
        modified = formatdate(BEGUN + digest[0], usegmt=True)
        fields = [("Content-Type", self.content_type), ("ETag", etag), ("Last-Modified", modified)]
        wanted = x.hit.header("if-none-match")
        since = x.hit.header("if-modified-since")
        same = wanted == etag if wanted is not None else since == modified
        await x.answer(304 if same else 200, fields, b"" if same else body)

    async def _wait_for_release(self, x: Exchange) -> None:
        opened = asyncio.ensure_future(self._opened.wait())
        gone = asyncio.ensure_future(x.reader.read(1))
        try:
            await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConnectionResetError("the client went away")
        finally:
            opened.cancel()
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)


async def _call(what: object, *arguments: object) -> None:
    assert callable(what)
    what(*arguments)


def pages(number: int, size: int = 600) -> dict[str, bytes]:
    """So many pages, `/p/0` and on, of about `size` bytes that differ from page to page."""
    return {
        f"/p/{n}": (f"page {n} " * (1 + size // 7)).encode()[:size] + b"!" * (n % 7) for n in range(number)
    }
