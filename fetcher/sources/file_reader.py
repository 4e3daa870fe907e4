"""Blocks of a file, a pipe or a terminal, read by one daemon thread.

The thread reads only while a `read` is awaited, so a consumer that stops stops the reading too. It
never keeps the program alive: on anything but a regular file it waits for data and for a wake-up at
once, so that `close` ends it even when nothing is ever written to the pipe. The thread alone opens
and closes the descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import stat
import threading
from collections.abc import Callable, Generator, Iterator

from fetcher.sources.gunzip import plain_blocks
from fetcher.sources.transcode import utf8_blocks

BLOCK_BYTES = 262_144

_Request = tuple[asyncio.AbstractEventLoop, "asyncio.Future[bytes]"]


class _Closed(Exception):
    """`close` was called while the thread waited for data."""


class FileReader:
    """The plain bytes of `path`, or of the open descriptor `path`, which stays open.

    Gzip is recognised and removed, and UTF-16 with a byte order mark becomes UTF-8. What a pipe or a
    terminal has is returned at once, however little.
    """

    def __init__(self, path: str | int) -> None:
        self._path = path
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()  # over the wake-up pipe, which both sides may close
        self._wake: tuple[int, int] | None = None
        self._ended: asyncio.Future[bytes] | None = None
        self.is_closed = False

    async def read(self) -> bytes:
        """Return the next block; empty at the end and after `close`.

        Raises:
            OSError: opening or reading failed.
            BadGzip: the compressed data is damaged or cut.

        Cancelling loses the block that was asked for: call `close` then.
        """
        if self.is_closed:
            return b""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._ended = loop.create_future()
            self._wake = os.pipe()
            self._thread = threading.Thread(
                target=self._serve, args=(loop, self._ended), name="fetcher-source", daemon=True
            )
            self._thread.start()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._requests.put((loop, answer))
        return await answer

    def close(self) -> None:
        """Stop reading, now. A `read` under way returns nothing."""
        self.is_closed = True
        self._requests.put(None)
        with self._guard:
            if self._wake is not None:
                os.write(self._wake[1], b"\0")

    async def wait_closed(self) -> None:
        """Wait until the descriptor is closed; at most a second, because a disk may hang."""
        if self._ended is not None:
            await asyncio.wait([self._ended], timeout=1.0)

    def _serve(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[bytes]) -> None:
        """The thread: answer one request after the other, until there is a None."""
        try:
            with contextlib.closing(self._blocks()) as blocks:
                while (request := self._requests.get()) is not None:
                    try:
                        _post(*request, next(blocks, b""))
                    except _Closed:
                        _post(*request, b"")
                    except Exception as error:  # noqa: BLE001 - whatever it is, the reader is told
                        _post(*request, error)
        finally:
            with self._guard:
                wake, self._wake = self._wake, None
            for descriptor in wake or ():
                os.close(descriptor)
            _post(loop, ended, b"")

    def _blocks(self) -> Generator[bytes, None, None]:
        """Open, read, close; all in the thread."""
        descriptor = self._path if isinstance(self._path, int) else _open(self._path)
        try:
            yield from utf8_of(self._reader(descriptor))
        finally:
            if descriptor is not self._path:
                os.close(descriptor)

    def _reader(self, descriptor: int) -> Callable[[], bytes]:
        if self._wake is None or stat.S_ISREG(os.fstat(descriptor).st_mode):
            return lambda: os.read(descriptor, BLOCK_BYTES)
        wake = self._wake[0]
        ready = select.poll()  # unlike epoll it takes /dev/null, and unlike select any number
        ready.register(descriptor, select.POLLIN)
        ready.register(wake, select.POLLIN)

        def read() -> bytes:
            while True:
                if wake in dict(ready.poll()):
                    raise _Closed
                with contextlib.suppress(BlockingIOError):  # another reader of the pipe was faster
                    return os.read(descriptor, BLOCK_BYTES)

        return read


def utf8_of(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the blocks of `read`, until it returns none, without gzip and in UTF-8. Raises `BadGzip`."""
    return utf8_blocks(plain_blocks(read, BLOCK_BYTES))


def _open(path: str) -> int:
    """Open without waiting for a FIFO's writer; it is the poll that waits for it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.set_blocking(descriptor, True)
    return descriptor


def _post(loop: asyncio.AbstractEventLoop, future: asyncio.Future[bytes], outcome: bytes | Exception) -> None:
    """Hand `outcome` to whoever awaits `future`, if the loop still runs."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, future, outcome)


def _settle(future: asyncio.Future[bytes], outcome: bytes | Exception) -> None:
    if future.done():  # cancelled
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
