"""XML read as it comes, without a tree and without a DTD: elements begin and end, and that is all.

Invariant: nothing is expanded or fetched that the document does not hold itself. An internal DTD, where
entities are declared, ends the reading (CVE-2003-1564, CVE-2013-0340), and so does what is not well-formed;
what was read before stands. Prefixes are dropped without looking at their declarations.
"""

from __future__ import annotations

import re
from typing import Protocol
from xml.parsers import expat

from fetcher import patterns

LONGEST_TEXT = 65536  # characters that are kept of the text of one element

_root = patterns.compile(
    rb"(?:[ \t\r\n]++|<\?(?:[^?]++|\?(?!>))*+\?>|<!--(?:[^-]++|-(?!->))*+-->"
    rb"|<!DOCTYPE[^>\[]*+(?:\[[^\]]*+\][^>]*+)?+>)*+"
    rb"<(?:[^<>/! \t\r\n:]++:)?+([^<>/! \t\r\n:]++)",
    re.IGNORECASE,
).match


class Stopped(Exception):
    """Enough was read."""


class Visitor(Protocol):
    """Told of elements by their local names in lower case. It may raise `Stopped`."""

    texts: frozenset[str]  # the elements whose text is wanted

    def begin(self, name: str, attributes: dict[str, str]) -> None: ...

    def end(self, name: str, text: str) -> None:
        """`text` is that of an element without children, if it is wanted."""


def root_of(document: bytes) -> str:
    """The local name of the root element of a document in UTF-8, in lower case, or nothing."""
    found = _root(document)
    return found[1].decode("utf-8", "replace").lower() if found else ""


def read(document: bytes, visitor: Visitor) -> None:
    """Lead the visitor through a document in UTF-8, whatever its declaration says. Never raises."""
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    text: list[str] = []
    room = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal room
        name = name.rpartition(":")[2].lower()
        text.clear()
        room = LONGEST_TEXT if name in visitor.texts else 0
        visitor.begin(name, attributes)

    def end(name: str) -> None:
        nonlocal room
        name = name.rpartition(":")[2].lower()
        visitor.end(name, "".join(text) if name in visitor.texts else "")
        text.clear()
        room = 0

    def take(data: str) -> None:
        nonlocal room
        if room > 0:
            text.append(data[:room])
            room -= len(data)

    def refuse(_name: str, _system: str | None, _public: str | None, has_internal: bool) -> None:  # noqa: FBT001
        if has_internal:
            raise Stopped

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = take
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(document.lstrip(b" \t\r\n"), True)
    except (expat.ExpatError, Stopped, ValueError):
        return
