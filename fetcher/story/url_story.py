"""Everything that is known of one URL of a run directory, in the order in which it happened.

The state has where it came from, what was decided and what it waited for; `results.jsonl` has how it ended,
each time. Both are read as they are while a run writes them, so the last moments may be missing of either.
"""

from __future__ import annotations

import ast
import json
import sqlite3
import struct
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from fetcher.engine.record_builder import encode_record
from fetcher.frontiers.sqlite.crawl.row_kinds import check_rule, kind_of
from fetcher.model import FINAL, Part, Record, State, Wait
from fetcher.policy.robots import RobotsVerdict, verdict_on
from fetcher.policy.table_columns import moment_text
from fetcher.story.name_owner import NameStory, name_story
from fetcher.story.url_finder import Row, UrlFinder
from fetcher.timings import Timing, read_timings
from fetcher.verification.records import Line, lines_with, record_of

_TIMINGS = "SELECT session, settled, entries FROM timing WHERE instr(entries, ?) > 0 ORDER BY id"
_MOST_RECORDS = 100
_RULES = ("depth", "scope", "include", "exclude", "max_variants", "max_host_pages", "ignore", "assets")

_decode_history = msgspec.json.Decoder(tuple[Wait, ...]).decode
_decode_part = msgspec.json.Decoder(Part).decode


class RobotsStory(msgspec.Struct, kw_only=True):
    """Verdict of the robots.txt that the state keeps. `verdict` is None where there is none of the origin."""

    url: str
    agent: str
    fetched_at: str | None = None
    verdict: RobotsVerdict | None = None


class RunStory(msgspec.Struct, kw_only=True):
    """One run of the program in the directory. `ended_at` is None if it was killed, or goes on."""

    number: int
    mode: str
    began_at: str
    ended_at: str | None = None


class AttemptStory(msgspec.Struct, kw_only=True):
    """One exchange. `run` is the number of the run, `settled_at` when what it came to was safe."""

    run: int
    settled_at: str
    started_at: str
    status: int | None
    waits: dict[str, float]
    phases: dict[str, float]
    is_new_connection: bool
    wire_bytes: int | None = None
    url: str | None = None
    error: str | None = None
    message: str | None = None
    resumed_at: int | None = None
    resent: int = 0
    parser_waited: float | None = None
    parser_took: float | None = None
    store_took: float | None = None


class UrlStory(msgspec.Struct, kw_only=True):
    """The story of one URL. `url` is as it goes on the wire, `given` as it was listed.

    `state` is one of the final states, or `pending`, `withheld`, `forgotten`, `left-out`. `rules` are those
    of the crawl, by option, `checked_by` is that which had it only checked, and `same_page` the URL that one
    with a session id is fetched as. `unknown` says what can't be told.
    """

    url: str
    given: str
    command: str
    state: str
    error: str | None
    message: str | None = None
    status: int | None = None
    source: str | None = None
    line: int | None = None
    is_seed: bool = False
    parent: str | None = None
    depth: int = 0
    hops: int = 0
    kind: str = "page"
    checked_by: str | None = None
    rules: dict[str, Any] = {}
    same_page: str | None = None
    request: dict[str, Any] = {}
    robots: RobotsStory | None = None
    name: NameStory | None = None
    is_claimed: bool = False
    attempts_made: int = 0
    not_before: str | None = None
    waits: list[Wait] = []
    attempts: list[AttemptStory] = []
    records: list[Record] = []
    part: Part | None = None
    runs: list[RunStory] = []
    unknown: list[str] = []


