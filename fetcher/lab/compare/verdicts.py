"""Verdict of a comparison: one sentence from its figures, by a table of rules for each workload.

A rule reads the figures and gives its part of the sentence, or nothing. Nothing is known here of how models
are; who won by how much, what the others spent their time on, and what a bound or a session changed is read
from the figures each time. Pure: rows in, text out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from fetcher.lab.compare.results import Row
from fetcher.lab.compare.units import capitalized, listed, shown_ratio, shown_s, shown_size

_LEVEL = 1.05  # closer than this is level, whatever the rounds say
_SESSIONS = {"pooled": "a pooled session", "new session": "a new session each"}
_SHORT_S = 0.05  # a loop that stands still for less is nobody's trouble
_MOSTLY = 0.4  # this share of the wall time explains it
_RESENT_S = 1.0  # so long waits a connect before it is sent again (RFC 6298)
_HOPS = ("to_thread", "thread-pool", "process-pool")

Choice = tuple[Callable[[Any], object], str]  # a condition on facts, and a text that their attributes fill


def chosen(choices: Sequence[Choice], facts: Any) -> str:
    """Fill in the text of the first condition that is true."""
    return next(text for when, text in choices if when(facts)).format_map(vars(facts))


def conclude(workload: str, rows: Sequence[Row], *, cpus: int, baseline: str = "sequence") -> str:
    """Make the sentence. Rows that failed, or whose results are not the reference's, are told first."""
    told = [f"{row.name} could not be measured ({row.failure})" for row in rows if row.failure]
    if wrong := [row.name for row in rows if not row.failure and not row.is_equal]:
        its = "its" if len(wrong) == 1 else "their"
        told.append(f"{listed(wrong)} gave other results, so {its} figures count for nothing")
    if good := [row for row in rows if row.counts and row.wall_s > 0]:
        facts = Facts(good, cpus, baseline, tells_starting=workload == "sleep")
        told += [rule(facts) for rule in VERDICTS[workload]]
    else:
        told.append("there is nothing to conclude")
    return f"{capitalized('; '.join(filter(None, told)))}."


def is_level(best: Row, other: Row) -> bool:
    """Return True if rounds leave it open who is faster: medians are close, or each in the other's range."""
    overlap = other.fastest_s <= best.wall_s and other.wall_s <= best.slowest_s
    return overlap or other.wall_s <= best.wall_s * _LEVEL


class Facts:
    """Figures of the rows that count, as the rules ask for them."""

    def __init__(self, rows: Sequence[Row], cpus: int, baseline: str, *, tells_starting: bool) -> None:
        self.rows, self.cpus, self.baseline, self.tells_starting = rows, cpus, baseline, tells_starting
        self.ranked = sorted(rows, key=lambda row: row.wall_s)
        self.best, self.last = self.ranked[0], self.ranked[-1]
        self.level = [row for row in self.ranked if row is self.best or is_level(self.best, row)]
        self.by_model = {row.model: row for row in rows}
        self.is_of_one_variant = len({row.variant for row in rows}) == 1

    def of(self, rows: Sequence[Row]) -> Facts:
        """Return the facts of some of the rows."""
        return Facts(rows, self.cpus, self.baseline, tells_starting=self.tells_starting)

    def called(self, row: Row) -> str:
        """Return as much of a row's name as tells it apart."""
        return row.model if self.is_of_one_variant else row.name

    def limit(self, row: Row) -> str:
        """Say what a row's time went on."""
        return limit_of(row, self.cpus, tells_starting=self.tells_starting)


# --- what limited a model -----------------------------------------------------------------------------


