"""Links into rows: what a crawl has found, and the smallest depth that each was found at.

Invariants, whatever the order in which pages end:

- a row's depth is the smallest over all ways in which it was found and may be followed, and so are its
  hops (redirects and canonicals in a row); both only shrink, so cycles end;
- a page whose depth or hops became smaller has its stored links reconsidered, so a row is admitted
  exactly when some way admits it (but for budgets, which are exact in number only);
- a row of an earlier asking (`--refresh`, `--restart`) is as good as new: found again it is asked again.

A page has fifty links, and nearly all are known. So `_recent` holds, for a URL as links spell it, its row
and the depth from which on finding it again changes nothing: that is looked up before anything else.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fetcher.errors import Refused
from fetcher.frontiers.edges import FLAGS_OF, ID_SHIFT, KIND_FLAGS, KIND_OF, NOFOLLOW, StoredLinks
from fetcher.frontiers.labels import Labels
from fetcher.frontiers.rows import ASSET, PAGE, SITEMAP, rank_of
from fetcher.frontiers.rules import CrawlRules
from fetcher.frontiers.tally import Tally
from fetcher.model import Job, Link, LinkKind, Outcome, State, Target
from fetcher.policy.gate import admit
from fetcher.policy.identity import request_key
from fetcher.policy.links import canonical_key
from fetcher.policy.text import mask, safe_text

_MOST_RECENT = 65_536  # in each of two halves
_FLOOR_BITS = 16
_NO_FLOOR = (1 << _FLOOR_BITS) - 1  # every way has to be looked at
_LONGEST_REFUSED = 2048

_COLUMNS = "url.id, state, error, depth, hops, kinds, rank, host, url, generation"
_FIND = f"SELECT {_COLUMNS}, check_key FROM url WHERE key = ?"  # noqa: S608
_BY_ID = f"SELECT {_COLUMNS} FROM url WHERE id = ?"  # noqa: S608
_BY_IDS = f"SELECT {_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN url ON url.id = wanted.value"  # noqa: S608
_AFTER_ID = f"SELECT {_COLUMNS} FROM url WHERE id > ? AND state = ? ORDER BY id LIMIT 1000"  # noqa: S608
_PAGE = "SELECT depth, hops, kinds, state, error, coalesce(given, url) FROM url WHERE id = ?"
_INSERT = """INSERT INTO url (id, key, check_key, url, host, rank, generation, session, state, error, parent,
 depth, hops, kinds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
# Whatever stands at the path of a URL that failed is not ours: it was put there since.
_PUT_BACK = """UPDATE url SET attempts = 0, waited = 0, not_before = 0, history = NULL, status = NULL,
 is_foreign = CASE WHEN state = 3 AND sha256 IS NULL THEN 1 ELSE is_foreign END,
 sha256 = CASE WHEN error = 'parse-failed' THEN NULL ELSE sha256 END,
 state = ?, error = ?, rank = ?, depth = ?, hops = ?, kinds = ?, generation = ?, session = ?,
 parent = coalesce(?, parent) WHERE id = ?"""
_COME_NEARER = "UPDATE url SET depth = ?, hops = ?, kinds = ?, rank = ? WHERE id = ?"
_LIST = "UPDATE url SET depth = 0, hops = 0, kinds = kinds | 1, rank = ?, parent = NULL WHERE id = ?"

_BIT_OF: dict[LinkKind, int] = {"page": PAGE, "asset": ASSET, "canonical": PAGE, "sitemap": SITEMAP}
_JUDGED_AS: tuple[tuple[int, LinkKind], ...] = ((PAGE, "page"), (ASSET, "asset"), (SITEMAP, "sitemap"))
OF_THE_WAY = frozenset({"nofollow", "redirects"})  # rules about a link, not about where it leads

_encode = msgspec.json.Encoder().encode


class Page(msgspec.Struct, gc=False):
    """Where links were found: the URL shown as their parent, and its own place."""

    url: str
    depth: int
    hops: int
    kinds: int = PAGE


class Way(msgspec.Struct, gc=False):
    """One way in which a row was found. `rule` says why it may not be followed."""

    parent: str
    depth: int
    hops: int
    bit: int
    rule: str | None
    priority: int = 0


class Row(msgspec.Struct, gc=False):
    """What the state has of a URL, as far as discovery goes."""

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


def crawl_key(job: Job, *, sort_query: bool, is_sitemap: bool = False) -> tuple[int, int]:
    """The key of a request within a crawl, where all spellings of a URL are one. A sitemap is its own."""
    target = job.target
    if target is None:
        return request_key(job)
    url = canonical_key(target.url, sort_query=sort_query)
    if is_sitemap:
        url = f"sitemap\0{url}"
    if url == target.url:
        return request_key(job)
    changed = Target(url, target.scheme, target.name, target.port, target.host)
    return request_key(msgspec.structs.replace(job, target=changed))


class Discovery:
    """Finds rows for links inside the transaction that settles their page.

    `base` is the generation in which the last asking began; rows of older ones are stale. `next_id` gives
    numbers of new rows. `risen` counts the rows that became pending, until they are `taken`.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        labels: Labels,
        rules: CrawlRules,
        *,
        base: int,
        generation: int,
        session: int,
        next_id: Callable[[], int],
    ) -> None:
        self._db = db
        self._labels = labels
        self._rules = rules
        self._judge_one = rules.scope.judge
        self._base = base
        self._generation = generation
        self._session = session
        self._next_id = next_id
        self._links = StoredLinks(db)
        self.tally = Tally(db, rules)
        self._recent: dict[int, dict[str, int]] = {PAGE: {}, ASSET: {}, SITEMAP: {}}
        self._older: dict[int, dict[str, int]] = {PAGE: {}, ASSET: {}, SITEMAP: {}}
        self._nearer: list[tuple[int, int, int]] = []  # (depth, hops, id): links to be reconsidered
        self._risen = 0
        self._hosts: set[int] = set()
        self._has_moved = False
        # By a rule that another seed may change.
        self.has_left_out = db.execute("SELECT 1 FROM url WHERE state = 7 LIMIT 1").fetchone() is not None

    # -- what ended ----------------------------------------------------------------------------------

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        """Find rows for the links of pages that ended; their own rows are updated already."""
        for outcome in outcomes:
            record, job, links = outcome.record, outcome.job, outcome.links
            if record is None or job.target is None:
                continue
            if links is not None:
                found = self._db.execute(_PAGE, (job.id,)).fetchone()
                edges = self.find(links, Page(job.url, *found[:3]), own=job.target.url)
                if edges or job.known is not None:
                    self._links.put(job.id, edges)
            elif record.state == "unchanged":
                self.reconsider(job.id)
        self.flush()

    def find(self, links: Sequence[Link], page: Page, *, own: str = "") -> list[int]:
        """Find or make a row for each link; what is given back is to be stored as edges."""
        recent = self._recent
        kind = PAGE if page.kinds & PAGE else page.kinds
        below = min(page.depth + 1, _NO_FLOOR - 1)
        ways = {
            "page": (recent[PAGE], below, FLAGS_OF["page"]),
            "asset": (recent[ASSET], below, FLAGS_OF["asset"]),
            "canonical": (recent[PAGE], page.depth, FLAGS_OF["canonical"]),
            "redirect": (recent[kind], page.depth, FLAGS_OF["redirect"]),
            "sitemap": (recent[SITEMAP], page.depth, FLAGS_OF["sitemap"]),
        }
        edges = []
        for link in links:
            urls, depth, flags = ways[link.kind]
            if link.nofollow:
                flags |= NOFOLLOW
            found = urls.get(link.url)
            if found is None or link.priority or (found & _NO_FLOOR > depth and not link.nofollow):
                if link.kind == "canonical" and link.url == own:
                    continue
                found = self._meet(link, page, kind)
            edges.append(found >> _FLOOR_BITS << ID_SHIFT | flags)
        return list(dict.fromkeys(edges))

    def reconsider(self, number: int) -> None:
        """The stored links of a page are to be found again, at its depth as it is now."""
        depth, hops = self._db.execute(_PAGE, (number,)).fetchone()[:2]
        heapq.heappush(self._nearer, (depth, hops, number))

    def flush(self) -> None:
        """Reconsider the links of every page that came nearer, the nearest first."""
        while self._nearer:
            depth, hops, number = heapq.heappop(self._nearer)
            *place, state, error, url = self._db.execute(_PAGE, (number,)).fetchone()
            is_readable = state in {State.DONE, State.UNCHANGED} or error == "parse-failed"
            if is_readable and place[:2] == [depth, hops]:  # else it came nearer still, or will be read anew
                self._follow(self._links.get(number), Page(url, *place))

    def taken(self) -> tuple[int, set[int], bool]:
        """How many rows became pending since the last time, on which hosts, and if any changed place."""
        taken = self._risen, self._hosts, self._has_moved
        self._risen, self._hosts, self._has_moved = 0, set(), False
        return taken

    def _follow(self, edges: Sequence[int], page: Page) -> None:
        if not edges:
            return
        ids = list(dict.fromkeys(edge >> ID_SHIFT for edge in edges))
        rows = {row[0]: Row(*row) for row in self._db.execute(_BY_IDS, (_encode(ids).decode(),))}
        kind = PAGE if page.kinds & PAGE else page.kinds
        for edge in edges:
            row = rows.get(edge >> ID_SHIFT)
            if row is not None:
                way = self._way(page, KIND_OF[edge & KIND_FLAGS], kind, nofollow=bool(edge & NOFOLLOW))
                self._apply(row, way)

    def _way(self, page: Page, link: LinkKind, kind: int, *, nofollow: bool, priority: int = 0) -> Way:
        bit = _BIT_OF.get(link, kind)  # a redirect leads to more of the same
        if link in {"page", "asset"}:
            return Way(page.url, page.depth + 1, 0, bit, "nofollow" if nofollow else None, priority)
        hops = 0 if link == "sitemap" else page.hops + 1
        rule = "nofollow" if nofollow else "redirects" if hops > self._rules.max_hops else None
        return Way(page.url, page.depth, hops, bit, rule, priority)

    # -- one link ------------------------------------------------------------------------------------

    def _meet(self, link: Link, page: Page, kind: int) -> int:
        """Find or make the row of a link, and let the way to it count. Returns what `_recent` holds."""
        way = self._way(page, link.kind, kind, nofollow=link.nofollow, priority=link.priority)
        bit = way.bit
        recent, older = self._recent[bit], self._older[bit]
        known = recent.get(link.url)
        if known is None:
            known = older.get(link.url)
        if known is None:
            row = self._look_up(link.url, way)
        else:
            row = Row(*self._db.execute(_BY_ID, (known >> _FLOOR_BITS,)).fetchone())
            self._apply(row, way)
        floor = _NO_FLOOR
        if not row.host:
            floor = 0
        elif row.kinds & bit and not row.hops and row.error not in OF_THE_WAY and not self._is_stale(row):
            floor = min(row.depth, _NO_FLOOR)
        if len(recent) >= _MOST_RECENT:
            older.clear()
            older.update(recent)
            recent.clear()
        found = recent[link.url] = row.id << _FLOOR_BITS | floor
        return found

    def _look_up(self, url: str, way: Way) -> Row:
        target: Target | None = None
        text, rule = url, way.rule
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
        key, check = crawl_key(job, sort_query=self._rules.sort_query, is_sitemap=way.bit == SITEMAP)
        while (found := self._db.execute(_FIND, (key,)).fetchone()) is not None:
            if found[-1] == check:
                row = Row(*found[:-1])
                self._apply(row, way)
                return row
            key = key + 1 if key < 2**63 - 1 else -(2**63)
        return self._insert(key, check, text, target, way, rule)

    def _insert(
        self, key: int, check: int, url: str, target: Target | None, way: Way, rule: str | None
    ) -> Row:
        if rule is None:
            assert target is not None
            rule = self.judge(target, way.bit, way.depth)
        row = Row(
            id=self._next_id(),
            state=State.PENDING if rule is None else State.LEFT_OUT,
            error=rule,
            depth=way.depth,
            hops=way.hops,
            kinds=way.bit,
            rank=rank_of(way.depth, way.priority),
            host=0 if target is None else self._labels.host(target.host),
            url=url,
            generation=self._generation,
        )
        place = row.depth, row.hops, row.kinds
        fields = row.id, key, check, url, row.host, row.rank, row.generation, -self._session, row.state, rule
        self._db.execute(_INSERT, (*fields, way.parent, *place))
        self._note(row)
        return row

    def _note(self, row: Row) -> None:
        if row.state == State.PENDING:
            self._risen += 1
            self._hosts.add(row.host)
        elif row.error not in OF_THE_WAY and row.host:
            self.has_left_out = True

    # -- one row -------------------------------------------------------------------------------------

    def _is_stale(self, row: Row) -> bool:
        return row.generation < self._base or row.state == State.FORGOTTEN

    def _apply(self, row: Row, way: Way) -> None:
        """Let one more way to a known row count. `row` is kept as the state has it."""
        is_stale = self._is_stale(row)
        is_left_out = row.state in {State.LEFT_OUT, State.FORGOTTEN}
        rule = way.rule if row.host else (row.error or "bad-url").partition("\n")[0]
        if rule is not None:
            if is_stale and is_left_out:
                self.place(row, way, rule)
            return
        if not is_stale and row.error not in OF_THE_WAY:
            way.depth, way.hops = min(way.depth, row.depth), min(way.hops, row.hops)
            way.bit |= row.kinds
            rank = min(row.rank - row.depth + way.depth, rank_of(way.depth, way.priority))
            if (way.depth, way.hops, way.bit, rank) == (row.depth, row.hops, row.kinds, row.rank):
                return
        if is_stale or is_left_out:
            target = self._labels.target(row.url, row.host)
            rule = self.judge(target, way.bit, way.depth)
            if rule is None or is_left_out:
                self.place(row, way, rule)
            return
        has_come_nearer = (way.depth, way.hops) != (row.depth, row.hops)
        row.depth, row.hops, row.kinds, row.rank = way.depth, way.hops, way.bit, rank
        self._db.execute(_COME_NEARER, (row.depth, row.hops, row.kinds, row.rank, row.id))
        if has_come_nearer and row.state != State.PENDING:
            heapq.heappush(self._nearer, (row.depth, row.hops, row.id))
        self._has_moved = True

    def place(self, row: Row, way: Way, rule: str | None) -> None:
        """Make a row pending, or leave it out by `rule`, as it was found just now."""
        row.state = State.PENDING if rule is None else State.LEFT_OUT
        parent = way.parent if self._is_stale(row) else None
        row.error, row.depth, row.hops, row.kinds, row.rank = (
            rule,
            way.depth,
            way.hops,
            way.bit,
            rank_of(way.depth, way.priority),
        )
        row.generation = self._generation
        fields = row.state, rule, row.rank, row.depth, row.hops, row.kinds, row.generation
        self._db.execute(_PUT_BACK, (*fields, -self._session, parent, row.id))
        self._has_moved = True
        self._note(row)

    def judge(self, target: Target, kinds: int, depth: int) -> str | None:
        """The rule that leaves a URL out, or None: then it is counted as admitted."""
        first = None
        for bit, kind in _JUDGED_AS:
            if kinds & bit:
                rule = self._judge_one(target, kind, depth)
                if rule is None and bit != SITEMAP:
                    rule = self.tally.take(target, is_page=bit == PAGE)
                if rule is None:
                    return None
                first = first or rule
        return first

    # -- whole rows ----------------------------------------------------------------------------------

    def seed(self, number: int, rank: int) -> None:
        """A known row was listed: it has depth 0 and no parent, and its links follow."""
        row = Row(*self._db.execute(_BY_ID, (number,)).fetchone())
        if not (row.depth or row.hops):
            return
        self._db.execute(_LIST, (rank, number))
        if row.state != State.PENDING:
            heapq.heappush(self._nearer, (0, 0, number))
        self._has_moved = True

    def rows(self, state: State) -> Iterable[Row]:
        """All rows of a state, a thousand at a time, so that they may be changed meanwhile."""
        last = 0
        while rows := self._db.execute(_AFTER_ID, (last, state)).fetchall():
            last = rows[-1][0]
            yield from [Row(*row) for row in rows]
