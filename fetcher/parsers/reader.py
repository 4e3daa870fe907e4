"""Page reader: links of pages, and data from the user's parser. The port `Reader`.

Invariants: the built-in links of a page are there even if its parser fails. A page that a killed session
had claimed is read in a worker process first, links and all, since it may be what killed it. A body in a
part file is never read on the loop.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from fetcher.errors import ConfigError, ParseFailed
from fetcher.model import Headers, Job, Record
from fetcher.parsers.adaptive import AdaptiveRunner, Notice
from fetcher.parsers.inline import InlineRunner, ThreadRunner
from fetcher.parsers.loader import UserParser, load, user_parser_of
from fetcher.parsers.parser_pool import ParserPool
from fetcher.parsers.run_parser import LinkOptions, ParseResult, ParseTask, read_links
from fetcher.policy.redaction import escape_controls
from fetcher.ports import Body, Reading
from fetcher.processors import cores

Offload = Literal["auto", "inline", "threads", "processes"]

_PLENTY = 256 * 1024  # bytes of a page whose links are taken in a thread


class ParserRunner(Protocol):
    """Executor of the user's parser: inline, in threads, or in worker processes."""

    most_at_once: int
    batch: int

    async def parse(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        """Return the answer to each page, in order. Never raises on a page. Cancelling abandons the batch."""
        ...

    async def aclose(self) -> None: ...


class PageReader:
    """Reader of links where `follow` is given, and of pages by the parser at `place` if there is one.

    `repeat` makes the command that repeats one page alone, of its URL.
    """

    def __init__(
        self,
        *,
        follow: LinkOptions | None,
        place: ParserRunner | None,
        suspects: ParserPool | None = None,
        repeat: Callable[[str], str] | None = None,
    ) -> None:
        self._follow = follow
        self._place = place
        self._suspects = suspects
        self._repeat = repeat
        self.most_at_once = 2 if place is None else place.most_at_once
        self.batch = 16 if place is None else place.batch

    async def read(self, pages: Sequence[tuple[Job, Record, Headers, Body]]) -> list[Reading]:
        """Read links and data of each page. See `ports.Reader`."""
        readings: list[Reading] = []
        tasks: list[ParseTask] = []
        parsed: list[Reading] = []  # of `tasks`
        for job, record, headers, body in pages:
            task = ParseTask(record, list(headers.raw), body.data(), body.part(), was_claimed=job.was_claimed)
            reading = Reading()
            readings.append(reading)
            if self._follow is not None:
                await self._take_links(job, task, reading)
            if self._place is not None and job.kind == "page" and reading.error is None:
                task.wants = "data"
                tasks.append(task)
                parsed.append(reading)
        if self._place is not None and tasks:
            answers = await self._place.parse(tasks)
            for task, reading, answer in zip(tasks, parsed, answers, strict=True):
                self._apply(answer, task, reading)
            self.batch = self._place.batch
        return readings

    async def _take_links(self, job: Job, task: ParseTask, reading: Reading) -> None:
        """The built-in links of one page."""
        assert self._follow is not None
        if job.kind == "robots":
            return
        reading.links = ()
        task.wants = "sitemap" if job.kind == "sitemap" else "links"
        if task.was_claimed and self._suspects is not None:
            (answer,) = await self._suspects.parse([task])
        elif task.body is None or len(task.body) > _PLENTY:
            answer = await asyncio.to_thread(read_links, task, self._follow)
        else:
            answer = read_links(task, self._follow)
        reading.links = answer.links
        if answer.notes:
            reading.notes = [f"{_typed(task.record)}: {note}" for note in answer.notes]
        if answer.error is not None:
            reading.error = ParseFailed(answer.error)

    def _apply(self, answer: ParseResult, task: ParseTask, reading: Reading) -> None:
        if answer.error is not None:
            repeat = "" if self._repeat is None else f"; repeat: {self._repeat(_typed(task.record))}"
            reading.error = ParseFailed(f"{answer.error}{repeat}")
            return
        reading.data = answer.data
        if answer.links:
            reading.links = [*(reading.links or ()), *answer.links]

    async def aclose(self) -> None:
        """End what helps: threads, processes."""
        try:
            if self._suspects is not None:
                await self._suspects.aclose()
        finally:
            if self._place is not None:
                await self._place.aclose()


def make_reader(
    *,
    notice: Notice,
    links: LinkOptions | None = None,
    parser: str | Callable[..., Any] | None = None,
    offload: Offload = "auto",
    workers: int | None = None,
    timeout_s: float = 10.0,
    memory: int = 512 * 1024 * 1024,
    base: Path | None = None,
    root: Path | None = None,
) -> PageReader:
    """Return the reader of a run. Links are taken as `links` says, or not at all.

    `parser` is MODULE:FUNCTION, looked up below `base` (the current directory), or a callable. `workers` is
    by default the number of cores. `root` is the run directory, if there is one: errors then name the
    command that repeats a page. `notice` is told once where the parser runs, and why.

    Nothing is started yet; processes start with the first pages.

    Raises:
        ConfigError: the parser can't be found, called, or sent to where it is to run.
    """
    suspects = None
    if links is not None:
        suspects = ParserPool(None, follow=links, workers=1, timeout_s=timeout_s, memory=memory)
    if parser is None:
        return PageReader(follow=links, place=None, suspects=suspects)
    user_parser = load(parser, base) if isinstance(parser, str) else user_parser_of(parser)
    place = _place(user_parser, offload, workers or cores(), timeout_s, memory, notice)
    return PageReader(follow=links, place=place, suspects=suspects, repeat=_repeat(user_parser, root))


def _place(
    user_parser: UserParser, offload: Offload, workers: int, timeout_s: float, memory: int, notice: Notice
) -> ParserRunner:
    def inline() -> InlineRunner:
        return InlineRunner(user_parser, timeout_s=timeout_s)

    if offload == "inline":
        return inline()
    if user_parser.is_async:
        notice("info", "parser: inline (it is asynchronous)")
        return inline()
    if offload == "threads":
        return ThreadRunner(user_parser, workers=workers)
    if user_parser.shipment is None:
        why = f"it can't go to a worker process: {user_parser.not_picklable_because}"
        if offload == "processes":
            raise ConfigError(
                f"parser: {user_parser.name}: {why}",
                hint="define it in a module of its own, or choose offload inline or threads",
            )
        notice("warning", f"parser: inline ({why})")
        return inline()
    pool = ParserPool(user_parser, workers=workers, timeout_s=timeout_s, memory=memory)
    return pool if offload == "processes" else AdaptiveRunner(pool, inline, notice)


def _typed(record: Record) -> str:
    """Return the URL as a person can type it: what would be shown escaped is given as it went on the wire."""
    return record.url if escape_controls(record.url) == record.url else record.final_url or record.url


def _repeat(user_parser: UserParser, root: Path | None) -> Callable[[str], str] | None:
    """Make the command that repeats one page, if it is kept and the parser can be named."""
    if root is None or "<" in user_parser.name or user_parser.name.startswith("__main__"):
        return None
    return lambda url: f"python -m fetcher.parsers {shlex.join([user_parser.name, str(root), url])}"
