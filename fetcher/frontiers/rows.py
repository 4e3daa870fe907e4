"""What the columns of a crawl's rows mean."""

from __future__ import annotations

from fetcher.model import Kind

PAGE, ASSET, SITEMAP = 1, 2, 4  # of `kinds`: all that a URL was found as
_PRIORITY = 1 << 20  # in `rank`: it wins over any depth
_MOST_PRIORITY = 1 << 40


def kind_of(kinds: int) -> Kind:
    """What a row is fetched as."""
    return "page" if kinds & PAGE else "asset" if kinds & ASSET else "sitemap"


def rank_of(depth: int, priority: int) -> int:
    """Breadth first, but for a priority, which wins over any depth: the larger goes first."""
    priority = max(-_MOST_PRIORITY, min(priority, _MOST_PRIORITY))
    return min(depth, _PRIORITY - 1) - priority * _PRIORITY
