"""The keys of the live display: pause and go on, more and fewer exchanges, stop.

Invariant: the terminal is touched only while this process is in its foreground (a job in the background would
be stopped for it), and is as it was when the block ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fetcher.download import Download

HINT = "p pause, + - more or less, q stop"
_MOST = 64  # keys taken at once


@contextlib.contextmanager
def reading_keys(download: Download) -> Iterator[str]:
    """Heed the keys of a terminal on standard input until the block ends. Gives what they do, or nothing.

    Nothing is read where the input is a list, or no terminal.
    """
    descriptor = _terminal(download)
    if descriptor is None:
        yield ""
        return
    import termios
    import tty

    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)

    def take_terminal() -> None:  # again when the job comes back to the foreground
        loop.remove_reader(descriptor)
        if _is_in_foreground(descriptor):
            tty.setcbreak(descriptor, termios.TCSANOW)
            loop.add_reader(descriptor, read)

    def read() -> None:
        if not _is_in_foreground(descriptor):
            loop.remove_reader(descriptor)
            return
        try:
            typed = os.read(descriptor, _MOST)
        except OSError:
            typed = b""
        if not typed:  # the terminal is gone
            loop.remove_reader(descriptor)
        for key in typed.decode("latin-1"):
            obey(download, key)

    take_terminal()
    loop.add_signal_handler(signal.SIGCONT, take_terminal)
    try:
        yield HINT
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        loop.remove_reader(descriptor)
        if _is_in_foreground(descriptor):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSANOW, before)


def obey(download: Download, key: str) -> None:
    """Do what a key says; any other says nothing."""
    now = download.snapshot()
    step = max(1, now.concurrency // 4)
    if key in {"p", "P"}:
        download.adjust(is_paused=not now.is_paused)
    elif key in {"+", "="}:
        download.adjust(concurrency=now.concurrency + step)
    elif key in {"-", "_"}:
        download.adjust(concurrency=now.concurrency - step)
    elif key in {"q", "Q"}:
        download.notice("info", "press q again to stop at once")
        download.stop("SIGINT")  # as Ctrl-C


def _terminal(download: Download) -> int | None:
    """Return the descriptor of a terminal on standard input, if keys may be read from it."""
    try:
        descriptor = sys.stdin.fileno()
        is_ours = sys.stdin.isatty() and "-" not in download.settings.input and _is_in_foreground(descriptor)
    except (OSError, ValueError, AttributeError):  # it was closed
        return None
    return descriptor if is_ours else None


def _is_in_foreground(descriptor: int) -> bool:
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
