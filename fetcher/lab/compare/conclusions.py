"""One sentence that says what to conclude from the figures of one comparison, and from nothing else.

Pure: rows in, text out. Nothing is known here of what models are like; who won by how much, what the
others spent their time on, and what a bound or a session changed is read from the figures each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from fetcher.lab.compare.figures import Row

_LEVEL = 1.05  # closer than this is level, whatever the rounds say
_SESSIONS = {"pooled": "a pooled session", "new session": "a new session each"}
_SHORT_S = 0.05  # a loop that stands still for less is nobody's trouble
_MOSTLY = 0.4  # this share of the wall time explains it


def conclude(workload: str, rows: Sequence[Row], *, cpus: int, baseline: str = "sequence") -> str:
    """The sentence. Rows that failed, or whose results are not the reference's, are told first."""
    doubts = [f"{row.name} could not be measured ({row.failure})" for row in rows if row.failure]
    wrong = [row.name for row in rows if not row.failure and not row.is_equal]
    if wrong:
        doubts.append(f"{_listed(wrong)} gave other results, so {_its(wrong)} figures count for nothing")
    good = [row for row in rows if not row.failure and row.is_equal and row.wall_s > 0]
    told = _KINDS[workload](good, cpus, baseline) if good else "there is nothing to conclude"
    text = "; ".join([*doubts, told])
    return f"{text[0].upper()}{text[1:]}."


def _race(rows: Sequence[Row], cpus: int, baseline: str, *, tells_starting: bool = False) -> str:
    """Who won, how far behind the others are, and what held them."""
    ranked = sorted(rows, key=lambda row: row.wall_s)
    best = ranked[0]
    firsts = [best, *(row for row in ranked[1:] if is_level(best, row))]
    has_one_variant = len({row.variant for row in rows}) == 1

    def told(row: Row) -> str:
        return row.model if has_one_variant else row.name

    def limit(row: Row) -> str:
        return limit_of(row, cpus, tells_starting=tells_starting)

    verb = "won with" if len(firsts) == 1 else "are level at"
    first = f"{_listed([told(row) for row in firsts])} {verb} {shown_s(best.wall_s)}"
    if has_one_variant and best.variant:
        first = f"with {_SESSIONS.get(best.variant, best.variant)}, {first}"
    if best.speedup is not None and best.model != baseline:
        first += f", {shown_ratio(best.speedup)} as fast as {baseline}"
    parts = [f"{first} ({limit(best)})"]
    held: dict[str, list[str]] = {}
    for row in ranked:
        if row not in firsts:
            ones = held.setdefault(limit(row), [])
            took = "" if ones else "took "
            ones.append(f"{told(row)} {took}{shown_ratio(row.wall_s / best.wall_s)}")
    parts += [f"{_listed(ones)} as long ({what})" for what, ones in held.items()]
    return "; ".join(parts)


def limit_of(row: Row, cpus: int, *, tells_starting: bool = False) -> str:
    """What a row's time went on, by its figures."""
    busy = row.cpu_s / row.wall_s
    starved = row.details.get("starved_s", 0.0) / row.wall_s
    stall = row.details.get("stall_s", 0.0) / row.wall_s
    starting = row.details.get("creation_s", 0.0) / row.wall_s
    if stall > _MOSTLY and row.details["stall_s"] > _SHORT_S:
        return f"its loop blocked for up to {min(stall, 1.0):.0%} of the time"
    if tells_starting and starting > _MOSTLY:
        return f"{min(starting, 1.0):.0%} of it to start them"
    if cpus > 1 and busy >= 0.8 * cpus:
        return f"all {cpus} cores busy"
    if 0.8 <= busy < 1.25:
        return "one core busy all the time"
    if busy < 0.8 <= busy + starved:
        return "ready to run, but the cores had other work"
    if busy < 0.5:
        return "mostly waiting"
    return f"{busy:.1f} of {cpus} cores busy" if cpus > 1 else "the core half idle"


def is_level(best: Row, other: Row) -> bool:
    """Whether the rounds leave it open who is faster: the medians are close, or each in the other's range."""
    if other.wall_s <= best.wall_s * _LEVEL:
        return True
    return other.fastest_s <= best.wall_s and other.wall_s <= best.slowest_s


def _sleep(rows: Sequence[Row], cpus: int, baseline: str) -> str:
    text = _race(rows, cpus, baseline, tells_starting=True)
    best = min(rows, key=lambda row: row.wall_s)
    heavy = sorted(
        (row for row in rows if row.peak_bytes > 1.5 * best.peak_bytes), key=lambda row: row.peak_bytes
    )
    if not heavy:
        return text
    times = [f"{row.name} {shown_ratio(row.peak_bytes / best.peak_bytes)}" for row in heavy]
    return f"{text}; in memory, {_listed(times)} the {shown_size(best.peak_bytes)} of {best.model}"


def _http(rows: Sequence[Row], cpus: int, baseline: str) -> str:
    text = _race(_best_of_each(rows), cpus, baseline)
    pooled = {row.model: row for row in rows if row.variant == "pooled"}
    ratios = {
        row.model: row.wall_s / pooled[row.model].wall_s
        for row in rows
        if row.variant != "pooled" and row.model in pooled
    }
    if not ratios:
        return text
    least, most = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
    if ratios[most] < _LEVEL:
        return f"{text}; a pooled session gained nothing"
    if least == most:
        return f"{text}; a pooled session made {most} {shown_ratio(ratios[most])} as fast"
    return (
        f"{text}; a pooled session gained most for {most} ({shown_ratio(ratios[most])} as fast) "
        f"and least for {least} ({shown_ratio(ratios[least])})"
    )


