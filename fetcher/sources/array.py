"""A JSON array as a list: its elements are what lines are in JSONL, read as they come.

An element goes to the comma or the bracket behind it, whatever stands in it; so one that is no JSON costs
itself, and not those after it. Blank elements (a comma at the end) are skipped. Arrays may follow one
another. Of an element at most `LONGEST_VALUE` bytes are held; a longer one is skipped as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fetcher.model import Entry
from fetcher.sources.jsonl_format import LONGEST_VALUE, JsonValues, shown
from fetcher.sources.validation import BATCH, refused

# Atomic groups, because possessive ones match wrongly before 3.11.5 (python/cpython#106052).
_STRING = rb'"(?>(?:[^"\\]+|\\.)*)"'
_FLAT = re.compile(  # a whole element with nothing nested in it
    rb"\s*(?:%s|\{(?>(?:[^{}\[\]\"]+|%s)*)\})\s*(?=[,\]])" % (_STRING, _STRING), re.DOTALL
).match
_OUTSIDE = re.compile(rb'["{}\[\],]').search  # what counts outside a string
_INSIDE = re.compile(rb'"|\\.?', re.DOTALL).search  # and inside
_BLANK = re.compile(rb"\s*").match
_SHOWN_BYTES = 1_024
_BOM = b"\xef\xbb\xbf"


class ArrayFormat:
    """Arrays of objects and strings, from blocks of bytes. `number` is the line that was reached."""

    def __init__(self, source: str, url_column: str = "url") -> None:
        self._source = source
        self._values = JsonValues(source, url_column)
        self.number = 1
        self._is_first = True
        self._is_within = False  # an array
        self._is_over = False  # something follows that is no array: the rest is not read
        self._rest = b""  # the element that has begun, as far as it is here
        self._seen = 0  # bytes of it that were looked at
        self._depth = 0
        self._is_string = False
        self._is_skipping = False

    @property
    def columns(self) -> set[str]:
        """The columns seen so far that the contract does not name."""
        return self._values.columns

    @property
    def is_cut(self) -> bool:
        """True if the input ended within an array."""
        return self._is_within

    def feed(self, block: bytes) -> Iterator[list[Entry]]:
        """Yield the entries of the elements that `block` completes."""
        if self._is_first:
            block = block.removeprefix(_BOM)
            self._is_first = False
        data = self._rest + block
        at, seen = 0, self._seen
        found: list[Entry] = []
        while not self._is_over:
            if not self._is_within:
                at = self._begin(data, at, found)
                if not self._is_within:
                    break
                seen = at
            end = self._end(data, at, seen)
            if end < 0:
                break
            self._element(data[at:end], found)
            self._is_within = data[end] != ord("]")
            at = seen = end + 1
            if len(found) >= BATCH:
                yield found
                found = []
        self._rest = b"" if self._is_over else data[at:]
        if len(self._rest) > LONGEST_VALUE and not self._is_skipping:
            self._is_skipping = True
            why = f"element longer than {LONGEST_VALUE:,} bytes"
            head = self._rest[:_SHOWN_BYTES].lstrip().decode("utf-8", "surrogateescape")
            found.append(refused(shown(head), why, self._source, self._line_of(self._rest)))
        if self._is_skipping:
            self.number += self._rest[: self._seen].count(b"\n")
            self._rest = self._rest[self._seen :]
            self._seen = 0
        if found:
            yield found

    def finish(self) -> Iterator[list[Entry]]:
        """Nothing: an element that was not ended is cut."""
        return iter(())

    def _begin(self, data: bytes, at: int, found: list[Entry]) -> int:
        """Go to the first element of the next array. Returns where it begins."""
        blank = _BLANK(data, at)
        end = blank.end() if blank else at
        self.number += data.count(b"\n", at, end)
        if end < len(data):
            if data[end] == ord("["):
                self._is_within = True
                return end + 1
            self._is_over = True
            text = data[end : end + _SHOWN_BYTES].decode("utf-8", "surrogateescape")
            found.append(
                refused(shown(text), "text behind the end of the JSON array", self._source, self.number)
            )
        return end

    def _end(self, data: bytes, at: int, seen: int) -> int:
        """Find the end of the element that begins at `at`; -1 if that is not here yet.

        `seen` is how far it was looked at before; how far it is now is remembered.
        """
        if seen == at and not self._is_skipping and (flat := _FLAT(data, at)) is not None:
            return flat.end()
        depth, is_string = self._depth, self._is_string
        while (token := (_INSIDE if is_string else _OUTSIDE)(data, seen)) is not None:
            mark = token[0]
            if mark == b"\\":  # the character that it escapes is not here yet
                break
            if mark == b'"':
                is_string = not is_string
            elif mark in b"{[":
                depth += 1
            elif mark in b"}]" and depth:
                depth -= 1
            elif not is_string and not depth and mark in b",]":
                self._depth, self._is_string, self._seen = 0, False, 0
                return token.start()
            seen = token.end()
        self._depth, self._is_string = depth, is_string
        self._seen = (len(data) if token is None else token.start()) - at
        return -1

    def _element(self, data: bytes, found: list[Entry]) -> None:
        text = data.strip().decode("utf-8", "surrogateescape")
        if text and not self._is_skipping:
            found.append(self._values.entry(text, self._line_of(data)))
        self.number += data.count(b"\n")
        self._is_skipping = False

    def _line_of(self, data: bytes) -> int:
        """Return the line of the first character that is not blank."""
        return self.number + data[: len(data) - len(data.lstrip())].count(b"\n")
