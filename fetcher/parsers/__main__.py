"""`python -m fetcher.parsers MODULE:FUNCTION DIR URL`: one stored page through a parser, in the foreground.

What it returns is printed as lines of JSON, its links to standard error; what it raises with its
traceback. There are no limits, so a debugger can be used.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from pathlib import Path

import msgspec

from fetcher.errors import ConfigError
from fetcher.model import Record
from fetcher.parsers.loader import load
from fetcher.parsers.run_parser import ParseResult, ParseTask, gather, gather_async

_USAGE = "usage: python -m fetcher.parsers MODULE:FUNCTION DIR URL"


def find(root: Path, url: str) -> ParseTask:
    """Return the page of a run directory. Raises `ConfigError` if it is not there or was not stored."""
    found: Record | None = None
    decoder = msgspec.json.Decoder(Record)
    needle = msgspec.json.encode(url)
    try:
        with (root / "results.jsonl").open("rb") as lines:
            for line in lines:
                if needle in line:
                    record = decoder.decode(line)
                    found = record if url in {record.url, record.final_url} else found
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"cannot read {root / 'results.jsonl'}: {error}") from error
    if found is None:
        raise ConfigError(f"{root} has no page {url}", hint="give the URL as its results.jsonl has it")
    if found.path is None:
        raise ConfigError(f"{url} has no file in {root}", hint="it was not stored, or not fetched")
    part = os.path.join(os.fsencode(root), found.path.encode())  # noqa: PTH118  (names are UTF-8)
    return ParseTask(found, _headers(found), part=os.fsdecode(part))


def _headers(record: Record) -> list[tuple[bytes, bytes]]:
    """Return the header fields that the record keeps."""
    kept = {"Content-Type": record.content_type, "ETag": record.etag, "Last-Modified": record.last_modified}
    return [(name.encode(), value.encode()) for name, value in kept.items() if value is not None]


def main(arguments: list[str]) -> int:
    """Parse one page. 0 is success; 2 is wrong usage; what the parser raises is raised."""
    if len(arguments) != 3:
        print(_USAGE, file=sys.stderr)  # noqa: T201
        return 2
    spec, root, url = arguments
    try:
        task = find(Path(root), url)
        parser = load(spec).make()
    except ConfigError as error:
        print(*filter(None, (error.message, error.hint)), sep="\n", file=sys.stderr)  # noqa: T201
        return 2
    answer = ParseResult()
    page = task.page()
    result = parser.call(page)
    if inspect.isawaitable(result) or hasattr(result, "__aiter__"):
        asyncio.run(gather_async(result, page, answer))
    else:
        gather(result, page, answer)
    for line in answer.data:
        print(line.decode())  # noqa: T201
    for link in answer.links:
        print(link.url, file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
