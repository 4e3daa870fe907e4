"""Scope of a crawl: rules that follow a link or leave it out.

Invariant: the answer depends on the link, its kind and its depth, and on the seeds and settings, never on
what was judged before; so what is crawled does not depend on who answered first. Seeds are not judged.

Which rule holds for which kind of link:

============  =====  =====  =======  =======  ==========  ==============
kind          depth  scope  include  exclude  url-length  repeating-path
============  =====  =====  =======  =======  ==========  ==============
page           x      x      x        x        x           x
canonical      x      x      x        x        x           x
redirect       x      x      x        x        x           x
asset                                 x        x           x
sitemap                               x        x           x
============  =====  =====  =======  =======  ==========  ==============

An asset is needed to show its page, wherever it is, and `--include` says which pages, as with Scrapy and
wget2. A sitemap that a robots.txt names may live elsewhere; its entries are judged as pages. A redirect
and a canonical stand for a page. Patterns are RE2, searched for in the whole URL: linear in time, whatever
the pattern and the URL (CWE-1333).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from fetcher import re_compat
from fetcher.errors import ConfigError
from fetcher.model import LinkKind, Target
from fetcher.policy.link_urls import canonical_key
from fetcher.policy.redaction import escape_controls
from fetcher.policy.suffixes import registrable
from fetcher.policy.urls import path_start

Reach = Literal["host", "domain", "prefix", "any"]
Search = Callable[[bytes], object]

LONGEST_URL = 2083  # what Internet Explorer took; sitemaps allow 2,047
_PATTERN_MEMORY = 8 << 20  # bytes for one pattern; RE2 goes slower, not wrong, where that is too little
_MOST_DOMAINS = 100_000  # remembered

_FREE = frozenset({"asset", "sitemap"})
_COMMON_PORTS = frozenset({80, 443})
# One to three segments and then the same, three times and more: /a/b/a/b/a/b/a/b
_repeats = re_compat.compile(r"((?:/[^/]*+){1,3}?)\1{3}(?![^/])").search


class Scope:
    """The rules of one crawl.

    Raises:
        ConfigError: an `include` or `exclude` that is no pattern, or an unknown `scope`.
    """

    def __init__(
        self,
        *,
        scope: Reach = "host",
        depth: int = 5,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        max_url_length: int = LONGEST_URL,
    ) -> None:
        if scope not in get_args(Reach):
            raise ConfigError(
                f"scope: expected one of {', '.join(get_args(Reach))}, got {escape_controls(scope)}"
            )
        self._reach = scope
        self._depth = depth
        self._max_length = max_url_length
        self._include = _compiled("include", include)
        self._exclude = _compiled("exclude", exclude)
        self._has_patterns = bool(include or exclude)
        self._hosts: set[str] = set()
        self._prefixes: tuple[str, ...] = ()
        self._domains: set[str] = set()
        self._by_name: dict[str, str] = {}
        self._is_within: Callable[[Target], bool] = {
            "host": self._is_host,
            "domain": self._is_in_domain,
            "prefix": self._is_below,
            "any": _is_anything,
        }[scope]

    def add_seed(self, target: Target) -> None:
        """Widen what is within to the surroundings of `target`. Twice is the same as once."""
        if self._reach == "host":
            self._hosts.add(target.host)
            if target.port in _COMMON_PORTS:
                bare = target.host.rpartition(":")[0]
                self._hosts.update(f"{bare}:{port}" for port in _COMMON_PORTS)
        elif self._reach == "domain":
            self._domains.add(self._domain(target.hostname))
        elif self._reach == "prefix":
            path = canonical_key(target.url).partition("?")[0]
            self._prefixes = tuple({*self._prefixes, path[: path.rindex("/") + 1]})

    def judge(self, target: Target, kind: LinkKind, depth: int) -> str | None:
        """Return the rule that leaves this link out, or None.

        `depth` is that which the link would have. The rules, in the order in which they are tried:
        `depth`, `scope`, `include`, `exclude`, `url-length`, `repeating-path`.
        """
        is_page = kind not in _FREE
        if is_page:
            if depth > self._depth:
                return "depth"
            if not self._is_within(target):
                return "scope"
        url = target.url
        if self._has_patterns and (rule := self._filtered(url, is_page=is_page)) is not None:
            return rule
        if len(url) > self._max_length:
            return "url-length"
        if url.count("/") >= 6 and is_repeating(url):
            return "repeating-path"
        return None

    def _filtered(self, url: str, *, is_page: bool) -> str | None:
        raw = url.encode()
        if is_page and self._include and not any(search(raw) for search in self._include):
            return "include"
        if any(search(raw) for search in self._exclude):
            return "exclude"
        return None

    def _is_host(self, target: Target) -> bool:
        return target.host in self._hosts

    def _is_in_domain(self, target: Target) -> bool:
        name = target.hostname
        return (self._by_name.get(name) or self._domain(name)) in self._domains

    def _is_below(self, target: Target) -> bool:
        url = target.url
        if url.startswith(self._prefixes):
            return True
        return "%" in url and canonical_key(url).startswith(self._prefixes)

    def _domain(self, name: str) -> str:
        """Return the registrable domain of `name`; the name itself where it has none that is known."""
        domain = registrable(name) or name
        if len(self._by_name) >= _MOST_DOMAINS:
            self._by_name.clear()
        self._by_name[name] = domain
        return domain


def _is_anything(_target: Target) -> bool:
    return True


def is_repeating(url: str) -> bool:
    """Return True if the path has the same one to three segments more than three times in a row.

    So do the endless paths of a server that answers a relative link wrongly.
    """
    start = path_start(url)
    end = url.find("?", start)
    return _repeats(url, start, len(url) if end < 0 else end) is not None


def variants_key(url: str) -> str | None:
    """Return the URL up to its query or to a `;` in its last segment: what the variants of a page share.

    None for a URL that has neither.
    """
    end = url.find("?")
    path = url if end < 0 else url[:end]
    semicolon = path.find(";", path.rfind("/"))
    if semicolon >= 0:
        return path[:semicolon]
    return None if end < 0 else path


def _compiled(setting: str, patterns: Sequence[str]) -> list[Search]:
    if not patterns:
        return []
    import re2  # type: ignore[import-untyped]  # noqa: PLC0415  only where there are patterns

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _PATTERN_MEMORY
    searches: list[Search] = []
    for pattern in patterns:
        try:
            searches.append(re2.compile(pattern, options).search)
        except (re2.error, UnicodeEncodeError) as error:
            reason = error.args[0] if isinstance(error, re2.error) else "it is not text"
            if isinstance(reason, bytes):
                reason = reason.decode("utf-8", "replace")
            raise ConfigError(
                f"{setting}: bad pattern {escape_controls(repr(pattern), 80)}: {escape_controls(reason)}"
            ) from None
    return searches
