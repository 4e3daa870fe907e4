"""CSV: a header with a column `url`, then one row for each URL (RFC 4180, as the csv module reads it).

The delimiter (comma, semicolon or tab) is that of the header; a header of one column has none, so a
URL there may hold commas. Rows are put together here from lines, so that a row knows its first line
and an unclosed quote costs its own row only: when the row grows too long, or the input ends, the
lines after its first are read again, each as a row of its own. A row stays below the csv module's
own limit on a field, which is global to the process and not ours to change.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from typing import Any

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.sources.entries import NOT_UTF8, RULES, is_unicode, readable, refused, typed
from fetcher.sources.lines import Lines

_DELIMITERS = (",", ";", "\t")
_NO_DELIMITER = "\x1f"
_COLUMNS = frozenset(RULES) - {"headers"}
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,16}")
_NAME = re.compile(r"[\w .\-]*")


class _Shape:
    """Where rows end, for one delimiter, in the csv module's reading of quotes."""

    def __init__(self, delimiter: str) -> None:
        other = f"[^{delimiter}]*+"
        # Atomic groups, because possessive ones match wrongly before 3.11.5 (python/cpython#106052).
        quoted = '(?>(?:[^"]++|"")*)"'
        field = f'(?:"{quoted}{other}|(?!"){other})'
        more = f"(?>(?:{delimiter}{field})*)"
        self.delimiter = delimiter
        self.is_whole = re.compile(f"{field}{more}").fullmatch
        self.is_closed_by = re.compile(f"{quoted}{other}{more}").fullmatch

    def split(self, row: str) -> list[str]:
        """The fields of a whole row. Raises `csv.Error`."""
        if '"' not in row:
            return row.split(self.delimiter)
        return next(csv.reader([row], delimiter=self.delimiter), [])


def is_header(line: str) -> bool:
    """Whether `line` is a header of several columns, `url` among them, and nothing but names."""
    shape = _shape_of(line)
    names = [name.strip() for name in _split_header(line, shape)]
    return len(names) > 1 and "url" in map(str.lower, names) and all(_NAME.fullmatch(name) for name in names)


def _shape_of(header: str) -> _Shape:
    """The shape whose delimiter cuts out `url`; failing that, the one that cuts most."""

    def merit(shape: _Shape) -> tuple[bool, int]:
        names = [name.strip().lower() for name in _split_header(header, shape)]
        return "url" in names, len(names)

    best = max(map(_Shape, _DELIMITERS), key=merit)
    return best if merit(best)[1] > 1 else _Shape(_NO_DELIMITER)


def _split_header(line: str, shape: _Shape) -> list[str]:
    try:
        return shape.split(line.rstrip("\r\n"))
    except csv.Error:
        return []


class TableFormat:
    """Rows under a header. Raises `ConfigError` if the header has no `url`."""

    longest = 131_072  # characters of a whole row: the csv module's default limit for one field

    def __init__(self, source: str) -> None:
        self._source = source
        self._shape: _Shape | None = None
        self._columns: list[str] | None = None
        self._open: list[str] = []  # the lines of a row whose quote is still open
        self._open_line = 0
        self._open_size = 0

    def entries(self, lines: Lines) -> list[Entry]:
        found: list[Entry] = []
        if lines.is_cut:
            self._give_up(found)
            if self._columns is None:
                raise self._no_header(f"its first line is longer than {self.longest:,} bytes")
            why = f"row longer than {self.longest:,} bytes"
            found.append(refused(lines.texts[0], why, self._source, lines.first))
        else:
            for number, text in enumerate(lines.texts, lines.first):
                self._take(text, number, found)
        return found

    def finish(self) -> list[Entry]:
        found: list[Entry] = []
        self._give_up(found)
        return found

    def _take(self, text: str, number: int, found: list[Entry]) -> None:
        """Add a line to the row that it belongs to, and a row that is whole to `found`."""
        shape = self._shape
        if shape is None:
            if not text.strip():
                return
            shape = self._shape = _shape_of(text)
        if self._open:
            self._open.append(text)
            self._open_size += len(text) + 1
            if self._open_size > self.longest:
                self._give_up(found)
            elif shape.is_closed_by(text):
                row, self._open = "\n".join(self._open), []
                self._row(row, self._open_line, found)
        elif '"' not in text or shape.is_whole(text):
            self._row(text, number, found)
        else:
            self._open, self._open_line, self._open_size = [text], number, len(text) + 1

    def _give_up(self, found: list[Entry]) -> None:
        """Stop waiting for the end of an open quote: no line may open another before all are read."""
        lines, self._open = self._open, []
        for number, text in enumerate(lines, self._open_line):
            if self._columns is None:
                raise self._no_header("a quote in it is never closed")
            if '"' not in text or (self._shape is not None and self._shape.is_whole(text)):
                self._row(text, number, found)
            else:
                found.append(refused(text, "a quote is not closed", self._source, number))

    def _row(self, row: str, number: int, found: list[Entry]) -> None:
        row = row.removesuffix("\r")
        if not row.strip() or self._shape is None:
            return
        fields, why = [], ""
        try:
            fields = self._shape.split(row)
        except csv.Error as error:
            why = f"not a CSV row: {error}"
        if self._columns is None:
            self._columns = self._header(fields)
        elif not is_unicode(row):
            found.append(refused(row, NOT_UTF8, self._source, number))
        elif not fields:
            found.append(refused(row, why, self._source, number))
        elif len(fields) > len(self._columns):
            why = f"{len(fields)} fields under a header of {len(self._columns)}"
            found.append(refused(fields[self._columns.index("url")], why, self._source, number))
        elif any(fields):
            found.append(self._entry(row, fields, number))

    def _entry(self, row: str, fields: list[str], number: int) -> Entry:
        columns: dict[str, Any] = {}
        meta: dict[str, Any] = {}
        for name, value in zip(self._columns or (), fields, strict=False):
            if value and name in _COLUMNS:
                columns[name] = value if name == "body" else value.strip()
            elif value and name:
                meta[name] = value
        if _WHOLE_NUMBER.fullmatch(columns.get("priority", "")):
            columns["priority"] = int(columns["priority"])
        return typed(columns, meta, self._source, number, row)

    def _header(self, fields: list[str]) -> list[str]:
        """The names of the columns; those that mean something are in lower case."""
        names = [readable(name.strip()) for name in fields]
        names = [name.lower() if name.lower() in _COLUMNS else name for name in names]
        if "url" not in names:
            shown = ", ".join(name or "(no name)" for name in names[:20])
            raise self._no_header(f"its columns are {shown}" if shown else "it can't be read")
        twice = [name for name, times in Counter(names).items() if times > 1 and name in _COLUMNS]
        if twice:
            raise self._no_header(f"column {twice[0]} stands there twice")
        return names

    def _no_header(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._source}: not a usable CSV header: {why}",
            hint="the first row names the columns, and one of them must be `url`; "
            "for plain lines of URLs say --input-format text",
        )
