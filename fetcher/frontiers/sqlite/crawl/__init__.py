"""Discovered links, quotas, seeds and robots.txt: what a crawl adds to the SQLite frontier."""
