"""Figures of a report, counted in one pass over the final records and one over the timings.

Invariant: a figure of URLs is one of `results.jsonl`; what records do not know (URLs that wait, what rules
left out, phases) is of the state, and named so.
"""

from __future__ import annotations

import datetime as dt
import heapq
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fetcher.analysis.final_records import FinalRecords
from fetcher.analysis.report.distribution import Distribution
from fetcher.analysis.report.host_figures import ATTEMPTS as HOST_ATTEMPTS
from fetcher.analysis.report.host_figures import (
    BYTES,
    FAILED,
    REFUSED,
    WIRE_BYTES,
    HostTable,
)
from fetcher.analysis.report.report_figures import (
    ErrorFigures,
    RedirectFigures,
    ReportedRun,
    ReportFigures,
    RuleFigures,
    TypeFigures,
    UrlFigures,
)
from fetcher.analysis.report.timeline import ReportTimeline
from fetcher.errors import Refused
from fetcher.frontiers.sqlite.report import read_report, reading
from fetcher.frontiers.sqlite.timing_rows import read_bottleneck
from fetcher.model import FINAL_STATES
from fetcher.policy.table_columns import moment_text
from fetcher.policy.urls import admit, origin_of
from fetcher.run_dir import RunDirectory
from fetcher.sharding.merged_report import merged
from fetcher.sharding.shard_folders import count_shards
from fetcher.story.url_advice import BY_ERROR, BY_RULE, by_status
from fetcher.timings import PHASES, read_timings
from fetcher.verification.records import Line
from fetcher.version import __version__

MOST_ROWS = 25  # of a table
MOST_HOSTS = 15
_MOST_KINDS = 1000  # that are told apart, of what servers choose
OTHERS = "(others)"
_HOSTS_OF = """SELECT url.id, host.name FROM url JOIN host ON host.id = url.host
 WHERE url.id IN (SELECT value FROM json_each(?))"""
_LAST_ASKING = "SELECT coalesce(max(id), 0) FROM session WHERE asks = 1"
_STAGES = ("queue", *PHASES, "parser queue", "parser", "store")


def read_figures(roots: Sequence[Path], directory: str) -> ReportFigures:
    """Count the figures of the run directories at `roots`, shown as `directory`; nothing in them is changed.

    Raises:
        ConfigError: one is no run directory.
        StorageError: records or state can't be read.
    """
    places = [RunDirectory(root) for root in roots]
    states = [read_report(place.state, directory, most_hosts=0) for place in places]
    state = states[0] if len(states) == 1 else merged(states, directory, count_shards(roots), most_hosts=0)
    figures = ReportFigures(
        directory=directory,
        command=state.command,
        version=__version__,
        created=state.created,
        made_at=moment_text(dt.datetime.now(dt.UTC).timestamp()),
        running=next((place.owner() for place in places if place.is_locked()), None),
        is_resumable=state.is_resumable,
        bottleneck=state.bottleneck,
    )
    counter = _RecordCounter()
    try:
        with FinalRecords(*roots) as records:
            for record in records:
                counter.count(record)
            figures.not_records = records.not_records
        exchanges = _ExchangeCounter(figures, counter.hosts)
        for place in places:
            with reading(place.state) as db:
                exchanges.count(db)
        exchanges.fill()
        counter.fill(figures)
    finally:
        counter.hosts.close()
    for name in ("pending", "withheld"):
        if number := state.states.get(name, 0):
            figures.states[name] = number
    figures.left_out = [
        RuleFigures(rule=rule, urls=urls, advice=BY_RULE.get(rule)) for rule, urls in state.left_out.items()
    ]
    return figures


class _Ranked(NamedTuple):
    """A URL in a heap of the greatest; of equal ones the earlier counts."""

    value: float
    place: int
    record: Line


