"""robots.txt: what a host asks of crawlers (RFC 9309), and how slowly it wants to be asked.

Which lines hold for us is decided here, as RFC 9309 §2.2.1 says: all groups that name our product token,
without regard to case, or those of `*` where none does. Protego reads these lines, with the spellings
that are seen in the wild, and matches URLs. Invariant: whatever the bytes, there is an answer, and soon:
the bytes that are read and the wildcards in them are bounded, because each URL is tried against all. A rule
without a wildcard costs next to nothing, so there may be as many as fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from protego import Protego

from fetcher.policy.link_urls import resolve_link
from fetcher.policy.throttle import MOST_DELAY_S

MOST_BYTES = 500 * 1024  # RFC 9309 §2.5
MOST_WILDCARDS = 10_000  # `*`, over all rules; each costs up to 5 µs for a URL of 2,000 characters
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
_NOTHING = "Disallow: /"  # what is allowed beside it is matched by a rule of its own
_AGENT_END = re.compile(r"[/\s(;,]")
_COMPATIBLE = re.compile(r"\(\s*compatible\s*;\s*([^/\s();,]+)", re.IGNORECASE)


class RobotsRules:
    """The rules of one origin for one crawler; `agent` is its product token, as `agent_token` gives it.

    `crawl_delay_s` is the longer of Crawl-delay and what Request-rate comes to, at most `MOST_DELAY_S`;
    0.0 is none. `sitemaps` are http and https URLs of all groups, relative ones
    resolved against `url`, where the text came from. `notes` say what was not read of it.
    """

    __slots__ = ("_protego", "crawl_delay_s", "notes", "sitemaps")

    def __init__(self, text: bytes, agent: str, url: str) -> None:
        chosen, sitemaps = _lines_for(_decoded(text), agent.lower())
        lines = chosen.kept
        self.notes = tuple(_notes(len(text) > MOST_BYTES, chosen.passed_over))
        protego = Protego.parse("\n".join(["User-agent: *", *lines, *sitemaps]))
        self._protego = protego if lines else None
        self.crawl_delay_s = min(_delay(protego), MOST_DELAY_S)
        self.sitemaps = _absolute(protego.sitemaps, url)

    def allows(self, url: str) -> bool:
        """Return True if `url`, an admitted one of this origin, may be asked for."""
        return self._protego is None or self._protego.can_fetch(url, "*")


class RobotsVerdict(msgspec.Struct, frozen=True):
    """Verdict of a robots.txt on one URL.

    `group` is the product token whose groups hold, `*` or "" for none; `line` and `text` are those of the
    rule that decides, None where no rule matches.
    """

    allows: bool
    group: str
    line: int | None = None
    text: str | None = None


def verdict_on(text: bytes, agent: str, url: str) -> RobotsVerdict:
    """Find the line that decides about an admitted URL: of those that match, the longest; else Allow."""
    chosen, _ = _lines_for(_decoded(text), agent.lower())
    winner: tuple[int, str] | None = None
    for number, line in zip(chosen.numbers, chosen.kept, strict=True):
        if _matches(line, url) and (winner is None or _prevails(line, winner[1], url)):
            winner = number, line
    allows = winner is None or _can_fetch([winner[1]], url)
    return RobotsVerdict(allows, chosen.group if chosen.kept else "", *(winner or (None, None)))


def _matches(line: str, url: str) -> bool:
    found = _line(line)
    if found is None or not found[3]:
        return False
    return not _can_fetch([line], url) or (found[3][:1].lower() == "a" and _can_fetch([line, _NOTHING], url))


def _prevails(line: str, over: str, url: str) -> bool:
    """Tell which of two lines that match decides; of two that say the same, the longer one."""
    before = _can_fetch([over], url)
    if _can_fetch([line], url) is before:
        return len(line) > len(over)
    return _can_fetch([over, line], url) is not before


def _can_fetch(lines: Iterable[str], url: str) -> bool:
    return bool(Protego.parse("\n".join(["User-agent: *", *lines])).can_fetch(url, "*"))


def agent_token(user_agent: str) -> str:
    """Return the product token of a User-Agent header: `fetcher` of `fetcher/0.1 (+https://…)`.

    Of `Mozilla/5.0 (compatible; Foobot/1.0)` it is `Foobot`: that is whom such a crawler means.
    """
    user_agent = user_agent.strip()
    token = _AGENT_END.split(user_agent, maxsplit=1)[0]
    if token.lower() == "mozilla" and (found := _COMPATIBLE.search(user_agent)) is not None:
        return found[1]
    return token


def _decoded(text: bytes) -> str:
    """Return the part that is read, cut at a line's end. Of a page that stands in for robots.txt, nothing."""
    if len(text) > MOST_BYTES:
        text = text[: MOST_BYTES + 1]
        text = text[: max(text.rfind(b"\n"), text.rfind(b"\r")) + 1]
    decoded = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    return "" if decoded[:200].lstrip().lower().startswith(_HTML) else decoded


def _lines_for(text: str, agent: str) -> tuple[_Lines, list[str]]:
    """Return the rules of the groups that hold for `agent`, and the lines that name sitemaps."""
    named = _Lines(agent)
    general = _Lines("*")
    sitemaps: list[str] = []
    holding: list[_Lines] = []
    is_named = False
    is_in_agents = False
    for number, line in enumerate(_line_ends(text), 1):
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
                lines.add(number, line, value if is_rule else None)
    return named if is_named else general, sitemaps


class _Lines:
    """Lines of groups that hold together, but for the rules that would bring too many wildcards.

    `numbers` are theirs in the text, `group` is the agent that they hold for.
    """

    def __init__(self, group: str) -> None:
        self.group = group
        self.kept: list[str] = []
        self.numbers: list[int] = []
        self.passed_over = 0
        self._wildcards = 0

    def add(self, number: int, line: str, pattern: str | None) -> None:
        if pattern is not None and "*" in pattern:
            wildcards = self._wildcards + pattern.count("*")
            if wildcards > MOST_WILDCARDS:
                self.passed_over += 1
                return
            self._wildcards = wildcards
        self.kept.append(line)
        self.numbers.append(number)


def _agent_of(value: str) -> str:
    """Return the agent of a line: `*`, or a product token in lower case."""
    name = value.partition("#")[0].strip().lower()
    return name if name == "*" else _AGENT_END.split(name.replace("*", ""), maxsplit=1)[0]


def _delay(protego: Protego) -> float:
    delay = protego.crawl_delay("*") or 0.0
    rate = protego.request_rate("*")
    if rate is not None:
        # In whole seconds before division: the numbers of a hostile line may not fit a float.
        delay = max(delay, min(rate.seconds, 10**9) / min(rate.requests, 10**9))
    return delay


def _absolute(sitemaps: Iterable[str], base: str) -> tuple[str, ...]:
    resolved = (resolve_link(base, sitemap) for sitemap in sitemaps)
    return tuple(dict.fromkeys(url for url in resolved if url is not None))


def _notes(is_cut: bool, passed_over: int) -> Iterator[str]:  # noqa: FBT001
    if is_cut:
        yield f"only the first {MOST_BYTES // 1024} KiB are read"
    if passed_over:
        yield f"{passed_over:,} rules beyond {MOST_WILDCARDS:,} wildcards are not heeded"
