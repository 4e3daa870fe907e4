"""Links of a feed: RSS 0.9x and 2.0, RSS 1.0 (RDF) and Atom (RFC 4287)."""

from __future__ import annotations

from collections.abc import Callable

from fetcher.extract.link_collector import FULL, LinkCollector
from fetcher.extract.xml import Stopped, read
from fetcher.model import Link, LinkKind
from fetcher.policy.link_urls import resolve_link

_ITEMS = frozenset({"item", "entry"})
_FOLLOWED = frozenset({"alternate", "next", "prev", "previous", "first", "last", "related", "via"})


def links_of_feed(
    document: bytes, *, url: str, assets: bool = False, tell: Callable[[str], object] = str
) -> list[Link]:
    """Return the pages that a feed in UTF-8 announces, and its enclosures if `assets`. Never raises.

    `tell` is told of damage, and of what was not read.
    """
    found = LinkCollector(url)
    note = read(document, lambda: _Feed(found, url, assets=assets))
    if note is not None:
        tell(note)
    return found.links()


class _Feed:
    """`link` in its two forms, and `guid` where an item has no other address. `xml:base` counts inside."""

    texts = frozenset({"link", "guid"})

    def __init__(self, found: LinkCollector, url: str, *, assets: bool) -> None:
        self._found = found
        self._assets = assets
        self._bases = [url]
        self._has_link = False
        self._is_permalink = False
        self._permalink = ""

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        base = attributes.get("xml:base")
        self._bases.append(
            self._bases[-1] if not base else resolve_link(self._bases[-1], base) or self._bases[-1]
        )
        if name in _ITEMS:
            self._has_link = False
            self._permalink = ""
        elif name == "link":
            self._read_link(attributes)
        elif name == "guid":
            self._is_permalink = attributes.get("isPermaLink", "true").strip().lower() == "true"
        elif name == "enclosure":
            self._add(attributes.get("url", ""), "asset")

    def end(self, name: str, text: str) -> None:
        if name == "link" and text.strip():
            self._has_link = True
            self._add(text, "page")
        elif name == "guid" and self._is_permalink:
            self._permalink = text.strip()
        elif name in _ITEMS and not self._has_link and "://" in self._permalink:
            self._add(self._permalink, "page")
        self._bases.pop()

    def _read_link(self, attributes: dict[str, str]) -> None:
        """Atom's `link`, or one of Atom in RSS. Without `rel` it is an alternate (RFC 4287 §4.2.7.2)."""
        href = attributes.get("href")
        if href is None:
            return
        rel = attributes.get("rel", "alternate").strip().lower()
        if rel in _FOLLOWED:
            self._has_link = True
            self._add(href, "page")
        elif rel == "enclosure":
            self._add(href, "asset")

    def _add(self, address: str, kind: LinkKind) -> None:
        if kind == "page" or self._assets:
            if self._found.is_full:
                raise Stopped(FULL)
            self._found.add(address, kind, base=self._bases[-1])