class _RecordCounter:
    """Counter of all that records tell."""

    def __init__(self) -> None:
        self.hosts = HostTable()
        self._number = 0
        self._states: Counter[str] = Counter(dict.fromkeys(FINAL_STATES, 0))
        self._statuses: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._hops: Counter[int] = Counter()
        self._depths: Counter[int] = Counter()
        self._types: dict[str, list[int]] = {}
        self._errors: dict[tuple[str, int | None], ErrorFigures] = {}
        self._redirects: dict[tuple[str, str], RedirectFigures] = {}
        self._elapsed, self._waited, self._sizes = Distribution(), Distribution(), Distribution()
        self._timeline = ReportTimeline()
        self._slowest: list[_Ranked] = []
        self._largest: list[_Ranked] = []
        self._began: str | None = None
        self._ended: str | None = None

    def count(self, record: Line) -> None:
        """Count a URL by its last record."""
        self._number += 1
        totals = self._totals
        self._states[record.state] += 1
        self._statuses["none" if record.status is None else str(record.status)] += 1
        stored = record.bytes if record.path is not None or record.state == "done" else 0
        totals["bytes"] += stored
        totals["wire_bytes"] += record.wire_bytes
        totals["attempts"] += record.attempts
        totals["retried"] += record.attempts > 1
        totals["resumed"] += bool(record.resumed_at)
        self._depths[record.depth] += 1
        row = self.hosts.count_end(_host_of(record.url), record.elapsed)
        row[BYTES] += stored
        row[WIRE_BYTES] += record.wire_bytes
        row[HOST_ATTEMPTS] += record.attempts
        if record.attempts:
            self._elapsed.add(record.elapsed)
            self._waited.add(record.waited)
            self._rank(self._slowest, record.elapsed, record)
        if stored:
            self._sizes.add(stored)
            self._rank(self._largest, stored, record)
            self._count_type(record.content_type, stored)
        if record.state in {"failed", "refused"}:
            row[FAILED if record.state == "failed" else REFUSED] += 1
            self._count_error(record)
        if record.redirects:
            self._count_redirect(record)
        self._count_time(record)

    def _rank(self, heap: list[_Ranked], value: float, record: Line) -> None:
        if len(heap) < MOST_ROWS:
            heapq.heappush(heap, _Ranked(value, -self._number, record))
        elif value > heap[0].value:
            heapq.heapreplace(heap, _Ranked(value, -self._number, record))

    def _count_type(self, content_type: str | None, size: int) -> None:
        name = (content_type or "").partition(";")[0].strip().lower() or "(none)"
        if name not in self._types and len(self._types) >= _MOST_KINDS:
            name = OTHERS
        counts = self._types.setdefault(name, [0, 0])
        counts[0] += 1
        counts[1] += size

    def _count_error(self, record: Line) -> None:
        error = record.error or record.state
        status = record.status if error == "http-status" else None
        found = self._errors.get((error, status))
        if found is None:
            if len(self._errors) >= _MOST_KINDS:
                error, status = OTHERS, None
            advice = BY_ERROR.get(error)
            found = self._errors.setdefault(
                (error, status),
                ErrorFigures(
                    error=error,
                    status=status,
                    urls=0,
                    example=record.url,
                    message=record.message,
                    source=record.source,
                    line=record.line,
                    parent=record.parent,
                    advice=advice if status is None else by_status(status),
                ),
            )
        found.urls += 1

    def _count_redirect(self, record: Line) -> None:
        self._hops[len(record.redirects)] += 1
        pair = origin_of(record.url), origin_of(record.redirects[-1])
        if pair not in self._redirects and len(self._redirects) >= _MOST_KINDS:
            pair = OTHERS, OTHERS
        found = self._redirects.get(pair)
        if found is None:
            found = self._redirects[pair] = RedirectFigures(
                origin=pair[0], target=pair[1], urls=0, example=record.url
            )
        found.urls += 1

    def _count_time(self, record: Line) -> None:
        began, ended = record.started_at, record.ended_at
        if began is not None and (self._began is None or began < self._began):
            self._began = began
        if ended is None:
            return
        if self._ended is None or ended > self._ended:
            self._ended = ended
        try:
            at = dt.datetime.fromisoformat(ended).timestamp()
        except (ValueError, OverflowError):
            return
        self._timeline.add(at, record.state, record.wire_bytes, record.elapsed)

    def fill(self, figures: ReportFigures) -> None:
        """Write what was counted to where it belongs."""
        figures.urls = self._number
        figures.states = dict(self._states)
        figures.statuses = dict(sorted(self._statuses.items()))
        for name, number in self._totals.items():
            setattr(figures, name, number)
        figures.began_at, figures.ended_at = self._began, self._ended
        figures.columns = self._timeline.columns()
        hosts = self.hosts
        figures.hosts = hosts.number
        figures.hosts_most_urls = hosts.most_urls(MOST_HOSTS)
        figures.hosts_slowest = hosts.slowest(MOST_HOSTS)
        figures.hosts_most_errors = hosts.most_errors(MOST_HOSTS)
        figures.hosts_held_longest = hosts.held_longest(MOST_HOSTS)
        figures.elapsed, figures.waited = self._elapsed.quantiles(), self._waited.quantiles()
        figures.sizes, figures.size_classes = self._sizes.quantiles(), self._sizes.size_classes()
        types = (TypeFigures(content_type=n, urls=c[0], bytes=c[1]) for n, c in self._types.items())
        figures.types = heapq.nsmallest(MOST_ROWS, types, key=lambda one: (-one.urls, one.content_type))
        figures.errors = heapq.nsmallest(
            4 * MOST_ROWS, self._errors.values(), key=lambda one: (-one.urls, one.error, one.status or 0)
        )
        figures.redirected = sum(self._hops.values())
        figures.hops = {str(hops): number for hops, number in sorted(self._hops.items())}
        figures.redirects = heapq.nsmallest(MOST_ROWS, self._redirects.values(), key=lambda one: -one.urls)
        figures.depths = {str(depth): number for depth, number in sorted(self._depths.items())}
        figures.slowest = [_url(one.record) for one in sorted(self._slowest, reverse=True)]
        figures.largest = [_url(one.record) for one in sorted(self._largest, reverse=True)]


