"""Files of a crawl by URL: where a link of a saved page leads on the disk.

Links count as they do for discovery: all spellings of a URL are one, and a redirect stands for its target.
"""

from __future__ import annotations

import hashlib
import sqlite3

from fetcher.errors import Refused
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.discovery import crawl_key
from fetcher.frontiers.sqlite.crawl.stored_links import FLAGS_OF, ID_SHIFT, KIND_FLAGS, StoredLinks
from fetcher.frontiers.sqlite.request_keys import RequestKeys
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import SUCCESSFUL, Job
from fetcher.policy.urls import admit

_COLUMNS = "id, state, CASE WHEN sha256 IS NOT NULL THEN path END"
_FIND = f"SELECT check_key, {_COLUMNS} FROM url WHERE id = ?"  # noqa: S608
_BY_ID = f"SELECT {_COLUMNS} FROM url WHERE id = ?"  # noqa: S608
_FILES = "SELECT id, path FROM url WHERE sha256 IS NOT NULL AND path IS NOT NULL ORDER BY id"
_REDIRECTS = sql("""SELECT id, edges FROM links JOIN url ON id = links.url
 WHERE state IN :SUCCESSFUL AND sha256 IS NULL ORDER BY id""")
_REDIRECT = FLAGS_OF["redirect"]
_MOST_KNOWN = 65_536

Row = tuple[int, int, str | None]


class SavedFiles:
    """The files of the crawl in a state, which must not change meanwhile: look-ups are remembered."""

    def __init__(self, db: sqlite3.Connection, options: CrawlOptions) -> None:
        self._db = db
        self._keys = RequestKeys(db)
        self._options = options
        self._links = StoredLinks(db)
        self._known: dict[str, str | None] = {}

    def find(self, url: str) -> str | None:
        """Return the path of the file that an absolute URL without fragment leads to, or None."""
        if url in self._known:
            return self._known[url]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        path = self._known[url] = self._look_up(url)
        return path

    def fingerprint(self) -> int:
        """Return a number of 64 bits that is another one when any link may lead elsewhere."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self._options.sort_query, self._options.keep_session_ids)).encode())
        for row in self._db.execute(_FILES):
            digest.update(repr(row).encode())
        for row in self._db.execute(_REDIRECTS):
            digest.update(repr(row).encode())
        return int.from_bytes(digest.digest(), signed=True)

    def _look_up(self, url: str) -> str | None:
        try:
            target = admit(url.replace("\\", "%5C"))  # as discovery does
        except Refused:
            return None
        if target.userinfo is not None:
            return None
        job = Job(id=0, url=target.url, target=target)
        for is_exact in (True, False):  # of its own, where it differs from another's in a session id
            row = self._keys.find(_FIND, *crawl_key(job, self._options, is_exact=is_exact))[1]
            path = None if row is None else self._file_of(row[1:])
            if path is not None:
                return path
        return None

    def _file_of(self, row: Row) -> str | None:
        """Follow redirects from a row to one with a file."""
        for _ in range(self._options.max_hops + 1):
            number, state, path = row
            if path is not None or state not in SUCCESSFUL:
                return path
            to = [edge >> ID_SHIFT for edge in self._links.get(number) if edge & KIND_FLAGS == _REDIRECT]
            if not to:
                return None
            row = self._db.execute(_BY_ID, (to[0],)).fetchone()
        return None
