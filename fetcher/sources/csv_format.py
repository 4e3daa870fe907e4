"""CSV: a header that names the columns, then one row for each URL (RFC 4180; quotes as in `rows`).

The delimiter is what a first line `sep=;` says (Excel writes it), else the comma, semicolon or tab of the
header; a header of one column has none, so a URL there may hold commas. A quoted value that holds line
breaks and a URL may be rows that were swallowed, so it is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.sources.line_splitter import Lines
from fetcher.sources.rows import CsvRow, RowReader
from fetcher.sources.validation import NOT_UTF8, RULES, enumerated, is_unicode, readable, refused, typed

Notice = Callable[[str, str], None]

_DELIMITERS = (",", ";", "\t")
_NO_DELIMITER = "\x1f"
_COLUMNS = frozenset(RULES) - {"headers", "url"}
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,16}")
_NAME = re.compile(r"[\w .\-]*")
_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t| )"?\r?', re.IGNORECASE)
_URL = re.compile(r"https?://", re.IGNORECASE)
_MOST_TOLD = 10


def is_header(line: str, url_column: str = "url") -> bool:
    """Return True if `line` is a header of several columns, the URL's among them, and nothing but names.

    A column that the user named may stand alone.
    """
    if _SEPARATOR.fullmatch(line):
        return True
    names = _names(line, _delimiter_of(line, url_column))
    is_enough = len(names) > 1 or url_column != "url"
    return is_enough and url_column.lower() in map(str.lower, names) and all(map(_NAME.fullmatch, names))


def _delimiter_of(header: str, url_column: str) -> str:
    """Return the delimiter that cuts out the URL's column; failing that, the one that cuts most."""

    def merit(delimiter: str) -> tuple[bool, int]:
        names = [name.lower() for name in _names(header, delimiter)]
        return url_column.lower() in names, len(names)

    best = max(_DELIMITERS, key=merit)
    return best if merit(best)[1] > 1 else _NO_DELIMITER


def _names(header: str, delimiter: str) -> list[str]:
    reader = RowReader(delimiter, len(header) + 1)
    rows = [*reader.feed(1, header), *reader.finish()]
    return [name.strip() for name in rows[0].values]


class CsvFormat:
    """Rows under a header. Raises `ConfigError` if the header has no column for URLs.

    `url_column` names that column, in any case. `notice` is told, by level and text, what may be wrong
    though every row can be read.
    """

    longest = 131_072  # characters of a whole row

    def __init__(
        self, source: str, url_column: str = "url", notice: Notice = lambda _level, _text: None
    ) -> None:
        self._source = source
        self._url_column = url_column
        self._notice = notice
        self._rows: RowReader | None = None
        self._names: list[str] | None = None  # of the columns, as they are in the header
        self._fields: list[str | None] = []  # of each column: the contract's name, or None for `meta`
        self._told = 0

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that the contract does not name; None before the header was read."""
        if self._names is None:
            return None
        return frozenset(
            name for name, field in zip(self._names, self._fields, strict=True) if field is None and name
        )

    def entries(self, lines: Lines) -> list[Entry]:
        found: list[Entry] = []
        if lines.is_cut:
            found += self.finish()
            if self._names is None:
                raise self._no_header(f"its first line is longer than {self.longest:,} bytes")
            why = f"row longer than {self.longest:,} bytes"
            found.append(refused(lines.texts[0], why, self._source, lines.first))
            return found
        for number, text in enumerate(lines.texts, lines.first):
            if self._rows is None:
                if not text.strip():
                    continue
                if (separator := _SEPARATOR.fullmatch(text)) is not None:
                    self._rows = RowReader(separator[1], self.longest)
                    continue
                self._rows = RowReader(_delimiter_of(text, self._url_column), self.longest)
            for row in self._rows.feed(number, text):
                self._take(row, found)
        return found

    def finish(self) -> list[Entry]:
        found: list[Entry] = []
        for row in self._rows.finish() if self._rows is not None else ():
            self._take(row, found)
        return found

    def _take(self, row: CsvRow, found: list[Entry]) -> None:
        values = row.values
        if self._names is None and len(values) + len(values[0].strip()) > 1:
            self._read_header(values)
            return
        if self._names is None or not any(value.strip() for value in values):
            return
        if row.last > row.first:
            self._look_for_swallowed(row)
        if not all(map(is_unicode, values)):
            found.append(refused(row.text, NOT_UTF8, self._source, row.first))
        elif len(values) > len(self._names):
            why = f"{len(values)} fields under a header of {len(self._names)}"
            found.append(refused(values[self._fields.index("url")], why, self._source, row.first))
        else:
            found.append(self._entry(row))

    def _entry(self, row: CsvRow) -> Entry:
        columns: dict[str, Any] = {}
        meta: dict[str, Any] = {}
        for name, field, value in zip(self._names or (), self._fields, row.values, strict=False):
            if value and field is not None:
                columns[field] = value if field == "body" else value.strip()
            elif value and name:
                meta[name] = value
        if _WHOLE_NUMBER.fullmatch(columns.get("priority", "")):
            columns["priority"] = int(columns["priority"])
        return typed(columns, meta, self._source, row.first, row.text)

    def _look_for_swallowed(self, row: CsvRow) -> None:
        """Tell of a quoted value that goes over several lines and holds a URL."""
        if not any("\n" in value and _URL.search(value) for value in row.values):
            return
        self._told += 1
        if self._told <= _MOST_TOLD:
            more = "; further ones are not told" if self._told == _MOST_TOLD else ""
            self._notice(
                "warning",
                f"{self._source}:{row.first}: a quoted value goes on to line {row.last} and holds a URL: "
                f"are these rows, and is a quote too many?{more}",
            )

    def _read_header(self, values: list[str]) -> None:
        """Find the URL's column, and those that the contract names, in any case."""
        names = [readable(value.strip()) for value in values]
        lowered = [name.lower() for name in names]
        wanted = self._url_column.lower()
        if wanted not in lowered:
            raise self._no_header(
                f"there is no column {self._url_column}; its columns are {enumerated(names)}"
            )
        fields = ["url" if name == wanted else name if name in _COLUMNS else None for name in lowered]
        twice = [name for name, times in Counter(fields).items() if times > 1 and name is not None]
        if twice:
            name = self._url_column if twice[0] == "url" else twice[0]
            raise self._no_header(f"column {name} stands there twice")
        self._names, self._fields = names, fields

    def _no_header(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._source}: not a usable CSV header: {why}",
            hint="the first row names the columns; --url-column NAME says which one holds the URL, "
            "and for plain lines of URLs there is --input-format text",
        )