class StoryTeller:
    """Teller of the stories in one state, with the records beside it."""

    def __init__(self, db: sqlite3.Connection, results: Path) -> None:
        self._db = db
        self._results = results
        self._meta = dict(db.execute("SELECT name, value FROM meta"))
        self.command = str(self._meta.get("command", "get"))
        self._tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def finder(self, asked: str) -> UrlFinder:
        """Return the finder of a URL in this state."""
        return UrlFinder(self._db, asked, is_crawl=self.command == "crawl")

    def tell(self, row: Row, finder: UrlFinder) -> UrlStory:
        """Tell the story of a row."""
        state = State(row["state"])
        slug, _, message = (row["error"] or "").partition("\n")
        story = UrlStory(
            url=row["url"],
            given=row["given"] or row["url"],
            command=self.command,
            state=state.name.lower().replace("_", "-"),
            error=slug or None,
            message=message or None,
            status=row["status"],
            source=self._source(row["source"]),
            line=row["line"],
            parent=row["parent"],
            depth=row["depth"],
            attempts_made=row["attempts"],
            is_claimed=state == State.PENDING and abs(row.get("claimed", 0)) == self._meta.get("session"),
            waits=list(_decode_history(row["history"])) if row["history"] else [],
        )
        if row["not_before"] and state == State.PENDING:
            story.not_before = moment_text(row["not_before"])
        if row["extra"]:
            extra = json.loads(row["extra"])
            story.request = {key: extra[key] for key in ("method", "sha256", "name") if key in extra}
        if self.command == "crawl":
            self._add_crawl(story, row, finder)
        if row["host"]:
            story.name = name_story(self._db, row, self._tables)
        self._add_runs(story)
        self._add_attempts(story, row)
        story.records = self._records(story.given)
        if story.records and story.records[-1].state == story.state:
            story.message = story.message or story.records[-1].message
        if "part" in self._tables:
            found = self._db.execute("SELECT part FROM part WHERE url = ?", (row["id"],)).fetchone()
            story.part = None if found is None else _decode_part(found[0])
        if state in FINAL and not story.records and row["attempts"]:
            story.unknown.append("results.jsonl has no record of it")
        return story

    def led_here(self, finder: UrlFinder) -> list[tuple[str, str]]:
        """Find URLs whose redirects led to what was asked for, as pairs of URL and target."""
        targets = {target.url for target in finder.targets}
        needles = [msgspec.json.encode(url) for url in targets]
        found: deque[tuple[str, str]] = deque(maxlen=_MOST_RECORDS)
        for line in lines_with(self._results, needles):
            if (record := record_of(line)) is not None:
                found += [(record.url, url) for url in record.redirects if url in targets]
        return list(dict.fromkeys(found))

    # -- parts -----------------------------------------------------------------------------------------

    def _source(self, number: int | None) -> str | None:
        if number is None:
            return None
        found = self._db.execute("SELECT name FROM source WHERE id = ?", (number,)).fetchone()
        return None if found is None else str(found[0])

    def _add_crawl(self, story: UrlStory, row: Row, finder: UrlFinder) -> None:
        kinds = row.get("kinds", 1)
        story.hops, story.kind, story.checked_by = row.get("hops", 0), kind_of(kinds), check_rule(kinds)
        if "seed" in self._tables:
            query = "SELECT 1 FROM seed WHERE url = ?"
            story.is_seed = self._db.execute(query, (row["id"],)).fetchone() is not None
        values = ast.literal_eval(str(self._meta.get("rules") or "()"))
        story.rules = dict(zip(_RULES, values, strict=False))
        if story.error == "session-id":
            page = finder.page_of(row)
            story.same_page = None if page is None else page["url"]
        if row["host"] and row["state"] != State.LEFT_OUT:
            story.robots = self._robots(row)

    def _robots(self, row: Row) -> RobotsStory | None:
        if self._meta.get("agent", "fetcher") is None or "robots" not in self._tables:
            return None
        scheme = str(row["url"]).partition("://")[0]
        host = self._db.execute("SELECT name FROM host WHERE id = ?", (row["host"],)).fetchone()[0]
        origin = f"{scheme}://{host}"
        agent = str(self._meta.get("agent", "fetcher"))
        told = RobotsStory(url=f"{origin}/robots.txt", agent=agent)
        query = "SELECT fetched, text FROM robots WHERE origin = ?"
        found = self._db.execute(query, (origin,)).fetchone()
        if found is not None:
            told.fetched_at, told.verdict = moment_text(found[0]), verdict_on(found[1], agent, row["url"])
        return told

    def _add_runs(self, story: UrlStory) -> None:
        if "session" not in self._tables:
            return
        rows = self._db.execute("SELECT id, mode, began, ended FROM session ORDER BY id").fetchall()
        for number, mode, began, ended in rows:
            ended_at = None if ended is None else moment_text(ended)
            story.runs.append(
                RunStory(number=number, mode=mode, began_at=moment_text(began), ended_at=ended_at)
            )

    def _add_attempts(self, story: UrlStory, row: Row) -> None:
        if "timing" not in self._tables:
            story.unknown.append("what it waited for in detail: it was fetched by an earlier version")
            return
        for session, settled, entries in self._db.execute(_TIMINGS, (struct.pack("<q", row["id"]),)):
            for timing in read_timings(entries):
                if timing.id == row["id"]:
                    story.attempts.append(_attempt(timing, session, settled))
        if row["attempts"] > sum(1 + attempt.resent for attempt in story.attempts):
            story.unknown.append("attempts that an earlier version made, or a run before the last --refresh")

    def _records(self, given: str) -> list[Record]:
        begin = encode_record(Record(url=given)).partition(b',"final_url"')[0] + b","
        found: deque[Line] = deque(maxlen=_MOST_RECORDS)
        for line in lines_with(self._results, [begin]):
            if line.startswith(begin) and (record := record_of(line)) is not None:
                found.append(record)
        return list(found)


def _attempt(timing: Timing, session: int, settled: float) -> AttemptStory:
    notes = timing.notes
    told = AttemptStory(
        run=session,
        settled_at=moment_text(settled),
        started_at=moment_text(timing.started_at),
        status=timing.status or None,
        waits=_rounded(timing.waits),
        phases=_rounded(timing.phases),
        is_new_connection=timing.is_new_connection,
        wire_bytes=timing.wire_bytes,
        url=notes.url,
        error=notes.error,
        message=notes.message,
        resumed_at=notes.resumed_at,
        resent=notes.resent,
        store_took=None if timing.stored is None else round(timing.stored, 6),
    )
    if timing.parse is not None:
        told.parser_waited, told.parser_took = (round(seconds, 6) for seconds in timing.parse)
    return told


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in seconds.items() if value > 0}
