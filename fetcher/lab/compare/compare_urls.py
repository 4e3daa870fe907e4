"""Comparison of backends on the user's own list, and what came back differently.

Servers of others are asked, so politely: one backend after the other, each in a process of its own, once,
under the same limits. Before that the first backend fetches the list once more, uncounted: that warms names
and caches for all alike, and tells pages that differ from one fetch to the next. What changes for one backend
says nothing about another, so a difference is only what held still between its two fetches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from fetcher.errors import ConfigError
from fetcher.lab.compare.machine_load import can_run, machine
from fetcher.lab.compare.results import COMPARED, URLS, Answer, Comparison, Labelled, Measured, Row, Trial
from fetcher.lab.compare.runner import rows_of
from fetcher.lab.compare.units import listed, shown_count
from fetcher.lab.compare.url_verdicts import Difference, UrlFacts, conclude_urls
from fetcher.lab.compare.workloads import ALL_WORKLOADS, BACKENDS
from fetcher.settings import Settings

_ERROR = "error "  # before a slug, in the details of a row
_SHORT_S = 1.0
_MOST_NOTED = 10
_LATENCIES = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "max_ms": 100}
_SHOWN = ("concurrency", "per_host", "delay", "rate", "max_bandwidth", "retries", "http")


class UrlsComparison(Comparison, frozen=True):
    """The comparison, and each URL that came back differently. `changing` ones were left out of that."""

    differences: list[Difference] = msgspec.field(default_factory=list)
    changing: list[str] = msgspec.field(default_factory=list)


def installed_backends() -> list[str]:
    """Name the backends that can be used here."""
    return [name for name in BACKENDS if can_run(name)]


def compare_urls(
    urls: Iterable[str],
    measure: Callable[[Trial], Measured],
    *,
    settings: Mapping[str, Any] | None = None,
    limit: int = ALL_WORKLOADS[URLS].size,
    backends: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> UrlsComparison:
    """Fetch the first `limit` URLs, each once, by each of the backends that are installed.

    `settings` are those of `fetcher.Fetcher`, `backend` apart. `measure` runs a trial, usually in a child
    process. `say` is told what happens next.

    Raises:
        ConfigError: there is no URL, or no backend can be used with these settings.
    """
    found: dict[str, None] = {}
    for url in urls:
        found[url] = None
        if len(found) == limit:
            break
    distinct = list(found)
    if not distinct:
        raise ConfigError("there is no URL to compare backends on", hint="name a list: -i FILE")
    given = {name: value for name, value in (settings or {}).items() if name != "backend"}

    def fetch(backend: str, why: str = "") -> Measured:
        say(f"{backend}: {len(distinct):,} URLs{why}")
        return measure(Trial(URLS, backend, size=len(distinct), urls=distinct, settings=given))

    control: Measured | None = None
    rounds: dict[str, Measured] = {}
    for name in (name for name in backends or BACKENDS if name in installed_backends()):
        if control is None:
            rounds[name] = fetch(name, ", to warm up")
            if rounds[name].failure:
                continue
            control = rounds[name]
        rounds[name] = fetch(name)
    if control is None:
        why = next((one.failure for one in rounds.values()), f"{listed(backends)}: not installed")
        raise ConfigError(f"no backend can fetch this list: {why}")
    return summarize(distinct, rounds, control, given)


def summarize(
    urls: Sequence[str], rounds: Mapping[str, Measured], control: Measured | None, settings: Mapping[str, Any]
) -> UrlsComparison:
    """Compare the rounds of one list, by backend; `control` is one more round by the first that worked."""
    worked = {name: one for name, one in rounds.items() if not one.failure}
    first = next(iter(worked.values())).answers
    # For each URL the fields that one backend brought twice alike.
    twice = zip(first, first if control is None else control.answers, strict=True)
    steady = [[name for name in COMPARED if name not in _differing(pair, COMPARED)] for pair in twice]
    by_url = [{name: one.answers[n] for name, one in worked.items()} for n in range(len(first))]
    differences = [
        Difference(answer.url, names, answers)
        for answer, answers, fields in zip(first, by_url, steady, strict=True)
        if (names := _differing(answers.values(), fields))
    ]
    changing = [one.url for one, fields in zip(first, steady, strict=True) if len(fields) < len(COMPARED)]
    rows = []
    for row in rows_of([(Labelled(name), [one]) for name, one in rounds.items()], "sync"):
        pairs = zip(rounds[row.model].answers, first, steady, strict=False)
        is_equal = not row.failure and not any(_differing(pair, fields) for *pair, fields in pairs)
        details = {} if row.failure else _details(rounds[row.model]) | row.details
        rows.append(replace(row, is_equal=is_equal, details=details))
    hosts = {urlsplit(url).netloc for url in urls}
    limits = {name: getattr(Settings(), name) for name in _SHOWN[:2]} | dict(settings)
    shown = {name: limits[name] for name in _SHOWN if isinstance(limits.get(name), float | int | str)}
    counts = f"{shown_count(len(urls), 'URL')} of your list, on {shown_count(len(hosts), 'host')}"
    return UrlsComparison(
        workload=URLS,
        title=f"{counts}, by every backend",
        parameters={"urls": len(urls), "hosts": len(hosts), **shown},
        unit="URLs",
        rows=rows,
        conclusion=conclude_urls(UrlFacts(urls, worked, differences, changing, settings)),
        machine=machine(),
        notes=list(_notes(rows, rounds, differences, changing)),
        differences=differences,
        changing=changing,
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the smallest value that `part` per cent are not above (nearest rank); 0 of nothing."""
    return ordered[max(math.ceil(len(ordered) * part / 100) - 1, 0)] if ordered else 0.0


