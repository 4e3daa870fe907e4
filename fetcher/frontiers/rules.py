"""What a crawl follows, as its frontier is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fetcher.policy.scope import Scope

MAX_HOPS = 10


class CrawlRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one crawl.

    `agent` is the product token that robots.txt is searched for. `max_variants` bounds the query variants
    of one path, `max_host_pages` the pages of one host, listed ones included. `signature` is a text that
    changes when a rule does: what earlier sessions left out, or found and did not fetch, is then judged
    anew.
    """

    scope: Scope
    agent: str
    obeys_robots: bool = True
    sitemaps: bool = False
    max_pages: int | None = None
    max_variants: int | None = None
    max_host_pages: int | None = None
    sort_query: bool = False
    max_hops: int = MAX_HOPS  # redirects and canonicals in a row
    signature: str = ""
