r"""Rows of values from numbered lines: the quotes of CSV, read so that none can swallow rows unseen.

The grammar, with D for the delimiter; a quoted value is tried first:

    row     value *( D value ) end          end: LF, CR LF, or the end of the input
    value   quoted / bare
    quoted  '"' *( not '"' / '""' ) '"'     followed by D or an end, at most `longest` bytes with its row
    bare    *( neither D nor an end )       its quotes are characters like any other

So a quote with text behind it closes nothing, a quote that is never closed opens nothing, and what the
csv module writes is read as it reads it. Only a quoted value holds line breaks.

Lines are kept until one closes the open quote or shows that it is none, and `longest` bounds what is kept. A
kept line holds doubled quotes at most, since any other would have ended the wait; so when the quote turns
out to be none, no kept line can open another, and each is looked at twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class CsvRow(NamedTuple):
    """The values of one row; `first` and `last` are its 1-based lines, `text` is the first of them."""

    first: int
    last: int
    text: str
    values: list[str]


class _Open(NamedTuple):
    """A row whose value at `start` of the line `text` began with a quote that may be closed later on."""

    first: int
    first_text: str
    number: int
    text: str
    start: int
    values: list[str]
    size: int  # characters of the row, its last line included


class RowReader:
    """Rows from lines in order. `delimiter` is one character."""

    def __init__(self, delimiter: str, longest: int) -> None:
        self.delimiter = delimiter
        self.longest = longest
        # Atomic groups, because possessive ones match wrongly before 3.11.5 (python/cpython#106052).
        self._closing = re.compile(r'(?>(?:[^"]+|"")*)"').match
        self._is_end = re.compile(rf"{re.escape(delimiter)}|\r?\Z").match
        self._open: _Open | None = None
        self._held: list[str] = []  # the lines after the one that opened, none of which closes
        self._held_size = 0

    def feed(self, number: int, text: str) -> Iterator[CsvRow]:
        """Yield the rows that the line `number` completes."""
        if self._open is None:
            yield from self._begin(number, text)
            return
        closing = self._closing(text)
        if closing is None:
            self._held.append(text)
            self._held_size += len(text) + 1
            if self._open.size + self._held_size > self.longest:
                yield from self.finish()
        elif self._is_end(text, closing.end()):
            yield from self._close(number, text, closing.end())
        else:
            yield from self.finish()
            yield from self._begin(number, text)

    def finish(self) -> Iterator[CsvRow]:
        """Yield the rows of the lines that were kept: the quote is a character."""
        row, self._open = self._open, None
        if row is None:
            return
        held, self._held, self._held_size = self._held, [], 0
        end = self._bare(row.text, row.start, row.values)
        if row.text.startswith(self.delimiter, end):
            # Only doubled quotes are left in this line, so none of its values stays open.
            yield from self._values(row._replace(start=end + 1))
        else:
            yield CsvRow(row.first, row.number, row.first_text, row.values)
        for number, text in enumerate(held, row.number + 1):
            yield from self._begin(number, text)

    def _begin(self, number: int, text: str) -> Iterator[CsvRow]:
        if '"' not in text:
            yield CsvRow(number, number, text, text.removesuffix("\r").split(self.delimiter))
        else:
            yield from self._values(_Open(number, text, number, text, 0, [], len(text) + 1))

    def _values(self, row: _Open) -> Iterator[CsvRow]:
        """Read on from `start`, to the end of the line or to a quote that this line does not close."""
        text, at, values = row.text, row.start, row.values
        while True:
            if text.startswith('"', at):
                closing = self._closing(text, at + 1)
                if closing is None and row.size <= self.longest:
                    self._open = row._replace(start=at)
                    return
                end = closing.end() if closing and self._is_end(text, closing.end()) else -1
            else:
                end = -1
            if end >= 0:
                values.append(text[at + 1 : end - 1].replace('""', '"'))
            else:
                end = self._bare(text, at, values)
            if not text.startswith(self.delimiter, end):
                yield CsvRow(row.first, row.number, row.first_text, values)
                return
            at = end + 1

    def _bare(self, text: str, at: int, values: list[str]) -> int:
        """Take a bare value. Returns where it ends."""
        end = text.find(self.delimiter, at)
        if end < 0:
            values.append(text[at:].removesuffix("\r"))
            return len(text)
        values.append(text[at:end])
        return end

    def _close(self, number: int, text: str, end: int) -> Iterator[CsvRow]:
        """The open value ends in this line, before `end`; read on behind it."""
        row, self._open = self._open, None
        assert row is not None
        value = "\n".join([row.text[row.start + 1 :], *self._held, text[: end - 1]])
        row.values.append(value.replace('""', '"'))
        size = row.size + self._held_size + len(text) + 1
        self._held, self._held_size = [], 0
        if text.startswith(self.delimiter, end):
            yield from self._values(
                row._replace(number=number, text=text, start=end + 1, size=size),
            )
        else:
            yield CsvRow(row.first, number, row.first_text, row.values)
