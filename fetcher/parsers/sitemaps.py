"""Links of a sitemap: an index, a set of URLs, a feed, or lines of text; plain or gzipped (sitemaps.org).

Invariant: no more than `LARGEST` bytes are decoded, and no more than 50,000 URLs taken. What is broken,
cut or too large gives what was read so far.
"""

from __future__ import annotations

import zlib
from typing import ClassVar

from fetcher.model import Link, LinkKind
from fetcher.parsers.encoded import in_utf8
from fetcher.parsers.feeds import links_of_feed
from fetcher.parsers.found import Found
from fetcher.parsers.xml import Stopped, read, root_of

LARGEST = 50 << 20  # bytes, decoded
_SLICE = 65536
_MOST_MEMBERS = 1000  # gzip files in one

SITEMAP_ROOTS = frozenset({"urlset", "sitemapindex"})
FEED_ROOTS = frozenset({"rss", "rdf", "feed"})


def links_of_sitemap(
    body: bytes, *, url: str, content_type: str | None = None, assets: bool = False
) -> list[Link]:
    """What a body that was named as a sitemap lists, whatever its type says. Never raises."""
    if body.startswith(b"\x1f\x8b"):
        body = gunzip(body)
    document, _ = in_utf8(body[:LARGEST], content_type)
    if document.lstrip(b" \t\r\n").startswith(b"<"):
        return links_of_xml(document, url=url, assets=assets)
    found = Found(url)
    for line in document.splitlines():
        address = line.strip()
        if address[:8].lower().startswith((b"http://", b"https://")):  # RFC 9309 §2.2.4: full URLs
            found.add(address.decode("utf-8", "replace"))
            if found.is_full:
                break
    return found.links()


def links_of_xml(document: bytes, *, url: str, assets: bool = False) -> list[Link]:
    """The links of a sitemap or a feed in UTF-8, by its root element; none of anything else."""
    root = root_of(document)
    if root in SITEMAP_ROOTS:
        found = Found(url)
        read(document, _Sitemap(found, assets=assets))
        return found.links()
    if root in FEED_ROOTS:
        return links_of_feed(document, url=url, assets=assets)
    return []


def gunzip(body: bytes, limit: int = LARGEST) -> bytes:
    """What a gzip file holds, up to `limit` bytes, or what could be read of it (RFC 1952)."""
    parts: list[bytes] = []
    left = limit
    members = 1
    inflater = zlib.decompressobj(wbits=31)
    try:
        for start in range(0, len(body), _SLICE):
            piece = body[start : start + _SLICE]
            while piece and left > 0:
                part = inflater.decompress(piece, left)
                parts.append(part)
                left -= len(part)
                piece = inflater.unused_data or inflater.unconsumed_tail
                if inflater.eof:
                    if members == _MOST_MEMBERS:
                        return b"".join(parts)
                    members += 1
                    inflater = zlib.decompressobj(wbits=31)
            if left <= 0:
                break
    except zlib.error:
        pass
    return b"".join(parts)


class _Sitemap:
    """`loc` of `url` and `sitemap`, and the translations that are named beside them."""

    texts = frozenset({"loc"})
    _KINDS: ClassVar[dict[str, LinkKind]] = {"url": "page", "sitemap": "sitemap"}

    def __init__(self, found: Found, *, assets: bool) -> None:
        self._found = found
        self._assets = assets
        self._within: list[str] = []

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        is_translation = name == "link" and self._within[-1:] == ["url"]
        if is_translation and attributes.get("rel", "").lower() == "alternate":
            self._add(attributes.get("href", ""), "page")
        self._within.append(name)

    def end(self, name: str, text: str) -> None:
        self._within.pop()
        if name != "loc" or not self._within:
            return
        parent = self._within[-1]
        if parent in self._KINDS:
            self._add(text, self._KINDS[parent])
        elif parent == "image" and self._assets:
            self._add(text, "asset")

    def _add(self, address: str, kind: LinkKind) -> None:
        self._found.add(address, kind)
        if self._found.is_full:
            raise Stopped
