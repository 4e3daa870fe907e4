"""Bodies for suites: one that remembers what a backend told it, and one that a store may take."""

from __future__ import annotations

import asyncio
import hashlib

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
        self.connection: tuple[float, float] | None = None
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

    def set_phase(self, phase: Phase) -> None:
        self.phases.append(phase)

    def connected(self, name_s: float, tls_s: float) -> None:
        name_before, tls_before = self.connection or (0.0, 0.0)
        self.connection = name_before + name_s, tls_before + tls_s

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

    def room(self) -> memoryview | None:
        return None

    def fill(self, size: int) -> bool:
        raise AssertionError(f"{size} bytes for no room")

    async def drain(self) -> None:
        self.drains += 1
        if self._gate is not None:
            await self._gate.wait()


class StoredBody:
    """A complete body in memory, for the suites of stores."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.is_cut = False
        self.wire = None

    def hash(self) -> tuple[str, str]:
        return self.sha256, ""

    def data(self) -> bytes | None:
        return self.content

    def part(self) -> str | None:
        return None


class RoomyBody(RecordingBody):
    """Keeps what it is given, and has room for `BLOCK` bytes between two drains."""

    BLOCK = 300_000

    def __init__(self) -> None:
        super().__init__()
        self.received = 0  # bytes that came by way of its room
        self._block = bytearray(self.BLOCK)
        self._filled = 0

    def room(self) -> memoryview | None:
        return memoryview(self._block)[self._filled :]

    def fill(self, size: int) -> bool:
        self.pieces.append(bytes(self._block[self._filled : self._filled + size]))
        self.received += size
        self._filled += size
        return self._filled == self.BLOCK

    async def drain(self) -> None:
        self._filled = 0
        await super().drain()
