"""Charts of a report as inline SVG that stretches; what they say in words stands beside them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence

from fetcher.analysis.report.distribution import Quantiles, SizeClass
from fetcher.analysis.report.markup import Html, join, tag
from fetcher.analysis.report.timeline import STATES, TimelineColumn
from fetcher.observers.formatting import count, rate, size

_HEIGHT = 100
_BYTES = ("wire_bytes",)


def states_bar(states: Mapping[str, int]) -> Html:
    """Draw how many URLs are in each state as one bar, with its key."""
    total = sum(states.values())
    parts, key = [], []
    at = 0.0
    for state, number in states.items():
        if not number:
            continue
        width = 1000 * number / total
        parts.append(tag("rect", class_=state, x=f"{at:.2f}", y=0, width=f"{max(width, 1):.2f}", height=10))
        at += width
        swatch = _svg("0 0 1 1", tag("rect", class_=state, width=1, height=1))
        key.append(tag("span", swatch, f"{state} {count(number)} ({_percent(number, total)})"))
    bar = _svg("0 0 1000 10", *parts, class_="bar", label="URLs by state")
    return join((bar, tag("div", *key, class_="key")))


def urls_over_time(columns: Sequence[TimelineColumn]) -> Html:
    """Draw how many URLs ended a second, by state."""
    return _over_time(columns, STATES, rate, "URLs a second")


def bytes_over_time(columns: Sequence[TimelineColumn]) -> Html:
    """Draw how many bytes came a second; they count when their URL ends."""
    return _over_time(columns, _BYTES, lambda value: f"{size(value)}/s", "bytes a second")


def size_bars(classes: Sequence[SizeClass]) -> Html:
    """Draw how many bodies there are of each class of sizes."""
    most = max(each.count for each in classes)
    bars = []
    for at, each in enumerate(classes):
        height = _HEIGHT * each.count / most
        words = f"from {size(each.least)} to less than {size(each.below)}: {count(each.count)}"
        if each.count:
            height = max(height, 1)
        bar = tag(
            "rect",
            class_="bytes",
            x=at + 0.06,
            y=f"{_HEIGHT - height:.2f}",
            width=0.88,
            height=f"{height:.2f}",
        )
        bars.append(tag("g", tag("title", words), bar))
    plot = _svg(f"0 0 {len(classes)} {_HEIGHT}", *bars, class_="sizes", label="bodies by size")
    names = [tag("span", size(each.least)) for each in classes]
    return join((tag("div", tag("span", f"{count(most)} bodies"), class_="axis"), plot, _classes(names)))


def range_bar(of: Quantiles, least: float, most: float) -> Html:
    """Draw where most values lie, between `least` and `most` on a logarithmic scale.

    The bar is from the 10th to the 90th of a hundred, the line goes on to the largest; the mark is the
    median.
    """
    bottom = math.log10(least)
    span = max(math.log10(most) - bottom, 1e-9)

    def at(value: float) -> float:
        return 100 * (math.log10(min(max(value, least), most)) - bottom) / span

    low, high, end = at(of.p10), at(of.p90), at(of.most)
    return _svg(
        "0 0 100 10",
        tag("rect", class_="low", x=f"{low:.2f}", y=4, width=f"{max(end - low, 0.5):.2f}", height=2),
        tag("rect", class_="unchanged", x=f"{low:.2f}", y=1, width=f"{max(high - low, 0.5):.2f}", height=8),
        tag("rect", class_="mark", x=f"{min(at(of.median), 99.2):.2f}", y=0, width=0.8, height=10),
        class_="range",
    )


def _over_time(
    columns: Sequence[TimelineColumn], names: Sequence[str], say: Callable[[float], str], label: str
) -> Html:
    sums = [sum(getattr(column, name) for name in names) / column.seconds for column in columns]
    most = _round_up(max(sums), 1024 if names == _BYTES else 1000)
    pauses = sum(column.is_resumed for column in columns)
    drawn = [tag("line", class_="grid", x1=0, x2=len(columns) + pauses, y1=50, y2=50)]
    at = 0
    for column, total in zip(columns, sums, strict=True):
        if column.is_resumed:
            drawn.append(tag("line", class_="pause", x1=at + 0.5, x2=at + 0.5, y1=0, y2=_HEIGHT))
            at += 1
        bars = []
        top = float(_HEIGHT)
        for name in names:
            value = getattr(column, name)
            if value:
                height = _HEIGHT * value / column.seconds / most
                top -= height
                kind = "bytes" if name == "wire_bytes" else name
                bars.append(tag("rect", class_=kind, x=at, y=f"{top:.2f}", width=0.9, height=f"{height:.2f}"))
        drawn.append(tag("g", tag("title", f"{_clock(column.at)}: {say(total)}"), *bars))
        at += 1
    plot = _svg(f"0 0 {at} {_HEIGHT}", *drawn, class_="plot", label=label)
    ends = [tag("span", _day(columns[0].at)), tag("span", _day(columns[-1].at + columns[-1].seconds))]
    top_line = [tag("span", say(most)), tag("span", label)]
    return join((tag("div", *top_line, class_="axis"), plot, tag("div", *ends, class_="axis")))


def _svg(box: str, *children: Html, class_: str | None = None, label: str | None = None) -> Html:
    return tag(
        "svg",
        *children,
        class_=class_,
        viewBox=box,
        preserveAspectRatio="none",
        role="img" if label else None,
        aria_label=label,
        aria_hidden=None if label else "true",
    )


def _classes(names: Sequence[Html]) -> Html:
    return tag("div", *names, class_="classes")


def _round_up(value: float, base: int) -> float:
    """Return the least round number, in units that are powers of `base`, that is not below a value."""
    if value <= 0:
        return 1.0
    unit = float(base ** max(math.floor(math.log(value, base)), 0))
    power = unit * 10.0 ** math.floor(math.log10(value / unit))
    return next((step * power for step in (1, 2, 5, 10) if step * power >= value), value)


def _percent(number: int, total: int) -> str:
    share = 100 * number / total
    return f"{share:.1f} %" if 0.05 <= share < 99.95 else "under 0.1 %" if share < 1 else f"{share:.0f} %"


def _clock(utc: float) -> str:
    return f"{dt.datetime.fromtimestamp(utc, dt.UTC):%Y-%m-%d %H:%M:%S}"


def _day(utc: float) -> str:
    return f"{_clock(utc)} UTC"
