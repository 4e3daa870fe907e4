"""The user's parser in this process: on the loop, or in threads.

There is no protection here: a parser that crashes takes the program with it, and one that never returns
keeps it. A limit of time ends only what awaits; a thread can't be stopped.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fetcher.parsers.loader import Parser, UserParser
from fetcher.parsers.run_parser import ParseResult, ParseTask, explain, gather_async, parse

_AWAITING = 32  # pages that an asynchronous parser may be awaiting something for


class InlineRunner:
    """Runner on the loop, which gets its turn after each page. Several pages at once only if they await."""

    def __init__(self, user_parser: UserParser, *, timeout_s: float) -> None:
        self._parser = user_parser.make()
        self._timeout_s = timeout_s
        self.most_at_once = _AWAITING if user_parser.is_async else 2
        self.batch = 1 if user_parser.is_async else 8

    async def parse(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        """Return the answer to each page, in order. Cancelling cancels a parser that awaits."""
        answers: list[ParseResult] = []
        for task in tasks:
            if task.part is not None and task.body is None:
                try:
                    task.body = await asyncio.to_thread(task.read)
                except OSError as error:
                    answers.append(ParseResult(error=f"its body can't be read: {error.strerror}"))
                    continue
            began = time.perf_counter()
            answer = await _parse(self._parser, task, self._timeout_s)
            answer.wall_s = time.perf_counter() - began
            answers.append(answer)
            await asyncio.sleep(0)
        return answers

    async def aclose(self) -> None:
        await _close(self._parser)


async def _parse(parser: Parser, task: ParseTask, timeout_s: float) -> ParseResult:
    """Return a page through a parser that may be asynchronous. Cancelling cancels it."""
    answer = ParseResult()
    try:
        async with asyncio.timeout(timeout_s) as limit:
            page = task.page()
            result = parser.call(page)
            await gather_async(result, page, answer)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        current = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (current is None or current.cancelling()):
            raise
        if isinstance(error, TimeoutError) and limit.expired():
            return ParseResult(error=f"the parser was still busy after {timeout_s:g} s")
        return ParseResult(error=explain(error, parser.user_parser.source))
    return answer


class ThreadRunner:
    """Runner in `workers` threads, each with a parser of its own."""

    def __init__(self, user_parser: UserParser, *, workers: int) -> None:
        self._user_parser = user_parser
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="fetcher-parse")
        self._own = threading.local()
        self._parsers: list[Parser] = []
        self._busy = 0
        self.most_at_once = 2 * workers
        self.batch = 4

    async def parse(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        """Return the answer to each page, in order. Cancelling leaves the thread to its page."""
        self._busy += 1
        context = contextvars.copy_context()
        work = asyncio.get_running_loop().run_in_executor(self._executor, context.run, self._run, tasks)
        work.add_done_callback(self._ended)
        return await asyncio.shield(work)

    def _ended(self, _work: asyncio.Future[list[ParseResult]]) -> None:
        self._busy -= 1

    def _run(self, tasks: Sequence[ParseTask]) -> list[ParseResult]:
        parser: Parser | None = getattr(self._own, "parser", None)
        if parser is None:
            parser = self._own.parser = self._user_parser.make()
            self._parsers.append(parser)
        return [parse(parser, task) for task in tasks]

    async def aclose(self) -> None:
        """End the threads. One that is still busy ends after its page."""
        is_idle = not self._busy
        self._executor.shutdown(wait=is_idle, cancel_futures=True)
        if is_idle:
            for parser in self._parsers:
                await _close(parser)


async def _close(parser: Parser) -> None:
    closing = parser.close()
    if inspect.isawaitable(closing):
        await closing
