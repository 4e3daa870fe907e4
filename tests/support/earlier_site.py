"""The site of the run directories that earlier versions made (`tests/data`), behind a proxy.

Its URLs are of `http://site.example/`, and whoever asks is told to use the server as a proxy; so they are the
same wherever the server listens, and a directory can be continued that was made with another port.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from support.faultserver import Exchange, Script
from support.site import Site

ORIGIN = "http://site.example"
FOREIGN = "site.example/p/3"  # a file of the user's stood there before the first run
BROKEN = f"{ORIGIN}/missing"
NO_URL = "no url at all"

# Names that meet: a file where another needs a folder, and two that differ in case alone.
_MEETING = {"/Read": b"one", "/READ": b"two", "/read/deeper": b"three"}
_PAGES = {f"/p/{n}": f"page {n}\n".encode() * (n + 1) for n in range(27)}
CRAWL = 24


def get_pages() -> dict[str, bytes]:
    """Pages of the lists that are fetched, by path."""
    return {**_PAGES, **_MEETING}


def crawl_pages() -> dict[str, bytes]:
    """Pages of the crawl, by path: a tree, three links on each, and one that is linked twice."""
    pages = {}
    for n in range(CRAWL):
        links = "".join(f'<a href="/c/{m}">{m}</a>' for m in range(3 * n + 1, 3 * n + 4) if m < CRAWL)
        pages[f"/c/{n}"] = f"<!doctype html><title>{n}</title>{links}<a href=/c/0>home</a>".encode()
    return pages


class EarlierSite(Site):
    """Serves the pages to requests in absolute form (RFC 9112 §3.2.2)."""

    def __init__(self) -> None:
        super().__init__({**get_pages(), **crawl_pages()})
        self.content_type = "text/html"

    @property
    def proxy(self) -> tuple[str, str]:
        """The option that sends a run here."""
        return "--proxy", f"http://127.0.0.1:{self.port}"

    def asked(self) -> Counter[str]:
        """How often each path was asked for, robots.txt apart."""
        return Counter(path for hit in self.log if (path := urlsplit(hit.target).path) != "/robots.txt")

    def _script(self, exchange: Exchange) -> Script:
        return self._serve


def urls() -> list[str]:
    """The list of the directories that `get` made: pages, one that is missing, and a line that is no URL."""
    return [*(ORIGIN + path for path in get_pages()), BROKEN, NO_URL]
