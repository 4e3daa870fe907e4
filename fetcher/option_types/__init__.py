"""Types of options: how a value of one type is written, read, shown and hidden.

Invariant: `parse` of a type also takes what it returns, and reads back what `plain` gives for whatever can be
written down. What it does not take is a `ValueError`, whatever it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

Plain: TypeAlias = "bool | int | float | str | list[int] | list[str] | None"
MASK: Final = "***"


def _as_is(value: Any) -> Any:
    return value


class OptionType(msgspec.Struct, frozen=True, kw_only=True):
    """Reader and formatter of the values of one type.

    `parse` takes text or a native value and raises `ValueError` if it is not as `expected` says.
    `plain` gives what TOML would hold. A secret is never shown: `masked` says what may be.
    """

    expected: str
    metavar: str
    parse: Callable[[Any], Any]
    to_plain: Callable[[Any], Plain] = _as_is
    redacted: Callable[[Any], Any] = _as_is
    is_secret: bool = False
    is_repeatable: bool = False
    choices: tuple[str, ...] = ()


def optional(kind: OptionType) -> OptionType:
    """`kind`, where `none` and 0 mean no limit."""

    def parse(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
            return None
        return kind.parse(value) or None

    def plain(value: Any) -> Plain:
        return "none" if value is None else kind.to_plain(value)

    expected = f"{kind.expected}, or none"
    return msgspec.structs.replace(kind, expected=expected, parse=parse, to_plain=plain)


def as_text(plain: Plain) -> str:
    """Return a plain value as one argument of a command line; lists are joined with commas."""
    if isinstance(plain, list):
        return ",".join(str(item) for item in plain)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return "" if plain is None else str(plain)
