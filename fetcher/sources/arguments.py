"""The URLs of the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice

from fetcher.model import Entry
from fetcher.sources.validation import BATCH, plain


class Arguments:
    """URLs given as arguments: the source is `argv` and the line is the position, from 1.

    Bytes of an argument that are not UTF-8 make a bad entry, as in a file.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = urls

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        entries = (plain(url, "argv", position) for position, url in enumerate(self._urls, 1))
        while batch := list(islice(entries, BATCH)):
            yield batch

    async def aclose(self) -> None:
        """Do nothing: nothing is held open."""
