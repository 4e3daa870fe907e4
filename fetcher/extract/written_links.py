"""Links as they are written on a page, with their places: for pages that are saved, and whose links are to
lead elsewhere.

They are found by the readers that find links to be followed (`tokenizer`, `html`, `css`). Here all count that
a browser resolves against the page, whatever they are for. Places are those of bytes, in an encoding of
which ASCII is a part. Invariants: the cost is linear in the page; places are in order and do not overlap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from fetcher import re_compat
from fetcher.extract.attributes import BACKED, BACKGROUNDS, SETS, SUBMITTING, WRITTEN
from fetcher.extract.css import places_in_css, unescaped_url
from fetcher.extract.html import looks_like_url, place_in_refresh, places_in_srcset
from fetcher.extract.tokenizer import attribute_places, text_of, tokenize, value_of, with_places

# `base` is what all links are relative to; a `guard` keeps a browser from a file that it can't vouch for.
Syntax = Literal["attribute", "srcset", "css", "css-attribute", "base", "guard"]

_LONGEST_VALUE = 1 << 20  # bytes of an attribute in which links are looked for
_GUARDS = frozenset({b"integrity", b"crossorigin"})
_has_link = re_compat.compile(
    rb"href|src|style|action|background|poster|data|cite|longdesc|content", re.IGNORECASE
).search
_has_base = re_compat.compile(rb"<base[ \t\n\f\r/]", re.IGNORECASE).search


class WrittenLink(msgspec.Struct, frozen=True, gc=False):
    """A link from `start` up to `end` of a page's bytes; `href` is what is meant, its escapes resolved.

    A `base` or `guard` is the place where an attribute's name begins, and has no `href`.
    """

    start: int
    end: int
    syntax: Syntax
    href: str = ""


def base_written(page: bytes, codec: str) -> str | None:
    """Return what the first `base` with a `href` says, or None."""
    if _has_base(page):
        for name, raw in tokenize(page):
            if name == b"base" and (href := value_of(raw, b"href")) is not None:
                return _meant(href, codec)
    return None


def written_in_html(page: bytes, codec: str) -> Iterator[list[WrittenLink]]:
    """Yield the links of an HTML page in that encoding, those of one tag together. Never raises."""
    places: list[int] = []
    for name, raw in tokenize(page, "all", places=places, templates_too=True):
        start = places.pop()
        if name == b"style":
            for link in written_in_css(raw, codec, start):
                yield [link]
        elif _has_link(raw):
            links = _in_tag(name, raw, codec, start)
            if links:
                yield links


def written_in_css(sheet: bytes, codec: str, start: int = 0) -> Iterator[WrittenLink]:
    """Yield the links of a style sheet that begins at `start`. Never raises."""
    text = sheet.decode("latin-1")
    for begin, end in places_in_css(text):
        quote = text[begin - 1]
        href = unescaped_url(sheet[begin:end].decode(codec, "replace"), quote if quote in "\"'" else "")
        if href:
            yield WrittenLink(start + begin, start + end, "css", href)


def _in_tag(name: bytes, raw: bytes, codec: str, start: int) -> list[WrittenLink]:
    links: list[WrittenLink] = []
    attributes = attribute_places(raw)
    written = WRITTEN.get(name, frozenset())
    for attribute, (at, begin, end) in attributes.items():
        value = raw[begin:end]
        here = start + begin
        if attribute in _GUARDS:
            links.append(WrittenLink(start + at, start + at, "guard"))
        elif begin < 0:
            continue
        elif name == b"base" and attribute == b"href":
            links.append(WrittenLink(start + at, start + at, "base"))
        elif attribute in written:
            if attribute in SETS:
                links += _parts(value, codec, here, "srcset", places_in_srcset)
            elif not attribute.startswith(b"data-") or looks_like_url(value):
                links.append(WrittenLink(here, here + len(value), "attribute", _meant(value, codec)))
        elif attribute == b"style" or (attribute in BACKGROUNDS and value.startswith(b"url(")):
            links += _parts(value, codec, here, "css-attribute", places_in_css)
        elif (
            (attribute in BACKGROUNDS and looks_like_url(value))
            or (attribute == b"background" and name in BACKED)
            or (attribute == b"formaction" and name in SUBMITTING)
        ):
            links.append(WrittenLink(here, here + len(value), "attribute", _meant(value, codec)))
        elif attribute == b"content" and name == b"meta" and _is_refresh(raw):
            links += _parts(value, codec, here, "attribute", lambda text: [place_in_refresh(text)])
    return links


def _is_refresh(raw: bytes) -> bool:
    return (value_of(raw, b"http-equiv") or b"").strip().lower() == b"refresh"


def _parts(
    value: bytes,
    codec: str,
    start: int,
    syntax: Syntax,
    places_in: Callable[[str], Iterable[tuple[int, int]]],
) -> Iterator[WrittenLink]:
    """Yield the links that are only a part of an attribute's value."""
    if len(value) > _LONGEST_VALUE:
        return
    text, places = with_places(value.decode("latin-1"))
    for begin, end in places_in(text):
        if begin == end:
            continue
        first, last = places[begin], places[end]
        href: str | None = _meant(value[first:last], codec)
        if syntax == "css-attribute":
            quote = text[begin - 1]
            href = unescaped_url(href or "", quote if quote in "\"'" else "")
        if href:
            yield WrittenLink(start + first, start + last, syntax, href)


def _meant(value: bytes, codec: str) -> str:
    return text_of(value if codec == "utf-8" else value.decode(codec, "replace").encode())
