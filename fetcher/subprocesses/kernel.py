"""A child interpreter: its start, messages and end, as seen by its parent and by itself.

Invariants: a child never outlives its parent: a thread of it watches the socket, which only the parent
holds the other end of. Signals of a terminal or a service are the parent's to handle, from the child's
first moment. Every wait for a child has an end: one that is killed but stays, in a frozen container or a
system call, is left behind; it runs no more of its program, whenever it wakes.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from fetcher.errors import WorkerDied
from fetcher.subprocesses.framed_transport import FramedTransport
from fetcher.subprocesses.parent_watch import end_with_parent

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KILLED_S = 3.0  # a killed process is gone in less, unless the system holds it
_MOST_EARLY_DEATHS = 3


class ChildProcess:
    """One child from its start to its end. `on_frame` and `on_lost` as for `FramedTransport`."""

    def __init__(self, on_frame: Callable[[memoryview], None], on_lost: Callable[[], None]) -> None:
        self._frames = FramedTransport(on_frame, on_lost)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, code: str, *, keep: Sequence[int] = (), own_session: bool = False) -> None:
        """Run `code` in an interpreter that imports from where this one does.

        Its `sys.argv` has the descriptors of its socket and of `keep`, which it inherits. What it prints
        goes to standard error: what the program itself puts out is data.

        Raises:
            OSError: it can't be started; nothing is left.
        """
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            with theirs:
                self._process = _launch(code, [theirs.fileno(), *keep], own_session=own_session)
            await asyncio.get_running_loop().create_connection(lambda: self._frames, sock=ours)
        except BaseException:
            ours.close()
            raise

    @property
    def was_started(self) -> bool:
        return self._process is not None

    @property
    def exit_code(self) -> int | None:
        """The exit code as far as it is known: minus the number of a signal. None while it runs."""
        return None if self._process is None else self._process.poll()

    def send(self, message: bytes) -> None:
        """Send one frame. See `FramedTransport.send`."""
        self._frames.send(message)

    def close_input(self) -> None:
        """Let it end by itself, once it has read what was sent."""
        self._frames.close_input()

    def hang_up(self) -> None:
        """Close the socket: the child ends, if it has not."""
        self._frames.abort()

    def kill(self) -> None:
        """End it at once, even if it is stopped."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def wait(self, patience_s: float) -> int | None:
        """Wait for its end; kill it after `patience_s`. None if the system holds it all the same."""
        process = self._process
        if process is None:
            return None
        for seconds in (patience_s, _KILLED_S):
            try:
                return await asyncio.to_thread(process.wait, seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        return None


def _launch(code: str, descriptors: Sequence[int], *, own_session: bool) -> subprocess.Popen[bytes]:
    # Until the child ignores them a signal waits: a Ctrl-C is for us alone.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        return subprocess.Popen(  # noqa: S603  (our own interpreter)
            [
                sys.executable,
                "-c",
                f"import sys; sys.path[:] = {sys.path!r}\n{code}",
                *map(str, descriptors),
            ],
            stdin=subprocess.DEVNULL,
            stdout=_standard_error(),
            pass_fds=descriptors,
            start_new_session=own_session,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _standard_error() -> int:
    try:
        os.fstat(2)
    except OSError:
        return subprocess.DEVNULL
    return 2


class EarlyDeaths:
    """A count of children in a row that ended before they did anything: no page's and no URL's fault."""

    def __init__(self) -> None:
        self._number = 0

    def reset(self) -> None:
        """Forget them: a child has done something."""
        self._number = 0

    def count(self, message: str, *, hint: str) -> None:
        """Count one. Raises `WorkerDied` with the message if it is one too many."""
        self._number += 1
        if self._number >= _MOST_EARLY_DEATHS:
            raise WorkerDied(message, hint=hint)


# -- in the child ----------------------------------------------------------------------------------------


def begin_child() -> socket.socket:
    """Begin as a child: ignore the parent's signals, end with it. Returns the socket to it."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)  # held back until now
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sock = socket.socket(fileno=int(sys.argv[1]))
    end_with_parent(lambda: _wait_for_hang_up(sock))
    return sock


def _wait_for_hang_up(sock: socket.socket) -> None:
    watched = select.poll()
    watched.register(sock, 0)  # a hang-up is always told
    watched.poll()
