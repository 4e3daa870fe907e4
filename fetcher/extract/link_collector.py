"""Links as they are found on one page: resolved, in order, each once, and no more than `MOST_LINKS`."""

from __future__ import annotations

from fetcher.model import Link, LinkKind
from fetcher.policy.link_urls import resolve_link

MOST_LINKS = 50_000  # of one page: what sitemaps.org allows in one file
FULL = f"it has more than {MOST_LINKS:,} links; the rest is not read"

_MEANT = ("http:", "https:", "//")
_LONGEST_BAD = 2048  # characters
_ODD_BEGIN = frozenset({"", "#", " ", "\t", "\n", "\f", "\r"})


class LinkCollector:
    """Collector of links. The first of its kind keeps its place; one to be followed wins.

    With `keeps_bad` those that are meant for http or https and are no URL are kept as they are written.
    """

    __slots__ = ("_base", "_encoding", "_keeps_bad", "_links", "_texts")

    def __init__(self, base: str, encoding: str = "utf-8", *, keeps_bad: bool = False) -> None:
        self._keeps_bad = keeps_bad
        self._base = base
        self._encoding = encoding
        self._links: dict[tuple[str, LinkKind], bool] = {}
        self._texts: dict[tuple[str, LinkKind], str] = {}

    @property
    def is_full(self) -> bool:
        return len(self._links) >= MOST_LINKS

    def add(
        self,
        href: str,
        kind: LinkKind = "page",
        *,
        nofollow: bool = False,
        base: str | None = None,
        text: str = "",
    ) -> None:
        """Take a link as it is written. Nothing happens if it leads nowhere, or only within the page."""
        if href[:1] in _ODD_BEGIN:
            href = href.strip(" \t\n\f\r")
            if not href or href[0] == "#":
                return
        links = self._links
        if len(links) >= MOST_LINKS:
            return
        url = resolve_link(base or self._base, href, encoding=self._encoding)
        if url is None:
            if not self._keeps_bad or not href.lower().startswith(_MEANT):
                return
            url = href.strip()[:_LONGEST_BAD]
        if nofollow:
            links.setdefault((url, kind), True)
        else:
            links[url, kind] = False
        if text:
            self._texts.setdefault((url, kind), text)

    def links(self) -> list[Link]:
        texts = self._texts
        if not texts:
            return [Link(url, kind, nofollow) for (url, kind), nofollow in self._links.items()]
        return [
            Link(url, kind, nofollow, text=texts.get((url, kind), ""))
            for (url, kind), nofollow in self._links.items()
        ]
