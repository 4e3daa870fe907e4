"""The worker process of a parser: batches of pages in, results out, within limits of time and memory.

Invariants: the crash note names the page that is being read, from its beginning to its end, so whatever
ends the process the parent knows which page it was. Where compiled code keeps the process from ending with
its parent, the alarm of the page does it.

A page that takes too long is ended by SIGALRM, with no handler of Python's, so compiled code is ended
too; on its way to the end `faulthandler` notes where the parser was. A page has `memory`
bytes beyond what the process held when it began (RLIMIT_AS, Linux). Elsewhere a process that has once
held more is replaced after the page.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import resource
import signal
import sys
import time
from typing import Any

import msgspec

from fetcher.parsers.crash_note import CrashNote
from fetcher.parsers.loader import Parser, ParserShipment, one_line
from fetcher.parsers.run_parser import LinkOptions, ParseResult, ParseTask, explain, parse, read_links
from fetcher.subprocesses.framed_transport import BlockingFrames
from fetcher.subprocesses.kernel import begin_child

_NICENESS = 5
_FLUSH_S = 0.01  # answers wait for company no longer than this


class ParserConfig(msgspec.Struct, frozen=True):
    """The first message to a worker."""

    shipment: ParserShipment | None  # None: it only takes links
    follow: LinkOptions | None
    timeout_s: float
    memory: int


class Ready(msgspec.Struct, tag="ready"):
    """The parser is loaded."""


class LoadFailed(msgspec.Struct, tag="unfit"):
    """The parser can't be loaded here."""

    message: str


class Answers(msgspec.Struct, tag="answers"):
    """Results of the next pages of the batch. `retires`: the process ends, the others go elsewhere."""

    answers: list[ParseResult]
    retires: bool = False


FromParserWorker = Ready | LoadFailed | Answers


class _Encoded(msgspec.Struct, tag="answers"):
    """`Answers`, each already encoded: what can't be is to be the fault of its own page."""

    answers: list[msgspec.Raw]
    retires: bool


class Memory:
    """The limit on what a page may add to what the process holds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._statm = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None
        self._page_size = resource.getpagesize()
        self._hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        self._base = self._held()

    def _held(self) -> int:
        if self._statm is None:  # the most it ever held
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(os.pread(self._statm, 64, 0).split()[0]) * self._page_size

    def allow(self) -> None:
        """The next page begins."""
        if self._statm is not None:
            wanted = self._held() + self._limit
            if self._hard != resource.RLIM_INFINITY:
                wanted = min(wanted, self._hard)
            resource.setrlimit(resource.RLIMIT_AS, (wanted, self._hard))

    def lift(self) -> None:
        """The page has ended: our own work is not to fail for want of memory."""
        if self._statm is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self._hard, self._hard))

    @property
    def is_outgrown(self) -> bool:
        """True once pages have left more behind than one may use."""
        return self._held() - self._base > self._limit


class ParserWorker:
    """Reader of batches, until its parent has no more."""

    def __init__(self, frames: BlockingFrames, note: CrashNote) -> None:
        self._frames = frames
        self._note = note
        self._parser: Parser | None = None
        self._is_first = True

    def run(self) -> None:
        config: ParserConfig = pickle.loads(self._frames.receive() or b"")  # noqa: S301  (our parent wrote it)
        self._config = config
        try:
            self._parser = None if config.shipment is None else config.shipment.load().make()
        except BaseException as error:  # noqa: BLE001  (whatever a foreign module raises)
            self._send(LoadFailed(explain(error, None)))
            return
        self._memory = Memory(config.memory)
        self._send(Ready())
        while (batch := self._frames.receive()) is not None:
            if not self._read(pickle.loads(batch)):  # noqa: S301  (our own parent wrote it)
                break
        self._close()

    def _read(self, tasks: list[ParseTask]) -> bool:
        """ParseResult a batch. False if this process is to be replaced."""
        answers: list[msgspec.Raw] = []
        sent_at = time.monotonic()
        for number, task in enumerate(tasks, 1):
            self._note.begin(number)
            answers.append(_encoded(self._limited(task)))
            retires = self._memory.is_outgrown
            now = time.monotonic()
            if retires or number == len(tasks) or now - sent_at >= _FLUSH_S:
                self._send(_Encoded(answers, retires))
                answers, sent_at = [], now
            if retires:
                break
        self._note.begin(0)
        return not retires

    def _limited(self, task: ParseTask) -> ParseResult:
        self._memory.allow()
        signal.setitimer(signal.ITIMER_REAL, self._config.timeout_s)
        try:
            answer = self._answer(task)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._memory.lift()
        if self._is_first:  # it also paid for what the parser imports
            self._is_first = False
            answer.cpu_s = answer.wall_s = 0.0
        if answer.error is not None and answer.error.startswith("MemoryError"):
            answer.is_too_much = True
            answer.error = f"it needs more than {self._config.memory >> 20} MiB: {answer.error}"
        return answer

    def _answer(self, task: ParseTask) -> ParseResult:
        if task.wants == "data":
            assert self._parser is not None
            return parse(self._parser, task)
        assert self._config.follow is not None
        return read_links(task, self._config.follow)

    def _close(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._config.timeout_s)
        if self._parser is not None:
            closing = self._parser.close()
            if inspect.isawaitable(closing):
                import asyncio  # noqa: PLC0415  (a third of the time that a worker needs to start)

                asyncio.run(_awaited(closing))

    def _send(self, message: Ready | LoadFailed | _Encoded) -> None:
        self._frames.send(msgspec.msgpack.encode(message))


def _encoded(answer: ParseResult) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.msgpack.encode(answer))
    except Exception as error:  # noqa: BLE001  (what a parser calls a link can be anything)
        return msgspec.Raw(msgspec.msgpack.encode(ParseResult(error=one_line(error))))


async def _awaited(awaitable: Any) -> None:
    await awaitable


def main() -> None:
    """Be a parser's worker process, from its start to its end."""
    sock = begin_child()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a page that crashes is no defect to be examined
    os.nice(_NICENESS)
    # An OSError: the parent is gone, or the parser has closed what was not its own.
    with os.fdopen(int(sys.argv[2]), "r+b", buffering=0) as file, contextlib.suppress(OSError):
        note = CrashNote(file)
        note.note_ends()
        ParserWorker(BlockingFrames(sock), note).run()
