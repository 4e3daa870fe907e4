"""Robots directives of a page or its header: may its links be followed?"""

from __future__ import annotations

from fetcher.model import Headers

_FORBIDDING = frozenset({"nofollow", "none"})
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
AGENT = "fetcher"
_EVERYBODY = frozenset({"", "*", "robots"})


def forbids_following(directives: str) -> bool:
    """Return True if `nofollow` or `none` is among the directives, the content of `<meta name=robots>`."""
    return not _FORBIDDING.isdisjoint(directives.lower().replace(",", " ").split())


def header_forbids_following(headers: Headers | None, agent: str = AGENT) -> bool:
    """The same of `X-Robots-Tag`. A field, or the rest of one, may be for one agent: `otherbot: nofollow`.

    `agent` is our product token in lower case.
    """
    if headers is None or headers.find(b"x-robots-tag") is None:
        return False
    return any(_field_forbids(field, agent) for field in headers.get_all("x-robots-tag"))


def _field_forbids(field: str, ours: str) -> bool:
    agent = ""
    for part in field.lower().split(","):
        name, colon, directive = part.partition(":")
        name = name.strip()
        if not colon:
            directive = name
        elif name in _WITH_VALUES:
            continue
        else:
            agent = name
        if (agent == ours or agent in _EVERYBODY) and directive.strip() in _FORBIDDING:
            return True
    return False
