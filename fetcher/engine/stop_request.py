"""The wish to stop a run, shared by whoever has it and whoever must heed it."""

from __future__ import annotations

import asyncio


class StopRequest:
    """A clean stop, once somebody asks for it; asked for twice, a stop at once.

    `is_wanted` is what the hot path looks at; `wanted` and `at_once` are for those who wait.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self.wanted = asyncio.Event()
        self.at_once = asyncio.Event()

    def request(self, *, at_once: bool = False) -> None:
        """Ask for a clean stop; a second time, or `at_once`, that nothing in flight is waited for."""
        if self.is_wanted or at_once:
            self.at_once.set()
        self.is_wanted = True
        self.wanted.set()
