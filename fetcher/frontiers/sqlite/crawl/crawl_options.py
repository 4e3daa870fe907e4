"""Options of a crawl that its frontier works by, and one session of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    import sqlite3

    from fetcher.frontiers.sqlite.crawl.shard_post import ShardPost
    from fetcher.frontiers.sqlite.interning import InternTable
    from fetcher.frontiers.sqlite.request_keys import RequestKeys
    from fetcher.policy.scope import Scope
    from fetcher.policy.shares import ShareRules

MAX_HOPS = 10


class CrawlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Rules on what one crawl follows.

    `agent` is the product token that robots.txt is searched for. `max_variants` bounds the query variants
    of one path, `max_host_pages` the pages of one host, listed ones included. URLs that differ in a session
    id are one page, unless `keep_session_ids`. `signature` is a text that
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
    keep_session_ids: bool = False
    max_hops: int = MAX_HOPS  # redirects and canonicals in a row
    share: ShareRules | None = None  # other hosts are left to other shards
    post: ShardPost | None = None
    checks: bool = False  # what a rule keeps from being followed is asked for all the same
    signature: str = ""


class CrawlSession(NamedTuple):
    """One session of a crawl, as its parts share it.

    `base` is the generation in which the last asking began; rows of older ones are stale. `next_id` gives
    numbers of new rows.
    """

    db: sqlite3.Connection
    keys: RequestKeys
    interned: InternTable
    options: CrawlOptions
    base: int
    generation: int
    number: int
    next_id: Callable[[], int]
