"""A server whose answers are given as bytes, piece by piece: whatever the request, the connection ends behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Self

PAUSE_S = 0.02  # makes a packet of a piece; if it does not, the outcome is the same


class AnswerServer:
    """Sends the pieces that `answer` gives for the address and the target of a request, and closes.

    It listens on all of 127.0.0.0/8.
    """

    def __init__(self, answer: Callable[[str, str], Sequence[bytes]], *, pause_s: float = PAUSE_S) -> None:
        self._answer = answer
        self._pause_s = pause_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._socket = socket.create_server(("0.0.0.0", 0), backlog=512)
        self.port = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._converse, sock=self._socket)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            pieces = self._answer(writer.get_extra_info("sockname")[0], head.split(" ", 2)[1])
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(self._pause_s)
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
            await reader.read()
        writer.transport.abort()
