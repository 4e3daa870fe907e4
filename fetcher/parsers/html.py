"""Links of an HTML document: where it leads, what it is made of, and what it says of itself.

The tags are read without a tree (see `tags`), so the cost is linear in the page. Invariant: a `base`, or a
`meta` that forbids to follow, counts for the whole document wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from fetcher import patterns
from fetcher.model import Link, LinkKind
from fetcher.parsers.css import urls_of_css
from fetcher.parsers.found import MOST_LINKS, Found
from fetcher.parsers.rels import kind_of
from fetcher.parsers.robotstag import AGENT, forbids_following
from fetcher.parsers.tags import attributes_of, tags, text_of, value_of
from fetcher.policy.links import resolve

_LONGEST_REFRESH = 65536

_refresh = patterns.compile(  # the shared declarative refresh steps (HTML Standard §4.2.5.3)
    r"[ \t\n\f\r]*+(?:[0-9]++|(?=\.))[0-9.]*+(?:[ \t\n\f\r]++[;,]?+|[;,])[ \t\n\f\r]*+"
    r"(?:[uU][rR][lL][ \t\n\f\r]*+=[ \t\n\f\r]*+)?+"
    r"""(?:"([^"]*+)|'([^']*+)|(.+))""",
    re.DOTALL,
).match

# The space and commas before a candidate, its URL, and its descriptors (§4.8.4.2.2)
_candidate = patterns.compile(r"[ \t\n\f\r,]*+([^ \t\n\f\r]++)").match
_descriptors = patterns.compile(r"((?:[^,(]++|\([^)]*+(?:\)|\Z))*+),?+").match
_descriptor = patterns.compile(r"(?:[^ \t\n\f\r(]++|\([^)]*+\)?+)++")
_number = r"(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_width = patterns.compile(r"0*+[1-9][0-9]*+w").fullmatch
_height = patterns.compile(r"0*+[1-9][0-9]*+h").fullmatch
_density = patterns.compile(rf"(?:{_number}|-0*+(?:\.0++)?)x").fullmatch

_SOURCES: dict[bytes, tuple[tuple[bytes, LinkKind], ...]] = {
    b"audio": ((b"src", "asset"),),
    b"embed": ((b"src", "asset"),),
    b"img": ((b"src", "asset"),),
    b"input": ((b"src", "asset"),),
    b"object": ((b"data", "asset"),),
    b"script": ((b"src", "asset"),),
    b"source": ((b"src", "asset"),),
    b"track": ((b"src", "asset"),),
    b"video": ((b"src", "asset"), (b"poster", "asset")),
}


def links_of_html(
    page: bytes,
    *,
    url: str,
    encoding: str = "utf-8",
    assets: bool = False,
    ignore: frozenset[str] = frozenset(),
    nofollow: bool = False,
    agent: str = AGENT,
) -> list[Link]:
    """The links of a document in UTF-8. Never raises.

    `encoding` is what it was in: queries are sent in it. `ignore` holds what is not to be respected:
    `nofollow`, `meta`, `canonical`. `nofollow` says that no link is to be followed; a `meta`
    of the name `agent` may say so as well as one for all robots.
    """
    reading = _Reading(assets=assets, ignore=ignore, agent=agent)
    reading.read(page)
    base = url if reading.base is None else _base(url, reading.base)
    nofollow = nofollow or reading.nofollow
    found = Found(base, encoding)
    for (written, kind), is_nofollow in reading.wanted.items():
        href = text_of(written) if isinstance(written, bytes) else written
        found.add(href, kind, nofollow=nofollow or is_nofollow)
    return found.links()


def base_of(page: bytes, url: str) -> str:
    """What URLs in a document are relative to: its own URL, or what its first `base` with a `href` says."""
    for name, raw in tags(page):
        if name == b"base" and (href := value_of(raw, b"href")) is not None:
            return _base(url, text_of(href))
    return url


def _base(url: str, href: str) -> str:
    return resolve(url, href) or url


class _Reading:
    """One pass over a document. `wanted` has the links as they are written, in order."""

    def __init__(self, *, assets: bool, ignore: frozenset[str], agent: str) -> None:
        self.wanted: dict[tuple[bytes | str, LinkKind], bool] = {}
        self.base: str | None = None
        self.nofollow = False
        self._assets = assets
        self._agents = {"robots", agent or "robots"}
        self._respects_nofollow = "nofollow" not in ignore
        self._respects_meta = "meta" not in ignore
        self._respects_canonical = "canonical" not in ignore

    def read(self, page: bytes) -> None:
        wanted = self.wanted
        # a look at every tag only where a `style` attribute may have an URL
        has_styles = self._assets and b"url(" in (lower := page.lower()) and b"style=" in lower
        for name, raw in tags(page, "all" if has_styles else "assets" if self._assets else "links"):
            if name == b"a":
                if raw.startswith(b' href="'):
                    end = raw.index(b'"', 7)
                    href: bytes | None = raw[7:end]
                    is_alone = len(raw) == end + 1
                else:
                    href = value_of(raw, b"href")
                    is_alone = False
                if href:
                    if not is_alone and b"nofollow" in raw.lower() and self._is_nofollow(raw):
                        wanted.setdefault((href, "page"), True)
                    else:
                        wanted[href, "page"] = False
            elif (reader := _READERS.get(name)) is not None:
                reader(self, raw)
            elif self._assets:
                self._read_sources(name, raw)
            if has_styles and name != b"style" and b"style" in raw.lower():
                self._read_style(raw)
            if len(wanted) >= MOST_LINKS:
                return

    def _read_area(self, raw: bytes) -> None:
        self._want(value_of(raw, b"href"), "page", nofollow=self._is_nofollow(raw))

    def _want(self, href: bytes | str | None, kind: LinkKind, *, nofollow: bool = False) -> None:
        if href:
            self.wanted[href, kind] = nofollow and self.wanted.get((href, kind), True)

    def _read_base(self, raw: bytes) -> None:
        if self.base is None and (href := value_of(raw, b"href")) is not None:
            self.base = text_of(href)

    def _read_frame(self, raw: bytes) -> None:
        self._want(value_of(raw, b"src"), "page")

    def _read_link(self, raw: bytes) -> None:
        attributes = attributes_of(raw)
        rel = attributes.get(b"rel")
        if rel is None:
            return
        kind = kind_of(text_of(rel[:1000]), text_of(attributes.get(b"type", b"")[:1000]))
        if kind == "asset":
            if not self._assets:
                return
            self._want_candidates(attributes.get(b"imagesrcset"))
        if kind is not None and (kind != "canonical" or self._respects_canonical):
            self._want(attributes.get(b"href"), kind, nofollow=self._is_nofollow(raw))

    def _read_meta(self, raw: bytes) -> None:
        attributes = attributes_of(raw)
        content = attributes.get(b"content")
        if not content or len(content) > _LONGEST_REFRESH:
            return
        if text_of(attributes.get(b"name", b"")[:100]).strip().lower() in self._agents:
            if self._respects_meta and forbids_following(text_of(content)):
                self.nofollow = True
        elif attributes.get(b"http-equiv", b"").strip().lower() == b"refresh":
            self._want(refresh_of(text_of(content)), "page")

    def _read_sources(self, name: bytes, raw: bytes) -> None:
        if name == b"style":
            for url in urls_of_css(raw.decode("utf-8", "replace")):
                self._want(url, "asset")
            return
        sources = _SOURCES.get(name)
        if sources is None:
            return
        attributes = attributes_of(raw)
        if name == b"input" and attributes.get(b"type", b"").strip().lower() != b"image":
            return
        for attribute, kind in sources:
            self._want(attributes.get(attribute), kind)
        if name in {b"img", b"source"}:
            self._want_candidates(attributes.get(b"srcset"))

    def _want_candidates(self, srcset: bytes | None) -> None:
        if srcset:
            for url in candidates_of(text_of(srcset)):
                self._want(url, "asset")

    def _read_style(self, raw: bytes) -> None:
        declarations = value_of(raw, b"style")
        if declarations:
            for url in urls_of_css(text_of(declarations)):
                self._want(url, "asset")

    def _is_nofollow(self, raw: bytes) -> bool:
        rel = value_of(raw, b"rel") if self._respects_nofollow else None
        return rel is not None and "nofollow" in text_of(rel).lower().split()


_READERS: dict[bytes, Callable[[_Reading, bytes], None]] = {
    b"area": _Reading._read_area,
    b"base": _Reading._read_base,
    b"frame": _Reading._read_frame,
    b"iframe": _Reading._read_frame,
    b"link": _Reading._read_link,
    b"meta": _Reading._read_meta,
}


def refresh_of(content: str) -> str | None:
    """The URL of `<meta http-equiv=refresh content=…>` as it is written, or None if there is none."""
    found = _refresh(content)
    return found and (found[1] or found[2] or found[3])


def candidates_of(srcset: str) -> Iterator[str]:
    """The URLs of a `srcset`, without those whose descriptors are wrong (§4.8.4.2.2)."""
    at = 0
    while (candidate := _candidate(srcset, at)) is not None:
        url = candidate[1]
        at = candidate.end()
        if url.endswith(","):
            yield url.rstrip(",")
        elif (descriptors := _descriptors(srcset, at)) is not None:
            at = descriptors.end()
            if _are_valid(_descriptor.findall(descriptors[1])):
                yield url


def _are_valid(descriptors: list[str]) -> bool:
    if not descriptors:
        return True
    if len(descriptors) == 1:
        return bool(_width(descriptors[0]) or _density(descriptors[0]))
    # a height is for the future, and stands beside a width
    first, second = sorted(descriptors[:2], key=lambda descriptor: descriptor[-1])
    return len(descriptors) == 2 and bool(_height(first) and _width(second))
