"""The workload `urls`: the user's own list on every backend, and what came back differently.

Servers of others are asked, so politely: one backend after the other, each in a process of its own, once,
under the same limits. Before that the first backend fetches the list once more, uncounted: that warms names
and caches for all alike, and tells pages that differ from one fetch to the next. What changes for one backend
says nothing about another, so a difference is only what held still between its two fetches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fetcher.errors import ConfigError
from fetcher.lab.compare.conclusions import shown_ratio, shown_s
from fetcher.lab.compare.conduct import machine
from fetcher.lab.compare.figures import Comparison, Row
from fetcher.lab.compare.url_rounds import COMPARED, Answer, Round, in_child
from fetcher.settings import Settings

BACKENDS = ("asyncio", "curl", "threads", "sync")
MOST_URLS = 200
_CLOSE = 1.15  # walls within this ratio of each other are called equal: one round tells no less
_FULL = 0.8  # of a limit: it is what sets the pace
_ERROR = "error "  # before a slug, in the details of a row
_SHORT_S = 1.0
_MOST_NOTED = 10


class Difference(msgspec.Struct, frozen=True):
    """One URL that did not come back the same from all backends; `answers` by backend."""

    url: str
    fields: list[str]
    answers: dict[str, Answer]


class UrlsComparison(Comparison, frozen=True):
    """The comparison, and each URL that came back differently. `changing` ones were left out of that."""

    differences: list[Difference] = msgspec.field(default_factory=list)
    changing: list[str] = msgspec.field(default_factory=list)


Measure = Callable[[Sequence[str], str, Mapping[str, Any]], Round]


def installed_backends() -> list[str]:
    """Those that can be used here: `curl` only with pycurl."""
    return [name for name in BACKENDS if name != "curl" or find_spec("pycurl") is not None]


def compare_urls(
    urls: Iterable[str],
    *,
    settings: Mapping[str, Any] | None = None,
    limit: int = MOST_URLS,
    backends: Sequence[str] = (),
    measure: Measure | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> UrlsComparison:
    """Fetch the first `limit` URLs, each once, by each of the backends that are installed.

    `settings` are those of `fetcher.Fetcher`, `backend` apart. `measure` fetches the list by one backend,
    in a child process unless another one is given. `say` is told what happens next.

    Raises:
        ConfigError: there is no URL, or no backend can be used with these settings.
    """
    listed = list(islice(_distinct(urls), limit))
    if not listed:
        raise ConfigError("there is no URL to compare backends on", hint="name a list: -i FILE")
    names = [name for name in backends or BACKENDS if name in installed_backends()]
    given = {name: value for name, value in (settings or {}).items() if name != "backend"}
    fetch = measure or in_child
    control: Round | None = None
    rounds: list[Round] = []
    for name in names:
        if control is None:
            say(f"{name}: {len(listed):,} URLs, to warm up")
            warm = fetch(listed, name, given)
            if warm.failure:
                rounds.append(warm)
                continue
            control = warm
        say(f"{name}: {len(listed):,} URLs")
        rounds.append(fetch(listed, name, given))
    if all(one.failure for one in rounds):
        why = rounds[0].failure if rounds else f"{_joined(list(backends))}: not installed"
        raise ConfigError(f"no backend can fetch this list: {why}")
    return summarize(listed, rounds, control, given)


def _distinct(urls: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for url in urls:
        if url not in seen:
            seen.add(url)
            yield url


# --- what the rounds say ----------------------------------------------------------------------------


def summarize(
    urls: Sequence[str], rounds: Sequence[Round], control: Round | None, settings: Mapping[str, Any]
) -> UrlsComparison:
    """The comparison of rounds of one list; `control` is one more round by the first that worked."""
    worked = [one for one in rounds if not one.failure]
    first = worked[0] if worked else None
    steady = _steady_fields(first, control, len(urls))
    differences = _differences(worked, steady)
    changing = [
        answer.url
        for answer, fields in zip(first.answers if first else [], steady, strict=False)
        if len(fields) < len(COMPARED)
    ]
    sequence = next((one for one in worked if one.backend == "sync"), None)
    hosts = Counter(urlsplit(url).netloc for url in urls)
    rows = [_row(one, first, sequence, steady) for one in rounds]
    return UrlsComparison(
        workload="urls",
        title=f"{_count(len(urls), 'URL')} of your list, on {_count(len(hosts), 'host')}, by every backend",
        parameters={
            "urls": len(urls),
            "hosts": len(hosts),
            **{name: value for name, value in _ALWAYS_SHOWN.items() if name not in settings},
            **{name: value for name, value in settings.items() if name in _SHOWN and _is_plain(value)},
        },
        unit="URLs",
        rows=rows,
        conclusion=conclude(urls, worked, differences, changing, settings),
        machine=machine(),
        notes=[*_latencies(rows), *_errors(rows), *_notes(rounds, differences, changing)],
        differences=differences,
        changing=changing,
    )


_ALWAYS_SHOWN = {"concurrency": Settings().concurrency, "per_host": Settings().per_host}
_SHOWN = frozenset({"concurrency", "per_host", "delay", "rate", "max_bandwidth", "retries", "http"})


def _is_plain(value: object) -> bool:
    return isinstance(value, float | int | str)


def _row(one: Round, first: Round | None, sequence: Round | None, steady: Sequence[Sequence[str]]) -> Row:
    if one.failure or first is None:
        return Row(one.backend, failure=one.failure)
    times = sorted(answer.elapsed_s for answer in one.answers if answer.state != "refused")
    errors = Counter(answer.error for answer in one.answers if answer.error is not None)
    pairs = zip(one.answers, first.answers, steady, strict=True)
    return Row(
        one.backend,
        wall_s=one.wall_s,
        cpu_s=one.cpu_s,
        peak_bytes=one.peak_bytes,
        rate=len(one.answers) / one.wall_s if one.wall_s else 0.0,
        speedup=sequence.wall_s / one.wall_s if sequence and one.wall_s else None,
        is_equal=all(not _differing([ours, theirs], fields) for ours, theirs, fields in pairs),
        fastest_s=one.wall_s,
        slowest_s=one.wall_s,
        rounds=1,
        details={
            **{f"p{part}_ms": 1000 * percentile(times, part) for part in (50, 90, 99)},
            "max_ms": 1000 * (times[-1] if times else 0.0),
            "bytes": sum(answer.bytes for answer in one.answers),
            "errors": sum(errors.values()),
            **{f"{_ERROR}{slug}": number for slug, number in errors.most_common()},
        },
    )


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that `part` per cent are not above (nearest rank); 0 of nothing."""
    return ordered[max(math.ceil(len(ordered) * part / 100) - 1, 0)] if ordered else 0.0


