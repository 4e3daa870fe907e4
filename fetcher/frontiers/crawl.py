"""What a crawl adds to the frontier: seeds, discovery, robots.txt, marks and budgets, put together.

Everything happens inside the frontier's transactions. A claim goes through three gates, in this order:
robots.txt (what is not known yet holds a URL back), the budget of pages, the mark.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from fetcher.frontiers.claims import Claims
from fetcher.frontiers.discovery import Discovery, Page, crawl_key
from fetcher.frontiers.labels import Labels
from fetcher.frontiers.marks import Marks, suspected
from fetcher.frontiers.rejudging import Rejudging
from fetcher.frontiers.robots import Robots
from fetcher.frontiers.rows import SITEMAP, rank_of
from fetcher.frontiers.rules import CrawlRules
from fetcher.frontiers.seeds import Seeds
from fetcher.model import Counts, Findings, Job, Link, Outcome, State

# Sitemaps are among what is to be done, and count nowhere else. In the order of `Counts`.
_COUNT = """SELECT total(state = 0), total(state = 1 AND kinds <> 4), total(state = 2 AND kinds <> 4),
 total(state = 3 AND kinds <> 4), total(state = 4 AND kinds <> 4), total(state = 6) FROM url"""
_FINDINGS = """SELECT CASE WHEN state = 7 THEN error END,
 CASE WHEN state = 7 OR id IN (SELECT url FROM seed) THEN 1
 ELSE state = 3 AND NOT coalesce(status BETWEEN 400 AND 499 AND status NOT IN (408, 429), 0) END,
 count(*) FROM url WHERE state IN (3, 4, 7) AND generation >= ? AND kinds <> ? GROUP BY 1, 2"""


class Crawl:
    """One session of a crawl. `meta` is what the state said of the last one."""

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
        meta: dict[str, Any],
    ) -> None:
        self._db = db
        self._rules = rules
        self._base = base
        self.seeds = Seeds(db, labels, rules)
        was_killed = not meta.get("is_clean", 1)
        self.claims = Claims(db, labels, self.seeds, suspected(db, session - 1) if was_killed else ())
        self._discovery = Discovery(
            db, labels, rules, base=base, generation=generation, session=session, next_id=next_id
        )
        self._rejudging = Rejudging(db, labels, self._discovery, base)
        self._robots = Robots(db, rules, self.seeds) if rules.obeys_robots else None
        self.marks = Marks(db, session, rules.max_pages)
        self._with_sitemap: set[tuple[str, str, int]] = set()
        # Seeds that an interrupted session added may let in what it had left out.
        self._has_grown = not meta.get("is_complete", 1)
        self._is_to_be_judged = base != meta.get("base", 0) or rules.signature != meta.get(
            "rules", rules.signature
        )
        self._wants_kept_sitemaps = rules.sitemaps and not meta.get("sitemaps", 0)
        self.is_spent = False

    # -- a session -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Judge again what earlier sessions left, if the rules have changed, or all begins anew.

        A robots.txt that is kept from a session that wanted no sitemaps is asked for them.

        Inside a transaction.
        """
        if self._is_to_be_judged:
            self._rejudging.everything()
            self._taken()
        if self._wants_kept_sitemaps and self._robots is not None:
            for origin, sitemaps in self._robots.kept_sitemaps():
                links = [Link(url, "sitemap") for url in sitemaps]
                self._discovery.find(links, Page(f"{origin}/robots.txt", 0, 0))
            self._flush()

    def count(self) -> Counts:
        return Counts(*map(int, self._db.execute(_COUNT).fetchone()))

    def findings(self) -> Findings:
        broken, left_out = 0, {}
        for rule, is_counted, number in self._db.execute(_FINDINGS, (self._base, SITEMAP)):
            if rule is not None:
                left_out[rule] = number
            elif is_counted:
                broken += number
        return Findings(broken=broken, left_out=left_out)

    # -- seeds -----------------------------------------------------------------------------------------

    def key(self, job: Job) -> tuple[int, int]:
        return crawl_key(job, sort_query=self._rules.sort_query)

    def rank(self, job: Job) -> int:
        return rank_of(0, -job.rank)

    def list_seed(self, number: int, job: Job, *, was: int | None = None) -> None:
        """A URL was listed, whose row is new or had that state."""
        target = job.target
        if target is None:
            self._db.execute("INSERT OR IGNORE INTO seed VALUES (?)", (number,))
            return
        discovery = self._discovery
        if self.seeds.add(number, target):
            self._has_grown = self._has_grown or discovery.has_left_out
        if was is None or was in {State.LEFT_OUT, State.FORGOTTEN}:
            discovery.tally.take(target, is_page=True, is_listed=True)
        if was is not None:
            discovery.seed(number, self.rank(job))
        if self._rules.sitemaps and target.origin not in self._with_sitemap:
            self._with_sitemap.add(target.origin)
            start = target.url.index("/", target.url.index("//") + 2)
            link = Link(f"{target.url[:start]}/sitemap.xml", "sitemap")
            discovery.find([link], Page(target.url, 0, 0))

    def listed(self) -> int:
        """All seeds of a batch are in. Returns how many other rows became pending by that."""
        return self._flush()

    # -- claiming --------------------------------------------------------------------------------------

    def claim(self, limit: int, per_host: int, now: float) -> list[Job]:
        """Up to `limit` jobs, ones for robots.txt among them. Their marks are still to be written."""
        robots = self._robots
        if robots is not None:
            robots.begin(now)
        given: list[Job] = []
        while not given and (jobs := self._next(limit, per_host)):
            if robots is not None:
                jobs = robots.judge(jobs)
            given, _ = self.marks.afford(jobs, self.claims.counted)  # the others stay claimed, and pending
        self.is_spent = not given and self.marks.left == 0
        return given

    def _next(self, limit: int, per_host: int) -> list[Job]:
        """What was held back and no longer is; else what the state has."""
        left = self.marks.left
        released = self._robots.released if self._robots is not None else ()
        if released:
            return [released.popleft() for _ in range(min(limit, len(released)))]
        if left is None:
            return self.claims.claim(limit, per_host)
        if left > 0:
            return self.claims.claim(min(limit, left), per_host)
        return self.claims.claim_unbudgeted(limit, per_host)

    # -- settling --------------------------------------------------------------------------------------

    def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Find what the outcomes lead to. Returns how many rows became pending."""
        for outcome in outcomes:
            if outcome.job.kind == "robots" and outcome.deferral is None and self._robots is not None:
                sitemaps = self._robots.settle(outcome)
                if self._rules.sitemaps:
                    links = [Link(url, "sitemap") for url in sitemaps]
                    self._discovery.find(links, Page(outcome.job.url, 0, 0))
        self._discovery.settle(outcomes)
        return self._flush()

    def _flush(self) -> int:
        self._discovery.flush()
        if (
            self._has_grown
            and self._db.execute("SELECT 1 FROM url WHERE state = 0 LIMIT 1").fetchone() is None
        ):
            self._has_grown = False
            self._rejudging.left_out()
        return self._taken()

    def _taken(self) -> int:
        risen, hosts, has_moved = self._discovery.taken()
        if has_moved:
            self.claims.look_again()
        if risen:
            self.claims.were_added(hosts)
        return risen
