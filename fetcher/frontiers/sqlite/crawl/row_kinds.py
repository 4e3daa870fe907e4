"""Values of the columns `kinds` and `rank` in the rows of a crawl."""

from __future__ import annotations

from fetcher.model import Kind

PAGE, ASSET, SITEMAP = 1, 2, 4  # of `kinds`: all that a URL was found as
CHECKED = "checked"  # the rule of a link that is the redirect of a URL which was only checked
# Of a link check: the rule that has a URL only checked. The last two are about links, not where they lead.
CHECK_OF = {"scope": 8, "depth": 16, "include": 32, "nofollow": 64, CHECKED: 128}
BY_LINK = CHECK_OF["nofollow"] | CHECK_OF[CHECKED]
CHECK = 8 | 16 | 32 | BY_LINK
_PRIORITY = 1 << 20  # in `rank`: it wins over any depth
_MOST_PRIORITY = 1 << 40


def kind_of(kinds: int) -> Kind:
    """Return the kind that a row is fetched as."""
    if kinds & CHECK:
        return "check"
    return "page" if kinds & PAGE else "asset" if kinds & ASSET else "sitemap"


def check_rule(kinds: int) -> str | None:
    """Return the rule that has a row only checked, or None."""
    return next((rule for rule, bit in CHECK_OF.items() if kinds & bit), None)


def priority_of(rank: int, depth: int) -> int:
    """Return the priority that a rank was made of."""
    return (min(depth, _PRIORITY - 1) - rank) // _PRIORITY


def rank_of(depth: int, priority: int) -> int:
    """Make the rank: breadth first, but for a priority, which wins over any depth; the larger goes first."""
    priority = max(-_MOST_PRIORITY, min(priority, _MOST_PRIORITY))
    return min(depth, _PRIORITY - 1) - priority * _PRIORITY