def _details(one: Measured) -> dict[str, float]:
    times = sorted(answer.elapsed_s for answer in one.answers if answer.state != "refused")
    errors = Counter(answer.error for answer in one.answers if answer.error is not None)
    return {
        **{name: 1000 * percentile(times, part) for name, part in _LATENCIES.items()},
        "bytes": sum(answer.bytes for answer in one.answers),
        "errors": errors.total(),
        **{f"{_ERROR}{slug}": number for slug, number in errors.most_common()},
    }


def _differing(answers: Iterable[Answer], fields: Iterable[str]) -> list[str]:
    answers = list(answers)
    return [name for name in fields if len({getattr(answer, name) for answer in answers}) > 1]


def _notes(
    rows: Sequence[Row],
    rounds: Mapping[str, Measured],
    differences: Sequence[Difference],
    changing: Sequence[str],
) -> Iterator[str]:
    latencies, errors = [], []
    for row in rows:
        if not row.failure:
            latencies.append(f"{row.model} {' / '.join(f'{row.details[name]:,.0f}' for name in _LATENCIES)}")
            slugs = [
                f"{n:.0f} {name[len(_ERROR) :]}" for name, n in row.details.items() if name.startswith(_ERROR)
            ]
            errors += [f"{row.model} {', '.join(slugs)}"] if slugs else []
    yield f"latency in ms, p50 / p90 / p99 / longest: {'; '.join(latencies)}"
    if errors:
        yield f"errors: {'; '.join(errors)}"
    yield "one round, after one that is not counted; servers and the network differ from minute to minute"
    if any(0 < one.wall_s < _SHORT_S for one in rounds.values()):
        yield f"a round of less than {_SHORT_S:.0f} s says little of speed: a longer list says more"
    if "curl" not in rounds and not can_run("curl"):
        yield "curl: not installed; it needs pycurl (the extra `curl`)"
    for one in differences[:_MOST_NOTED]:
        seen: dict[str, list[str]] = {}  # by what, so that backends that saw the same stand together
        for backend, answer in one.answers.items():
            seen.setdefault(_seen(answer, one.fields), []).append(backend)
        yield f"{one.url}: {'; '.join(f'{listed(backends)} {what}' for what, backends in seen.items())}"
    if len(differences) > _MOST_NOTED:
        yield f"{len(differences) - _MOST_NOTED:,} more differences: see --json"
    if changing:
        yield (
            f"{shown_count(len(changing), 'page')} changed between two fetches by one backend, "
            f"which says nothing of backends: {', '.join(changing[:3])}{' …' if len(changing) > 3 else ''}"
        )


def _seen(answer: Answer, fields: Sequence[str]) -> str:
    if answer.error is not None and answer.error != "http-status":
        return answer.error
    parts = [str(answer.status)]
    if "bytes" in fields:
        parts.append(f"{answer.bytes:,} bytes")
    elif "sha256" in fields and answer.sha256 is not None:
        parts.append(f"sha256 {answer.sha256[:8]}")
    return ", ".join(parts)
