"""Links of an HTML document: where it leads, what it is made of, and what it says of itself.

The tags are read without a tree (see `tokenize`), so the cost is linear in the page. Invariant: a `base`, or
a `meta` that forbids to follow, counts for the whole document wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from fetcher import re_compat
from fetcher.extract.attributes import ASSETS, BACKED, BACKGROUNDS, PAGES, SETS, SUBMITTING
from fetcher.extract.css import urls_of_css
from fetcher.extract.link_collector import MOST_LINKS, LinkCollector
from fetcher.extract.link_relations import kind_of_relation
from fetcher.extract.link_text import label_of, text_of_anchor
from fetcher.extract.robots_meta import AGENT, forbids_following
from fetcher.extract.tokenizer import attributes_of, text_of, tokenize, value_of
from fetcher.model import Link, LinkKind
from fetcher.policy.link_urls import resolve_link

_LONGEST_REFRESH = 65536

_refresh = re_compat.compile(  # the shared declarative refresh steps (HTML Standard §4.2.5.3)
    r"[ \t\n\f\r]*+(?:[0-9]++|(?=\.))[0-9.]*+(?:[ \t\n\f\r]++[;,]?+|[;,])[ \t\n\f\r]*+"
    r"(?:[uU][rR][lL][ \t\n\f\r]*+=[ \t\n\f\r]*+)?+"
    r"""(?:"([^"]*+)|'([^']*+)|(.+))""",
    re.DOTALL,
).match

# The space and commas before a candidate, its URL, and its descriptors (§4.8.4.2.2)
_candidate = re_compat.compile(r"[ \t\n\f\r,]*+([^ \t\n\f\r]++)").match
_descriptors = re_compat.compile(r"((?:[^,(]++|\([^)]*+(?:\)|\Z))*+),?+").match
_descriptor = re_compat.compile(r"(?:[^ \t\n\f\r(]++|\([^)]*+\)?+)++")
_number = r"(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_width = re_compat.compile(r"0*+[1-9][0-9]*+w").fullmatch
_height = re_compat.compile(r"0*+[1-9][0-9]*+h").fullmatch
_density = re_compat.compile(rf"(?:{_number}|-0*+(?:\.0++)?)x").fullmatch

_has_style = re_compat.compile(rb"style[ \t\n\f\r]*+=").search
_has_background = re_compat.compile(rb"background[ \t\n\f\r]*+=").search
looks_like_url = re_compat.compile(rb"[./]").search  # a script's attribute may hold anything, such as `true`


def links_of_html(
    page: bytes,
    *,
    url: str,
    encoding: str = "utf-8",
    assets: bool = False,
    ignore: frozenset[str] = frozenset(),
    nofollow: bool = False,
    agent: str = AGENT,
    texts: bool = False,
) -> list[Link]:
    """Return the links of a document in UTF-8. Never raises.

    `encoding` is what it was in: queries are sent in it. `ignore` holds what is not to be respected:
    `nofollow`, `meta`, `canonical`. `nofollow` says that no link is to be followed; a `meta`
    of the name `agent` may say so as well as one for all robots. With `texts` each has what the page shows
    for it first: the text of an `a`, or what stands for an image.
    """
    reading = _Reading(assets=assets, ignore=ignore, agent=agent, texts=texts)
    reading.read(page)
    base = url if reading.base is None else _base(url, reading.base)
    nofollow = nofollow or reading.nofollow
    found = LinkCollector(base, encoding, keeps_bad=texts)
    for (written, kind), is_nofollow in reading.wanted.items():
        href = text_of(written) if isinstance(written, bytes) else written
        text = reading.texts.get((written, kind), "") if texts else ""
        found.add(href, kind, nofollow=nofollow or is_nofollow, text=text)
    return found.links()


def base_of(page: bytes, url: str) -> str:
    """Return the base URL of a document: its own, or that of its first `base` with a `href`."""
    for name, raw in tokenize(page):
        if name == b"base" and (href := value_of(raw, b"href")) is not None:
            return _base(url, text_of(href))
    return url


def _base(url: str, href: str) -> str:
    return resolve_link(url, href) or url


class _Reading:
    """One pass over a document. `wanted` has the links as they are written, in order."""

    def __init__(self, *, assets: bool, ignore: frozenset[str], agent: str, texts: bool) -> None:
        self.wanted: dict[tuple[bytes | str, LinkKind], bool] = {}
        self.texts: dict[tuple[bytes | str, LinkKind], str] = {}
        self._wants_texts = texts
        self._text = ""  # of the element that is read
        self.base: str | None = None
        self.nofollow = False
        self._is_posted = False  # what the last form would send
        self._assets = assets
        self._agents = {"robots", agent or "robots"}
        self._respects_nofollow = "nofollow" not in ignore
        self._respects_meta = "meta" not in ignore
        self._respects_canonical = "canonical" not in ignore

    def read(self, page: bytes) -> None:
        wanted = self.wanted
        rare = _rare_in(page.lower()) if self._assets else _FORMACTION if _has_formaction(page) else ()
        ends = [0] if self._wants_texts else None
        # a look at every tag only where one may have what any may have
        for name, raw in tokenize(page, "all" if rare else "assets" if self._assets else "links", ends=ends):
            if ends is not None and name != b"style":
                self._text = label_of(raw) if name != b"a" else text_of_anchor(page, ends[0], raw)
            if name == b"a":
                if raw.startswith(b' href="'):
                    end = raw.index(b'"', 7)
                    href: bytes | None = raw[7:end]
                    is_alone = len(raw) == end + 1
                else:
                    href = value_of(raw, b"href")
                    is_alone = False
                    if href is None:
                        href = value_of(raw, b"xlink:href")
                if href:
                    if not is_alone and b"nofollow" in raw.lower() and self._is_nofollow(raw):
                        wanted.setdefault((href, "page"), True)
                    else:
                        wanted[href, "page"] = False
                    if self._text:
                        self.texts.setdefault((href, "page"), self._text)
            elif (reader := _READERS.get(name)) is not None:
                reader(self, raw)
            elif self._assets:
                self._read_sources(name, raw)
            if rare and name != b"style":
                lower = raw.lower()
                if name == b"form":
                    self._is_posted = _is_post(attributes_of(raw).get(b"method"))
                elif any(attribute in lower for attribute in rare):
                    self._read_rare(name, raw)
            if len(wanted) >= MOST_LINKS:
                return

    def _read_area(self, raw: bytes) -> None:
        self._want(value_of(raw, b"href"), "page", nofollow=self._is_nofollow(raw))

    def _want(self, href: bytes | str | None, kind: LinkKind, *, nofollow: bool = False) -> None:
        if href:
            self.wanted[href, kind] = nofollow and self.wanted.get((href, kind), True)
            if self._text:
                self.texts.setdefault((href, kind), self._text)

    def _read_base(self, raw: bytes) -> None:
        if self.base is None and (href := value_of(raw, b"href")) is not None:
            self.base = text_of(href)

    def _read_frame(self, raw: bytes) -> None:
        self._want_all(attributes_of(raw), _FRAMES, "page")

    def _read_link(self, raw: bytes) -> None:
        attributes = attributes_of(raw)
        rel = attributes.get(b"rel")
        if rel is None:
            return
        kind = kind_of_relation(text_of(rel[:1000]), text_of(attributes.get(b"type", b"")[:1000]))
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
        names = ASSETS.get(name)
        if names is None or (name == b"use" and b'href="#' in raw):
            return
        attributes = attributes_of(raw)
        if name == b"input" and attributes.get(b"type", b"").strip().lower() != b"image":
            return
        self._want_all(attributes, names, "asset")

    def _read_rare(self, name: bytes, raw: bytes) -> None:
        """Read the attributes that any element may have, or elements that are else of no interest."""
        attributes = attributes_of(raw)
        method = attributes.get(b"formmethod")
        if name in SUBMITTING and not (self._is_posted if method is None else _is_post(method)):
            self._want(attributes.get(b"formaction"), "page")
        if not self._assets:
            return
        if name in BACKED:
            self._want(attributes.get(b"background"), "asset")
        for attribute, value in attributes.items():
            if attribute == b"style" or (attribute in BACKGROUNDS and value.startswith(b"url(")):
                for url in urls_of_css(text_of(value)):
                    self._want(url, "asset")
            elif attribute in BACKGROUNDS and looks_like_url(value):
                self._want(value, "asset")

    def _want_all(self, attributes: Mapping[bytes, bytes], names: frozenset[bytes], kind: LinkKind) -> None:
        for name, value in attributes.items():
            if name not in names:
                continue
            if name in SETS:
                self._want_candidates(value)
            elif not name.startswith(b"data-") or looks_like_url(value):
                self._want(value, kind)

    def _want_candidates(self, srcset: bytes | None) -> None:
        if srcset:
            for url in candidates_of(text_of(srcset)):
                self._want(url, "asset")

    def _is_nofollow(self, raw: bytes) -> bool:
        rel = value_of(raw, b"rel") if self._respects_nofollow else None
        return rel is not None and "nofollow" in text_of(rel).lower().split()


_READERS: dict[bytes, Callable[[_Reading, bytes], None]] = {
    b"area": _Reading._read_area,
    b"base": _Reading._read_base,
    b"link": _Reading._read_link,
    b"meta": _Reading._read_meta,
    **dict.fromkeys(PAGES, _Reading._read_frame),
}
_FRAMES: frozenset[bytes] = frozenset().union(*PAGES.values())
_FORMACTION = (b"formaction",)


def _rare_in(lower: bytes) -> tuple[bytes, ...]:
    """Return the attributes of any element that a page in lower case seems to hold."""
    rare = []
    if (b"url(" in lower or b"image-set(" in lower) and _has_style(lower):
        rare.append(b"style")
    if b"background" in lower:
        if _has_background(lower):
            rare.append(b"background")
        elif b"data-background-image" in lower:
            rare.append(b"data-background-image")
    if b"data-bg" in lower:
        rare.append(b"data-bg")
    if b"formaction" in lower:
        rare.append(b"formaction")
    return tuple(rare)


def _has_formaction(page: bytes) -> bool:
    return b"formaction" in page or b"formAction" in page or b"FORMACTION" in page


def _is_post(method: bytes | None) -> bool:
    return method is not None and method.strip().lower() not in {b"", b"get"}


def refresh_of(content: str) -> str | None:
    """Return the URL of `<meta http-equiv=refresh content=…>` as it is written, or None if there is none."""
    begin, end = place_in_refresh(content)
    return content[begin:end] or None


def place_in_refresh(content: str) -> tuple[int, int]:
    """Return where that URL begins and ends; nowhere if there is none."""
    found = _refresh(content)
    return (0, 0) if found is None else found.span(found.lastindex or 0)


def candidates_of(srcset: str) -> Iterator[str]:
    """Yield the URLs of a `srcset`, without those whose descriptors are wrong (§4.8.4.2.2)."""
    for begin, end in places_in_srcset(srcset):
        yield srcset[begin:end]


def places_in_srcset(srcset: str) -> Iterator[tuple[int, int]]:
    """Yield where those URLs begin and end."""
    at = 0
    while (candidate := _candidate(srcset, at)) is not None:
        begin, at = candidate.span(1)
        if srcset[at - 1] == ",":
            yield begin, begin + len(candidate[1].rstrip(","))
        elif (descriptors := _descriptors(srcset, at)) is not None:
            end, at = at, descriptors.end()
            if _are_valid(_descriptor.findall(descriptors[1])):
                yield begin, end


def _are_valid(descriptors: list[str]) -> bool:
    if not descriptors:
        return True
    if len(descriptors) == 1:
        return bool(_width(descriptors[0]) or _density(descriptors[0]))
    # a height is for the future, and stands beside a width
    first, second = sorted(descriptors[:2], key=lambda descriptor: descriptor[-1])
    return len(descriptors) == 2 and bool(_height(first) and _width(second))
