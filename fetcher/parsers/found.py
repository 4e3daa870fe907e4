"""Links as they are found on one page: resolved, in order, each once, and no more than `MOST_LINKS`."""

from __future__ import annotations

from fetcher.model import Link, LinkKind
from fetcher.policy.links import resolve

MOST_LINKS = 50_000  # of one page: what sitemaps.org allows in one file

_ODD_BEGIN = frozenset({"", "#", " ", "\t", "\n", "\f", "\r"})


class Found:
    """Collects links. The first of its kind keeps its place; one to be followed wins."""

    __slots__ = ("_base", "_encoding", "_links")

    def __init__(self, base: str, encoding: str = "utf-8") -> None:
        self._base = base
        self._encoding = encoding
        self._links: dict[tuple[str, LinkKind], bool] = {}

    @property
    def is_full(self) -> bool:
        return len(self._links) >= MOST_LINKS

    def add(
        self, href: str, kind: LinkKind = "page", *, nofollow: bool = False, base: str | None = None
    ) -> None:
        """Take a link as it is written. Nothing happens if it leads nowhere, or only within the page."""
        if href[:1] in _ODD_BEGIN:
            href = href.strip(" \t\n\f\r")
            if not href or href[0] == "#":
                return
        links = self._links
        if len(links) >= MOST_LINKS:
            return
        url = resolve(base or self._base, href, encoding=self._encoding)
        if url is None:
            return
        if nofollow:
            links.setdefault((url, kind), True)
        else:
            links[url, kind] = False

    def links(self) -> list[Link]:
        return [Link(url, kind, nofollow) for (url, kind), nofollow in self._links.items()]
