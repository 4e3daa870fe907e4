"""robots.txt of each origin (RFC 9309): asked for before anything else there, judged as URLs are claimed.

Invariants: while an origin's rules are unknown its URLs are held back, claimed but not given out, and
exactly one job for its robots.txt is out; when that has ended they are given out first. What could not be
had is not stored: it holds for this session, and a later one asks again.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator

from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.seeds import Seeds
from fetcher.model import Job, Outcome, Target
from fetcher.policy.robots import MOST_BYTES, RobotsRules
from fetcher.policy.urls import origin_of

MAX_AGE_S = 24 * 3600.0  # RFC 9309 §2.4
_MOST_PARSED = 1000
_MOST_PARSED_BYTES = 8 << 20  # of their texts; the rules may take twenty times as much
_JUDGED = frozenset({"page", "asset", "check"})

_DISALLOWED = ("robots", "robots.txt disallows it")


class RobotsCache:
    """Rules of each origin, by which claimed jobs are judged; it asks for those that it lacks."""

    def __init__(self, db: sqlite3.Connection, rules: CrawlOptions, seeds: Seeds) -> None:
        self._db = db
        self._agent = rules.agent
        self._seeds = seeds
        self._parsed: dict[str, RobotsRules] = {}
        self._parsed_bytes = 0
        self._unreachable: dict[str, str] = {}
        self._waiting: dict[str, list[Job]] = {}
        self._held: dict[int, float] = {}  # by job: since when
        self._origins: dict[int, str] = {}  # of the jobs that are out
        self._last_id = 0
        self._is_begun = False
        self._now = 0.0
        self.released: deque[Job] = deque()  # claimed before, to be judged and given out next

    def begin(self, now: float) -> None:
        """Set the time to `now` (UTC); once, forget what was had too long ago, or in a false future."""
        self._now = now
        if not self._is_begun:
            self._is_begun = True
            self._db.execute(
                "DELETE FROM robots WHERE fetched NOT BETWEEN ? AND ?", (now - MAX_AGE_S, now + MAX_AGE_S)
            )

    def judge(self, jobs: Iterable[Job]) -> list[Job]:
        """Return what may be given out, refused ones included, and jobs for what must be known first."""
        given = []
        for job in jobs:
            target = job.target
            if target is None or job.kind not in _JUDGED:
                given.append(job)
                continue
            origin = f"{target.scheme}://{target.host}"
            rules = self._rules(origin)
            since = self._held.pop(job.id, self._now)
            if rules is not None:
                job.held_s = max(self._now - since, 0.0)
                if not rules.allows(target.url):
                    job.refusal = _DISALLOWED
                else:
                    job.crawl_delay_s = rules.crawl_delay_s
                given.append(job)
            elif origin in self._unreachable:
                job.refusal = "robots-unreachable", self._unreachable[origin]
                given.append(job)
            elif origin in self._waiting:
                self._held[job.id] = since
                self._waiting[origin].append(job)
            else:
                self._held[job.id] = since
                self._waiting[origin] = [job]
                given.append(self._ask(origin, target))
        return given

    def settle(self, outcome: Outcome) -> tuple[str, ...]:
        """Store a robots.txt that was had. Returns the sitemaps that it names; what was not read is noted."""
        origin = self._origins.pop(outcome.job.id)
        text = outcome.robots
        if text is None and 300 <= outcome.fault < 500:  # §2.3.1.2 and §2.3.1.3: there is none
            text = b""
        self.released.extend(self._waiting.pop(origin))
        if text is None:
            self._unreachable[origin] = _reason(outcome)
            return ()
        text = text[: MOST_BYTES + 1]  # one more, so that it is seen to be cut
        self._db.execute("INSERT OR REPLACE INTO robots VALUES (?, ?, ?)", (origin, self._now, text))
        rules = self._parse(origin, text)
        outcome.notes = [f"{outcome.job.url}: {note}" for note in rules.notes]
        return rules.sitemaps

    def kept_sitemaps(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the origins whose robots.txt is kept, and the sitemaps that it names."""
        for origin, text in self._db.execute("SELECT origin, text FROM robots").fetchall():
            yield origin, RobotsRules(text, self._agent, _address(origin)).sitemaps

    def _rules(self, origin: str) -> RobotsRules | None:
        rules = self._parsed.get(origin)
        if rules is None and origin not in self._waiting:
            found = self._db.execute("SELECT text FROM robots WHERE origin = ?", (origin,)).fetchone()
            if found is not None:
                rules = self._parse(origin, found[0])
        return rules

    def _parse(self, origin: str, text: bytes) -> RobotsRules:
        self._parsed_bytes += len(text)
        if len(self._parsed) >= _MOST_PARSED or self._parsed_bytes > _MOST_PARSED_BYTES:
            self._parsed.clear()
            self._parsed_bytes = len(text)
        rules = self._parsed[origin] = RobotsRules(text, self._agent, _address(origin))
        return rules

    def _ask(self, origin: str, target: Target) -> Job:
        self._last_id -= 1
        self._origins[self._last_id] = origin
        url = _address(origin_of(target.url))
        return Job(
            id=self._last_id,
            url=url,
            target=Target(url, target.scheme, target.hostname, target.port, target.host),
            kind="robots",
            is_listed=self._seeds.lists(target),
            is_user_host=self._seeds.names_hostname(target),
        )


def _address(origin: str) -> str:
    return f"{origin}/robots.txt"


def _reason(outcome: Outcome) -> str:
    if outcome.fault:
        return f"robots.txt could not be had: HTTP {outcome.fault}"
    if outcome.error is not None and outcome.error.message:
        return f"robots.txt could not be had: {outcome.error.message}"
    return "robots.txt could not be had"
