"""One JSON value a line: an object with `url` and other columns, or a string that is a URL.

Blank lines are skipped, and so are lines that begin with `#`, which no JSON value does.
"""

from __future__ import annotations

import re

import msgspec

from fetcher.model import Entry
from fetcher.sources.entries import NOT_UTF8, from_columns, plain, refused
from fetcher.sources.lines import Lines

_ARRAY = "a JSON array; write one object a line (`jq -c '.[]'` does)"
_URL = re.compile(r'"url"\s*:\s*"([^"\\]*)"')
_decode = msgspec.json.Decoder().decode


class JsonlFormat:
    """Lines of JSON. A line is longer here than in text, because it may carry a request's body."""

    longest = 1_048_576

    def __init__(self, source: str) -> None:
        self._source = source

    def entries(self, lines: Lines) -> list[Entry]:
        if lines.is_cut:
            why = f"line longer than {self.longest:,} bytes"
            return [refused(_shown(lines.texts[0]), why, self._source, lines.first)]
        texts = enumerate(map(str.strip, lines.texts), lines.first)
        return [self._entry(text, number) for number, text in texts if text and text[0] != "#"]

    def finish(self) -> list[Entry]:
        return []

    def _entry(self, text: str, number: int) -> Entry:
        source = self._source
        try:
            value = _decode(text)
        except UnicodeEncodeError:
            return refused(_shown(text), NOT_UTF8, source, number)
        except RecursionError:
            return refused(_shown(text), "JSON nested too deeply", source, number)
        except ValueError as error:  # msgspec's, and int's for thousands of digits
            why = _ARRAY if text[0] == "[" else f"not JSON: {error}"
            return refused(_shown(text), why, source, number)
        if isinstance(value, dict):
            entry = from_columns(value, source, number)
            if entry.bad is None or entry.url:
                return entry
            return refused(_shown(text), entry.bad, source, number, entry.meta)
        if isinstance(value, str):
            return plain(value.strip(), source, number)
        why = _ARRAY if isinstance(value, list) else "expected an object with `url`, or a URL as a string"
        return refused(_shown(text), why, source, number)


def _shown(text: str) -> str:
    """What of a line that can't be used may be shown: its URL, else its text unless that may hold secrets."""
    if found := _URL.search(text):
        return found[1]
    return "{…}" if "headers" in text or "body" in text else text
