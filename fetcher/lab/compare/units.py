"""Figures as people read them, and words joined to sentences."""

from __future__ import annotations

from collections.abc import Sequence


def shown_number(value: float) -> str:
    """Show a number in three figures, without zeros at its end: `4,000`, `45.6`, `1.23`, `5`."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return (f"{value:.1f}" if value >= 9.995 else f"{value:.2f}").rstrip("0").rstrip(".")


def shown_s(seconds: float) -> str:
    """Show seconds in three figures: `4,000 s`, `1.23 s`, `45.6 ms`, `12.3 µs`, `80 ns`."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.9995 * unit:
            return f"{shown_number(seconds / unit)} {name}"
    return f"{shown_number(seconds / 1e-9)} ns" if seconds else "0 s"


def shown_ratio(ratio: float) -> str:
    """`1.2 ×`, `35 ×`, `3,400 ×`."""
    return f"{ratio:.1f} ×" if ratio < 9.95 else f"{ratio:,.0f} ×"


def shown_size(octets: float) -> str:
    """Bytes as `45 MB`."""
    mega = octets / 1024**2
    return f"{mega:,.0f} MB" if mega < 9999.5 else f"{mega / 1024:,.0f} GB"


def shown_count(number: float, noun: str = "") -> str:
    """`4,000`, `1 URL`, `2 URLs`."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}" if noun else f"{number:,.0f}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def capitalized(text: str) -> str:
    """Return the first letter large, the others as they are."""
    return text[:1].upper() + text[1:]
