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

from fetcher.parsers.hook import Hook, Parser
from fetcher.parsers.parsing import Answer, Leaf, explain, gather_async, parse

_AWAITING = 32  # pages that an asynchronous parser may be awaiting something for


class Inline:
    """Parses on the loop, which gets its turn after each page. Several pages at once only if they await."""

    def __init__(self, hook: Hook, *, timeout_s: float) -> None:
        self._parser = hook.make()
        self._timeout_s = timeout_s
        self.most_at_once = _AWAITING if hook.is_async else 2
        self.batch = 1 if hook.is_async else 8

    async def parse(self, leaves: Sequence[Leaf]) -> list[Answer]:
        """The answer to each page, in order. Cancelling cancels a parser that awaits."""
        answers: list[Answer] = []
        for leaf in leaves:
            if leaf.part is not None and leaf.body is None:
                try:
                    leaf.body = await asyncio.to_thread(leaf.read)
                except OSError as error:
                    answers.append(Answer(error=f"its body can't be read: {error.strerror}"))
                    continue
            began = time.perf_counter()
            answer = await _parse(self._parser, leaf, self._timeout_s)
            answer.wall_s = time.perf_counter() - began
            answers.append(answer)
            await asyncio.sleep(0)
        return answers

    async def aclose(self) -> None:
        await _close(self._parser)


async def _parse(parser: Parser, leaf: Leaf, timeout_s: float) -> Answer:
    """A page through a parser that may be asynchronous. Cancelling cancels it."""
    answer = Answer()
    try:
        async with asyncio.timeout(timeout_s) as limit:
            page = leaf.page()
            result = parser.call(page)
            await gather_async(result, page, answer)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        if isinstance(error, TimeoutError) and limit.expired():
            return Answer(error=f"the parser was still busy after {timeout_s:g} s")
        return Answer(error=explain(error, parser.hook.source))
    return answer


class Threads:
    """Parses in `workers` threads, each with a parser of its own."""

    def __init__(self, hook: Hook, *, workers: int) -> None:
        self._hook = hook
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="fetcher-parse")
        self._own = threading.local()
        self._parsers: list[Parser] = []
        self._busy = 0
        self.most_at_once = 2 * workers
        self.batch = 4

    async def parse(self, leaves: Sequence[Leaf]) -> list[Answer]:
        """The answer to each page, in order. Cancelling leaves the thread to its page."""
        self._busy += 1
        context = contextvars.copy_context()
        work = asyncio.get_running_loop().run_in_executor(self._executor, context.run, self._run, leaves)
        work.add_done_callback(self._ended)
        return await asyncio.shield(work)

    def _ended(self, _work: asyncio.Future[list[Answer]]) -> None:
        self._busy -= 1

    def _run(self, leaves: Sequence[Leaf]) -> list[Answer]:
        parser: Parser | None = getattr(self._own, "parser", None)
        if parser is None:
            parser = self._own.parser = self._hook.make()
            self._parsers.append(parser)
        return [parse(parser, leaf) for leaf in leaves]

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
