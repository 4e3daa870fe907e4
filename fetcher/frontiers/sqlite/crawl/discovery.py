"""Rows made of links, and the smallest depth that each was found at.

Invariants, whatever the order in which pages end:

- a row's depth is the smallest over all paths on which it was found and may be followed, and so are its
  hops (redirects and canonicals in a row); both only shrink, so cycles end;
- a page whose depth or hops became smaller has its stored links reconsidered, so a row is admitted
  exactly when some path admits it (but for budgets, which are exact in number only);
- a row of an earlier asking (`--refresh`, `--restart`) is as good as new: found again it is asked again;
- in a link check a URL that a rule only keeps from being followed is pending all the same, and its kinds name
  that rule (`CHECK`); a path that may be followed makes a page of it, asked for again if need be;
- URLs that differ in a session id alone are one page, whose row has the URL that was found first. Links are
  stored as links to it; what else it was found as has rows that only say which rule left them out.

A page has fifty links, and nearly all are known. So `_recent` holds, for a URL as links spell it, its row
and the depth from which on finding it again changes nothing: that is looked up before anything else.

The module is long because these invariants hold only together: each of its functions relies on all of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import msgspec

from fetcher.errors import Refused
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions, CrawlSession
from fetcher.frontiers.sqlite.crawl.quotas import Quotas
from fetcher.frontiers.sqlite.crawl.row_kinds import (
    ASSET,
    BY_LINK,
    CHECK,
    CHECK_OF,
    CHECKED,
    PAGE,
    SITEMAP,
    check_rule,
    kind_of,
    priority_of,
    rank_of,
)
from fetcher.frontiers.sqlite.crawl.shard_post import OTHER_SHARD, PostedLink
from fetcher.frontiers.sqlite.crawl.stored_links import (
    FLAGS_OF,
    ID_SHIFT,
    KIND_FLAGS,
    KIND_OF,
    NOFOLLOW,
    StoredLinks,
)
from fetcher.frontiers.sqlite.url_rows import put_back, sql
from fetcher.model import FINAL, SUCCESSFUL, Job, Link, LinkKind, Outcome, State, Target
from fetcher.policy.fingerprint import request_fingerprint
from fetcher.policy.link_urls import canonical_key
from fetcher.policy.redaction import mask, safe_text
from fetcher.policy.sessionids import without_session_ids
from fetcher.policy.urls import admit

_MOST_RECENT = 65_536  # in each of two halves
_FLOOR_BITS = 16
_NO_FLOOR = (1 << _FLOOR_BITS) - 1  # every path has to be looked at
_LONGEST_REFUSED = 2048

_COLUMNS = "url.id, state, error, depth, hops, kinds, rank, host, url, generation"
_FIND = f"SELECT check_key, {_COLUMNS} FROM url WHERE id = ?"  # noqa: S608
_BY_ID = f"SELECT {_COLUMNS} FROM url WHERE id = ?"  # noqa: S608
_BY_IDS = f"SELECT {_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN url ON url.id = wanted.value"  # noqa: S608
_AFTER_ID = f"SELECT {_COLUMNS} FROM url WHERE id > ? AND state = ? ORDER BY id LIMIT 1000"  # noqa: S608
_CHECKED_AFTER_ID = f"SELECT {_COLUMNS} FROM url WHERE id > ? AND kinds >= 8 ORDER BY id LIMIT 1000"  # noqa: S608
_PAGE = "SELECT depth, hops, kinds, state, error, coalesce(given, url) FROM url WHERE id = ?"
_INSERT = """INSERT INTO url (id, key, check_key, url, host, rank, generation, session, state, error, parent,
 depth, hops, kinds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SET_STATE = put_back("""state = ?, error = ?, rank = ?, depth = ?, hops = ?, kinds = ?, generation = ?,
 session = ?, parent = coalesce(?, parent)""")
_IS_LEFT_OUT = sql("SELECT 1 FROM url WHERE state = :LEFT_OUT LIMIT 1")
_COME_NEARER = "UPDATE url SET depth = ?, hops = ?, kinds = ?, rank = ? WHERE id = ?"
_LIST = "UPDATE url SET depth = 0, hops = 0, kinds = (kinds | 1) & 7, rank = ?, parent = NULL WHERE id = ?"

_BIT_OF: dict[LinkKind, int] = {"page": PAGE, "asset": ASSET, "canonical": PAGE, "sitemap": SITEMAP}
_JUDGED_AS: tuple[tuple[int, LinkKind], ...] = ((PAGE, "page"), (ASSET, "asset"), (SITEMAP, "sitemap"))
# Rules about a link, not about where it leads.
SESSION_ID = "session-id"
PER_LINK_RULES = frozenset({"nofollow", "redirects", SESSION_ID})

_ONLY_CHECKED = frozenset({"asset", "check"})

_encode = msgspec.json.Encoder().encode


class LinkSource(msgspec.Struct, gc=False):
    """Page that links were found on: the URL shown as their parent, and its own place."""

    url: str
    depth: int
    hops: int
    kinds: int = PAGE
    id: int = 0  # of its row, where that matters


class LinkPath(msgspec.Struct, gc=False):
    """One path on which a row was found. `rule` says why it may not be followed."""

    parent: str
    depth: int
    hops: int
    bit: int
    rule: str | None
    priority: int = 0


class UrlRow(msgspec.Struct, gc=False):
    """Columns of a URL that discovery works on."""

    id: int
    state: int
    error: str | None
    depth: int
    hops: int
    kinds: int
    rank: int
    host: int
    url: str
    generation: int


def crawl_key(
    job: Job, options: CrawlOptions, *, is_sitemap: bool = False, is_exact: bool = False
) -> tuple[int, int]:
    """Make the key of a request within a crawl, where all spellings of a URL are one; a sitemap has its own.

    An exact one tells URLs apart that differ in a session id.
    """
    target = job.target
    if target is None:
        return request_fingerprint(job)
    url = canonical_key(target.url, sort_query=options.sort_query)
    if not (is_exact or options.keep_session_ids):
        url = without_session_ids(url)
    if is_sitemap:
        url = f"sitemap\0{url}"
    if url == target.url:
        return request_fingerprint(job)
    changed = Target(url, target.scheme, target.hostname, target.port, target.host)
    return request_fingerprint(msgspec.structs.replace(job, target=changed))


class Discovery:
    """Finder of rows for links, inside the transaction that settles their page.

    `risen` counts the rows that became pending, until they are `taken`.
    """

    def __init__(self, session: CrawlSession) -> None:
        self._db, self._keys, self._interned, self._options, self._base, self._generation, *_ = session
        self._session, self._next_id = session.number, session.next_id
        self._judge_one = self._options.scope.judge
        self._share = self._options.share
        self._checks = self._options.checks
        self._links = StoredLinks(self._db)
        self.quotas = Quotas(self._db, self._options)
        self._recent: dict[int, dict[str, int]] = {PAGE: {}, ASSET: {}, SITEMAP: {}}
        self._older: dict[int, dict[str, int]] = {PAGE: {}, ASSET: {}, SITEMAP: {}}
        self._nearer: list[tuple[int, int, int]] = []  # (depth, hops, id): links to be reconsidered
        self._risen = 0
        self._hosts: set[int] = set()
        self._has_moved = False
        self._outgoing: set[int] = set()  # rows for other shards
        # By a rule that another seed may change.
        self.has_left_out = self._checks or self._db.execute(_IS_LEFT_OUT).fetchone() is not None

    # -- what ended ----------------------------------------------------------------------------------

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Find rows for the links of pages that ended; their own rows are updated already."""
        for outcome in outcomes:
            record, job, links = outcome.record, outcome.job, outcome.links
            if record is None or job.target is None:
                continue
            if links is not None:
                found = self._db.execute(_PAGE, (job.id,)).fetchone()
                depth, hops, kinds = found[:3]
                page = LinkSource(job.url, depth, hops, kinds, job.id)
                edges = self.find(links, page, own=job.target.url)
                if edges or job.cached is not None:
                    self._links.put(job.id, edges)
                    if self._checks:
                        self._links.put_texts(job.id, edges.values())
            elif record.state == "unchanged":
                self.revisit_links(job.id)
            if self._checks and job.kind in _ONLY_CHECKED:
                self._fetch_after_check(job.id)
        self.flush()

    def _fetch_after_check(self, number: int) -> None:
        """Make a row pending again that was found to be a page while it was being checked."""
        row = UrlRow(*self._db.execute(_BY_ID, (number,)).fetchone())
        if kind_of(row.kinds) == "page":
            self.set_state(row, LinkPath("", row.depth, row.hops, row.kinds, None), None)

    def add_links(self, job: Job, links: Sequence[Link]) -> None:
        """Find rows for links of a page that ended before, beside those that it has."""
        depth, hops, kinds = self._db.execute(_PAGE, (job.id,)).fetchone()[:3]
        edges = self.find(links, LinkSource(job.url, depth, hops, kinds, job.id))
        self._links.put(job.id, list(dict.fromkeys((*self._links.get(job.id), *edges))))

    def find(self, links: Sequence[Link], page: LinkSource, *, own: str = "") -> dict[int, str]:
        """Find or make a row for each link; what is given back is to be stored as edges, with their texts."""
        recent = self._recent
        kind = PAGE if page.kinds & PAGE else page.kinds
        below = min(page.depth + 1, _NO_FLOOR - 1)
        by_kind = {
            "page": (recent[PAGE], below, FLAGS_OF["page"]),
            "asset": (recent[ASSET], below, FLAGS_OF["asset"]),
            "canonical": (recent[PAGE], page.depth, FLAGS_OF["canonical"]),
            "redirect": ({}, page.depth, FLAGS_OF["redirect"]),  # looked up anew, see `_look_up`
            "sitemap": (recent[SITEMAP], page.depth, FLAGS_OF["sitemap"]),
        }
        edges: dict[int, str] = {}
        for link in links:
            urls, depth, flags = by_kind[link.kind]
            if link.nofollow:
                flags |= NOFOLLOW
            found = urls.get(link.url)
            if found is None or link.priority or (found & _NO_FLOOR > depth and not link.nofollow):
                if link.kind == "canonical" and link.url == own:
                    continue
                found = self._upsert(link, page, kind)
            edge = found >> _FLOOR_BITS << ID_SHIFT | flags
            edges[edge] = edges.get(edge) or link.text
        return edges

    def revisit_links(self, number: int) -> None:
        """Have the stored links of a page found again, at its depth as it is now."""
        depth, hops = self._db.execute(_PAGE, (number,)).fetchone()[:2]
        heapq.heappush(self._nearer, (depth, hops, number))

    def flush(self) -> None:
        """Reconsider the links of every page that came nearer, the nearest first."""
        while self._nearer:
            depth, hops, number = heapq.heappop(self._nearer)
            *place, state, error, url = self._db.execute(_PAGE, (number,)).fetchone()
            is_readable = state in SUCCESSFUL or error == "parse-failed"
            if is_readable and place[:2] == [depth, hops]:  # else it came nearer still, or will be read anew
                self._follow(self._links.get(number), LinkSource(url, *place))

    def pop_changes(self) -> tuple[int, set[int], bool]:
        """Return how many rows became pending since the last call, their hosts, and if any changed place."""
        taken = self._risen, self._hosts, self._has_moved
        self._risen, self._hosts, self._has_moved = 0, set(), False
        return taken

    def pop_outgoing(self) -> set[int]:
        """Return the rows that were left to other shards since the last call."""
        outgoing, self._outgoing = self._outgoing, set()
        return outgoing

    def receive(self, link: PostedLink) -> None:
        """Find or make the row of a link that another shard found."""
        priority = priority_of(link.rank, link.depth)
        rule = check_rule(link.kinds) if link.kinds & BY_LINK else None
        path = LinkPath(link.parent or "", link.depth, link.hops, link.kinds & ~CHECK, rule, priority)
        self._look_up(link.url, path)

    def list_elsewhere(self, job: Job, target: Target, rank: int) -> int:
        """Find or make the row of a listed URL that is another shard's to fetch; no link to it is posted."""
        key, check = crawl_key(job, self._options)
        key, row = self._row_of(key, check)
        if row is None:
            path = LinkPath("", 0, 0, PAGE, None)
            row = self._insert(key, check, target.url, target, path, OTHER_SHARD)
        elif row.error != OTHER_SHARD or row.depth or row.hops:
            self.set_state(row, LinkPath("", 0, 0, row.kinds, None), OTHER_SHARD)
        self._db.execute("UPDATE url SET rank = ?, parent = NULL WHERE id = ?", (rank, row.id))
        self._outgoing.discard(row.id)
        return row.id

    def _follow(self, edges: Sequence[int], page: LinkSource) -> None:
        if not edges:
            return
        ids = list(dict.fromkeys(edge >> ID_SHIFT for edge in edges))
        rows = {row[0]: UrlRow(*row) for row in self._db.execute(_BY_IDS, (_encode(ids).decode(),))}
        kind = PAGE if page.kinds & PAGE else page.kinds
        for edge in edges:
            row = rows.get(edge >> ID_SHIFT)
            if row is not None:
                path = self._path(page, KIND_OF[edge & KIND_FLAGS], kind, nofollow=bool(edge & NOFOLLOW))
                self._merge(row, path)

    def _path(
        self, page: LinkSource, link: LinkKind, kind: int, *, nofollow: bool, priority: int = 0
    ) -> LinkPath:
        bit = _BIT_OF.get(link, kind)  # a redirect leads to more of the same
        if link in {"page", "asset"}:
            return LinkPath(page.url, page.depth + 1, 0, bit, "nofollow" if nofollow else None, priority)
        hops = 0 if link == "sitemap" else page.hops + 1
        rule = "nofollow" if nofollow else "redirects" if hops > self._options.max_hops else None
        if rule is None and page.kinds & CHECK:
            rule = CHECKED
        return LinkPath(page.url, page.depth, hops, bit, rule, priority)

    # -- one link ------------------------------------------------------------------------------------

    def _upsert(self, link: Link, page: LinkSource, kind: int) -> int:
        """Find or make the row of a link, and let the path to it count. Returns what `_recent` holds."""
        path = self._path(page, link.kind, kind, nofollow=link.nofollow, priority=link.priority)
        bit = path.bit
        recent, older = self._recent[bit], self._older[bit]
        is_redirect = link.kind == "redirect"
        known = None if is_redirect else recent.get(link.url)
        if known is None and not is_redirect:
            known = older.get(link.url)
        if known is None:
            row = self._look_up(link.url, path, redirected_by=page.id if is_redirect else 0)
        else:
            row = UrlRow(*self._db.execute(_BY_ID, (known >> _FLOOR_BITS,)).fetchone())
            self._merge(row, path)
        floor = _NO_FLOOR
        if not row.host:
            floor = 0
        elif row.kinds & BY_LINK:
            floor = _NO_FLOOR
        elif self._checks and bit == ASSET and row.kinds & PAGE and not self._is_stale(row):
            floor = 0
        elif row.kinds & bit and not row.hops and row.error not in PER_LINK_RULES and not self._is_stale(row):
            floor = min(row.depth, _NO_FLOOR)
        if len(recent) >= _MOST_RECENT:
            older.clear()
            older.update(recent)
            recent.clear()
        found = recent[link.url] = row.id << _FLOOR_BITS | floor
        return found

    def _look_up(self, url: str, path: LinkPath, *, redirected_by: int = 0) -> UrlRow:
        """Find or make the row of a URL that is not known as it is spelled.

        A page that redirects to itself with a session id has its content there: a row of its own.
        """
        target: Target | None = None
        text, rule = url, path.rule
        try:
            target = admit(
                url.replace("\\", "%5C")
            )  # WHATWG lets one stand in a query, and the gate does not
            text = target.url
            if target.userinfo is not None:
                target, text, rule = None, mask(url), "credentials"
        except Refused as refused:
            text, rule = mask(safe_text(url[:_LONGEST_REFUSED])), refused.slug
        job = Job(id=0, url=text, target=target)
        is_sitemap = path.bit == SITEMAP
        key, check = crawl_key(job, self._options, is_sitemap=is_sitemap)
        free, row = self._row_of(key, check)
        if row is None:
            return self._insert(free, check, text, target, path, rule)
        if row.url != text:
            exact = crawl_key(job, self._options, is_sitemap=is_sitemap, is_exact=True)
            if exact != (key, check):
                free, other = self._row_of(*exact)
                if row.id != redirected_by:
                    self._set_aside(free, exact[1], text, target, path, other)
                elif other is None:
                    return self._insert(free, exact[1], text, target, path, rule)
                else:
                    row = other
        self._merge(row, path)
        return row

    def _row_of(self, key: int, check: int) -> tuple[int, UrlRow | None]:
        """Find the row of a key, or else the key that is free for it."""
        key, found = self._keys.find(_FIND, key, check)
        return key, None if found is None else UrlRow(*found[1:])

    def _set_aside(
        self, key: int, check: int, url: str, target: Target | None, path: LinkPath, row: UrlRow | None
    ) -> None:
        """Leave a URL out because of its session id: there is a row for its page."""
        if path.rule is None:
            path = msgspec.structs.replace(path, rule=SESSION_ID)
            if row is None:
                self._insert(key, check, url, target, path, SESSION_ID)
            else:
                self._merge(row, path)

    def _insert(
        self, key: int, check: int, url: str, target: Target | None, path: LinkPath, rule: str | None
    ) -> UrlRow:
        kinds = path.bit
        if target is not None and (rule is None or rule in CHECK_OF):
            rule, kinds = self.place(target, path)
        row = UrlRow(
            id=self._next_id(),
            state=State.PENDING if rule is None else State.LEFT_OUT,
            error=rule,
            depth=path.depth,
            hops=path.hops,
            kinds=kinds,
            rank=rank_of(path.depth, path.priority),
            host=0 if target is None else self._interned.hosts[target.host],
            url=url,
            generation=self._generation,
        )
        place = row.depth, row.hops, row.kinds
        fields = row.id, key, check, url, row.host, row.rank, row.generation, -self._session, row.state, rule
        self._db.execute(_INSERT, (*fields, path.parent, *place))
        self._keys.add(key, row.id)
        self._note(row)
        return row

    def _note(self, row: UrlRow) -> None:
        if row.state == State.PENDING:
            self._risen += 1
            self._hosts.add(row.host)
        elif row.error not in PER_LINK_RULES and row.host:
            self.has_left_out = True
            if row.error == OTHER_SHARD:
                self._outgoing.add(row.id)

    # -- one row -------------------------------------------------------------------------------------

    def is_set_aside(self, row: UrlRow) -> bool:
        """Return True if what left a row out was a rule about links, which is still in force."""
        return row.error in PER_LINK_RULES and not (
            row.error == SESSION_ID and self._options.keep_session_ids
        )

    def _is_stale(self, row: UrlRow) -> bool:
        return row.generation < self._base or row.state == State.FORGOTTEN

    def _merge(self, row: UrlRow, path: LinkPath) -> None:
        """Merge another path into a known row: the smaller depth and hops count. `row` follows the state."""
        is_stale = self._is_stale(row)
        is_left_out = row.state in {State.LEFT_OUT, State.FORGOTTEN}
        rule = path.rule if row.host else (row.error or "bad-url").partition("\n")[0]
        if self._checks and row.host and (rule is None or rule in CHECK_OF):
            self._merge_check(row, path, is_stale=is_stale, is_left_out=is_left_out)
            return
        if rule is not None:
            if is_stale and is_left_out:
                self.set_state(row, path, rule)
            return
        if not is_stale and row.error not in PER_LINK_RULES:
            path.depth, path.hops = min(path.depth, row.depth), min(path.hops, row.hops)
            path.bit |= row.kinds
            rank = min(row.rank - row.depth + path.depth, rank_of(path.depth, path.priority))
            if (path.depth, path.hops, path.bit, rank) == (row.depth, row.hops, row.kinds, row.rank):
                return
        if is_stale or is_left_out:
            target = self._interned.target(row.url, row.host)
            rule = self.judge(target, path.bit, path.depth)
            if rule is None or is_left_out:
                self.set_state(row, path, rule)
            return
        self._move(row, path, path.bit, rank)

    def _move(self, row: UrlRow, path: LinkPath, kinds: int, rank: int) -> None:
        """Have a row that stays in its state at another place."""
        has_come_nearer = (path.depth, path.hops) != (row.depth, row.hops)
        row.depth, row.hops, row.kinds, row.rank = path.depth, path.hops, kinds, rank
        self._db.execute(_COME_NEARER, (row.depth, row.hops, row.kinds, row.rank, row.id))
        if has_come_nearer and row.state != State.PENDING:
            heapq.heappush(self._nearer, (row.depth, row.hops, row.id))
        self._has_moved = True

    def _merge_check(self, row: UrlRow, path: LinkPath, *, is_stale: bool, is_left_out: bool) -> None:
        """Merge a path into a known row of a link check. A row that may be a page keeps to paths to pages."""
        if not is_stale and row.error not in PER_LINK_RULES:
            is_weak = _is_weak(row.kinds, None)
            if is_weak and not _is_weak(path.bit, path.rule):
                path.bit |= row.kinds & ASSET
            elif is_weak != _is_weak(path.bit, path.rule):
                return
            else:
                path.depth, path.hops = min(path.depth, row.depth), min(path.hops, row.hops)
                rank = min(row.rank - row.depth + path.depth, rank_of(path.depth, path.priority))
                if (path.depth, path.hops, rank) == (row.depth, row.hops, row.rank):
                    return
                if is_weak or (kind_of(row.kinds) == "page" and not is_left_out):
                    self._move(row, path, row.kinds, rank)
                    return
                path.bit = row.kinds
        rule, path.bit = self.place(self._interned.target(row.url, row.host), path)
        if is_left_out or (is_stale and rule is None):
            self.set_state(row, path, rule)
        elif rule is None and kind_of(path.bit) == "page" and row.state != State.PENDING:
            self.set_state(row, path, None)
        elif rule is None:
            self._move(row, path, path.bit, rank_of(path.depth, path.priority))

    def place(self, target: Target, path: LinkPath) -> tuple[str | None, int]:
        """Return the rule that leaves a URL out, or None, and the kinds of its row; `judge` counts it.

        In a link check, what is only kept from being followed is left out by no rule.
        """
        kinds = path.bit & ~CHECK
        if not self._checks:
            return path.rule or self.judge(target, kinds, path.depth), kinds
        rule = path.rule or self.judge(target, PAGE if kinds & PAGE else kinds, path.depth)
        if rule is None or rule not in CHECK_OF:
            return rule, kinds
        kinds |= CHECK_OF[rule]
        if self._share is not None and not self._share.is_own(target):
            return OTHER_SHARD, kinds
        return self._judge_one(target, "asset", path.depth), kinds

    def set_state(self, row: UrlRow, path: LinkPath, rule: str | None) -> None:
        """Make a row pending, or leave it out by `rule`, as it was found just now."""
        row.state = State.PENDING if rule is None else State.LEFT_OUT
        parent = path.parent if self._is_stale(row) else None
        row.error, row.depth, row.hops, row.kinds, row.rank = (
            rule,
            path.depth,
            path.hops,
            path.bit,
            rank_of(path.depth, path.priority),
        )
        row.generation = self._generation
        fields = row.state, rule, row.rank, row.depth, row.hops, row.kinds, row.generation
        self._db.execute(_SET_STATE, (*fields, -self._session, parent, row.id))
        self._has_moved = True
        self._note(row)

    def judge(self, target: Target, kinds: int, depth: int) -> str | None:
        """Return the rule that leaves a URL out, or None: then it is counted as admitted."""
        first = None
        for bit, kind in _JUDGED_AS:
            if kinds & bit:
                rule = self._judge_one(target, kind, depth)
                if rule is None and self._share is not None and not self._share.is_own(target):
                    return OTHER_SHARD
                if rule is None and bit != SITEMAP:
                    rule = self.quotas.count(target, is_page=bit == PAGE)
                if rule is None:
                    return None
                first = first or rule
        return first

    # -- whole rows ----------------------------------------------------------------------------------

    def seed(self, number: int, rank: int) -> None:
        """List a known row: it has depth 0 and no parent, and its links follow."""
        row = UrlRow(*self._db.execute(_BY_ID, (number,)).fetchone())
        is_checked = self._checks and kind_of(row.kinds) in _ONLY_CHECKED
        if not (row.depth or row.hops or is_checked):
            return
        self._db.execute(_LIST, (rank, number))
        if is_checked and row.state in FINAL:
            self.set_state(row, LinkPath("", 0, 0, PAGE, None), None)
        elif row.state != State.PENDING:
            heapq.heappush(self._nearer, (0, 0, number))
        self._has_moved = True

    def rows(self, state: State) -> Iterable[UrlRow]:
        """Yield all rows of a state, read a thousand at a time, so that they may be changed meanwhile."""
        yield from self._read(_AFTER_ID, (state,))

    def checked(self) -> Iterable[UrlRow]:
        """Yield, in the same way, the rows that are only checked, of whatever state."""
        yield from self._read(_CHECKED_AFTER_ID, ())

    def _read(self, statement: str, wanted: tuple[int, ...]) -> Iterable[UrlRow]:
        last = 0
        while rows := self._db.execute(statement, (last, *wanted)).fetchall():
            last = rows[-1][0]
            yield from [UrlRow(*row) for row in rows]


def _is_weak(kinds: int, rule: str | None) -> bool:
    """Return True if a path or a row of a link check can't make a page: an asset's, or a link's own rule."""
    return rule is not None or not kinds & PAGE or bool(kinds & BY_LINK)
