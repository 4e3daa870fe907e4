"""Start tags of an HTML document, read as the tokenizer of the HTML Standard does (§13.2.5), without a tree.

A tree costs time and memory that a page can raise without bound: 20 KB of open `font` elements take half a
second and 270 MB, 100,000 attributes of one element 20 s. Links don't need it. Invariant: reading is linear
in the length of the page, whatever it holds. Here one regular expression passes over all that is of no
interest, so that Python sees only the tags that may hold links; that is twice as fast as building the tree.

Comments, scripts, style sheets and the like are passed over, and so is what stands in a `template`. Two
things take a tree, and are therefore not the standard's: where SVG ends is taken from its tags alone, and
CDATA in SVG is read as a bogus comment. Pages are UTF-8.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from fetcher import re_compat

_S = rb"[ \t\n\f\r]"
_ATTRIBUTES = (  # the ordinary ` name="value"` first
    rb'(?: [a-zA-Z-]++="[^"]*+"'
    rb"|[ \t\n\f\r/]++"
    rb"|[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+(?:" + _S + rb"*+=" + _S + rb"*+"
    # a quote that is never closed takes the rest of the page with it
    rb"""(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^ \t\n\f\r>"'][^ \t\n\f\r>]*+)?+)?+)*+"""
)
_NAME_END = rb"(?=[ \t\n\f\r/>])"

_RAW = ("iframe", "noembed", "noframes", "plaintext", "script", "style", "textarea", "title", "xmp")
_LINKING = ("a", "area", "base", "frame", "link", "meta", "portal")
_EMBEDDING = (
    *("audio", "bgsound", "embed", "feimage", "image", "img", "input", "object", "source", "track"),
    *("use", "video"),
)
# The commonest tags and the end tags need not be compared with what is wanted; only speed depends on it.
_COMMON_END = rb"/[a-su-zA-SU-Z][a-zA-Z0-9]*+>"
_COMMON = (
    rb"(?:[cdghjkqrwyz][a-z0-9]*+|b|br|button|em|i|li|nav|ol|p|section|small|span|strong|t[dhr]|table|ul?+)"
    rb"(?=[ >])"
)


def _any_of(words: Sequence[str]) -> bytes:
    """Return a pattern for these words in either case, each letter tried once."""
    tails: dict[str, list[str]] = {}
    for word in words:
        if word:
            tails.setdefault(word[0], []).append(word[1:])
    branches = []
    for letter, rest in tails.items():
        either = f"[{letter}{letter.upper()}]" if letter.isalpha() else letter
        branches.append(either.encode() + _any_of(rest))
    if not branches:
        return b""
    return b"(?:" + b"|".join(branches) + b")" + (b"?+" if "" in words else b"")


def _scanner(wanted: bytes, common: bytes = b"") -> re.Pattern[bytes]:
    """Each match ends with a wanted tag: its name and its attributes. No name: the page is at its end."""
    parts = {
        b"attributes": _ATTRIBUTES,
        b"common": common,
        b"end": _NAME_END,
        b"template": _any_of(["template"]),
        b"wanted": wanted,
    }
    return re_compat.compile(
        rb"<(?:(?:%(common)b"
        rb"(?:/(?!%(template)b%(end)b)|(?!%(wanted)b%(end)b))[a-zA-Z][^ \t\n\f\r/>]*+%(attributes)b>"
        rb"|!--(?:-?>|(?:[^-]++|-(?!-!?>))*+--!?>)"
        rb"|(?:\?|!(?!--)|/(?![a-zA-Z]))[^>]*+>"
        rb"|(?![a-zA-Z/!?])"
        rb")[^<]*+<)*+"
        rb"(?:(%(wanted)b|/%(template)b)%(end)b(%(attributes)b)>|)" % parts
    )


_SKIPPED = _COMMON_END + rb"|" + _COMMON + _ATTRIBUTES + rb">|"
_scan = {
    "links": _scanner(_any_of([*_LINKING, *_RAW, "template"]), _SKIPPED),
    "assets": _scanner(_any_of([*_LINKING, *_EMBEDDING, *_RAW, "template"]), _SKIPPED),
    "all": _scanner(rb"[a-zA-Z][^ \t\n\f\r/>]*+"),
}
_SPECIAL = frozenset(word.encode() for word in (*_RAW, "template", "/template"))
_end_of_raw = {
    word.encode(): re_compat.compile(rb"</" + _any_of([word]) + _NAME_END).search
    for word in _RAW
    if word != "plaintext"
}
_in_script = re_compat.compile(rb"<!--|-->|<(/?)" + _any_of(["script"]) + _NAME_END).search
_attribute = re_compat.compile(
    rb"[ \t\n\f\r/]*+([^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)(?:" + _S + rb"*+=" + _S + rb"*+"
    rb"""(?:"([^"]*+)"|'([^']*+)'|([^ \t\n\f\r>"'][^ \t\n\f\r>]*+))?+)?+"""
)


