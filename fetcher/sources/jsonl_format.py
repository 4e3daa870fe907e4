"""One JSON value a line: an object with `url` and other columns, or a string that is a URL.

Blank lines are skipped, and so are lines that begin with `#`, which no JSON value does.
"""

from __future__ import annotations

import re

import msgspec

from fetcher.model import Entry
from fetcher.sources.line_splitter import Lines
from fetcher.sources.validation import NOT_UTF8, from_columns, plain, refused

LONGEST_VALUE = 1_048_576  # bytes
_MOST_COLUMNS = 1_000  # that are remembered

_ARRAY = "a JSON array within a list; a list that is one array begins with it"
_URL = re.compile(r'"url"\s*:\s*"([^"\\]*)"', re.IGNORECASE)
_decode = msgspec.json.Decoder().decode


class JsonValues:
    """Entries of JSON values. `columns` are those seen so far that the contract does not name."""

    def __init__(self, source: str, url_column: str = "url") -> None:
        self._source = source
        self._url_column = url_column
        self.columns: set[str] = set()

    def entry(self, text: str, number: int) -> Entry:
        """Return the entry of the value `text`, which begins in the line `number`."""
        source = self._source
        try:
            value = _decode(text)
        except UnicodeEncodeError:
            return refused(shown(text), NOT_UTF8, source, number)
        except RecursionError:
            return refused(shown(text), "JSON nested too deeply", source, number)
        except ValueError as error:  # msgspec's, and int's for thousands of digits
            why = _ARRAY if text[0] == "[" else f"not JSON: {error}"
            return refused(shown(text), why, source, number)
        if isinstance(value, dict):
            entry = from_columns(value, source, number, url_column=self._url_column)
            if entry.meta and len(self.columns) < _MOST_COLUMNS:
                self.columns.update(entry.meta)
            if entry.bad is None or entry.url:
                return entry
            return refused(shown(text), entry.bad, source, number, entry.meta)
        if isinstance(value, str):
            return plain(value.strip(), source, number)
        why = _ARRAY if isinstance(value, list) else "expected an object with `url`, or a URL as a string"
        return refused(shown(text), why, source, number)


class JsonlFormat:
    """Lines of JSON. A line is longer here than in text, because it may carry a request's body."""

    longest = LONGEST_VALUE

    def __init__(self, source: str, url_column: str = "url") -> None:
        self._source = source
        self._values = JsonValues(source, url_column)

    @property
    def columns(self) -> set[str]:
        """The columns seen so far that the contract does not name."""
        return self._values.columns

    def entries(self, lines: Lines) -> list[Entry]:
        if lines.is_cut:
            why = f"line longer than {self.longest:,} bytes"
            return [refused(shown(lines.texts[0]), why, self._source, lines.first)]
        texts = enumerate(map(str.strip, lines.texts), lines.first)
        return [self._values.entry(text, number) for number, text in texts if text and text[0] != "#"]

    def finish(self) -> list[Entry]:
        return []


def shown(text: str) -> str:
    """The part of an unusable value that may be shown: its URL, else its text if that holds no secret."""
    if found := _URL.search(text):
        return found[1]
    return "{…}" if "headers" in text or "body" in text else text
