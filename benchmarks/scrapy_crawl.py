"""Crawl a site with Scrapy in its ordinary way, and print the pages and the seconds of the crawl alone.

    python benchmarks/scrapy_crawl.py URL

A `CrawlSpider` with a `LinkExtractor`, 64 exchanges at once, robots.txt, logs, cache, cookies, retries and
throttling off. Nothing is stored. The first page is asked for twice, as always with Scrapy, and counted once.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, ClassVar
from urllib.parse import urlsplit

from scrapy.crawler import CrawlerProcess
from scrapy.linkextractors import LinkExtractor
from scrapy.spiders import CrawlSpider, Rule

SETTINGS: dict[str, Any] = {
    "LOG_ENABLED": False,
    "CONCURRENT_REQUESTS": 64,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 64,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": False,
    "HTTPCACHE_ENABLED": False,
    "COOKIES_ENABLED": False,
    "AUTOTHROTTLE_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
    "RETRY_ENABLED": False,
}


class Spider(CrawlSpider):
    """Follows every link of the host."""

    name = "bench"
    rules = (Rule(LinkExtractor(), callback="take", follow=True),)
    seen: ClassVar[set[str]] = set()

    def take(self, response: Any) -> None:
        """Count a page."""
        self.seen.add(response.url)

    def parse_start_url(self, response: Any, **_: Any) -> None:
        """The first page has no rule."""
        self.take(response)


def main() -> None:
    url = sys.argv[1]
    process = CrawlerProcess(SETTINGS)
    process.crawl(Spider, start_urls=[url], allowed_domains=[urlsplit(url).hostname])
    started = time.perf_counter()
    process.start()
    print(json.dumps({"pages": len(Spider.seen), "elapsed_s": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