def tokenize(
    page: bytes,
    wanted: Literal["links", "assets", "all"] = "links",
    *,
    ends: list[int] | None = None,
    places: list[int] | None = None,
    templates_too: bool = False,
) -> Iterator[tuple[bytes, bytes]]:
    """Name (in lower case) and attributes (as they are written) of start tags, in order.

    Of those that may have links to pages, or also of those that have assets, or of all. Some others
    come along. For `style` the text of the style sheet stands in the place of the attributes. The only item
    of `ends`, where it is given, is set to where the tag ends. Where the attributes begin on the page is
    appended to `places`. What stands in a `template` is passed over, unless `templates_too`.
    """
    scan = _scan[wanted]
    at = templates = 0
    svg = _Svg(page)
    while at >= 0:
        for found in scan.finditer(page, at):
            name, attributes = found.group(1, 2)
            if ends is not None:
                ends[0] = found.end()
            if name == b"a":
                if not templates:
                    if places is not None:
                        places.append(found.start(2))
                    yield name, attributes
                continue
            if name is None:
                return
            name = name.lower()
            if name in _SPECIAL:
                if name == b"template":
                    templates += not templates_too
                elif name == b"/template":
                    templates = max(0, templates - 1)
                elif (attributes[-1:] == b"/" or name == b"title") and svg.holds(found.start(1)):
                    if not templates and name != b"style":
                        if places is not None:
                            places.append(found.start(2))
                        yield name, attributes
                else:
                    text_end = _text_end(name, page, found.end())
                    if not templates:
                        if places is not None:
                            places.append(found.end() if name == b"style" else found.start(2))
                        yield name, page[found.end() : text_end] if name == b"style" else attributes
                    at = text_end
                    break
            elif not templates:
                if places is not None:
                    places.append(found.start(2))
                yield name, attributes
        else:
            return
        if at >= len(page):
            return


class _Svg:
    """Lookup of positions inside `svg` elements. Asked for positions in order."""

    __slots__ = ("_at", "_holds", "_page")

    def __init__(self, page: bytes) -> None:
        self._page = page
        self._at = 0
        self._holds = False

    def holds(self, at: int) -> bool:
        begin = self._page.rfind(b"<svg", self._at, at)
        end = self._page.rfind(b"</svg", self._at, at)
        if begin != end:
            self._holds = begin > end
        self._at = at
        return self._holds


def _text_end(name: bytes, page: bytes, at: int) -> int:
    """Find the end of a raw text element's text: its end tag, or the end of the page."""
    if name == b"plaintext":
        return len(page)
    found = _end_of_raw[name](page, at)
    if name == b"script" and page.find(b"<!--", at, found.start() if found else len(page)) >= 0:
        return _script_end(page, at)
    return found.start() if found else len(page)


def _script_end(page: bytes, at: int) -> int:
    """The end of a script with `<!--` in it, where a `<script>` hides the next `</script>` (§13.2.5.20)."""
    is_escaped = is_hidden = False
    while found := _in_script(page, at):
        at = found.end()
        if found[0] == b"<!--":
            is_escaped = True
            at -= 2  # `<!-->` is begin and end
        elif found[0] == b"-->":
            is_escaped = is_hidden = False
        elif found[1]:
            if not is_hidden:
                return found.start()
            is_hidden = False
        elif is_escaped:
            is_hidden = True
    return len(page)


def attributes_of(raw: bytes) -> dict[bytes, bytes]:
    """The attributes of a tag, names in lower case, values as they are written. Of two the first counts."""
    attributes: dict[bytes, bytes] = {}
    for name, double, single, bare in _attribute.findall(raw):
        attributes.setdefault(name.lower(), double or single or bare)
    return attributes


def attribute_places(raw: bytes) -> dict[bytes, tuple[int, int, int]]:
    """Find the attributes of a tag: for each name in lower case, where it and its value begin and end.

    Begin of the name, begin and end of the value; -1 for those of a value that is not there. Of two the
    first counts.
    """
    found: dict[bytes, tuple[int, int, int]] = {}
    for attribute in _attribute.finditer(raw):
        group = attribute.lastindex or 1
        value = attribute.span(group) if group > 1 else (-1, -1)
        found.setdefault(attribute[1].lower(), (attribute.start(1), *value))
    return found


def value_of(raw: bytes, wanted: bytes) -> bytes | None:
    """Return one attribute of a tag, as it is written, or None."""
    for found in _attribute.finditer(raw):
        if found[1].lower() == wanted:
            return found[2] or found[3] or found[4] or b""
    return None


_reference = re_compat.compile(r"&(?:#(?:[xX]([0-9a-fA-F]++)|([0-9]++));?+|([a-zA-Z][a-zA-Z0-9]*+)(;|=)?+)")

_UNASSIGNED = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})  # in windows-1252: they stay controls (§13.2.5.80)


def text_of(value: bytes) -> str:
    """Return the value of an attribute, its character references resolved (§13.2.5.72 to 80)."""
    text = value.decode("utf-8", "replace")
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return _reference.sub(_character, text) if "&" in text else text


def with_places(value: str) -> tuple[str, Sequence[int]]:
    """Resolve the references of a value as well; with it, where each character was, and the value's end."""
    if "&" not in value:
        return value, range(len(value) + 1)
    text: list[str] = []
    places: list[int] = []
    at = 0
    for found in _reference.finditer(value):
        character = _character(found)
        text += value[at : found.start()], character
        places += range(at, found.start())
        places += [found.start()] * len(character)
        at = found.end()
    places += range(at, len(value) + 1)
    return "".join((*text, value[at:])), places


def _character(found: re.Match[str]) -> str:
    hexadecimal, decimal, name, end = found.groups()
    if name is not None:
        if end == ";":
            return html.entities.html5.get(name + ";", found[0])
        # in an attribute `&copy=1` is none: it stands in the query of a URL
        return found[0] if end else html.entities.html5.get(name, found[0])
    digits = (hexadecimal or decimal).lstrip("0")
    if not digits or len(digits) > 7:
        return "\ufffd"
    number = int(digits, 16 if hexadecimal else 10)
    if 0x80 <= number <= 0x9F and number not in _UNASSIGNED:
        return bytes([number]).decode("cp1252")
    return "\ufffd" if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF else chr(number)
