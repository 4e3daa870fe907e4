"""XML read as it comes, without a tree and without a DTD: elements begin and end, and that is all.

Invariant: nothing is expanded or fetched that the document does not hold itself. An internal DTD, where
entities are declared, ends the reading (CVE-2003-1564, CVE-2013-0340). What is not well-formed is read once
more by a reader that passes over damage. Prefixes are dropped without looking at their declarations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.parsers import expat

from fetcher import re_compat
from fetcher.extract.damaged import recover
from fetcher.extract.xml_visitor import Visitor

LONGEST_TEXT = 65536  # characters that are kept of the text of one element

_root = re_compat.compile(
    rb"(?:[ \t\r\n]++|<\?(?:[^?]++|\?(?!>))*+\?>|<!--(?:[^-]++|-(?!->))*+-->"
    rb"|<!DOCTYPE[^>\[]*+(?:\[[^\]]*+\][^>]*+)?+>)*+"
    rb"<(?:[^<>/! \t\r\n:]++:)?+([^<>/! \t\r\n:]++)",
    re.IGNORECASE,
).match


class Stopped(Exception):
    """The rest is not read; the text says why."""


def root_of(document: bytes) -> str:
    """Return the local name of the root element of a document in UTF-8, in lower case, or nothing."""
    found = _root(document)
    return found[1].decode("utf-8", "replace").lower() if found else ""


def read(document: bytes, make: Callable[[], Visitor]) -> str | None:
    """Lead a visitor through a document in UTF-8, whatever its declaration says. Never raises.

    `make` is called once more where the document is not well-formed. Returns what there is to say of
    such a one, or of one that was not read to its end.
    """
    try:
        try:
            _read_strictly(document.lstrip(b" \t\r\n"), make())
        except (expat.ExpatError, ValueError) as error:
            recover(document, make(), LONGEST_TEXT)
            return f"not well-formed XML ({error}); damaged parts may be missing"
    except Stopped as stop:
        return str(stop)
    return None


def _read_strictly(document: bytes, visitor: Visitor) -> None:
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
            raise Stopped("it declares entities or other types (an internal DTD), and is not read")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = take
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(document, True)
