"""A file of URLs, or standard input, as a source: text, JSON, JSONL, CSV or Metalink, gzip or not.

One block is read, its entries are handed over, and only then is the next one read; so memory is
bounded by a block and its entries, and a consumer that stops stops the reading.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.native import argument_text
from fetcher.sources.array import ArrayFormat
from fetcher.sources.csv_format import CsvFormat, Notice
from fetcher.sources.file_reader import BLOCK_BYTES, FileReader, utf8_of
from fetcher.sources.gunzip import BadGzip
from fetcher.sources.jsonl_format import JsonlFormat
from fetcher.sources.line_splitter import Lines, LineSplitter
from fetcher.sources.metalink import MetalinkFormat
from fetcher.sources.sniff import Format, first_line_of_binary, format_of
from fetcher.sources.text_format import TextFormat
from fetcher.sources.validation import BATCH, readable


def _unheard(level: str, text: str) -> None:
    """Tell nobody."""


class _LineFormat(Protocol):
    """Common part of the formats of lines: numbered lines in, entries out."""

    longest: int

    @property
    def columns(self) -> Collection[str] | None: ...

    def entries(self, lines: Lines) -> list[Entry]: ...

    def finish(self) -> list[Entry]: ...


class _Form(Protocol):
    """A list that is read: blocks in, entries out.

    `columns` are those that the contract does not name: None as long as they are not known, frozen where
    no more can come; `number` is the
    line that was reached, and `is_cut` says that the list may not end here.
    """

    @property
    def number(self) -> int: ...

    @property
    def is_cut(self) -> bool: ...

    @property
    def columns(self) -> Collection[str] | None: ...

    def feed(self, block: bytes) -> Iterator[list[Entry]]: ...

    def finish(self) -> Iterator[list[Entry]]: ...


class _ByLine:
    """A format of lines, fed with blocks."""

    is_cut = False

    def __init__(self, form: _LineFormat) -> None:
        self._form = form
        self._splitter = LineSplitter(form.longest)

    @property
    def number(self) -> int:
        return self._splitter.number

    @property
    def columns(self) -> Collection[str] | None:
        return self._form.columns

    def feed(self, block: bytes) -> Iterator[list[Entry]]:
        return map(self._form.entries, self._splitter.feed(block))

    def finish(self) -> Iterator[list[Entry]]:
        yield from map(self._form.entries, self._splitter.finish())
        yield self._form.finish()


class FileSource:
    """The entries of the file `path`, with `-` for standard input; to be iterated once.

    `Entry.source` is the path as given, fit for UTF-8, and `Entry.line` the 1-based number of the line. A
    line that can't be an entry is one that is `bad`. `auto` goes by the extension (`.jsonl`, `.ndjson`,
    `.csv`, `.tsv`; `.gz` apart), else by how the content begins; `jsonl` takes an array too. `url_column`
    names the column of URLs; `notice` is told, by level and text, what should be known of a list that can
    be read; `on_columns`, once, the columns that the contract does not name, where a list fixes
    them (a header, or none in plain text), and it may raise. `stdin` is the descriptor that `-` stands for;
    it is never closed.

    Iterating raises `ConfigError` when this is no list of URLs, when a CSV header has no column for them, and
    when reading fails later on: what was read until then, up to the line that the message names, has
    been yielded.
    """

    def __init__(
        self,
        path: str,
        format: Literal["auto"] | Format = "auto",  # noqa: A002 - the setting is `input_format`
        *,
        url_column: str = "url",
        notice: Notice = _unheard,
        stdin: int = 0,
    ) -> None:
        self._path = path
        self._format: Format | None = None if format == "auto" else format
        self._url_column = url_column
        self._notice = notice
        self._stdin = stdin
        self._blocks = FileReader(stdin if path == "-" else path)
        self.on_columns: Callable[[Collection[str]], object] | None = None

    def check(self) -> Collection[str] | None:
        """Raise `ConfigError` unless there is something to read: for use before the first request.

        Gives the columns that the contract does not name, as the first block of a regular file shows them;
        None if they are not known before the list is read: a pipe, or one that is damaged.
        """
        columns = None
        try:
            if self._path == "-":
                if self._stdin == 0 and sys.stdin is None:
                    raise self._unreadable("it is closed")
                mode = os.fstat(self._stdin).st_mode
            else:
                mode = os.stat(self._path).st_mode  # noqa: PTH116 - a descriptor, or a path as given
                if stat.S_ISREG(mode):  # to open a FIFO would be seen by its writer
                    columns = self._columns()
                elif not os.access(self._path, os.R_OK):
                    raise self._unreadable("permission denied")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise self._unreadable(error) from error
        if stat.S_ISDIR(mode):
            raise self._unreadable("it is a directory")
        return columns

    def _columns(self) -> Collection[str] | None:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        head, form = b"", None
        try:
            for block in utf8_of(lambda: os.read(descriptor, BLOCK_BYTES)):
                head += block
                form = self._form(head, is_all=False, notice=_unheard)
                if form is not None:
                    break
        except BadGzip:
            return None  # the iteration tells how far it can be read
        finally:
            os.close(descriptor)
        form = form or self._form(head, is_all=True, notice=_unheard)
        assert form is not None
        for _ in form.feed(head):
            pass
        return form.columns

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        blocks, head = self._blocks, b""
        form: _Form | None = None
        is_empty = True
        try:
            while True:
                block = await self._read(form)
                if blocks.is_closed:
                    return
                is_end = not block
                if form is None:
                    head += block
                    form = self._form(head, is_all=is_end, notice=self._notice)
                    if form is None:
                        continue
                    block = head
                for batch in _batches(form.feed(block)):
                    self._tell_columns(form)
                    is_empty = False
                    yield batch
                if is_end:
                    break
            for batch in _batches(form.finish()):
                self._tell_columns(form)
                is_empty = False
                yield batch
            if form.is_cut:
                raise self._unreadable("its JSON array is cut short", after=form.number)
            if is_empty:
                self._notice("warning", f"{self._name} is empty: there is no URL in it")
        finally:
            blocks.close()

    def _tell_columns(self, form: _Form) -> None:
        tell, columns = self.on_columns, form.columns
        if tell is not None and isinstance(columns, frozenset):
            self.on_columns = None
            tell(columns)

    async def aclose(self) -> None:
        """Stop reading, even in the middle of a wait for data, and close the file."""
        self._blocks.close()
        await self._blocks.wait_closed()

    @property
    def _name(self) -> str:
        return "standard input" if self._path == "-" else readable(argument_text(self._path))

    def _form(self, head: bytes, *, is_all: bool, notice: Notice) -> _Form | None:
        """Choose what reads a list that begins with `head`; None if more of it is needed."""
        source, url_column = readable(argument_text(self._path)), self._url_column
        match format_of(head, is_all=is_all, named=self._format, path=self._path, url_column=url_column):
            case "text":
                return _ByLine(TextFormat(source))
            case "jsonl":
                return _ByLine(JsonlFormat(source, url_column))
            case "array":
                return ArrayFormat(source, url_column)
            case "metalink":
                return MetalinkFormat(source)
            case "csv":
                return _ByLine(CsvFormat(source, url_column, notice))
            case "html":
                raise ConfigError(
                    f"{self._name}:1: this is a page, no list of URLs",
                    hint="fetcher crawl follows the links of a page, by its address",
                )
            case "binary":
                raise self._binary(head)
            case None:
                return None

    async def _read(self, form: _Form | None) -> bytes:
        try:
            return await self._blocks.read()
        except (OSError, BadGzip, ValueError) as error:
            raise self._unreadable(error, after=form.number if form else 0) from error

    def _binary(self, head: bytes) -> ConfigError:
        hint = (
            "a list is text, JSON, JSONL, CSV or Metalink in UTF-8, or in UTF-16 with a byte order mark;"
            " gzip or not"
        )
        return ConfigError(f"{self._name}:{first_line_of_binary(head)}: this is no list of URLs", hint=hint)

    def _unreadable(self, why: str | Exception, *, after: int = 0) -> ConfigError:
        what = "standard input" if self._path == "-" else self._path
        reason = (isinstance(why, OSError) and why.strerror) or str(why)
        reached = f" (after line {after:,})" if after else ""
        hint = "--input takes a file of URLs, or - for standard input"
        if after:
            hint = "every line before that was taken"
        elif isinstance(why, FileNotFoundError) and Path(what.partition(",")[0]).is_file():
            hint = "--input is given once for each file"
        return ConfigError(f"cannot read {what}: {reason[:1].lower()}{reason[1:]}{reached}", hint=hint)


def _batches(found: Iterator[list[Entry]]) -> Iterator[Sequence[Entry]]:
    """Yield the entries of each piece, none of them empty and none above the most that a batch holds."""
    for entries in found:
        for start in range(0, len(entries), BATCH):
            yield entries if len(entries) <= BATCH else entries[start : start + BATCH]
