"""Finder of the rows of a URL, however it is spelled, as the run would have found them; or of near ones."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from fetcher.errors import Refused
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.discovery import crawl_key
from fetcher.frontiers.sqlite.request_keys import RequestKeys
from fetcher.model import Job, Target
from fetcher.policy.fingerprint import request_fingerprint
from fetcher.policy.redaction import mask, safe_text
from fetcher.policy.scope import Scope
from fetcher.policy.urls import admit, lacks_scheme, path_start

Row = dict[str, Any]  # by column

_FIND = "SELECT check_key, * FROM url WHERE id = ?"
_BY_TEXT = "SELECT * FROM url WHERE url IN (?, ?) OR given IN (?, ?) ORDER BY id LIMIT 20"
_OF_HOST = "SELECT coalesce(given, url) FROM url WHERE host = ? ORDER BY id LIMIT 50000"
_MOST_NEAR = 3
_MOST_COMPARED = 200
_MOST_HOSTS = 50_000


class UrlFinder:
    """Finder in one state, whose rows are dicts; `asked` is the URL as the user spells it.

    `targets` are what it may mean: none where it is no URL, two where it lacks its scheme. `problem` says why
    it is none.
    """

    def __init__(self, db: sqlite3.Connection, asked: str, *, is_crawl: bool) -> None:
        self._db = db
        self._keys_of_rows = RequestKeys(db)
        self._asked = safe_text(asked)
        self._is_crawl = is_crawl
        self.problem = ""
        self.targets = list(self._admitted())

    def _admitted(self) -> Iterator[Target]:
        spellings = [self._asked]
        if lacks_scheme(self._asked):
            spellings = [f"https://{self._asked}", f"http://{self._asked}"]
        for spelling in spellings:
            try:
                target = admit(spelling)
            except Refused as refused:
                self.problem = self.problem or refused.message
            else:
                yield Target(target.url, target.scheme, target.hostname, target.port, target.host)

    def rows(self) -> list[Row]:
        """Find the rows: by the keys that a run would give the URL, else by its text.

        By that there may be several: other methods, bodies, credentials.
        """
        for job in self._jobs():
            for key in self._keys(job):
                found = self._keys_of_rows.find(_FIND, *key)[1]
                if found is not None:
                    return [row_of(found, self._columns("check_key"))]
        masked = mask(self._asked)
        url = self.targets[0].url if self.targets else masked
        found_by_text = self._db.execute(_BY_TEXT, (url, masked, self._asked, masked)).fetchall()
        columns = self._columns()
        return [row_of(row, columns) for row in found_by_text]

    def page_of(self, row: Row) -> Row | None:
        """Find the row of the page that a URL with a session id stands for."""
        for job in self._jobs():
            for key in self._page_keys(job):
                found = self._keys_of_rows.find(_FIND, *key)[1]
                if found is not None and found[1] != row["id"]:
                    return row_of(found, self._columns("check_key"))
        return None

    def near(self) -> list[str]:
        """Find URLs that may have been meant, the nearest first."""
        near: list[str] = []
        for target in self.targets:
            near += self._variants(target)
            near += self._on_host(target)
        return list(dict.fromkeys(near))[:_MOST_NEAR]

    # -- keys ------------------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        for target in self.targets:
            yield Job(id=0, url=target.url, target=target)
        yield Job(id=0, url=mask(self._asked), target=None)  # a line that was refused

    def _keys(self, job: Job) -> Iterator[tuple[int, int]]:
        if not self._is_crawl:
            yield request_fingerprint(job)
            return
        for options in _SPELLINGS:
            yield crawl_key(job, options, is_exact=True)
        yield from self._page_keys(job)

    def _page_keys(self, job: Job) -> Iterator[tuple[int, int]]:
        for is_sitemap in (False, True):
            for options in _SPELLINGS:
                yield crawl_key(job, options, is_sitemap=is_sitemap)

    def _columns(self, *before: str) -> list[str]:
        return [*before, *(name for _, name, *_ in self._db.execute("PRAGMA table_info(url)"))]

    # -- near ones -------------------------------------------------------------------------------------

    def _variants(self, target: Target) -> Iterator[str]:
        """Yield the spellings that people mix up and servers do not, if there are rows of them."""
        url = target.url
        scheme, _, rest = url.partition("://")
        other = "http" if scheme == "https" else "https"
        path = rest.partition("?")[0]
        spellings = [f"{other}://{rest}", url.removesuffix("/") if url.endswith("/") else f"{url}/"]
        spellings.append(f"{scheme}://{path}")
        bare = rest.removeprefix("www.")
        for host in (bare, f"www.{bare}"):
            spellings += [f"{scheme}://{host}", f"{other}://{host}"]
        for spelling in spellings:
            try:
                near = admit(spelling)
            except Refused:
                continue
            job = Job(id=0, url=near.url, target=near)
            if near.url != url and any(self._keys_of_rows.find(_FIND, *key)[1] for key in self._keys(job)):
                yield near.url

    def _on_host(self, target: Target) -> list[str]:
        """Find the most similar URLs of the host; of the most similar host where there is none of it."""
        found = self._db.execute("SELECT id FROM host WHERE name = ?", (target.host,)).fetchone()
        if found is None:
            hosts = [name for (name,) in self._db.execute("SELECT name FROM host LIMIT ?", (_MOST_HOSTS,))]
            close = difflib.get_close_matches(target.host, hosts, 1, 0.75)
            if not close:
                return []
            found = self._db.execute("SELECT id FROM host WHERE name = ?", (close[0],)).fetchone()
        urls = {url[path_start(url) :]: url for (url,) in self._db.execute(_OF_HOST, found)}
        path = target.url[path_start(target.url) :]
        close = difflib.get_close_matches(path, _sharing(path, urls), _MOST_NEAR, 0.6)
        return [urls[path] for path in close]


def _sharing(url: str, others: Iterable[str]) -> list[str]:
    """Return those of `others` that have most of their beginning, or of their end, in common with `url`."""
    turned = url[::-1]

    def shared(other: str) -> int:
        return max(_common(url, other), _common(turned, other[::-1]))

    return sorted(others, key=shared, reverse=True)[:_MOST_COMPARED]


def _common(one: str, other: str) -> int:
    """Count the characters that two texts have in common at their beginnings."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def row_of(values: Iterable[Any], columns: Iterable[str]) -> Row:
    """Return a row by its columns."""
    return dict(zip(columns, values, strict=True))


# A state does not say by which options its keys were made, so all are tried.
_SPELLINGS = [
    CrawlOptions(scope=Scope(), agent="", sort_query=is_sorted, keep_session_ids=is_kept)
    for is_kept in (True, False)
    for is_sorted in (False, True)
]
