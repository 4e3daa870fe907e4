"""A generated `Web` on a server, whose log says what a crawl asked for.

    web = generate(300)
    with CrawlSite(web) as site:
        program.run("crawl", site.url("/"), "-o", "out")
        assert site.asked() == Counter(list(web.expected().fetched))

`hold_after` and `release` work as in `Site`.
"""

from __future__ import annotations

import gzip
from collections import Counter

from support.crawlweb import ADDRESS, ELSEWHERE, HTML, Web, key_of
from support.faultserver import Exchange
from support.site import Site

SECOND = "127.0.0.2"  # out of scope, unless it is a seed
APART = {"/robots.txt", "/sitemap.xml"}


class CrawlSite(Site):
    """Serves a `Web` on 127.0.0.1; 127.0.0.2 is the other host that its pages link to, and has the same pages."""

    def __init__(self, web: Web) -> None:
        super().__init__({}, [SECOND])
        self.web = web
        self._seen: set[str] = set()
        self._routes.insert(0, ("/", self._serve))
        self._addresses = {
            name.encode(): f"{host}:{self.port}".encode()
            for name, host in zip((ADDRESS, ELSEWHERE), self.hosts, strict=True)
        }

    def asked(self, host: str = "127.0.0.1") -> Counter[str]:
        """How often each target was asked for at a host, robots.txt and sitemaps apart."""
        apart = APART | self.web.sitemaps
        keys = (key_of(hit.target) for hit in self.log if hit.address == host)
        return Counter(key for key in keys if key not in apart)

    def addressed(self, body: bytes) -> bytes:
        """What is served of a body: the names in it are where this server is."""
        for name, address in self._addresses.items():
            body = body.replace(name, address)
        return body

    async def _serve(self, x: Exchange) -> None:
        target = key_of(x.hit.target)
        self._seen.add(target)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                await self._wait_for_release(x)
        found = self.web.find(target)
        if target == "/robots.txt":
            await x.answer(200, [("Content-Type", "text/plain")], self.addressed(self.web.robots.encode()))
        elif found is None:
            body = b'<a href="/noise/error">an error page leads nowhere</a>'
            await x.answer(404, [("Content-Type", HTML)], body)
        else:
            if found.delay_s:
                await x.pause(found.delay_s)
            while found.after is not None and found.after not in self._seen:
                await x.pause(0.01)
            fields = [("Content-Type", found.content_type)] if found.body else []
            fields += [(name, self.addressed(value.encode()).decode()) for name, value in found.fields]
            body = self.addressed(found.body)
            if found.is_coded:
                fields.append(("Content-Encoding", "gzip"))
                body = gzip.compress(body, 1, mtime=0)
            await x.answer(found.status, fields, body)
