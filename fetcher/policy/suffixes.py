"""Public suffixes: the names below which anyone can register (publicsuffix.org).

The list takes 30 ms to load, which most runs don't need: it is loaded when first asked.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any


def registrable(name: str) -> str | None:
    """Return the registrable domain of a name in lower case; None without a known public suffix."""
    domain: str | None = _list().privatesuffix(name)
    return domain


@lru_cache(maxsize=4096)
def is_public_suffix(name: str) -> bool:
    """Return True if the list has the name, in lower case, as a suffix; what it does not know is none."""
    return bool(_list().publicsuffix(name) == name)


@cache
def _list() -> Any:
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415

    return PublicSuffixList(accept_unknown=False)
