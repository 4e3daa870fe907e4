"""The built-in links of a page: by its media type, and from its `Link` header field.

Invariant: whatever the bytes are, this returns; no link is resolved against anything but its page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from fetcher import re_compat
from fetcher.extract.css import links_of_css
from fetcher.extract.html import links_of_html
from fetcher.extract.link_collector import MOST_LINKS, LinkCollector
from fetcher.extract.link_header import links_of_header
from fetcher.extract.robots_meta import AGENT, header_forbids_following
from fetcher.extract.sitemaps import FEED_ROOTS, SITEMAP_ROOTS, links_of_sitemap, links_of_xml
from fetcher.extract.to_utf8 import to_utf8
from fetcher.extract.xml import root_of
from fetcher.model import Headers, Link

Type = Literal["html", "xml", "css", "other"]

_HTML = frozenset({"text/html", "application/xhtml+xml"})
_XML = frozenset({"application/xml", "text/xml"})
_looks_like_html = re_compat.compile(  # MIME Sniffing §7.1
    rb"(?:\xef\xbb\xbf)?+[ \t\n\f\r]*+(?:<!--|<(?:!doctype html|html|head|script|iframe|h1|div|font"
    rb"|table|a|style|title|b|body|br|p)[ \t\n\f\r>])",
    re.IGNORECASE,
).match


def links_of(
    body: bytes,
    *,
    url: str,
    content_type: str | None,
    headers: Headers | None,
    assets: bool = False,
    ignore: frozenset[str] = frozenset(),
    kind: Literal["page", "sitemap"] = "page",
    agent: str = AGENT,
    tell: Callable[[str], object] = str,
    texts: bool = False,
) -> list[Link]:
    """Return the links of a page in the order in which they stand, each once, at most 50,000. Never raises.

    `url` is where the body came from. `ignore` holds what is not to be respected: `nofollow` (of a link),
    `meta` (`nofollow` for the whole page, also of X-Robots-Tag), `canonical`. A link that asks not to be
    followed is there all the same, and says so. With the kind `sitemap` the body is read as one. `agent` is
    the product token in lower case that a page may name. `tell` is told, in a clause each, of damage to a
    sitemap or feed and of what was not read of it. With `texts` the links of HTML have theirs.
    """
    if kind == "sitemap":
        return links_of_sitemap(body, url=url, content_type=content_type, assets=assets, tell=tell)
    nofollow = "meta" not in ignore and header_forbids_following(headers, agent)
    announced = _of_header(headers, url, assets=assets, ignore=ignore, nofollow=nofollow)
    contained = _of_body(
        body,
        url,
        content_type,
        assets=assets,
        ignore=ignore,
        nofollow=nofollow,
        agent=agent,
        tell=tell,
        texts=texts,
    )
    if not announced:
        return contained
    known = {(link.url, link.kind) for link in announced}
    rest = [link for link in contained if (link.url, link.kind) not in known]
    return (announced + rest)[:MOST_LINKS]


def may_hold_links(headers: Headers) -> bool:
    """Tell by the media type whether a body may hold links that are read; one without a type may."""
    media_type = headers.get("content-type") or ""
    return "/" not in media_type.partition(";")[0] or type_of(b"", media_type) != "other"


def type_of(body: bytes, content_type: str | None) -> Type:
    """Choose how to read a body: by its media type, or by its first bytes where no type is given."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type in _HTML:
        return "html"
    if media_type in _XML or media_type.endswith("+xml"):
        return "xml"
    if media_type == "text/css":
        return "css"
    if "/" in media_type:
        return "other"
    if _looks_like_html(body):
        return "html"
    return (
        "xml"
        if root_of(body[:4096].removeprefix(b"\xef\xbb\xbf")) in SITEMAP_ROOTS | FEED_ROOTS | {"html"}
        else "other"
    )


def _of_body(
    body: bytes,
    url: str,
    content_type: str | None,
    *,
    assets: bool,
    ignore: frozenset[str],
    nofollow: bool,
    agent: str,
    tell: Callable[[str], object],
    texts: bool,
) -> list[Link]:
    read_as = type_of(body, content_type)
    if read_as == "css":
        return links_of_css(body, url=url, content_type=content_type) if assets else []
    if read_as == "other":
        return []
    document, encoding = to_utf8(body, content_type)
    if read_as == "xml" and root_of(document) != "html":
        return links_of_xml(document, url=url, assets=assets, tell=tell)
    return links_of_html(
        document,
        url=url,
        encoding=encoding,
        assets=assets,
        ignore=ignore,
        nofollow=nofollow,
        agent=agent,
        texts=texts,
    )


def _of_header(
    headers: Headers | None, url: str, *, assets: bool, ignore: frozenset[str], nofollow: bool
) -> list[Link]:
    found: LinkCollector | None = None
    for reference, kind, is_nofollow in links_of_header(headers):
        if (kind == "asset" and not assets) or (kind == "canonical" and "canonical" in ignore):
            continue
        found = found or LinkCollector(url)
        found.add(reference, kind, nofollow=nofollow or (is_nofollow and "nofollow" not in ignore))
    return found.links() if found else []
