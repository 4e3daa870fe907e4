"""Markup of a page: text is escaped because it is text, and only what was made here is not.

Invariant: a string that is no `Html` never gets onto a page unescaped, whatever it holds; control characters
are shown as such, passwords of URLs are masked.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from fetcher.policy.redaction import shown

LONGEST_TEXT = 300
_NO_END = frozenset({"meta", "rect", "line", "path"})


class Html(str):
    """Markup as it is written."""

    __slots__ = ()


def text(content: object) -> Html:
    """Return outside text as it may stand in an element or in a quoted attribute."""
    if isinstance(content, Html):
        return content
    safe = shown(str(content)[: 4 * LONGEST_TEXT], LONGEST_TEXT)
    return Html(html.escape(safe, quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; an attribute that is None is left away, `_` at the end of its name as well."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _NO_END:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Return the children, one after another."""
    return Html("".join(map(text, children)))
