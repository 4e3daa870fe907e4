"""The beginning of a worker process of `local:N`: distributed imports this module there.

Ctrl-C reaches every process of a terminal, and it is the client that says what it means.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
