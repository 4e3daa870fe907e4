"""The interface between the readers of XML and those who take its elements."""

from __future__ import annotations

from typing import Protocol


class Visitor(Protocol):
    """Told of elements by their local names in lower case. It may raise `xml.Stopped`."""

    texts: frozenset[str]  # the elements whose text is wanted

    def begin(self, name: str, attributes: dict[str, str]) -> None: ...

    def end(self, name: str, text: str) -> None:
        """`text` is that of an element without children, if it is wanted."""
