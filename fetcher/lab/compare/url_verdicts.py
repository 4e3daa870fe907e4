"""Verdict on a user's own list: who was fastest, what set the pace, what came back; by tables of rules.

Speed is judged without the few URLs that took far longer than all others: one connect that was sent again
costs a second, and says nothing of a backend. Pure: rounds in, text out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fetcher.lab.compare.results import Answer, Measured
from fetcher.lab.compare.units import capitalized, listed, shown_count, shown_number, shown_ratio, shown_s
from fetcher.lab.compare.verdicts import Choice, chosen
from fetcher.settings import Settings

_CLOSE = 1.15  # times within this ratio of each other are called equal: one round tells no less
_FULL = 0.8  # of a limit: it is what sets the pace
_FEW = 20  # one URL in so many may stand apart from the others
_APART = 0.4  # of the round: so much longer than all others took is one that made the difference
_CONNECTS_RESENT_S = (1.0, 3.0, 7.0)  # after so long in all (RFC 6298 §2, doubled each time)
_LATE_S = 0.4  # and so much later the answer may be there


class Difference(msgspec.Struct, frozen=True):
    """One URL that did not come back the same from all backends; `answers` by backend."""

    url: str
    fields: list[str]
    answers: dict[str, Answer]


class Pace:
    """Speed of one round: as it was, and without what a few URLs added that stand apart from all others."""

    def __init__(self, backend: str, one: Measured) -> None:
        self.backend, self.wall_s, self.cpu_s, self.number = backend, one.wall_s, one.cpu_s, len(one.answers)
        times = sorted(answer.elapsed_s for answer in one.answers if answer.state != "refused")
        self.slow = 0  # URLs that stand apart
        for few in range(1, max(len(times) // _FEW, 1) + 1 if len(times) > 2 else 0):
            if times[-few] - times[-few - 1] >= max(_APART * one.wall_s, times[-few - 1]):
                self.slow = few
        self.slowest_s = times[-1] if times else 0.0
        self.rest_s = times[-1 - self.slow] if times else 0.0  # the longest that any other took
        added_s = self.slowest_s - self.rest_s
        self.typical_s = max(one.wall_s - added_s, 1e-9)
        self.under_way = sum(times) / one.wall_s if one.wall_s else 0.0  # on average
        self.waited_for_connect = one.details.get("syns_resent", 0) > 0 and any(
            s - self.rest_s <= added_s <= s + _LATE_S for s in _CONNECTS_RESENT_S
        )


class UrlFacts:
    """Rounds that worked by backend, and how their answers differ, as the rules ask for them."""

    def __init__(
        self,
        urls: Sequence[str],
        worked: Mapping[str, Measured],
        differences: Sequence[Difference],
        changing: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        self.differing, self.changing = len(differences), len(changing)
        self.ranked = sorted((Pace(*one) for one in worked.items()), key=lambda pace: pace.typical_s)
        self.best = best = self.ranked[0]
        self.top = [one.backend for one in self.ranked if one.typical_s <= _CLOSE * best.typical_s]
        self.first = capitalized(listed(self.top))
        others = self.ranked[len(self.top) :]
        behind = [f"{shown_ratio(one.typical_s / best.typical_s)} {one.backend}" for one in others]
        self.behind = listed(behind).replace("×", "× as fast as", 1)
        self.shown_rate = f"{shown_number(best.number / best.typical_s)} URLs/s"
        self.slowest, self.wall = shown_s(best.slowest_s), shown_s(best.wall_s)
        hosts = Counter(urlsplit(url).netloc for url in urls)
        limits = msgspec.structs.asdict(Settings()) | dict(settings)
        each = sum(min(limits["per_host"], number) for number in hosts.values())
        self.cap = min(limits["concurrency"], each)  # exchanges at once
        self.rate, delay = limits["rate"], limits["delay"]
        self.by_delay = len(hosts) / delay if isinstance(delay, float | int) and delay > 0 else None
        self.failed = {
            name: sum(answer.error is not None for answer in one.answers) for name, one in worked.items()
        }

    def is_at(self, most: object) -> bool:
        """Return True when the fastest was close to a limit, in URLs per second."""
        return isinstance(most, float | int) and self.best.number >= _FULL * most * self.best.wall_s


def conclude_urls(facts: UrlFacts) -> str:
    """Say what the figures say, and no more."""
    told = [_made_the_difference(facts), chosen(_RANKING, facts), chosen(_PACE, facts), _came_back(facts)]
    return " ".join(filter(None, told))


def _made_the_difference(facts: UrlFacts) -> str:
    """Say which few URLs made the difference, for which backends, and why if that was seen."""
    held = [one for one in facts.ranked if one.slow]
    if not held:
        return ""
    names = sorted(one.backend for one in held)
    most = max(held, key=lambda one: one.slowest_s)
    count = shown_count(max(one.slow for one in held), "URL")
    text = (
        f"{count} of {most.number:,} made the difference: {shown_s(most.slowest_s)} on {listed(names)}, "
        f"where the others took {shown_s(max(one.rest_s for one in held))} at most."
    )
    if any(one.waited_for_connect for one in held):
        text += (
            " The cause is a connect that was sent again, because the server or the way to it dropped the"
            " first; that is no fault of a backend."
        )
    return f"{text} Without that:"


_RANKING: Sequence[Choice] = (
    (
        lambda f: len(f.ranked) == 1,
        "{best.backend} fetched {shown_rate}; there was no other backend to compare it with.",
    ),
    (
        lambda f: len(f.top) == len(f.ranked),
        "The choice of backend makes no difference here: all within 15 % of {shown_rate}.",
    ),
    (lambda f: len(f.top) == 1, "{first} was fastest, at {shown_rate}: {behind}."),
    (lambda _: True, "{first} were about equally fast, at {shown_rate}: {behind}."),
)
_PACE: Sequence[Choice] = (
    (lambda f: f.is_at(f.rate), "The rate that you allow set the pace."),
    (lambda f: f.is_at(f.by_delay), "The delay that you allow set the pace."),
    (lambda f: f.best.slow, ""),  # said already
    (
        lambda f: f.best.slowest_s >= _FULL * f.best.wall_s,
        "One URL alone took {slowest} of its {wall}: that set the pace.",
    ),
    (
        lambda f: f.best.cpu_s >= _FULL * f.best.wall_s,
        "This machine's processor set the pace, not the servers.",
    ),
    (
        lambda f: f.best.backend != "sync" and f.best.under_way >= _FULL * f.cap,
        "The limits set the pace: {best.under_way:.0f} of at most {cap} exchanges were under way on average.",
    ),
    (lambda _: True, "On average {best.under_way:.1f} of at most {cap} exchanges were under way."),
)


def _came_back(facts: UrlFacts) -> str:
    failed = facts.failed
    most = max(failed.values())
    if not most:
        told = "Nothing failed"
    elif len(set(failed.values())) > 1:
        told = "Failures: " + listed([f"{number} on {name}" for name, number in failed.items()])
    else:
        told = f"{shown_count(most, 'URL')} failed on every backend" if len(failed) > 1 else f"{most} failed"
    if len(failed) > 1:
        differing = f"{shown_count(facts.differing, 'URL')} came back differently"
        told += f"; {differing if facts.differing else 'all brought the same'}"
        if facts.changing:
            told += f", {shown_count(facts.changing, 'page')} apart that changed between two fetches"
    return f"{told}."