class Shares:
    """Shares of a row's wall time: cores busy, ready without a core, loop blocked, starting its tasks."""

    def __init__(self, row: Row, cpus: int, *, tells_starting: bool) -> None:
        spent = {name: row.details.get(f"{name}_s", 0.0) for name in ("starved", "stall", "creation")}
        self.cpus, self.stall_s = cpus, spent["stall"]
        self.busy, self.starved = row.cpu_s / row.wall_s, spent["starved"] / row.wall_s
        self.stall = min(spent["stall"] / row.wall_s, 1.0)
        self.starting = min(spent["creation"] / row.wall_s, 1.0) if tells_starting else 0.0
        self.was_resent = row.wall_s >= _RESENT_S and row.details.get("syns_resent", 0) > 0


_LIMITS: Sequence[Choice] = (
    (
        lambda s: s.stall > _MOSTLY and s.stall_s > _SHORT_S,
        "its loop blocked for up to {stall:.0%} of the time",
    ),
    (lambda s: s.starting > _MOSTLY, "{starting:.0%} of it to start them"),
    (lambda s: s.cpus > 1 and s.busy >= 0.8 * s.cpus, "all {cpus} cores busy"),
    (lambda s: 0.8 <= s.busy < 1.25, "one core busy all the time"),
    (lambda s: s.busy < 0.8 <= s.busy + s.starved, "ready to run, but the cores had other work"),
    (lambda s: s.busy < 0.5 and s.was_resent, "waiting, also for a connect that was sent again"),
    (lambda s: s.busy < 0.5, "mostly waiting"),
    (lambda s: s.cpus > 1, "{busy:.1f} of {cpus} cores busy"),
    (lambda _: True, "the core half idle"),
)


def limit_of(row: Row, cpus: int, *, tells_starting: bool = False) -> str:
    """Say what a row's time went on, by its figures."""
    return chosen(_LIMITS, Shares(row, cpus, tells_starting=tells_starting))


# --- the rules ----------------------------------------------------------------------------------------


def _lead(facts: Facts) -> str:
    """Name the winner, and by how much over the sequence."""
    best = facts.best
    verb = "won with" if len(facts.level) == 1 else "are level at"
    text = f"{listed([facts.called(row) for row in facts.level])} {verb} {shown_s(best.wall_s)}"
    if facts.is_of_one_variant and best.variant:
        text = f"with {_SESSIONS.get(best.variant, best.variant)}, {text}"
    if best.speedup is not None and best.model != facts.baseline:
        text += f", {shown_ratio(best.speedup)} as fast as {facts.baseline}"
    return text


def _race(facts: Facts) -> str:
    """Name the winner, how far behind the others are, and what held them."""
    best = facts.best
    held: dict[str, list[str]] = {}
    for row in facts.ranked:
        if row not in facts.level:
            ones = held.setdefault(facts.limit(row), [])
            ratio = shown_ratio(row.wall_s / best.wall_s)
            ones.append(f"{facts.called(row)} {'' if ones else 'took '}{ratio}")
    behind = [f"{listed(ones)} as long ({what})" for what, ones in held.items()]
    return "; ".join([f"{_lead(facts)} ({facts.limit(best)})", *behind])


def _race_of_best_variants(facts: Facts) -> str:
    return _race(facts.of(list({row.model: row for row in reversed(facts.ranked)}.values())))


def _each_variant(facts: Facts) -> str:
    """Name of each variant the first and the last."""
    told: list[str] = []
    for name in dict.fromkeys(row.variant for row in facts.rows):
        of = facts.of([row for row in facts.rows if row.variant == name])
        last = next((row for row in reversed(of.ranked) if row.model != of.baseline), of.last)
        told.append(_lead(of))
        if last not in of.level:
            ratio = shown_ratio(last.wall_s / of.best.wall_s)
            told[-1] += f", and {last.model} was last with {ratio} its time ({of.limit(last)})"
    return "; ".join(told)


def _memory(facts: Facts) -> str:
    least = facts.best.peak_bytes
    heavy = sorted(
        (row for row in facts.rows if row.peak_bytes > 1.5 * least), key=lambda row: row.peak_bytes
    )
    times = [f"{row.name} {shown_ratio(row.peak_bytes / least)}" for row in heavy if least]
    return f"in memory, {listed(times)} the {shown_size(least)} of {facts.best.model}" if times else ""


