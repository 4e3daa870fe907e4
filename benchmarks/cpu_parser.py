"""Parsers that cost so much CPU time for each page, for the benchmark of offloading."""

from __future__ import annotations

import time
from typing import Any


def _spend(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(100))


def cost_20(page: Any) -> dict[str, Any]:
    """20 ms for each page."""
    _spend(0.020)
    return {"url": page.url}


def cost_0_1(page: Any) -> dict[str, Any]:
    """0.1 ms for each page."""
    _spend(0.0001)
    return {"url": page.url}
