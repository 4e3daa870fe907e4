"""Links of a sitemap: an index, a set of URLs, a feed, or lines of text; plain or gzipped (sitemaps.org).

Invariant: no more than `LARGEST` bytes are decoded, and no more than 50,000 URLs taken. What is broken or
cut is read on past the damage. `tell` is told of that, and of what was not read.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import ClassVar

from fetcher.extract.feeds import links_of_feed
from fetcher.extract.link_collector import FULL, LinkCollector
from fetcher.extract.to_utf8 import to_utf8
from fetcher.extract.xml import Stopped, read, root_of
from fetcher.model import Link, LinkKind

LARGEST = 50 << 20  # bytes, decoded
_SLICE = 65536
_MOST_MEMBERS = 1000  # gzip files in one

SITEMAP_ROOTS = frozenset({"urlset", "sitemapindex"})
FEED_ROOTS = frozenset({"rss", "rdf", "feed"})


_has_entry = re.compile(rb"<(?:[A-Za-z0-9_.-]{1,50}:)?loc[\s>]", re.IGNORECASE).search


def links_of_sitemap(
    body: bytes,
    *,
    url: str,
    content_type: str | None = None,
    assets: bool = False,
    tell: Callable[[str], object] = str,
) -> list[Link]:
    """Return the URLs that a body named as a sitemap lists, whatever its type says. Never raises."""
    if body.startswith(b"\x1f\x8b"):
        body = gunzip(body, LARGEST + 1, tell=tell)
    if len(body) > LARGEST:
        tell(f"only the first {LARGEST >> 20} MiB are read")
        body = body[:LARGEST]
    document, _ = to_utf8(body, content_type)
    if document.lstrip(b" \t\r\n").startswith(b"<") or _has_entry(document):
        return links_of_xml(document, url=url, assets=assets, is_sitemap=True, tell=tell)
    found = LinkCollector(url)
    for line in document.splitlines():
        address = line.strip()
        if address[:8].lower().startswith((b"http://", b"https://")):  # RFC 9309 §2.2.4: full URLs
            if found.is_full:
                tell(FULL)
                break
            found.add(address.decode("utf-8", "replace"))
    return found.links()


def links_of_xml(
    document: bytes,
    *,
    url: str,
    assets: bool = False,
    is_sitemap: bool = False,
    tell: Callable[[str], object] = str,
) -> list[Link]:
    """Return the links of a sitemap or a feed in UTF-8, by its root element; none of anything else.

    One that was named as a sitemap is read as such if it has entries, though its beginning is damaged.
    """
    root = root_of(document)
    if root in FEED_ROOTS:
        return links_of_feed(document, url=url, assets=assets, tell=tell)
    if root in SITEMAP_ROOTS or (is_sitemap and root != "html" and _has_entry(document)):
        found = LinkCollector(url)
        note = read(document, lambda: _Sitemap(found, assets=assets))
        if note is not None:
            tell(note)
        return found.links()
    return []


def gunzip(body: bytes, limit: int = LARGEST, tell: Callable[[str], object] = str) -> bytes:
    """Decompress a gzip file, up to `limit` bytes or up to its damage (RFC 1952)."""
    parts: list[bytes] = []
    left = limit
    members = 1
    inflater = zlib.decompressobj(wbits=31)
    is_within = False  # a member
    try:
        for start in range(0, len(body), _SLICE):
            piece = body[start : start + _SLICE]
            while piece and left > 0:
                if not is_within and parts and not piece.startswith(b"\x1f"):  # zeros, or other rubbish
                    return b"".join(parts)
                is_within = True
                part = inflater.decompress(piece, left)
                parts.append(part)
                left -= len(part)
                piece = inflater.unused_data or inflater.unconsumed_tail
                if inflater.eof:
                    if members == _MOST_MEMBERS:
                        tell(f"only the first {_MOST_MEMBERS:,} gzip files in it are read")
                        return b"".join(parts)
                    members += 1
                    inflater = zlib.decompressobj(wbits=31)
                    is_within = False
            if left <= 0:
                break
    except zlib.error as error:
        tell(f"its gzip data is damaged ({error}); what follows is not read")
        return b"".join(parts)
    if is_within and left > 0:
        tell("its gzip data is cut short")
    return b"".join(parts)


class _Sitemap:
    """`loc` of `url` and `sitemap`, and the translations that are named beside them."""

    texts = frozenset({"loc"})
    _KINDS: ClassVar[dict[str, LinkKind]] = {"url": "page", "sitemap": "sitemap"}

    def __init__(self, found: LinkCollector, *, assets: bool) -> None:
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
        if self._found.is_full:
            raise Stopped(FULL)
        self._found.add(address, kind)
