"""The beginning of a worker process of `local:N`: distributed imports this module there.

Ctrl-C reaches every process of a terminal, and it is the client that says what it means.
"""

from __future__ import annotations

import signal


def dask_setup(_worker: object) -> None:
    """Ignore Ctrl-C in this process; distributed calls it once its worker begins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
