"""One page through the user's parser: what it returns becomes lines of JSON and links, or one error.

Invariant: whatever a parser returns or raises ends as the `ParseResult` of its page; only what ends the
program (a keyboard interrupt, a real cancellation) passes through.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from fetcher.extract.links import links_of
from fetcher.extract.robots_meta import AGENT
from fetcher.model import Headers, Link, Record
from fetcher.parsers.loader import Parser, error_location, one_line
from fetcher.parsers.page import Page, Parsed


class ParseTask(msgspec.Struct, gc=False):
    """A page on its way to a parser: its body is in memory or in a part file."""

    record: Record
    headers: list[tuple[bytes, bytes]]
    body: bytes | None = None
    part: str | None = None
    wants: Literal["data", "links", "sitemap"] = "data"  # the user's parser, or the built-in links only
    was_claimed: bool = False  # by a session that was killed, perhaps by this page

    def read(self) -> bytes:
        """Return the body. Raises `OSError` if its file can't be read."""
        if self.body is not None:
            return self.body
        return b"" if self.part is None else Path(self.part).read_bytes()

    def page(self) -> Page:
        """Return the page for the parser."""
        fields = {name: getattr(self.record, name) for name in Record.__struct_fields__}
        return Page(**fields, headers=Headers(self.headers), body=self.read())


class ParseResult(msgspec.Struct, gc=False):
    """The result of a page: lines of JSON and links, or an error. The times are its cost, 0 if unknown."""

    data: list[bytes] = []
    links: list[Link] = []
    notes: list[str] = []  # on damage to a sitemap or feed, for people
    error: str | None = None
    is_too_much: bool = False  # it met the limit on memory
    cpu_s: float = 0.0
    wall_s: float = 0.0


class LinkOptions(msgspec.Struct, frozen=True):
    """Options of link extraction.

    `agent` is the product token that pages may name. With `texts` links have those that are shown for them.
    """

    assets: bool = False
    ignore: frozenset[str] = frozenset()
    agent: str = AGENT
    texts: bool = False


def read_links(task: ParseTask, follow: LinkOptions) -> ParseResult:
    """Return the built-in links of a page, a style sheet or a sitemap."""
    notes: list[str] = []
    try:
        links = links_of(
            task.read(),
            url=task.record.final_url or task.record.url,
            content_type=task.record.content_type,
            headers=Headers(task.headers),
            assets=follow.assets,
            ignore=follow.ignore,
            agent=follow.agent,
            kind="sitemap" if task.wants == "sitemap" else "page",
            tell=notes.append,
            texts=follow.texts,
        )
    except Exception as error:  # noqa: BLE001  (one bad page costs one page)
        return ParseResult(error=f"its links can't be read: {one_line(error)}")
    return ParseResult(links=links, notes=notes)


def parse(parser: Parser, task: ParseTask) -> ParseResult:
    """Return a page through a parser that is not asynchronous."""
    answer = ParseResult()
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
        page = task.page()
        result = parser.call(page)
        if inspect.isawaitable(result):
            _drop(result)
            raise TypeError("it gave something to be awaited: declare it with async def")  # noqa: TRY301
        gather(result, page, answer)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (even SystemExit is this page's alone)
        answer = ParseResult(error=explain(error, parser.user_parser.source))
    answer.cpu_s, answer.wall_s = time.thread_time() - cpu, time.perf_counter() - wall
    return answer


def explain(error: BaseException, source: str | None) -> str:
    """Describe an exception of a parser, and its line, on one line."""
    at = error_location(error, source)
    return f"{one_line(error)} ({at})" if at else one_line(error)


async def gather_async(result: Any, page: Page, answer: ParseResult) -> None:
    """Take what a parser returned that may have to be awaited, at once or item by item."""
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__aiter__"):
        async for item in result:
            _gather_one(item, page, answer)
        answer.links = page.followed
    else:
        gather(result, page, answer)


def gather(result: Any, page: Page, answer: ParseResult) -> None:
    """Take what a parser returned, nothing, one thing or many, and the links that it gave."""
    if isinstance(result, Parsed):
        page.follow(result.links)
        result = result.data
    if isinstance(result, list | Iterator):
        for item in result:
            _gather_one(item, page, answer)
    else:
        _gather_one(result, page, answer)
    answer.links = page.followed


def _gather_one(item: Any, page: Page, answer: ParseResult) -> None:
    if isinstance(item, Parsed):
        gather(item, page, answer)
    elif isinstance(item, Page):
        raise TypeError("it gave the page itself: give what is to be kept of it, such as its title")
    elif item is not None:
        try:
            answer.data.append(msgspec.json.encode(item))
        except TypeError as error:
            raise TypeError(f"what it gave has no form in JSON: {error}") from error


def _drop(awaitable: Any) -> None:
    close = getattr(awaitable, "close", None)  # or Python says that it was never awaited
    if close is not None:
        close()
