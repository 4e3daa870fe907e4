"""What a page holds: its links, and what the user's parser makes of it. The port `Reader`.

Invariants: the built-in links of a page are there even if its parser fails. A page that a killed session
had claimed is read in a worker process first, links and all, since it may be what killed it. A body in a
part file is never read on the loop.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from fetcher.errors import ConfigError, ParseFailed
from fetcher.model import Headers, Job, Record
from fetcher.parsers.auto import Auto, Notice
from fetcher.parsers.hook import Hook, hook_of, load
from fetcher.parsers.inline import Inline, Threads
from fetcher.parsers.parsing import Answer, Follow, Leaf, read_links
from fetcher.parsers.pool import Pool
from fetcher.parsers.robotstag import AGENT
from fetcher.policy.text import visible
from fetcher.ports import Body, Reading

Offload = Literal["auto", "inline", "threads", "processes"]

_PLENTY = 256 * 1024  # bytes of a page whose links are taken in a thread


class Place(Protocol):
    """Where the user's parser runs."""

    most_at_once: int
    batch: int

    async def parse(self, leaves: Sequence[Leaf]) -> list[Answer]:
        """The answer to each page, in order. Never raises on a page. Cancelling abandons the batch."""
        ...

    async def aclose(self) -> None: ...


class PageReader:
    """Takes links where `follow` is given, and gives pages to the parser at `place` if there is one.

    `repeat` makes the command that repeats one page alone, of its URL.
    """

    def __init__(
        self,
        *,
        follow: Follow | None,
        place: Place | None,
        suspects: Pool | None = None,
        repeat: Callable[[str], str] | None = None,
    ) -> None:
        self._follow = follow
        self._place = place
        self._suspects = suspects
        self._repeat = repeat
        self.most_at_once = 2 if place is None else place.most_at_once
        self.batch = 16 if place is None else place.batch

    async def read(self, pages: Sequence[tuple[Job, Record, Headers, Body]]) -> list[Reading]:
        """What each page holds. See `ports.Reader`."""
        readings: list[Reading] = []
        leaves: list[Leaf] = []
        parsed: list[Reading] = []  # of `leaves`
        for job, record, headers, body in pages:
            leaf = Leaf(record, list(headers.raw), body.data(), body.part(), was_claimed=job.was_claimed)
            reading = Reading()
            readings.append(reading)
            if self._follow is not None:
                await self._take_links(job, leaf, reading)
            if self._place is not None and job.kind == "page" and reading.error is None:
                leaf.wants = "data"
                leaves.append(leaf)
                parsed.append(reading)
        if self._place is not None and leaves:
            answers = await self._place.parse(leaves)
            for leaf, reading, answer in zip(leaves, parsed, answers, strict=True):
                self._apply(answer, leaf, reading)
            self.batch = self._place.batch
        return readings

    async def _take_links(self, job: Job, leaf: Leaf, reading: Reading) -> None:
        """The built-in links of one page."""
        assert self._follow is not None
        if job.kind == "robots":
            return
        reading.links = ()
        leaf.wants = "sitemap" if job.kind == "sitemap" else "links"
        if leaf.was_claimed and self._suspects is not None:
            (answer,) = await self._suspects.parse([leaf])
        elif leaf.body is None or len(leaf.body) > _PLENTY:
            answer = await asyncio.to_thread(read_links, leaf, self._follow)
        else:
            answer = read_links(leaf, self._follow)
        reading.links = answer.links
        if answer.error is not None:
            reading.error = ParseFailed(answer.error)

    def _apply(self, answer: Answer, leaf: Leaf, reading: Reading) -> None:
        if answer.error is not None:
            repeat = "" if self._repeat is None else f"; repeat: {self._repeat(_typed(leaf.record))}"
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
    follows: bool,
    notice: Notice,
    assets: bool = False,
    ignore: frozenset[str] = frozenset(),
    agent: str = AGENT,
    parser: str | Callable[..., Any] | None = None,
    offload: Offload = "auto",
    workers: int | None = None,
    timeout_s: float = 10.0,
    memory: int = 512 * 1024 * 1024,
    base: Path | None = None,
    root: Path | None = None,
) -> PageReader:
    """The reader of a run. `agent` is the product token in lower case that pages may name.

    `parser` is MODULE:FUNCTION, looked up below `base` (the current directory), or a callable. `workers` is
    by default the number of cores. `root` is the run directory, if there is one: errors then name the
    command that repeats a page. `notice` is told once where the parser runs, and why.

    Nothing is started yet; processes start with the first pages.

    Raises:
        ConfigError: the parser can't be found, called, or sent to where it is to run.
    """
    follow = Follow(assets, ignore, agent) if follows else None
    suspects = None
    if follow is not None:
        suspects = Pool(None, follow=follow, workers=1, timeout_s=timeout_s, memory=memory)
    if parser is None:
        return PageReader(follow=follow, place=None, suspects=suspects)
    hook = load(parser, base) if isinstance(parser, str) else hook_of(parser)
    place = _place(hook, offload, workers or cores(), timeout_s, memory, notice)
    return PageReader(follow=follow, place=place, suspects=suspects, repeat=_repeat(hook, root))


def _place(
    hook: Hook, offload: Offload, workers: int, timeout_s: float, memory: int, notice: Notice
) -> Place:
    def inline() -> Inline:
        return Inline(hook, timeout_s=timeout_s)

    if offload == "inline":
        return inline()
    if hook.is_async:
        notice("info", "parser: inline (it is asynchronous)")
        return inline()
    if offload == "threads":
        return Threads(hook, workers=workers)
    if hook.passage is None:
        why = f"it can't go to a worker process: {hook.why_not}"
        if offload == "processes":
            raise ConfigError(
                f"parser: {hook.name}: {why}",
                hint="define it in a module of its own, or choose offload inline or threads",
            )
        notice("warning", f"parser: inline ({why})")
        return inline()
    pool = Pool(hook, workers=workers, timeout_s=timeout_s, memory=memory)
    return pool if offload == "processes" else Auto(pool, inline, notice)


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _typed(record: Record) -> str:
    """The URL as a person can type it: what would be shown escaped is given as it went on the wire."""
    return record.url if visible(record.url) == record.url else record.final_url or record.url


def _repeat(hook: Hook, root: Path | None) -> Callable[[str], str] | None:
    """How to repeat one page, if it is kept and the parser can be named."""
    if root is None or "<" in hook.name or hook.name.startswith("__main__"):
        return None
    return lambda url: f"python -m fetcher.parsers {shlex.join([hook.name, str(root), url])}"
