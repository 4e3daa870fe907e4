"""Links of a style sheet: `url()`, `@import`, and the strings of `image-set()` (CSS Syntax, Values, Images).

One regular expression passes over the sheet, comments and strings included, and finds them; only what has
escapes in it goes to tinycss2, which would take a second for each megabyte. So nesting costs nothing, and
the cost is linear in the sheet. `url` itself spelled with escapes is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import tinycss2  # type: ignore[import-untyped]
from tinycss2.ast import FunctionBlock, Node, StringToken, URLToken  # type: ignore[import-untyped]

from fetcher import re_compat
from fetcher.extract.link_collector import MOST_LINKS, LinkCollector
from fetcher.model import Link
from fetcher.policy.charset import decode

LONGEST_SHEET = 2 << 20  # bytes that are read of one
_LONGEST_URL = 65536  # pictures are written as URLs, too

_S = r"[ \t\n\f\r]"
_STRING = r"""(?:"(?:[^"\\\n\f\r]++|\\[\s\S]|\\\Z)*+(?:"|\Z)|'(?:[^'\\\n\f\r]++|\\[\s\S]|\\\Z)*+(?:'|\Z))"""
_BARE = r"""(?:[^"'() \t\n\f\r\\]++|\\(?:[0-9a-fA-F]{1,6}+[ \t\n\f\r]?+|[^\n\f\r0-9a-fA-F]))*+"""
_URL = rf"url\({_S}*+(?:({_STRING})|({_BARE})){_S}*+(?:\)|\Z)"
_INSIDE = rf"""(?:[^()"']++|{_STRING}|\((?:[^()"']++|{_STRING})*+\))*+"""
_candidate = re_compat.compile(
    r"/\*(?:[^*]++|\*(?!/))*+"
    rf"|(?<![\w-]){_URL}"
    rf"|@import(?:{_S}++|/\*(?:[^*]++|\*(?!/))*+\*/)*+({_STRING})"
    rf"|(?<![\w-])((?:-webkit-)?+image-set\({_INSIDE}\))"
    rf"|@namespace[^;{{}}]*+"
    rf"|{_STRING}",
    re.IGNORECASE,
)
_in_image_set = re_compat.compile(rf"{_URL}|type\({_S}*+{_STRING}|({_STRING})", re.IGNORECASE)
_special = re.compile(r"[\\'\"()]")
_QUOTES = frozenset({'"', "'"})
_charset = re_compat.compile(rb'@charset "([^"]{1,40})";').match


def links_of_css(body: bytes, *, url: str, content_type: str | None) -> list[Link]:
    """Return the assets that a style sheet names, relative to the sheet's own URL. Never raises."""
    body = body[:LONGEST_SHEET]
    stated = _charset(body)
    if stated is not None and "charset" not in (content_type or "").lower():
        content_type = f"text/css; charset={stated[1].decode('latin-1')}"
    found = LinkCollector(url)
    for reference in urls_of_css(decode(body, content_type)):
        found.add(reference, "asset")
        if found.is_full:
            break
    return found.links()


def urls_of_css(text: str) -> Iterator[str]:
    """Yield the URLs in a style sheet, or in the declarations of a `style` attribute, as they are meant.

    No more than `MOST_LINKS`, and of the first `LONGEST_SHEET` characters.
    """
    left = MOST_LINKS
    for found in _candidate.finditer(text[:LONGEST_SHEET]):
        quoted, bare, imported, image_set = found.groups()
        if quoted is None and bare is None and imported is None and image_set is None:
            continue
        if image_set is not None:
            yield from _of_image_set(image_set)
        else:
            url = _unescaped(quoted or imported) if bare is None else _unescaped_bare(bare)
            if url and not url.startswith("data:"):
                yield url
        left -= 1
        if not left:
            return


def places_in_css(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the URLs of a style sheet or of declarations begin and end, without their quotes."""
    for found in _candidate.finditer(text):
        begin, end = found.span(4)
        places = [found] if begin < 0 else _in_image_set.finditer(text, begin, end)
        for place in places:
            group = place.lastindex
            if group is not None:
                begin, end = place.span(group)
                if text[begin : begin + 1] in _QUOTES:
                    begin, end = begin + 1, end - (end > begin + 1 and text[begin] == text[end - 1])
                yield begin, end


def unescaped_url(text: str, quote: str) -> str | None:
    """Return the URL that is meant by what stands in quotes, or in `url()` without any; None if none is."""
    return _unescaped(f"{quote}{text}{quote}") if quote else _unescaped_bare(text)


def escaped_url(url: str) -> str:
    """Return a URL of ASCII as it may stand in quotes as well as without."""
    return _special.sub(r"\\\g<0>", url)


def _unescaped(string: str | None) -> str | None:
    """Return the text of a CSS string, without its quotes and escapes."""
    if string is None or len(string) > _LONGEST_URL:
        return None
    if "\\" not in string:
        return string[1:].removesuffix(string[0])
    values = _values(string)
    return values[0].value if values and isinstance(values[0], StringToken) else None


def _unescaped_bare(bare: str) -> str | None:
    if "\\" not in bare or len(bare) > _LONGEST_URL:
        return bare
    values = _values(f"url({bare})")
    return values[0].value if values and isinstance(values[0], URLToken) else None


def _of_image_set(function: str) -> Iterator[str]:
    values = _values(function) if len(function) <= _LONGEST_URL else []
    for value in values[0].arguments if values and isinstance(values[0], FunctionBlock) else ():
        if isinstance(value, FunctionBlock) and value.lower_name == "url" and value.arguments:
            value = value.arguments[0]  # noqa: PLW2901  (a URL in quotes is a function of a string)
        if isinstance(value, StringToken | URLToken):
            yield value.value


def _values(text: str) -> list[Node]:
    try:
        return list(tinycss2.parse_component_value_list(text))
    except ValueError:  # a number of thousands of digits
        return []
