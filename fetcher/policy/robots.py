"""robots.txt: what a host asks of crawlers (RFC 9309), and how slowly it wants to be asked.

Which lines hold for us is decided here, as RFC 9309 §2.2.1 says: all groups that name our product token,
without regard to case, or those of `*` where none does. Protego reads these lines, with the spellings
that are seen in the wild, and matches URLs. Invariant: whatever the bytes, there is an answer, and soon:
both the lines that are read and the wildcards in them are bounded, because each URL is tried against all.
Google's parser bounds the same things.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from protego import Protego

from fetcher.policy.links import resolve
from fetcher.policy.pace import MOST_DELAY_S

MOST_BYTES = 500 * 1024  # RFC 9309 §2.5
MOST_RULES = 10_000  # each costs up to 0.1 µs for every URL
MOST_WILDCARDS = 2_000  # `*`, over all rules; each costs up to 10 µs for a URL of 2,000 characters
LONGEST_LINE = 16_384  # characters; a rule that is longer than a URL can be matches none
MOST_SITEMAPS = 1_000

_HTML = ("<!doctype", "<html", "<head", "<body", "<?xml")
# One line: who, where the sitemap is, a rule, or another line that ends the list of a group's agents.
_line = re.compile(
    r"\s*(?:(user[ -]?agent)|(site-?maps?)|(allow|di[a-z]*l[ao]w)|(?:crawl[ -]delay|request[ -]rate))"
    r"(?:\s*:|\s|$)(.*)",
    re.IGNORECASE | re.DOTALL,
).match
_line_ends = re.compile(r"\r\n?|\n").split
# What Python takes for ends of lines and RFC 9309 doesn't, escaped
_NO_LINE_ENDS = str.maketrans(
    {c: "".join(f"%{byte:02X}" for byte in c.encode()) for c in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"}
)
_AGENT_END = re.compile(r"[/\s(;,]")
_COMPATIBLE = re.compile(r"\(\s*compatible\s*;\s*([^/\s();,]+)", re.IGNORECASE)


class RobotsRules:
    """The rules of one origin for one crawler; `agent` is its product token, as `agent_token` gives it.

    `crawl_delay_s` is the longer of Crawl-delay and what Request-rate comes to, at most `MOST_DELAY_S`,
    which `is_clamped` tells; 0.0 is none. `sitemaps` are absolute http and https URLs, of all groups.
    """

    __slots__ = ("_protego", "crawl_delay_s", "is_clamped", "sitemaps")

    def __init__(self, text: bytes, agent: str) -> None:
        lines, sitemaps = _lines_for(_decoded(text), agent.lower())
        protego = Protego.parse("\n".join(["User-agent: *", *lines, *sitemaps]))
        self._protego = protego if lines else None
        delay = _delay(protego)
        self.is_clamped = delay > MOST_DELAY_S
        self.crawl_delay_s = min(delay, MOST_DELAY_S)
        self.sitemaps = _absolute(protego.sitemaps)

    def allows(self, url: str) -> bool:
        """Whether `url`, an admitted one of this origin, may be asked for."""
        return self._protego is None or self._protego.can_fetch(url, "*")


def agent_token(user_agent: str) -> str:
    """The product token of a User-Agent header: `fetcher` of `fetcher/0.1 (+https://…)`.

    Of `Mozilla/5.0 (compatible; Foobot/1.0)` it is `Foobot`: that is whom such a crawler means.
    """
    user_agent = user_agent.strip()
    token = _AGENT_END.split(user_agent, maxsplit=1)[0]
    if token.lower() == "mozilla" and (found := _COMPATIBLE.search(user_agent)) is not None:
        return found[1]
    return token


def _decoded(text: bytes) -> str:
    """The part that is read, cut at a line's end. Of a page that stands in for robots.txt, nothing."""
    if len(text) > MOST_BYTES:
        text = text[: MOST_BYTES + 1]
        text = text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1]
    decoded = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    return "" if decoded[:200].lstrip().lower().startswith(_HTML) else decoded


def _lines_for(text: str, agent: str) -> tuple[list[str], list[str]]:
    """The rules of the groups that hold for `agent`, and the lines that name sitemaps."""
    named = _Lines()
    general = _Lines()
    sitemaps: list[str] = []
    holding: list[_Lines] = []
    is_named = False
    is_in_agents = False
    for line in _line_ends(text):
        found = _line(line) if len(line) <= LONGEST_LINE else None
        if found is None:
            continue
        line = line.translate(_NO_LINE_ENDS)  # noqa: PLW2901
        is_agent, is_sitemap, is_rule, value = found.groups()
        if is_agent:
            if not is_in_agents:
                holding = []
                is_in_agents = True
            name = _agent_of(value)
            if name == "*" and general not in holding:
                holding.append(general)
            elif name == agent and name:
                is_named = True
                if named not in holding:
                    holding.append(named)
        elif is_sitemap:
            if len(sitemaps) < MOST_SITEMAPS:
                sitemaps.append(line)
        else:
            is_in_agents = False
            for lines in holding:
                lines.add(line, value if is_rule else None)
    return (named if is_named else general).kept, sitemaps


class _Lines:
    """Lines of groups that hold together, within the limits: beyond them none is read."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._wildcards = 0

    def add(self, line: str, pattern: str | None) -> None:
        if len(self.kept) >= MOST_RULES:
            return
        if pattern is not None and "*" in pattern:
            wildcards = self._wildcards + pattern.count("*")
            if wildcards > MOST_WILDCARDS:
                return
            self._wildcards = wildcards
        self.kept.append(line)


def _agent_of(value: str) -> str:
    """Whom a line means: `*`, or a product token in lower case."""
    name = value.partition("#")[0].strip().lower()
    return name if name == "*" else _AGENT_END.split(name.replace("*", ""), maxsplit=1)[0]


def _delay(protego: Protego) -> float:
    delay = protego.crawl_delay("*") or 0.0
    rate = protego.request_rate("*")
    if rate is not None:
        # In whole seconds before division: the numbers of a hostile line may not fit a float.
        delay = max(delay, min(rate.seconds, 10**9) / min(rate.requests, 10**9))
    return delay


def _absolute(sitemaps: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for sitemap in sitemaps:
        if sitemap[:8].lower().startswith(("http://", "https://")):
            url = resolve(sitemap, sitemap)
            if url is not None:
                found[url] = None
    return tuple(found)
