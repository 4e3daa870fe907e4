"""A concurrent URL fetcher: a command line, a library and a scheduled job.

>>> import fetcher
>>> result = fetcher.fetch("https://example.org/")                 # plain code
>>> # result = await fetcher.fetch("https://example.org/")         # async code, the same function

Names are imported when they are first used. All of them need msgspec, which is half of what the first costs:
it is imported with the package, where no event loop waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec as _msgspec  # noqa: F401

from fetcher.version import __version__

if TYPE_CHECKING:
    from fetcher.api import Crawl, Fetcher, Stream, crawl, fetch, fetch_all, stream
    from fetcher.errors import (
        BadEncoding,
        BodyTooLarge,
        ConfigError,
        ConnectFailed,
        ConnectionLost,
        DirectoryInUse,
        ExchangeError,
        FetcherError,
        FetchFailed,
        NameNotResolved,
        ParseFailed,
        PartialAnswer,
        PieceMismatch,
        ProtocolBroken,
        RedirectFailed,
        Refused,
        StorageError,
        TimedOut,
        TlsRejected,
        WorkerDied,
    )
    from fetcher.model import Entry, Headers, Link, Record, Result, Summary
    from fetcher.parsers.page import Page, Parsed
    from fetcher.sync_async import async_or_sync, async_wrap

_ERRORS = (
    "BadEncoding BodyTooLarge ConfigError ConnectFailed ConnectionLost DirectoryInUse ExchangeError "
    "FetchFailed FetcherError NameNotResolved ParseFailed PartialAnswer PieceMismatch ProtocolBroken "
    "RedirectFailed Refused StorageError TimedOut TlsRejected WorkerDied"
)
_HOMES = {
    **dict.fromkeys(("Crawl", "Fetcher", "Stream", "crawl", "fetch", "fetch_all", "stream"), "fetcher.api"),
    **dict.fromkeys(("async_or_sync", "async_wrap"), "fetcher.sync_async"),
    **dict.fromkeys(("Entry", "Headers", "Link", "Record", "Result", "Summary"), "fetcher.model"),
    **dict.fromkeys(("Page", "Parsed"), "fetcher.parsers.page"),
    **dict.fromkeys(_ERRORS.split(), "fetcher.errors"),
}

# What other libraries call it.
_MEANT = {
    "fetch": {"get", "post", "put", "head", "delete", "patch", "request"},
    "Fetcher": {"Client", "AsyncClient", "Session", "ClientSession", "AsyncSession"},
    "Fetcher().download": {"urlretrieve", "mirror"},
    "fetch_all": {"gather", "get_all", "fetch_many"},
}

__all__ = [
    "BadEncoding",
    "BodyTooLarge",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "Crawl",
    "DirectoryInUse",
    "Entry",
    "ExchangeError",
    "FetchFailed",
    "Fetcher",
    "FetcherError",
    "Headers",
    "Link",
    "NameNotResolved",
    "Page",
    "ParseFailed",
    "Parsed",
    "PartialAnswer",
    "PieceMismatch",
    "ProtocolBroken",
    "Record",
    "RedirectFailed",
    "Refused",
    "Result",
    "StorageError",
    "Stream",
    "Summary",
    "TimedOut",
    "TlsRejected",
    "WorkerDied",
    "__version__",
    "async_or_sync",
    "async_wrap",
    "crawl",
    "fetch",
    "fetch_all",
    "stream",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        meant = next((here for here, others in _MEANT.items() if name in others), None)
        hint = f"; did you mean fetcher.{meant}?" if meant else ""
        raise AttributeError(f"module 'fetcher' has no attribute {name!r}{hint}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
