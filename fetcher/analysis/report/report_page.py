"""The page of a report: one HTML file that asks nothing of anybody, made from its figures alone.

Invariant: everything from outside goes through `markup.text`, and the page's own policy lets no script run
but the one here, so what a server sent is only ever shown.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from fetcher.analysis.report.charts import (
    bytes_over_time,
    range_bar,
    size_bars,
    states_bar,
    urls_over_time,
)
from fetcher.analysis.report.distribution import Quantiles
from fetcher.analysis.report.figures import MOST_HOSTS, MOST_ROWS
from fetcher.analysis.report.host_figures import HostFigures
from fetcher.analysis.report.markup import Html, join, tag
from fetcher.analysis.report.report_figures import ReportFigures
from fetcher.analysis.report.style import SCRIPT, STYLE
from fetcher.frontiers.sqlite.report import standing
from fetcher.observers.formatting import count, duration, plural, rate, size

MARK = "<!doctype html><!-- a report of fetcher -->"
_OPTION = re.compile(r"(--[a-z][a-z-]*)")
_STAGES = {
    "queue": "waiting to start",
    "name": "name (DNS)",
    "connect": "connect",
    "tls": "TLS",
    "header": "header",
    "body": "body",
    "disk": "body, held up by the disk",
    "bandwidth": "body, held up by --max-bandwidth",
    "parser queue": "waiting for the parser",
    "parser": "parser",
    "store": "store (its whole batch)",
}
_CAUSES = {
    "concurrency": "a slot (--concurrency)",
    "per-host": "the host's limit (--per-host)",
    "delay": "the host's delay",
    "rate": "the rate",
    "retry-after": "Retry-After",
    "backoff": "backoff after a failure",
    "hold": "a hold of an earlier run",
    "descriptors": "file descriptors",
    "settling": "parser or disk, which were behind",
    "memory": "memory for bodies",
    "robots": "robots.txt",
}


class _Heading(NamedTuple):
    """A column of a table: its name, how its cells are made, and their class; `value` is what sorts."""

    name: str
    cell: Callable[[Any], object]
    kind: str = ""
    value: Callable[[Any], float] | None = None


def _number(name: str, value: Callable[[Any], float], say: Callable[[Any], str] = count) -> _Heading:
    return _Heading(name, lambda row: say(value(row)), "n", value)


def report_page(figures: ReportFigures) -> str:
    """Return the page."""
    sections = [
        ("over-time", "Over time", _over_time(figures)),
        ("times", "Where the time went", _times(figures)),
        ("errors", "Errors", _errors(figures)),
        ("hosts", "Hosts", _hosts(figures)),
        ("bodies", "Sizes and types", _bodies(figures)),
        ("redirects", "Redirects", _redirects(figures)),
        ("left-out", "Left out by rules", _left_out(figures)),
        ("extremes", "Slowest and largest", _extremes(figures)),
        ("runs", "Runs", _runs(figures)),
    ]
    shown = [(name, title, content) for name, title, content in sections if content]
    title = f"{figures.directory}: report"
    head = join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=Html(_policy())),
            tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Html(STYLE)),
        )
    )
    body = join(
        (
            *_top(figures),
            tag("nav", *[tag("a", title, href=f"#{name}") for name, title, _ in shown]),
            *[tag("section", tag("h2", title), content, id=name) for name, title, content in shown],
            tag("footer", f"fetcher {figures.version}, {figures.made_at}. Times are UTC; K is 1024."),
            tag("script", Html(SCRIPT)),
        )
    )
    return f"{MARK}\n" + tag("html", tag("head", head), tag("body", body), lang="en") + "\n"


def _policy() -> str:
    def digest(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {digest(STYLE)}; script-src {digest(SCRIPT)};"
        " base-uri 'none'; form-action 'none'"
    )


# -- sections ----------------------------------------------------------------------------------------------


def _top(figures: ReportFigures) -> Iterator[Html]:
    yield tag("h1", figures.directory)
    how = standing(figures.states, is_resumable=figures.is_resumable, running=figures.running)
    yield tag("p", f"fetcher {figures.command}, begun {figures.created}: {how}", class_="dim")
    active_s = sum(column.seconds for column in figures.columns)
    cards = [
        ("URLs ended", count(figures.urls)),
        ("stored", size(figures.bytes)),
        ("received", size(figures.wire_bytes)),
        ("host" if figures.hosts == 1 else "hosts", count(figures.hosts)),
        ("attempts", count(figures.attempts)),
    ]
    if active_s >= 1:
        cards.insert(1, ("on average", rate(figures.urls / active_s)))
        cards.insert(1, ("without pauses", duration(active_s)))
    if figures.retried:
        cards.append(("URLs tried more than once", count(figures.retried)))
    if figures.resumed:
        cards.append(("bodies continued", count(figures.resumed)))
    if figures.bottleneck is not None:
        yield tag("p", _with_options(figures.bottleneck.text), class_="verdict")
    yield tag("div", *[tag("div", tag("b", n), tag("span", what)) for what, n in cards], class_="cards")
    if sum(figures.states.values()):
        yield states_bar(figures.states)
    if figures.not_records:
        yield tag(
            "p",
            f"{plural(figures.not_records, 'line')} of results.jsonl no record: fetcher verify says which",
        )


def _over_time(figures: ReportFigures) -> Html:
    if not figures.columns:
        return Html()
    return join((urls_over_time(figures.columns), tag("p"), bytes_over_time(figures.columns)))


def _times(figures: ReportFigures) -> Html:
    parts: list[Html] = []
    if figures.elapsed.count:
        words = "Of each URL, all its attempts together, as its record has them."
        rows = [("exchanges", figures.elapsed), ("waiting in queues", figures.waited)]
        parts += [tag("p", words, class_="dim"), _quantiles(rows)]
    if figures.stages:
        words = f"Of each of {plural(figures.exchanges, 'exchange')}, as far as it had such a time."
        rows = [(_STAGES[name], of) for name, of in figures.stages.items()]
        parts += [tag("h3", "By stage"), tag("p", words, class_="dim"), _quantiles(rows)]
    if figures.causes:
        causes = sorted(figures.causes.items(), key=lambda item: -item[1].total)
        rows = [(_CAUSES.get(name, name), of) for name, of in causes]
        words = "Many URLs wait at once, so sums are longer than the run."
        parts += [tag("h3", "What was waited for"), tag("p", words, class_="dim"), _quantiles(rows)]
    return join(parts)


def _quantiles(rows: Sequence[tuple[str, Quantiles]]) -> Html:
    values = [value for _, of in rows for value in (of.p10, of.most) if value > 0]
    least, most = min(values, default=0.001), max(values, default=1.0)

    def seconds(name: str, value: Callable[[Quantiles], float]) -> _Heading:
        return _number(name, lambda row: value(row[1]), seconds_text)

    return _table(
        rows,
        [
            _Heading("", lambda row: _with_options(row[0]), "words"),
            _number("times", lambda row: row[1].count),
            seconds("median", lambda of: of.median),
            seconds("90 %", lambda of: of.p90),
            seconds("99 %", lambda of: of.p99),
            seconds("longest", lambda of: of.most),
            seconds("sum", lambda of: of.total),
            _Heading(
                f"{seconds_text(least)} to {seconds_text(most)}, logarithmic",
                lambda row: range_bar(row[1], least, most),
            ),
        ],
    )


def _errors(figures: ReportFigures) -> Html:
    if not figures.errors:
        return Html()
    return _table(
        figures.errors,
        [
            _Heading("error", _kind_of_error, "words"),
            _number("URLs", lambda row: row.urls),
            _Heading("the first one", _example, "url"),
            _Heading("what to do", _advice, "words"),
        ],
    )


def _kind_of_error(row: Any) -> str:
    return row.error if row.status is None else f"{row.error} {row.status}"


def _held_back_by(row: Any) -> str | Html:
    return "" if row.bottleneck is None else _with_options(row.bottleneck.text)


def _advice(row: Any) -> Html:
    """Return advice with the options in it kept on one line."""
    return _with_options(row.advice or "")


def _with_options(words: str) -> Html:
    pieces = _OPTION.split(words)
    return join(tag("code", piece) if number % 2 else piece for number, piece in enumerate(pieces))


def _example(row: Any) -> Html:
    parts = [tag("div", row.example)]
    if row.message and row.message != row.error:
        parts.append(tag("div", row.message, class_="dim"))
    if row.source is not None:
        place = row.source if row.line is None else f"{row.source}, line {row.line}"
        parts.append(tag("div", place, class_="dim"))
    elif row.parent is not None:
        parts.append(tag("div", f"found on {row.parent}", class_="dim"))
    return join(parts)


def _hosts(figures: ReportFigures) -> Html:
    lists = [
        ("Most URLs", figures.hosts_most_urls),
        ("Slowest, by attempt", figures.hosts_slowest),
        ("Most errors", figures.hosts_most_errors),
        ("Held longest", figures.hosts_held_longest),
    ]
    if figures.hosts <= MOST_HOSTS:  # one table has them all, and sorts
        lists = [("", figures.hosts_most_urls)] if figures.hosts_most_urls else []
    parts: list[Html] = []
    for title, hosts in lists:
        if hosts:
            parts += [tag("h3", title) if title else Html(), _host_table(hosts)]
    return join(parts)


def _host_table(hosts: Sequence[HostFigures]) -> Html:
    return _table(
        hosts,
        [
            _Heading("host", lambda row: row.host, "words"),
            _number("URLs", lambda row: row.urls),
            _number("failed", lambda row: row.failed),
            _number("refused", lambda row: row.refused),
            _number("stored", lambda row: row.bytes, size),
            _number("attempt, mean", lambda row: row.elapsed / max(row.attempts, 1), seconds_text),
            _number("URL, slowest", lambda row: row.slowest, seconds_text),
            _number("waits for its limit", lambda row: row.limited, seconds_text),
            _number("held, in all", lambda row: sum(row.held.values()), seconds_text),
            _Heading("for", lambda row: ", ".join(sorted(row.held, key=lambda c: -row.held[c])), "words"),
        ],
    )


def _bodies(figures: ReportFigures) -> Html:
    if not figures.size_classes:
        return Html()
    of = figures.sizes
    words = (
        f"{count(of.count)} bodies were stored; half of them are {size(of.median)} or smaller,"
        f" one in ten is {size(of.p90)} or larger, the largest is {size(of.most)}."
    )
    headings = [
        _Heading("content type", lambda row: row.content_type, "words"),
        _number("bodies", lambda row: row.urls),
        _number("stored", lambda row: row.bytes, size),
    ]
    return join((tag("p", words), size_bars(figures.size_classes), tag("p"), _table(figures.types, headings)))


def _redirects(figures: ReportFigures) -> Html:
    if not figures.redirected:
        return Html()
    steps = ", ".join(f"{count(number)} by {hops}" for hops, number in figures.hops.items())
    headings = [
        _Heading("from", lambda row: row.origin, "words"),
        _Heading("to", lambda row: row.target, "words"),
        _number("URLs", lambda row: row.urls),
        _Heading("the first one", lambda row: row.example, "url"),
    ]
    words = f"{plural(figures.redirected, 'URL')} redirected; by the number of steps: {steps}."
    return join((tag("p", words), _table(figures.redirects, headings)))


def _left_out(figures: ReportFigures) -> Html:
    if not figures.left_out:
        return Html()
    headings = [
        _Heading("rule", lambda row: row.rule),
        _number("URLs", lambda row: row.urls),
        _Heading("what to do", _advice, "words"),
    ]
    words = "Found on pages, and by a rule not asked for, as the state has them."
    return join((tag("p", words, class_="dim"), _table(figures.left_out, headings)))


def _extremes(figures: ReportFigures) -> Html:
    headings = [
        _Heading("URL", lambda row: row.url, "url"),
        _Heading("state", lambda row: row.state if row.status is None else f"{row.state} {row.status}"),
        _number("took", lambda row: row.elapsed, seconds_text),
        _number("attempts", lambda row: row.attempts),
        _number("waited", lambda row: row.waited, seconds_text),
        _number("stored", lambda row: row.bytes, size),
        _Heading("type", lambda row: (row.content_type or "").partition(";")[0]),
    ]
    parts: list[Html] = []
    for title, rows in (("Slowest", figures.slowest), ("Largest", figures.largest)):
        if rows:
            parts += [tag("h3", title), _table(rows, headings)]
    return join(parts)


def _runs(figures: ReportFigures) -> Html:
    if not figures.runs:
        return Html()
    headings = [
        _number("number", lambda row: row.number),
        _Heading("began", lambda row: row.began_at),
        _Heading("ended", lambda row: row.ended_at or "not as it should: killed, or still running"),
        _Heading("flags", lambda row: row.mode),
        _Heading("held back by", _held_back_by, "words"),
    ]
    return _table(figures.runs[-4 * MOST_ROWS :], headings)


# -- pieces ------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Any], headings: Sequence[_Heading]) -> Html:
    head = tag("tr", *[tag("th", each.name, scope="col", class_=each.kind or None) for each in headings])
    body = [tag("tr", *[_cell(row, each) for each in headings]) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")


def _cell(row: Any, heading: _Heading) -> Html:
    value = None if heading.value is None else f"{heading.value(row):.6g}"
    return tag("td", heading.cell(row), class_=heading.kind or None, data_v=value)


def seconds_text(seconds: float) -> str:
    """Return seconds as `0`, `85 µs`, `4.2 ms`, or as `duration` has them from a second on."""
    if seconds <= 0:
        return "0"
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if (value := seconds * factor) < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return duration(seconds)
