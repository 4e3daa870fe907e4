"""One URL a line: blank lines and lines that begin with `#` are skipped, white space around is not kept."""

from __future__ import annotations

from fetcher.model import Entry
from fetcher.sources.entries import plain, refused
from fetcher.sources.lines import Lines


class TextFormat:
    """Lines of URLs. What a URL may hold is the gate's to judge, not this format's."""

    longest = 65_536

    def __init__(self, source: str) -> None:
        self._source = source

    def entries(self, lines: Lines) -> list[Entry]:
        source = self._source
        urls = enumerate(map(str.strip, lines.texts), lines.first)
        if lines.is_utf8:
            return [Entry(url, source, number) for number, url in urls if url and url[0] != "#"]
        if lines.is_cut:
            why = f"line longer than {self.longest:,} bytes"
            return [refused(url, why, source, number) for number, url in urls if url[:1] != "#"]
        return [plain(url, source, number) for number, url in urls if url and url[0] != "#"]

    def finish(self) -> list[Entry]:
        return []
