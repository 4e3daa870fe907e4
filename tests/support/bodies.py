"""A `BodyWriter` that remembers all it was told, for the suites of backends."""

from __future__ import annotations

import asyncio

from fetcher.errors import BodyTooLarge, Phase
from fetcher.model import Response


class RecordingBody:
    """Takes everything, in order.

    `wanted` is what `begin` answers. With `gate`, every feed asks for a drain, which waits until the gate is
    set. With `limit`, a longer body raises `BodyTooLarge`, as the engine's does.
    """

    def __init__(
        self, *, wanted: bool = True, gate: asyncio.Event | None = None, limit: int | None = None
    ) -> None:
        self.phases: list[Phase] = []
        self.response: Response | None = None
        self.pieces: list[bytes] = []
        self.drains = 0
        self.fed = asyncio.Event()
        self.begun = asyncio.Event()
        self._wanted = wanted
        self._gate = gate
        self._limit = limit

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    def enter(self, phase: Phase) -> None:
        self.phases.append(phase)

    def begin(self, response: Response) -> bool:
        assert self.response is None, "begun twice"
        self.response = response
        self.begun.set()
        return self._wanted

    def feed(self, data: bytes) -> bool:
        assert self.response is not None, "a body before its header"
        self.pieces.append(data)
        self.fed.set()
        if self._limit is not None and sum(map(len, self.pieces)) > self._limit:
            raise BodyTooLarge(f"larger than {self._limit} bytes")
        return self._gate is not None

    async def drain(self) -> None:
        self.drains += 1
        if self._gate is not None:
            await self._gate.wait()
