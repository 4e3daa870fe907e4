"""What runs in a worker process: batches of pages in, answers out, within limits of time and memory.

Invariants: the slip names the page that is being read, from its beginning to its end, so whatever ends
the process the parent knows which page it was. The process never outlives its parent: a thread watches
the socket, and where compiled code keeps that from running, the alarm of the page does it.

A page that takes too long is ended by SIGALRM, with no handler of Python's, so compiled code is ended
too; on its way to the end `faulthandler` notes on the slip where the parser was. A page has `memory`
bytes beyond what the process held when it began (RLIMIT_AS, Linux). Elsewhere a process that has once
held more is replaced after the page.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import os
import pickle
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from typing import Any, BinaryIO

import msgspec

from fetcher.parsers.hook import Parser, Passage, one_line
from fetcher.parsers.parsing import Answer, Follow, Leaf, explain, parse, read_links

LENGTH = struct.Struct("<Q")
_NICENESS = 5
_FLUSH_S = 0.01  # answers wait for company no longer than this


class Charge(msgspec.Struct, frozen=True):
    """What a worker is told first."""

    passage: Passage | None  # None: it only takes links
    follow: Follow | None
    timeout_s: float
    memory: int


class Ready(msgspec.Struct, tag="ready"):
    """The parser is loaded."""


class Unfit(msgspec.Struct, tag="unfit"):
    """The parser can't be loaded here."""

    message: str


class Answers(msgspec.Struct, tag="answers"):
    """What became of the next pages of the batch. `retires`: the process ends, the others go elsewhere."""

    answers: list[Answer]
    retires: bool = False


FromWorker = Ready | Unfit | Answers


class _Encoded(msgspec.Struct, tag="answers"):
    """`Answers`, each already encoded: what can't be is to be the fault of its own page."""

    answers: list[msgspec.Raw]
    retires: bool


class Slip:
    """A nameless file that parent and worker share: which page is being read, and where it all ended."""

    _NUMBER = struct.Struct("<Q")
    _FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.fd = file.fileno()

    def begin(self, number: int) -> None:
        """Note the number of a page in its batch, from 1; 0 is none."""
        os.pwrite(self.fd, self._NUMBER.pack(number), 0)

    def note_ends(self) -> None:
        """Have the stack of Python noted when a fault or the alarm ends the process."""
        os.lseek(self.fd, self._NUMBER.size, os.SEEK_SET)
        faulthandler.enable(self.fd, all_threads=False)
        faulthandler.register(signal.SIGALRM, self.fd, all_threads=False, chain=True)

    def read(self) -> tuple[int, list[tuple[str, int]]]:
        """The number of the page, and the frames of the stack, the innermost first."""
        noted = os.pread(self.fd, 65536, 0)
        if len(noted) < self._NUMBER.size:
            return 0, []
        stack = noted[self._NUMBER.size :].decode("utf-8", "replace")
        frames = [(found[1], int(found[2])) for found in self._FRAME.finditer(stack)]
        return self._NUMBER.unpack_from(noted)[0], frames

    def close(self) -> None:
        self._file.close()


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
        """Whether pages have left more behind than one may use."""
        return self._held() - self._base > self._limit


class Worker:
    """Reads batches until its parent has no more."""

    def __init__(self, sock: socket.socket, slip: Slip) -> None:
        self._sock = sock
        self._stream = sock.makefile("rb")
        self._slip = slip
        self._parser: Parser | None = None
        self._is_first = True

    def run(self) -> None:
        charge: Charge = pickle.loads(self._receive() or b"")  # noqa: S301  (our own parent wrote it)
        self._charge = charge
        try:
            self._parser = None if charge.passage is None else charge.passage.arrive().make()
        except BaseException as error:  # noqa: BLE001  (whatever a foreign module raises)
            self._send(Unfit(explain(error, None)))
            return
        self._memory = Memory(charge.memory)
        self._send(Ready())
        while (batch := self._receive()) is not None:
            if not self._read(pickle.loads(batch)):  # noqa: S301  (our own parent wrote it)
                break
        self._close()

    def _read(self, leaves: list[Leaf]) -> bool:
        """Answer a batch. False if this process is to be replaced."""
        answers: list[msgspec.Raw] = []
        sent_at = time.monotonic()
        for number, leaf in enumerate(leaves, 1):
            self._slip.begin(number)
            answers.append(_encoded(self._limited(leaf)))
            retires = self._memory.is_outgrown
            now = time.monotonic()
            if retires or number == len(leaves) or now - sent_at >= _FLUSH_S:
                self._send(_Encoded(answers, retires))
                answers, sent_at = [], now
            if retires:
                break
        self._slip.begin(0)
        return not retires

    def _limited(self, leaf: Leaf) -> Answer:
        self._memory.allow()
        signal.setitimer(signal.ITIMER_REAL, self._charge.timeout_s)
        try:
            answer = self._answer(leaf)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._memory.lift()
        if self._is_first:  # it also paid for what the parser imports
            self._is_first = False
            answer.cpu_s = answer.wall_s = 0.0
        if answer.error is not None and answer.error.startswith("MemoryError"):
            answer.is_too_much = True
            answer.error = f"it needs more than {self._charge.memory >> 20} MiB: {answer.error}"
        return answer

    def _answer(self, leaf: Leaf) -> Answer:
        if leaf.wants == "data":
            assert self._parser is not None
            return parse(self._parser, leaf)
        assert self._charge.follow is not None
        return read_links(leaf, self._charge.follow)

    def _close(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._charge.timeout_s)
        if self._parser is not None:
            closing = self._parser.close()
            if inspect.isawaitable(closing):
                import asyncio  # noqa: PLC0415  (a third of the time that a worker needs to start)

                asyncio.run(_awaited(closing))

    def _receive(self) -> bytes | None:
        head = self._stream.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        return self._stream.read(*LENGTH.unpack(head))

    def _send(self, message: Ready | Unfit | _Encoded) -> None:
        frame = msgspec.msgpack.encode(message)
        self._sock.sendall(LENGTH.pack(len(frame)))
        self._sock.sendall(frame)


def _encoded(answer: Answer) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.msgpack.encode(answer))
    except Exception as error:  # noqa: BLE001  (what a parser calls a link can be anything)
        return msgspec.Raw(msgspec.msgpack.encode(Answer(error=one_line(error))))


async def _awaited(awaitable: Any) -> None:
    await awaitable


def _end_with(sock: socket.socket) -> None:
    """End this process when the parent's end of the socket is gone, whatever it is busy with."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the alarm is for the page's own thread
    watched = select.poll()
    watched.register(sock, 0)
    watched.poll()
    os._exit(1)


def main(socket_fd: int, slip_fd: int) -> None:
    """A worker process from its start to its end. Its standard output is the program's standard error."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a page that crashes is no defect to be examined
    os.nice(_NICENESS)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sock = socket.socket(fileno=socket_fd)
    threading.Thread(target=_end_with, args=(sock,), name="fetcher-lifeline", daemon=True).start()
    # An OSError: the parent is gone, or the parser has closed what was not its own.
    with open(slip_fd, "r+b", buffering=0) as file, contextlib.suppress(OSError):
        slip = Slip(file)
        slip.note_ends()
        Worker(sock, slip).run()