class _ExchangeCounter:
    """Counter of the timings of the last whole asking: by stage, by what was waited for, and by host."""

    def __init__(self, figures: ReportFigures, hosts: HostTable) -> None:
        self._figures = figures
        self._hosts = hosts
        self._stages = {stage: Distribution() for stage in _STAGES}
        self._causes: defaultdict[str, Distribution] = defaultdict(Distribution)

    def fill(self) -> None:
        """Write what was counted to where it belongs."""
        self._figures.runs.sort(key=lambda run: (run.began_at, run.number))
        self._figures.stages = {
            stage: found.quantiles() for stage, found in self._stages.items() if found.count
        }
        self._figures.causes = {cause: found.quantiles() for cause, found in self._causes.items()}

    def count(self, db: sqlite3.Connection) -> None:
        """Count those of one run directory."""
        figures, hosts, stages, causes = self._figures, self._hosts, self._stages, self._causes
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"timing", "session"} <= tables:
            return  # of an earlier version
        for number, mode, began, ended in db.execute(
            "SELECT id, mode, began, ended FROM session ORDER BY id"
        ):
            ended_at = None if ended is None else moment_text(ended)
            figures.runs.append(
                ReportedRun(
                    number=number,
                    mode=mode,
                    began_at=moment_text(began),
                    ended_at=ended_at,
                    bottleneck=read_bottleneck(db, number),
                )
            )
        first = db.execute(_LAST_ASKING).fetchone()[0]
        for (entries,) in db.execute("SELECT entries FROM timing WHERE session >= ? ORDER BY id", (first,)):
            timings = list(read_timings(entries))
            host_of = dict(db.execute(_HOSTS_OF, (json.dumps([timing.id for timing in timings]),)).fetchall())
            for timing in timings:
                figures.exchanges += 1
                stages["queue"].add(sum(timing.waits.values()))
                for phase, seconds in timing.phases.items():
                    if seconds > 0:
                        stages[phase].add(seconds)
                if timing.parse is not None:
                    stages["parser queue"].add(timing.parse[0])
                    stages["parser"].add(timing.parse[1])
                if timing.stored is not None:
                    stages["store"].add(timing.stored)
                host = _host_of(timing.notes.url) if timing.notes.url else host_of.get(timing.id, "")
                for cause, seconds in timing.waits.items():
                    if seconds > 0:
                        causes[cause].add(seconds)
                        hosts.count_wait(host, cause, seconds)


def _host_of(url: str) -> str:
    try:
        return admit(url).host
    except Refused:
        return ""


def _url(record: Line) -> UrlFigures:
    names: Any = UrlFigures.__struct_fields__
    return UrlFigures(**{name: getattr(record, name) for name in names})
