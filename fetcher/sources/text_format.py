"""One URL a line, and its mirrors behind tabs.

Blank lines and lines that begin with `#` are skipped, white space around is not kept.
"""

from __future__ import annotations

from fetcher.model import Entry
from fetcher.sources.line_splitter import Lines
from fetcher.sources.validation import NOT_UTF8, is_unicode, plain, refused


class TextFormat:
    """Lines of URLs. What a URL may hold is judged by `policy.urls`, not here."""

    longest = 65_536
    columns = frozenset[str]()

    def __init__(self, source: str) -> None:
        self._source = source

    def entries(self, lines: Lines) -> list[Entry]:
        source = self._source
        urls = enumerate(map(str.strip, lines.texts), lines.first)
        if any("\t" in text for text in lines.texts):
            return [self._with_mirrors(url, number) for number, url in urls if url and url[0] != "#"]
        if lines.is_utf8:
            return [Entry(url, source, number) for number, url in urls if url and url[0] != "#"]
        if lines.is_cut:
            why = f"line longer than {self.longest:,} bytes"
            return [refused(url, why, source, number) for number, url in urls if url[:1] != "#"]
        return [plain(url, source, number) for number, url in urls if url and url[0] != "#"]

    def _with_mirrors(self, line: str, number: int) -> Entry:
        """Return the entry of a URL with further ones behind tabs, as aria2 has them."""
        url, *mirrors = (text for text in map(str.strip, line.split("\t")) if text)
        if not is_unicode(line):
            return refused(line, NOT_UTF8, self._source, number)
        return Entry(url, self._source, number, mirrors=tuple(mirrors))

    def finish(self) -> list[Entry]:
        return []