def _mixed(rows: Sequence[Row], cpus: int, baseline: str) -> str:
    variants = list(dict.fromkeys(row.variant for row in rows))
    told: list[str] = []
    for variant in variants:
        ones = sorted((row for row in rows if row.variant == variant), key=lambda row: row.wall_s)
        best, last = ones[0], ones[-1]
        rivals = [row for row in ones if row.model != baseline]
        last = rivals[-1] if rivals else last
        text = f"with {variant}, {best.model} won with {shown_s(best.wall_s)}"
        level = [row.model for row in ones[1:] if is_level(best, row)]
        if level:
            text = f"with {variant}, {_listed([best.model, *level])} are level at {shown_s(best.wall_s)}"
        if best.speedup is not None and best.model != baseline:
            text += f", {shown_ratio(best.speedup)} as fast as {baseline}"
        if last is not best and last.model not in level:
            ratio = shown_ratio(last.wall_s / best.wall_s)
            text += f", and {last.model} was last with {ratio} its time ({limit_of(last, cpus)})"
        told.append(text)
    return "; ".join(told)


def _legacy(rows: Sequence[Row], cpus: int, baseline: str) -> str:
    by = {row.model: row for row in rows}
    text = _race(rows, cpus, baseline)
    if "wrapped" in by and "rewritten" in by:
        fast, slow = sorted((by["wrapped"], by["rewritten"]), key=lambda row: row.wall_s)
        if is_level(fast, slow):
            text += "; rewriting the class gained nothing over wrapping it unchanged"
        else:
            other = "rewriting the class" if fast.model == "rewritten" else "wrapping the class unchanged"
            text += f"; {other} was {shown_ratio(slow.wall_s / fast.wall_s)} as fast as {_GERUND[slow.model]}"
    if "blocking" in by and "wrapped" in by:
        still, stood = (by[name].details.get("stall_s", 0.0) for name in ("blocking", "wrapped"))
        text += f"; called as it is, it held up the loop for {shown_s(still)}, wrapped for {shown_s(stood)}"
    return text


_GERUND = {"wrapped": "wrapping it unchanged", "rewritten": "rewriting it"}


def _backpressure(rows: Sequence[Row], cpus: int, baseline: str) -> str:
    free = [row for row in rows if row.variant == "no bound"]
    bound = [row for row in rows if row.variant != "no bound"]
    if not free or not bound:
        return _race(rows, cpus, baseline)
    ratio = median(row.wall_s for row in bound) / median(row.wall_s for row in free)
    if 1 / _LEVEL < ratio < _LEVEL:
        first = "a bound cost no time: the slower side sets the pace either way"
    elif ratio > 1:
        first = f"a bound cost {ratio - 1:.0%} more time"
    else:
        first = f"a bound saved {1 - ratio:.0%} of the time"
    return f"{first}; without one up to {_queue(free)}, with one up to {_queue(bound)}"


def _queue(rows: Sequence[Row]) -> str:
    longest = max(row.details.get("longest_queue", 0.0) for row in rows)
    wait_s = max(row.details.get("longest_wait_s", 0.0) for row in rows)
    peak = max(row.peak_bytes for row in rows)
    return f"{longest:,.0f} items stood in the queue for up to {shown_s(wait_s)} ({shown_size(peak)} in all)"


def _overhead(rows: Sequence[Row], cpus: int, baseline: str) -> str:  # noqa: ARG001
    ranked = sorted(rows, key=lambda row: row.cost_s)
    least = ranked[0]
    text = f"{least.model} costs {shown_s(least.cost_s)}"
    others = [f"{row.model} {shown_ratio(row.cost_s / least.cost_s)}" for row in ranked[1:]]
    if others:
        text += f", {_listed(others)} that"
    hops = [row for row in ranked if row.model in _HOPS]
    if hops:
        dear = hops[-1]
        text += (
            f"; work of less than {shown_s(9 * dear.cost_s)} loses a tenth or more to the way to {dear.model}"
        )
    return text


_HOPS = ("to_thread", "thread-pool", "process-pool")


def _best_of_each(rows: Sequence[Row]) -> list[Row]:
    """Of each model its fastest variant."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.model not in best or row.wall_s < best[row.model].wall_s:
            best[row.model] = row
    return list(best.values())


_KINDS: dict[str, Callable[[Sequence[Row], int, str], str]] = {
    "sleep": _sleep,
    "http": _http,
    "cpu": _race,
    "mixed": _mixed,
    "legacy": _legacy,
    "backpressure": _backpressure,
    "overhead": _overhead,
}


def shown_s(seconds: float) -> str:
    """Seconds in three figures: `4,000 s`, `1.23 s`, `45.6 ms`, `12.3 µs`, `80 ns`."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.9995 * unit:
            return f"{_three(seconds / unit)} {name}"
    return f"{_three(seconds / 1e-9)} ns"


def shown_ratio(ratio: float) -> str:
    """`1.2 ×`, `35 ×`, `3,400 ×`."""
    return f"{ratio:.1f} ×" if ratio < 9.95 else f"{ratio:,.0f} ×"


def shown_size(octets: float) -> str:
    """Bytes as `45 MB`."""
    mega = octets / 1024**2
    return f"{mega:,.0f} MB" if mega < 9999.5 else f"{mega / 1024:,.0f} GB"


def shown_count(number: float) -> str:
    """`4,000`."""
    return f"{number:,.0f}"


def _three(value: float) -> str:
    if value >= 99.95:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")


def _its(names: Sequence[str]) -> str:
    return "its" if len(names) == 1 else "their"


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
