"""Speed of the user's parser: some pages that it had no trouble with, once more, in a worker process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fetcher.errors import FetcherError
from fetcher.model import Record
from fetcher.parsers.loader import load
from fetcher.parsers.parser_pool import ParserPool
from fetcher.parsers.run_parser import ParseTask
from fetcher.settings import Settings

_MOST_PAGES = 50
_LIMIT_S = 5.0


async def parse_times(settings: Settings, records: Sequence[Record], output: Path) -> list[tuple[float, str]]:
    """Return seconds and URL of up to 50 pages, the slowest first; none for a parser that needs this process.

    It ends after 5 s, with the pages that were parsed by then.
    """
    assert isinstance(settings.parser, str)
    parser = load(settings.parser)
    if parser.is_async or parser.shipment is None:
        return []
    pool = ParserPool(parser, workers=1, timeout_s=settings.parser_timeout, memory=settings.parser_memory)
    times: list[tuple[float, str]] = []
    try:
        async with asyncio.timeout(_LIMIT_S):
            for record in records[:: len(records) // _MOST_PAGES + 1]:
                headers = [(b"Content-Type", (record.content_type or "").encode("latin-1", "replace"))]
                (answer,) = await pool.parse(
                    [ParseTask(record, headers, part=str(output / (record.path or "")))]
                )
                if answer.error is None:
                    times.append((answer.wall_s, record.url))
    except (TimeoutError, FetcherError):
        pass  # what was measured is told
    finally:
        await pool.aclose()
    return sorted(times, reverse=True)
