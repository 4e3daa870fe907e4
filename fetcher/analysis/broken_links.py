"""Broken links of a link check, by the page or the list that holds them.

They are read from the state, in the order of the pages' URLs, and on a page in the order of its links; so the
report is the same however often the check was interrupted. Records add the words for what went wrong. Memory
holds what is broken and what redirects, no page.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from fetcher.frontiers.sqlite.crawl.row_kinds import SITEMAP
from fetcher.frontiers.sqlite.crawl.stored_links import ID_SHIFT, KIND_FLAGS, KIND_OF, unpack
from fetcher.frontiers.sqlite.report import reading
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import FINAL, RequestOverrides, State
from fetcher.policy.redaction import escape_controls_json
from fetcher.run_dir import RunDirectory
from fetcher.verification.records import lines_of, record_of
from fetcher.whole_file import own_file

MOST_SHOWN = 200  # of the broken links

# Failures and refusals that say nothing of the link; other failures and these refusals break it.
_NO_FAULT = frozenset({"parse-failed", "too-large", "storage-failed", "worker-died", "cancelled"})
_BREAKING = frozenset({"bad-url", "bad-entry", "robots-unreachable"})
_LEFT_OUT = {"bad-url": "bad-url", "redirects": "too-many-redirects"}
_LOOP = "redirect-loop"
_IS_DONE = b'"state":"done"'

_ROWS = sql("""SELECT id, state, status, error FROM url
 WHERE state IN (:PENDING, :WITHHELD, :DONE, :UNCHANGED, :FAILED, :REFUSED, :LEFT_OUT) AND {which}""")
_REDIRECTS = sql("""SELECT url.id, links.edges FROM url JOIN links ON links.url = url.id
 WHERE state IN :SUCCESSFUL AND status BETWEEN 300 AND 399 AND {which}""")
_PAGES = sql("""SELECT url.id, url.url FROM url JOIN links ON links.url = url.id
 WHERE (state IN :SUCCESSFUL OR error = 'parse-failed') AND {which} ORDER BY url.url, url.id""")
_LINKS = """SELECT links.edges, link_text.texts FROM links LEFT JOIN link_text ON link_text.url = links.url
 WHERE links.url = ?"""
_HOLDER = """SELECT url.parent, source.name, url.line, url.extra FROM url
 LEFT JOIN source ON source.id = url.source WHERE url.id = ?"""
_URL = "SELECT coalesce(given, url) FROM url WHERE id = ?"

_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_extra = msgspec.json.Decoder(RequestOverrides).decode


class BrokenLink(msgspec.Struct, kw_only=True):
    """A broken link: where it stands, where it leads, and what became of that.

    `parent` is the page that holds it, or `source` and `line` the list, with its other columns in `meta`.
    `redirects` leads to what is broken. `error` and `message` are as in records.
    """

    url: str
    parent: str | None = None
    text: str = ""
    status: int | None = None
    error: str
    message: str | None = None
    redirects: list[str] = []
    source: str | None = None
    line: int | None = None
    meta: dict[str, object] | None = None


class LinkCheck(msgspec.Struct, kw_only=True):
    """Findings of a link check: numbers of `broken` URLs, of `links` to them, and of `pages` that hold those.

    `checked` URLs were asked for, `unchecked` were not, by reason; `pending` wait. `shown` are the first
    links.
    """

    checked: int = 0
    broken: int = 0
    links: int = 0
    pages: int = 0
    unchecked: dict[str, int] = {}
    pending: int = 0
    shown: list[BrokenLink] = []


class _Fault(msgspec.Struct, frozen=True):
    status: int | None
    error: str
    through: tuple[int, ...] = ()  # the rows that redirects lead through


def read_link_check(directory: RunDirectory) -> LinkCheck | None:
    """Read what a link check has found so far; None where the directory holds none.

    Raises:
        ConfigError: it is no run directory.
        StorageError: its state is bad.
    """
    check = LinkCheck()
    with reading(directory.state) as db:
        if dict(db.execute("SELECT name, value FROM meta")).get("link_check") != 1:
            return None
        for _ in _counted(_LinkState(db, directory, check), check):
            pass
    return check


def write_link_check(directory: RunDirectory) -> LinkCheck:
    """Write all broken links to `broken-links.jsonl`, whole or not at all. The directory is locked.

    Raises:
        StorageError: the state is bad, or the file can't be written.
    """
    check = LinkCheck()
    part = directory.own / "broken-links.new"
    with reading(directory.state) as db, own_file(directory.broken_links, part) as file:
        for link in _counted(_LinkState(db, directory, check), check):
            file.write(escape_controls_json(msgspec.json.encode(link)) + b"\n")
    return check


def _counted(state: _LinkState, check: LinkCheck) -> Iterator[BrokenLink]:
    """Yield all broken links, and count them."""
    last = None
    for link in state.broken_links():
        check.links += 1
        check.pages += link.parent not in {None, last}
        last = link.parent
        if len(check.shown) < MOST_SHOWN:
            check.shown.append(link)
        yield link
    check.broken = len(state.told)


class _LinkState:
    """The state of a link check as it stands. `told` are the broken rows that a link was yielded for."""

    def __init__(self, db: sqlite3.Connection, directory: RunDirectory, check: LinkCheck) -> None:
        self._db = db
        self._results = directory.results
        self._told_by_record: dict[str, tuple[str | None, list[str]]] = {}
        meta = dict(db.execute("SELECT name, value FROM meta"))
        self._is_crawl = meta.get("command") == "crawl"
        if self._is_crawl:
            self._which = f"generation >= {int(meta.get('base', 0))} AND kinds <> {SITEMAP}"
        else:
            self._which = f"abs(session) = {int(meta.get('session', 0))}"
        self.told: set[int] = set()
        self._faults: dict[int, _Fault] = {}
        unchecked = Counter[str]()
        for number, state, status, error in db.execute(_ROWS.format(which=self._which)):
            slug = (error or "").partition("\n")[0]
            if state == State.LEFT_OUT and slug in _LEFT_OUT:
                self._faults[number] = _Fault(None, _LEFT_OUT[slug])
            elif state == State.FAILED and slug not in _NO_FAULT:
                self._faults[number] = _Fault(status, slug)
            elif state == State.REFUSED and slug in _BREAKING:
                self._faults[number] = _Fault(None, slug)
            elif state in {State.REFUSED, State.LEFT_OUT, State.FAILED} and slug != "parse-failed":
                unchecked[slug] += 1
                continue
            if state in FINAL or state == State.LEFT_OUT:
                check.checked += 1
            else:
                check.pending += 1
        check.unchecked = dict(sorted(unchecked.items()))
        if self._faults:
            self._read_records()
        if self._is_crawl:
            self._follow_redirects()

    def broken_links(self) -> Iterator[BrokenLink]:
        """Yield the broken links of every page, then those that were listed or have no page here."""
        if self._is_crawl and self._faults:
            for page, parent in self._db.execute(_PAGES.format(which=self._which)):
                for number, text in self._links_of(page).items():
                    self.told.add(number)
                    yield self._link(number, parent=parent, text=text)
        listed = set(self._faults)
        if self._is_crawl:
            listed = {
                number for (number,) in self._db.execute("SELECT url FROM seed") if number in self._faults
            }
        covered = self.told.union(*(self._faults[number].through for number in self.told | listed))
        rest = [number for number in self._faults if number in listed or number not in covered]
        alone = [self._without_page(number, is_listed=number in listed) for number in rest]
        self.told.update(rest)
        yield from sorted(
            alone, key=lambda link: (link.parent or "", link.source or "", link.line or 0, link.url)
        )

    def _without_page(self, number: int, *, is_listed: bool) -> BrokenLink:
        parent, source, line, extra = self._db.execute(_HOLDER, (number,)).fetchone()
        link = self._link(number, parent=None if is_listed else parent, text="")
        link.source, link.line = source, line
        if extra:
            link.meta = _decode_extra(extra).meta
        return link

    def _links_of(self, page: int) -> Mapping[int, str]:
        """Return the broken links of a page: rows, with the first text that any link to them has."""
        edges, texts = self._db.execute(_LINKS, (page,)).fetchone()
        found: dict[int, str] = {}
        faults = self._faults
        for edge, text in itertools.zip_longest(unpack(edges), _decode_texts(texts or "[]"), fillvalue=""):
            if isinstance(edge, int) and KIND_OF[edge & KIND_FLAGS] != "redirect":
                number = edge >> ID_SHIFT
                if number in faults:
                    found[number] = found.get(number) or str(text)
        return found

    def _link(self, number: int, *, parent: str | None, text: str) -> BrokenLink:
        fault = self._faults[number]
        url, *redirects = (self._db.execute(_URL, (each,)).fetchone()[0] for each in (number, *fault.through))
        ended_as = url if not redirects or fault.error == _LOOP else redirects[-1]
        message, followed = self._told_by_record.get(ended_as, (None, []))
        return BrokenLink(
            url=url,
            parent=parent,
            text=text,
            status=fault.status,
            error=fault.error,
            message=message,
            redirects=redirects + followed,
        )

    def _read_records(self) -> None:
        """Take the messages of what is broken from its last records, and the redirects that were followed."""
        urls = {self._db.execute(_URL, (number,)).fetchone()[0] for number in self._faults}
        for _, line in lines_of(self._results):
            if _IS_DONE in line or (record := record_of(line)) is None or record.url not in urls:
                continue
            self._told_by_record[record.url] = record.message, record.redirects

    def _follow_redirects(self) -> None:
        """Note a fault of each URL whose redirects lead to one, or in a circle."""
        leads: dict[int, int] = {}
        for number, edges in self._db.execute(_REDIRECTS.format(which=self._which)):
            for edge in unpack(edges):
                if KIND_OF[edge & KIND_FLAGS] == "redirect" and edge >> ID_SHIFT != number:
                    leads[number] = edge >> ID_SHIFT
        ends = dict(self._faults)
        for number in leads:
            through: list[int] = []
            at = number
            while at in leads and leads[at] not in through and leads[at] != number:
                at = leads[at]
                through.append(at)
            if at in leads:
                self._faults[number] = _Fault(None, _LOOP, (*through, leads[at]))
            elif at in ends:
                self._faults[number] = _Fault(ends[at].status, ends[at].error, tuple(through))