def _differing(answers: Sequence[Answer], fields: Iterable[str]) -> list[str]:
    return [name for name in fields if len({getattr(answer, name) for answer in answers}) > 1]


def _steady_fields(first: Round | None, control: Round | None, number: int) -> list[list[str]]:
    """For each URL the fields that one backend brought twice alike."""
    if first is None or control is None:
        return [list(COMPARED)] * number
    pairs = zip(first.answers, control.answers, strict=True)
    changed = [_differing(pair, COMPARED) for pair in pairs]
    return [[name for name in COMPARED if name not in names] for names in changed]


def _differences(worked: Sequence[Round], steady: Sequence[Sequence[str]]) -> list[Difference]:
    found = []
    for index, fields in enumerate(steady):
        answers = {one.backend: one.answers[index] for one in worked}
        if names := _differing(list(answers.values()), fields):
            found.append(Difference(worked[0].answers[index].url, names, answers))
    return found


# --- in words ---------------------------------------------------------------------------------------


def conclude(
    urls: Sequence[str],
    worked: Sequence[Round],
    differences: Sequence[Difference],
    changing: Sequence[str],
    settings: Mapping[str, Any],
) -> str:
    """What the figures say, and no more: who was fastest, what set the pace, what came back."""
    if not worked:
        return "No backend could fetch the list."
    return " ".join([_speed(worked), _pace(urls, worked, settings), _sameness(worked, differences, changing)])


def _speed(worked: Sequence[Round]) -> str:
    ranked = sorted(worked, key=lambda one: one.wall_s)
    best, last = ranked[0], ranked[-1]
    rate = f"{_figure(len(best.answers) / best.wall_s)} URLs/s"
    if last is best:
        return f"{best.backend} fetched {rate}; there was no other backend to compare it with."
    if last.wall_s <= _CLOSE * best.wall_s:
        return f"The choice of backend makes no difference here: all within 15 % of {rate}."
    top = [one.backend for one in ranked if one.wall_s <= _CLOSE * best.wall_s]
    rest = [
        f"{shown_ratio(one.wall_s / best.wall_s)}{' as fast as' if number == 0 else ''} {one.backend}"
        for number, one in enumerate(ranked[len(top) :])
    ]
    first = f"{top[0]} was fastest" if len(top) == 1 else f"{_joined(top)} were about equally fast"
    return f"{first[0].upper()}{first[1:]}, at {rate}: {_joined(rest)}."


