"""XML that is not well-formed, read on past what is damaged, as libxml2's recovering parser does.

Invariants: the work is in proportion to the document, whatever is in it. Nothing is expanded but references
to characters, by number or by HTML's names; any other `&`, and a `<` that begins nothing, stand for
themselves. No damage reaches beyond the next `<`, but for end tags that are missing: their elements end
with the next one around them, and at the document's end they do not, since what is cut is not whole.
"""

from __future__ import annotations

import re
from collections import Counter
from html.entities import html5

from fetcher import re_compat
from fetcher.extract.xml_visitor import Visitor

_tag = re_compat.compile(
    rb"<(/?)([A-Za-z_\x80-\xff][^\s<>/=\"']*+)((?:\"[^\"<]*+\"|'[^'<]*+'|[^<>])*+)>"
).match
_declaration = re_compat.compile(rb"<![^<>]*+>").match
_attributes = re_compat.compile(
    rb"([^\s=\"'<>/]++)(?:\s*+=\s*+(?:\"([^\"<]*+)\"|'([^'<]*+)'|([^\s\"'<>]++)))?+"
).finditer
_reference = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{1,31}));")


def recover(document: bytes, visitor: Visitor, longest_text: int) -> None:
    """Lead the visitor through what can be read of a document in UTF-8. Raises only what the visitor does."""
    reader = _Reader(visitor, longest_text)
    at = 0
    while (start := document.find(b"<", at)) >= 0:
        if reader.room > 0 and start > at:
            reader.take(_unescaped(document[at:start]))
        at = reader.read_markup(document, start)


class _Reader:
    """The open elements, and the text of the innermost one."""

    def __init__(self, visitor: Visitor, longest_text: int) -> None:
        self._visitor = visitor
        self._longest_text = longest_text
        self._open: list[str] = []
        self._times_open: Counter[str] = Counter()  # so that an end tag of nothing is known at once
        self._text: list[str] = []
        self.room = 0

    def take(self, text: str) -> None:
        if self.room > 0:
            self._text.append(text[: self.room])
            self.room -= len(text)

    def read_markup(self, document: bytes, start: int) -> int:
        """Read what begins with the `<` at `start`. Returns where it ends."""
        kind = document[start + 1 : start + 2]
        if kind == b"?":
            return _end_of(document, start, b"<?", b"?>")[1]
        if kind == b"!":
            if document.startswith(b"<!--", start):
                return _end_of(document, start, b"<!--", b"-->")[1]
            if document.startswith(b"<![CDATA[", start):
                inside, end = _end_of(document, start, b"<![CDATA[", b"]]>")
                self.take(inside.decode("utf-8", "replace"))
                return end
            tag = _declaration(document, start)
        else:
            tag = _tag(document, start)
            if tag is not None:
                name = tag[2].decode("utf-8", "replace").rpartition(":")[2].lower()
                if tag[1]:
                    self._end(name)
                else:
                    self._begin(name, tag[3])
        if tag is None:
            self.take("<")
            return start + 1
        return tag.end()

    def _begin(self, name: str, rest: bytes) -> None:
        self._open.append(name)
        self._times_open[name] += 1
        self._text.clear()
        self.room = self._longest_text if name in self._visitor.texts else 0
        self._visitor.begin(name, _read_attributes(rest))
        if rest.endswith(b"/"):
            self._end(name)

    def _end(self, name: str) -> None:
        if not self._times_open[name]:
            return
        ended = ""
        while ended != name:
            ended = self._open.pop()
            self._times_open[ended] -= 1
            text = "".join(self._text) if ended in self._visitor.texts else ""
            self._text.clear()
            self.room = 0
            self._visitor.end(ended, text)


def _end_of(document: bytes, start: int, opening: bytes, closing: bytes) -> tuple[bytes, int]:
    """Return the content of a section and its end; one not closed before the next of its kind is skipped."""
    inside = start + len(opening)
    next_one = document.find(opening, inside)
    end = document.find(closing, inside, len(document) if next_one < 0 else next_one)
    return (b"", inside) if end < 0 else (document[inside:end], end + len(closing))


def _read_attributes(rest: bytes) -> dict[str, str]:
    if not rest.strip(b"/ \t\r\n"):
        return {}
    return {
        found[1].decode("utf-8", "replace"): _unescaped(found[2] or found[3] or found[4] or b"")
        for found in _attributes(rest)
    }


def _unescaped(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return _reference.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name is not None:
        return html5.get(f"{name};", found[0])
    number = int(decimal) if decimal is not None else int(hexadecimal, 16)
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
