"""A file of URLs, or standard input, as a source: text, JSONL or CSV, gzip or not, of any length.

One block is read, its entries are handed over, and only then is the next one read; so memory is
bounded by a block and its entries, and a consumer that stops stops the reading.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Literal, Protocol

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.sources.blocks import Blocks
from fetcher.sources.entries import BATCH, readable
from fetcher.sources.gunzip import BadGzip
from fetcher.sources.jsonl import JsonlFormat
from fetcher.sources.lines import Lines, LineSplitter
from fetcher.sources.sniff import Format, format_by_content, format_by_name
from fetcher.sources.table import TableFormat
from fetcher.sources.text import TextFormat


class _LineFormat(Protocol):
    """What the formats have in common: numbered lines in, entries out."""

    longest: int

    def entries(self, lines: Lines) -> list[Entry]: ...

    def finish(self) -> list[Entry]: ...


_FORMATS: dict[Format, type[TextFormat | JsonlFormat | TableFormat]] = {
    "text": TextFormat,
    "jsonl": JsonlFormat,
    "csv": TableFormat,
}


class FileSource:
    """The entries of the file `path`, with `-` for standard input; to be iterated once.

    `Entry.source` is the path as given, fit for UTF-8, and `Entry.line` the 1-based number of the line. A
    line that can't be an entry is one that is `bad`. `auto` goes by the extension (`.jsonl`, `.ndjson`,
    `.csv`, `.tsv`; `.gz` apart), else by how the content begins. `stdin` is the descriptor that `-`
    stands for; it is never closed.

    Iterating raises `ConfigError` when a CSV header has no `url`, and when reading fails later on:
    what was read until then, up to the line that the message names, has been yielded.
    """

    def __init__(
        self,
        path: str,
        format: Literal["auto"] | Format = "auto",  # noqa: A002 - the setting is `input_format`
        *,
        stdin: int = 0,
    ) -> None:
        self._path = path
        self._format: Format | None = None if format == "auto" else format
        self._stdin = stdin
        self._blocks = Blocks(stdin if path == "-" else path)

    def check(self) -> None:
        """Raise `ConfigError` unless there is something to read: for use before the first request."""
        try:
            if self._path == "-":
                if self._stdin == 0 and sys.stdin is None:
                    raise self._unreadable("it is closed")
                mode = os.fstat(self._stdin).st_mode
            else:
                mode = os.stat(self._path).st_mode  # noqa: PTH116 - a descriptor, or a path as given
                if stat.S_ISREG(mode):  # to open a FIFO would be seen by its writer
                    os.close(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))
                elif not os.access(self._path, os.R_OK):
                    raise self._unreadable("permission denied")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise self._unreadable(error) from error
        if stat.S_ISDIR(mode):
            raise self._unreadable("it is a directory")

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        blocks, head = self._blocks, b""
        splitter: LineSplitter | None = None
        form: _LineFormat | None = None
        try:
            while True:
                block = await self._read(splitter)
                if blocks.is_closed:
                    return
                if splitter is None or form is None:
                    head += block
                    name = self._format or format_by_name(self._path)
                    name = name or format_by_content(head, is_all=not block)
                    if name is None:
                        continue
                    form = _FORMATS[name](readable(self._path))
                    splitter = LineSplitter(form.longest)
                    for batch in _batches(form, splitter.feed(head)):
                        yield batch
                else:
                    for batch in _batches(form, splitter.feed(block)):
                        yield batch
                if not block:
                    break
            for batch in _batches(form, splitter.finish()):
                yield batch
            if last := form.finish():
                yield last
        finally:
            blocks.close()

    async def aclose(self) -> None:
        """Stop reading, even in the middle of a wait for data, and close the file."""
        self._blocks.close()
        await self._blocks.wait_closed()

    async def _read(self, splitter: LineSplitter | None) -> bytes:
        try:
            return await self._blocks.read()
        except (OSError, BadGzip, ValueError) as error:
            raise self._unreadable(error, after=splitter.number if splitter else 0) from error

    def _unreadable(self, why: str | Exception, *, after: int = 0) -> ConfigError:
        what = "standard input" if self._path == "-" else self._path
        reason = (isinstance(why, OSError) and why.strerror) or str(why)
        reached = f" (after line {after:,})" if after else ""
        return ConfigError(
            f"cannot read {what}: {reason[:1].lower()}{reason[1:]}{reached}",
            hint="every line before that was taken"
            if after
            else "name a file of URLs, or - for standard input",
        )


def _batches(form: _LineFormat, pieces: Iterable[Lines]) -> Iterator[Sequence[Entry]]:
    """The entries of each piece, none of them empty and none above the most that a batch holds."""
    for lines in pieces:
        entries = form.entries(lines)
        if len(entries) <= BATCH:
            if entries:
                yield entries
        else:
            for start in range(0, len(entries), BATCH):
                yield entries[start : start + BATCH]