def _pace(urls: Sequence[str], worked: Sequence[Round], settings: Mapping[str, Any]) -> str:
    """What kept the fastest from being faster: the first limit that it was close to."""
    best = min(worked, key=lambda one: one.wall_s)
    given = msgspec.structs.asdict(Settings()) | dict(settings)
    hosts = Counter(urlsplit(url).netloc for url in urls)
    rate = len(best.answers) / best.wall_s
    for name, most in (("rate", given["rate"]), ("delay", _under_delay(given["delay"], len(hosts)))):
        if isinstance(most, float | int) and rate >= _FULL * most:
            return f"The {name} that you allow set the pace."
    slowest = max((answer.elapsed_s for answer in best.answers), default=0.0)
    if slowest >= _FULL * best.wall_s:
        return f"One URL alone took {shown_s(slowest)} of its {shown_s(best.wall_s)}: that set the pace."
    if best.cpu_s >= _FULL * best.wall_s:
        return "This machine's processor set the pace, not the servers."
    under_way = sum(answer.elapsed_s for answer in best.answers) / best.wall_s
    cap = min(given["concurrency"], sum(min(given["per_host"], number) for number in hosts.values()))
    if best.backend != "sync" and under_way >= _FULL * cap:
        return (
            f"The limits set the pace: {under_way:.0f} of at most {cap} exchanges were under way on average."
        )
    return f"On average {under_way:.1f} of at most {cap} exchanges were under way."


def _under_delay(delay: object, hosts: int) -> float | None:
    return hosts / delay if isinstance(delay, float | int) and delay > 0 else None


def _sameness(worked: Sequence[Round], differences: Sequence[Difference], changing: Sequence[str]) -> str:
    failed = {one.backend: sum(answer.error is not None for answer in one.answers) for one in worked}
    most, least = max(failed.values()), min(failed.values())
    if most == 0:
        errors = "Nothing failed"
    elif most == least:
        errors = f"{_count(most, 'URL')} failed on every backend" if len(worked) > 1 else f"{most} failed"
    else:
        errors = "Failures: " + _joined([f"{number} on {name}" for name, number in failed.items()])
    if len(worked) == 1:
        return f"{errors}."
    if not differences:
        same = "all brought the same"
    else:
        same = f"{_count(len(differences), 'URL')} came back differently"
    apart = f", {_count(len(changing), 'page')} apart that changed between two fetches" if changing else ""
    return f"{errors}; {same}{apart}."


def _latencies(rows: Sequence[Row]) -> list[str]:
    names = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
    told = [
        f"{row.model} {' / '.join(f'{row.details[name]:,.0f}' for name in names)}"
        for row in rows
        if not row.failure
    ]
    return [f"latency in ms, p50 / p90 / p99 / longest: {'; '.join(told)}"] if told else []


def _errors(rows: Sequence[Row]) -> list[str]:
    told = [
        f"{row.model} {', '.join(f'{count:.0f} {name[len(_ERROR) :]}' for name, count in found)}"
        for row in rows
        if (found := [(name, count) for name, count in row.details.items() if name.startswith(_ERROR)])
    ]
    return [f"errors: {'; '.join(told)}"] if told else []


def _notes(rounds: Sequence[Round], differences: Sequence[Difference], changing: Sequence[str]) -> list[str]:
    notes = ["one round, after one that is not counted; servers and the network differ from minute to minute"]
    if any(0 < one.wall_s < _SHORT_S for one in rounds):
        notes.append(f"a round of less than {_SHORT_S:.0f} s says little of speed: a longer list says more")
    if "curl" not in {one.backend for one in rounds} and find_spec("pycurl") is None:
        notes.append("curl: not installed; it needs pycurl (the extra `curl`)")
    notes += [f"{one.url}: {_told(one)}" for one in differences[:_MOST_NOTED]]
    if len(differences) > _MOST_NOTED:
        notes.append(f"{len(differences) - _MOST_NOTED:,} more differences: see --json")
    if changing:
        notes.append(
            f"{_count(len(changing), 'page')} changed between two fetches by one backend, "
            f"which says nothing of backends: {', '.join(changing[:3])}{' …' if len(changing) > 3 else ''}"
        )
    return notes


def _told(difference: Difference) -> str:
    """Which backends saw what, those that saw the same together."""
    groups: dict[str, list[str]] = {}
    for backend, answer in difference.answers.items():
        groups.setdefault(_seen(answer, difference.fields), []).append(backend)
    return "; ".join(f"{_joined(backends)} {seen}" for seen, backends in groups.items())


def _seen(answer: Answer, fields: Sequence[str]) -> str:
    if answer.error is not None and answer.error != "http-status":
        return answer.error
    parts = [str(answer.status)]
    if "bytes" in fields:
        parts.append(f"{answer.bytes:,} bytes")
    elif "sha256" in fields and answer.sha256 is not None:
        parts.append(f"sha256 {answer.sha256[:8]}")
    return ", ".join(parts)


def _joined(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
