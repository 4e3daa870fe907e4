"""One worker process as the supervisor sees it, from its start to its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from fetcher.model import Holdup, Job
from fetcher.processes import messages as msg
from fetcher.subprocesses.kernel import ChildProcess

WINDOW = 1024  # jobs in a worker's hands, apart from those that wait
MOST_ASSIGNED = 16 * WINDOW


class WorkerHandle:
    """Handle of one worker process. `on_frame` gets this handle with each frame."""

    def __init__(self, index: int, on_frame: Callable[[WorkerHandle, memoryview], None]) -> None:
        self.index = index
        self.lost = asyncio.Event()  # nothing more will be heard of it
        self.child = ChildProcess(lambda frame: on_frame(self, frame), self.lost.set)
        self.assigned: dict[int, Job] = {}
        self.stats = msg.LoadReport(0, 0, 0, 0)
        self.hosts: list[tuple[str, int, int, str]] = []
        self.growing: list[tuple[str, int, int | None]] = []
        self.holdups: list[Holdup] = []
        self.suspects: deque[Job] = deque()  # not sent yet: they were with a worker that died
        self.quarantined: set[int] = set()  # of those that were sent
        self._unsent: list[bytes] | None = []  # None: they are sent
        self.part = 0.0
        self.has_left = False
        self.was_heard = False
        self.silent_s = 0.0
        self.was_silent = False  # for too long
        self.error: BaseException | None = None

    async def start(self, code: str, config: bytes, keep: Sequence[int]) -> None:
        """Start the process; tell it first what it is to be, then all that waited for it."""
        await self.child.start(code, keep=keep)
        unsent, self._unsent = self._unsent or [], None
        for frame in (config, *unsent):
            self.child.send(frame)

    def send(self, message: msg.ToWorker) -> None:
        frame = msg.encode(message)
        if self._unsent is None:
            self.child.send(frame)
        else:
            self._unsent.append(frame)

    @property
    def room(self) -> int:
        if self.suspects:
            return 0
        held = len(self.assigned)
        return min(WINDOW - (held - self.stats.waiting), MOST_ASSIGNED - held)
