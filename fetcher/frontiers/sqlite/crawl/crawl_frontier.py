"""The crawl's side of the frontier: seeds, discovery, robots.txt, marks and budgets, put together.

Everything happens inside the frontier's transactions. A claim goes through three gates, in this order:
robots.txt (what is not known yet holds a URL back), the budget of pages, the mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fetcher.frontiers.sqlite.claims import Claims
from fetcher.frontiers.sqlite.converted_rows import drop_forms, has_converted
from fetcher.frontiers.sqlite.crash_marks import CrashMarks, crash_suspects
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlSession
from fetcher.frontiers.sqlite.crawl.discovery import Discovery, LinkSource, crawl_key
from fetcher.frontiers.sqlite.crawl.refilter import Refilter
from fetcher.frontiers.sqlite.crawl.robots_cache import RobotsCache
from fetcher.frontiers.sqlite.crawl.row_kinds import SITEMAP, rank_of
from fetcher.frontiers.sqlite.crawl.seeds import Seeds
from fetcher.frontiers.sqlite.crawl.shard_post import PostRows
from fetcher.frontiers.sqlite.url_rows import count_rows, sql
from fetcher.model import Counts, CrawlFindings, Job, Link, Outcome, State, Target
from fetcher.policy.urls import origin_of

_FINDINGS = sql("""SELECT CASE WHEN state = :LEFT_OUT THEN error END,
 CASE WHEN state = :LEFT_OUT OR id IN (SELECT url FROM seed) THEN 1
 ELSE state = :FAILED AND NOT coalesce(status BETWEEN 400 AND 499 AND status NOT IN (408, 429), 0) END,
 count(*) FROM url WHERE state IN (:FAILED, :REFUSED, :LEFT_OUT) AND generation >= ? AND kinds <> ?
 GROUP BY 1, 2""")
_IS_PENDING = sql("SELECT 1 FROM url WHERE state = :PENDING LIMIT 1")


class CrawlFrontier:
    """Frontier of one session of a crawl. `meta` is what the state said of the last one."""

    def __init__(self, session: CrawlSession, meta: dict[str, Any]) -> None:
        db, _, interned, options, base, *_ = session
        self._db, self._options, self._base = db, options, base
        self.seeds = Seeds(db, interned, options)
        suspects = () if meta.get("is_clean", 1) else crash_suspects(db, session.number - 1)
        self.claims = Claims(db, interned, self.seeds, suspects)
        self._discovery = Discovery(session)
        self._refilter = Refilter(db, interned, self._discovery, base, checks=options.checks)
        self._robots = RobotsCache(db, options, self.seeds) if options.obeys_robots else None
        self.marks = CrashMarks(db, session.number, options.max_pages)
        self._post = None if options.post is None else PostRows(db, interned, options.post, session.number)
        self._has_converted = has_converted(db)
        self._with_sitemap: set[tuple[str, str, int]] = set()
        # Seeds that an interrupted session added may let in what it had left out.
        self._has_grown = not meta.get("is_complete", 1)
        self._begins_anew = base != meta.get("base", 0)
        self._is_to_be_judged = self._begins_anew or options.signature != meta.get("rules", options.signature)
        self._wants_kept_sitemaps = options.sitemaps and not meta.get("sitemaps", 0)
        self.is_spent = False

    # -- a session -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Judge again what earlier sessions left, if the rules have changed, or all begins anew.

        What other shards have posted is taken. A robots.txt that is kept from a session that wanted no
        sitemaps is asked for them.

        Inside a transaction.
        """
        if self._is_to_be_judged:
            self._refilter.everything()
            self._taken()
        if self._post is not None:
            if self._begins_anew:
                self._post.forget()
            for link in self._post.receive():
                self._discovery.receive(link)
            self._flush()
        if self._wants_kept_sitemaps and self._robots is not None:
            for origin, sitemaps in self._robots.kept_sitemaps():
                links = [Link(url, "sitemap") for url in sitemaps]
                self._discovery.find(links, LinkSource(f"{origin}/robots.txt", 0, 0))
            self._flush()

    def count(self) -> Counts:
        """Count URLs; sitemaps are among what is pending, and count nowhere else."""
        return count_rows(self._db, f"kinds <> {SITEMAP}")

    def findings(self) -> CrawlFindings:
        broken, left_out = 0, {}
        for rule, is_counted, number in self._db.execute(_FINDINGS, (self._base, SITEMAP)):
            if rule is not None:
                left_out[rule] = number
            elif is_counted:
                broken += number
        return CrawlFindings(broken=broken, left_out=left_out)

    # -- seeds -----------------------------------------------------------------------------------------

    def key(self, job: Job) -> tuple[int, int]:
        return crawl_key(job, self._options)

    def rank(self, job: Job) -> int:
        return rank_of(0, -job.rank)

    def list_seed(self, number: int, job: Job, *, was: int | None = None) -> None:
        """Take note of a listed URL, whose row is new or `was` in that state."""
        target = job.target
        if target is None:
            self._db.execute("INSERT OR IGNORE INTO seed VALUES (?)", (number,))
            return
        discovery = self._discovery
        if self.seeds.add(number, target):
            self._has_grown = self._has_grown or discovery.has_left_out
        if was is None or was in {State.LEFT_OUT, State.FORGOTTEN}:
            discovery.quotas.count(target, is_page=True, is_listed=True)
        if was is not None:
            discovery.seed(number, self.rank(job))
        if self._options.sitemaps and target.origin not in self._with_sitemap:
            self._with_sitemap.add(target.origin)
            link = Link(f"{origin_of(target.url)}/sitemap.xml", "sitemap")
            discovery.find([link], LinkSource(target.url, 0, 0))

    def list_elsewhere(self, job: Job, target: Target) -> None:
        """Take note of a listed URL that another shard fetches: it widens the scope, and names its host."""
        if self.seeds.add(self._discovery.list_elsewhere(job, target, self.rank(job)), target):
            self._has_grown = self._has_grown or self._discovery.has_left_out

    def end(self) -> None:
        """Post what was found for other shards, at the end of a session."""
        if self._post is not None:
            self._post.send()

    def flush_seeds(self) -> int:
        """End a batch of seeds. Returns how many other rows became pending by it."""
        return self._flush()

    # -- claiming --------------------------------------------------------------------------------------

    def claim(self, limit: int, per_host: int, now: float) -> list[Job]:
        """Claim up to `limit` jobs, ones for robots.txt among them. Their marks are still to be written."""
        robots = self._robots
        if robots is not None:
            robots.begin(now)
        given: list[Job] = []
        while not given and (jobs := self._next(limit, per_host)):
            if robots is not None:
                jobs = robots.judge(jobs)
            given, _ = self.marks.within_budget(
                jobs, self.claims.counted
            )  # the others stay claimed, and pending
        self.is_spent = not given and self.marks.left == 0
        return given

    def _next(self, limit: int, per_host: int) -> list[Job]:
        """Return what was held back and no longer is; else claim from the state."""
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
                if self._options.sitemaps:
                    links = [Link(url, "sitemap") for url in sitemaps]
                    self._discovery.find(links, LinkSource(outcome.job.url, 0, 0))
        if self._has_converted:
            drop_forms(self._db, outcomes)
        self._discovery.settle(outcomes)
        return self._flush()

    def settle_stored(self, outcomes: Sequence[Outcome]) -> int:
        """Find what a parser has added to links of stored pages. Returns how many rows became pending."""
        for outcome in outcomes:
            if outcome.links:
                self._discovery.add_links(outcome.job, outcome.links)
        return self._flush()

    def _flush(self) -> int:
        self._discovery.flush()
        if self._has_grown and self._db.execute(_IS_PENDING).fetchone() is None:
            self._has_grown = False
            self._refilter.left_out()
        if self._post is not None and (outgoing := self._discovery.pop_outgoing()):
            self._post.note(outgoing)
        return self._taken()

    def _taken(self) -> int:
        risen, hosts, has_moved = self._discovery.pop_changes()
        if has_moved:
            self.claims.reset_cursors()
        if risen:
            self.claims.on_insert(hosts)
        return risen