def _gained_by_pooling(facts: Facts) -> str:
    pooled = {row.model: row.wall_s for row in facts.rows if row.variant == "pooled"}
    fresh = [row for row in facts.rows if row.variant != "pooled" and row.model in pooled]
    gains = sorted((row.wall_s / pooled[row.model], row.model) for row in fresh)
    if not gains:
        return ""
    (least, last), (most, first) = gains[0], gains[-1]
    if most < _LEVEL:
        return "a pooled session gained nothing"
    if len(gains) == 1:
        return f"a pooled session made {first} {shown_ratio(most)} as fast"
    least_told = f"least for {last} ({shown_ratio(least)})"
    return f"a pooled session gained most for {first} ({shown_ratio(most)} as fast) and {least_told}"


def _wrapped_or_rewritten(facts: Facts) -> str:
    ways = {"wrapped": "wrapping the class unchanged", "rewritten": "rewriting the class"}
    race = [row for row in facts.ranked if row.model in ways]
    if len({row.model for row in race}) < len(ways):
        return ""
    fast, slow = race[0], next(row for row in race if row.model != race[0].model)
    if is_level(fast, slow):
        return "rewriting the class gained nothing over wrapping it unchanged"
    ratio = shown_ratio(slow.wall_s / fast.wall_s)
    return f"{ways[fast.model]} was {ratio} as fast as {ways[slow.model].replace('the class', 'it')}"


def _held_up(facts: Facts) -> str:
    ones = [facts.by_model.get(name) for name in ("blocking", "wrapped")]
    still, stood = (shown_s(row.details.get("stall_s", 0.0)) if row else "" for row in ones)
    return f"called as it is, it held up the loop for {still}, wrapped for {stood}" if still and stood else ""


def _bound(facts: Facts) -> str:
    """Compare what a bound on the queue costs with what it saves."""
    free = [row for row in facts.rows if row.variant == "no bound"]
    bound = [row for row in facts.rows if row.variant != "no bound"]
    if not free or not bound:
        return _race(facts)
    ratio = median(row.wall_s for row in bound) / median(row.wall_s for row in free)
    if 1 / _LEVEL < ratio < _LEVEL:
        cost = "a bound cost no time: the slower side sets the pace either way"
    elif ratio > 1:
        cost = f"a bound cost {ratio - 1:.0%} more time"
    else:
        cost = f"a bound saved {1 - ratio:.0%} of the time"
    return f"{cost}; without one up to {_queue(free)}, with one up to {_queue(bound)}"


def _queue(rows: Sequence[Row]) -> str:
    longest, wait_s = (
        max(row.details.get(name, 0.0) for row in rows) for name in ("longest_queue", "longest_wait_s")
    )
    peak = max(row.peak_bytes for row in rows)
    return f"{longest:,.0f} items stood in the queue for up to {shown_s(wait_s)} ({shown_size(peak)} in all)"


def _costs(facts: Facts) -> str:
    least, *others = sorted(facts.rows, key=lambda row: row.cost_s)
    told = [f"{row.model} {shown_ratio(row.cost_s / least.cost_s)}" for row in others]
    return f"{least.model} costs {shown_s(least.cost_s)}" + (f", {listed(told)} that" if told else "")


def _hop(facts: Facts) -> str:
    dear = max((row for row in facts.rows if row.model in _HOPS), key=lambda row: row.cost_s, default=None)
    if dear is None:
        return ""
    return f"work of less than {shown_s(9 * dear.cost_s)} loses a tenth or more to the way to {dear.model}"


VERDICTS: dict[str, Sequence[Callable[[Facts], str]]] = {
    "sleep": (_race, _memory),
    "http": (_race_of_best_variants, _gained_by_pooling),
    "cpu": (_race,),
    "mixed": (_each_variant,),
    "legacy": (_race, _wrapped_or_rewritten, _held_up),
    "backpressure": (_bound,),
    "overhead": (_costs, _hop),
}
