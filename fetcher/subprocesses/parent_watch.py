"""The end of a child process with its parent, whatever the child is busy with."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def end_with_parent(wait: Callable[[], object], end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Have a thread end this process when `wait`, for the parent's end, returns."""

    def watch() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        wait()
        end()

    threading.Thread(target=watch, name="fetcher-parent-watch", daemon=True).start()
