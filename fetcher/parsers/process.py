"""One worker process as its parent sees it, from its start to its end.

Invariant: a process that was started is either idle, busy with one batch, or ended; what it was busy
with when it ended is on its slip. Every wait has an end: the worker's own alarm, and behind that our
patience with a silent one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence

import msgspec

from fetcher.errors import WorkerDied
from fetcher.parsers.child import LENGTH, Answers, Charge, FromWorker, Ready, Slip, Unfit
from fetcher.parsers.hook import place_of
from fetcher.parsers.parsing import Answer, Leaf

_READ_AHEAD = 1 << 20
_PATIENCE_S = 5.0  # with a silent worker, beyond the time that its page has
_START_S = 60.0
_LEAVE_S = 2.0

_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


class Lost(Exception):
    """A worker has ended, or was given up. `page` is the index in its batch of what it was busy with."""

    def __init__(self, why: str, *, page: int | None = None, is_killed: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.page = page
        self.is_killed = is_killed  # by a SIGKILL that was not ours


class Process:
    """One worker process, from its start to its end."""

    def __init__(self, charge: Charge, source: str | None) -> None:
        self._charge = charge
        self._source = source
        self._slip: Slip | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._expected: int | None = None  # the length of the frame whose head has come
        self.is_idle = False

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            Lost: it ended before that.
            WorkerDied: the parser can't be loaded in it.
        """
        try:
            await self._launch()
        except OSError as error:
            raise WorkerDied(f"a worker process for the parser can't be started: {error}") from error
        await self._send(self._charge)
        first = await self._hear(_START_S)
        if isinstance(first, Unfit):
            raise WorkerDied(
                f"the parser can't be loaded in a worker process: {first.message}",
                hint="make its module importable by itself, or choose --offload inline",
            )
        self.is_idle = isinstance(first, Ready)

    async def _launch(self) -> None:
        self._slip = slip = Slip(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  (`bury` closes it)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                ours.setblocking(False)
                self._process = _launch(theirs.fileno(), slip.fd)
                self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_READ_AHEAD)
            except BaseException:
                ours.close()
                raise

    async def read(self, leaves: Sequence[Leaf]) -> AsyncGenerator[list[Answer], None]:
        """The answers to a batch as they come; fewer than there are pages if the process is to be replaced.

        Raises:
            Lost: the process has ended. Unless it says which page did that, none did.
        """
        self.is_idle = False
        await self._send(list(leaves))
        missing = len(leaves)
        while missing:
            message = await self._hear(self._charge.timeout_s + _PATIENCE_S)
            if not isinstance(message, Answers) or len(message.answers) > missing:
                raise await self._lost("answered out of turn")
            missing -= len(message.answers)
            yield message.answers
            if message.retires:
                await self.left()
                return
        self.is_idle = True

    async def _send(self, message: object) -> None:
        assert self._writer is not None
        frame = pickle.dumps(message)
        try:
            async with asyncio.timeout(_START_S):
                self._writer.write(LENGTH.pack(len(frame)))
                self._writer.write(frame)
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise await self._lost("took nothing more") from error

    async def _hear(self, patience_s: float) -> FromWorker:
        """The next message. A worker that stays silent is killed."""
        try:
            try:
                async with asyncio.timeout(patience_s):
                    frame = await self._frame()
            except TimeoutError:  # the loop may have been held up while the answer was there
                async with asyncio.timeout(1.0):
                    frame = await self._frame()
            return _decoder.decode(frame)
        except (asyncio.IncompleteReadError, OSError) as error:
            if isinstance(error, TimeoutError):
                self._kill()
                why = f"was still busy after {patience_s:g} s and had to be killed"
                raise await self._lost(why) from error
            raise await self._lost() from error
        except msgspec.MsgspecError as error:
            raise await self._lost("answered nonsense") from error

    async def _frame(self) -> bytes:
        if self._expected is None:
            (self._expected,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        frame = await self._reader.readexactly(self._expected)
        self._expected = None
        return frame

    async def _lost(self, why: str = "") -> Lost:
        """How the process ended; if it has not, it does now."""
        assert self._process is not None
        assert self._slip is not None
        is_ours = bool(why)
        if is_ours:
            self._kill()
        try:
            code = await asyncio.to_thread(self._process.wait, _LEAVE_S)
        except subprocess.TimeoutExpired:  # it has closed the socket and lives on
            self._kill()
            code = await asyncio.to_thread(self._process.wait)
        number, frames = self._slip.read()
        at = place_of(frames, self._source)
        why = f"the parser {why or self._ending(code)}{f' ({at})' if at else ''}"
        return Lost(
            why, page=number - 1 if number else None, is_killed=code == -signal.SIGKILL and not is_ours
        )

    def _ending(self, code: int) -> str:
        if code == -signal.SIGALRM:
            return f"was still busy after {self._charge.timeout_s:g} s"
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            return f"ended its worker process by {name}"
        return f"ended its worker process with exit code {code}"

    def dismiss(self) -> None:
        """Let it end by itself."""
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):  # it is gone already
                self._writer.write_eof()

    async def left(self) -> None:
        """Return when it has ended, or could have."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _LEAVE_S)

    def bury(self) -> None:
        """End it, if it has not ended. Its exit status is collected by `is_gone`."""
        self.is_idle = False
        self._kill()
        if self._writer is not None:
            self._writer.close()
        if self._slip is not None:
            self._slip.close()

    def is_gone(self, *, wait: bool = False) -> bool:
        """Whether a buried process has left the table of processes; a killed one does in a moment."""
        if self._process is None:
            return True
        return (self._process.wait() if wait else self._process.poll()) is not None

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def _launch(socket_fd: int, slip_fd: int) -> subprocess.Popen[bytes]:
    """Start a worker that imports from where we do."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from fetcher.parsers.child import main; main({socket_fd}, {slip_fd})"
    )
    return subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=_standard_error(),
        pass_fds=(socket_fd, slip_fd),
        start_new_session=True,  # a terminal's signals are for the parent
    )


def _standard_error() -> int:
    """Where a parser's print goes: what the program puts out is data."""
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2
