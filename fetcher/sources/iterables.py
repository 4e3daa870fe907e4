"""Sources of the library: any iterable of URLs, endless and asynchronous ones too.

Nothing is pulled ahead of the consumer beyond one batch, and an item of an asynchronous iterable is
handed over as soon as it is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from yarl import URL

from fetcher.model import Entry
from fetcher.sources.validation import RULES, from_columns, plain, readable, refused, typed

Item = str | URL | Mapping[str, Any] | Entry


class IterableSource:
    """Strings, `yarl.URL` objects, mappings with the columns of an input file, or ready entries.

    The line is the item's position, from 1; there is no source. `batch` is how many items are
    pulled at once from a plain iterable. The iterable is iterated on the event loop and never
    closed: it is the caller's.

    Raises:
        TypeError: `urls` is a single URL, or not iterable; or, while iterating, an item is none of
            the above. What is wrong within a mapping makes a bad entry instead.
    """

    def __init__(self, urls: Iterable[Item] | AsyncIterable[Item], *, batch: int = 1) -> None:
        if isinstance(urls, str | bytes | URL | Mapping | Entry) or not isinstance(
            urls, Iterable | AsyncIterable
        ):
            raise TypeError(f"expected an iterable of URLs, got {type(urls).__name__}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self._urls = urls
        self._batch = batch

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        position = 0
        if isinstance(self._urls, AsyncIterable):
            async for item in self._urls:
                position += 1
                yield [entry_of(item, position)]
            return
        items = iter(self._urls)
        while some := list(islice(items, self._batch)):
            yield [entry_of(item, number) for number, item in enumerate(some, position + 1)]
            position += len(some)

    async def aclose(self) -> None:
        """Do nothing: nothing is held open."""


def entry_of(item: object, position: int) -> Entry:
    """Return the entry of one item. Raises `TypeError` if it is none of those that there may be."""
    if isinstance(item, str):
        return plain(item, None, position)
    if isinstance(item, URL):
        return plain(str(item), None, position)
    if isinstance(item, Entry):
        return _checked(item, position)
    if isinstance(item, Mapping):
        return from_columns(item, None, position)
    many = "; fetch_all and stream take many" if isinstance(item, (list, tuple, set)) else ""
    raise TypeError(
        f"item {position}: expected a URL as str, yarl.URL or mapping, got {type(item).__name__}{many}"
    )


def _checked(entry: Entry, position: int) -> Entry:
    """Return a ready entry, held to the same rules as a line of a file."""
    source = None if entry.source is None else readable(entry.source)
    line = entry.line if entry.line is not None and 0 <= entry.line < 2**63 else position
    if entry.bad is not None:
        return refused(entry.url, readable(entry.bad), source, line)
    return typed({name: getattr(entry, name) for name in RULES}, entry.meta or {}, source, line)
