"""Link relations: whether a crawl takes the target as a page, an asset, the canonical URL, or not at all.

The relations of HTML's `link` and of the `Link` header field (RFC 8288 §3.3) are the same.
"""

from __future__ import annotations

from functools import lru_cache

from fetcher.model import LinkKind

_PAGES = frozenset(
    {
        "alternate",
        "amphtml",
        "archives",
        "author",
        "bookmark",
        "chapter",
        "contents",
        "copyright",
        "first",
        "glossary",
        "help",
        "home",
        "index",
        "item",
        "last",
        "license",
        "next",
        "prev",
        "previous",
        "privacy-policy",
        "section",
        "shortlink",
        "start",
        "subsection",
        "terms-of-service",
        "toc",
        "top",
        "up",
    }
)
_ASSETS = frozenset(
    {
        "apple-touch-icon",
        "apple-touch-icon-precomposed",
        "apple-touch-startup-image",
        "fluid-icon",
        "icon",
        "image_src",
        "manifest",
        "mask-icon",
        "modulepreload",
        "preload",
        "stylesheet",
    }
)


@lru_cache(maxsize=1024)
def kind_of_relation(rel: str, media_type: str = "") -> LinkKind | None:
    """Return the kind of a link by its `rel` and its `type`; None for what is not to be fetched.

    Hints such as `preconnect` are no links, and the programming interfaces that many pages name
    (`pingback`, `EditURI`, oEmbed) are not for readers.
    """
    relations = set(rel.lower().split())
    if "canonical" in relations:
        return "canonical"
    if relations & _ASSETS:
        return "asset"
    if relations & _PAGES and "oembed" not in media_type.lower():
        return "page"
    return None
