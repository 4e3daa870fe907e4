"""Attributes of HTML and SVG that hold URLs, by element: those that lead to pages, and those of assets.

`a`, `area`, `base`, `link` and `meta` have rules of their own and stand in `html`. What no browser follows or
loads is not among them: `cite`, `longdesc`, `codebase` and the like. Attributes of any element are rare, and
pages that have none of them are read faster; so they are apart. `WRITTEN` has all that are relative to the
page, by element.
"""

from __future__ import annotations

from fetcher.model import LinkKind

_LAZY = ("data-src", "data-lazy-src", "data-lazy", "data-original")  # scripts show these later
_LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set")
_IMAGE = ("src", "srcset", "lowsrc", "dynsrc", *_LAZY, *_LAZY_SETS)
_REFERENCE = ("href", "xlink:href")
_BACKGROUNDS = ("data-bg", "data-background", "data-background-image")

_TABLE: tuple[tuple[str, tuple[str, ...], LinkKind], ...] = (
    ("frame", ("src",), "page"),
    ("iframe", ("src", "data-src", "data-lazy-src"), "page"),
    ("portal", ("src",), "page"),
    ("audio", ("src", "data-src"), "asset"),
    ("bgsound", ("src",), "asset"),
    ("embed", ("src", "data-src"), "asset"),
    ("feimage", _REFERENCE, "asset"),
    ("image", (*_REFERENCE, *_IMAGE), "asset"),  # of SVG; in HTML it is another `img`
    ("img", _IMAGE, "asset"),
    ("input", ("src",), "asset"),  # of the type `image`
    ("object", ("data",), "asset"),
    ("script", ("src", *_REFERENCE), "asset"),  # the latter in SVG
    ("source", ("src", "srcset", *_LAZY, *_LAZY_SETS), "asset"),
    ("track", ("src",), "asset"),
    ("use", _REFERENCE, "asset"),
    ("video", ("src", "poster", "data-src", "data-poster"), "asset"),
)
# Followed by nobody that crawls, and relative to the page all the same.
_REFERRING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a", _REFERENCE),
    ("area", _REFERENCE),
    ("blockquote", ("cite",)),
    ("del", ("cite",)),
    ("form", ("action",)),
    ("img", ("longdesc",)),
    ("ins", ("cite",)),
    ("link", ("href", "imagesrcset")),
    ("q", ("cite",)),
)
_BACKED = ("body", "table", "tbody", "td", "tfoot", "th", "thead", "tr")
_SUBMITTING = ("button", "input")

PAGES = {e.encode(): frozenset(a.encode() for a in names) for e, names, kind in _TABLE if kind == "page"}
ASSETS = {e.encode(): frozenset(a.encode() for a in names) for e, names, kind in _TABLE if kind == "asset"}
SETS = frozenset({b"srcset", b"imagesrcset", *(name.encode() for name in _LAZY_SETS)})  # of candidates

WRITTEN = {
    element: PAGES.get(element, frozenset()) | ASSETS.get(element, frozenset()) | others
    for element, others in {
        **dict.fromkeys((*PAGES, *ASSETS), frozenset[bytes]()),
        **{e.encode(): frozenset(a.encode() for a in names) for e, names in _REFERRING},
    }.items()
}

BACKED = frozenset(e.encode() for e in _BACKED)  # have `background`
SUBMITTING = frozenset(e.encode() for e in _SUBMITTING)  # have `formaction`
BACKGROUNDS = frozenset(name.encode() for name in _BACKGROUNDS)  # of any element
