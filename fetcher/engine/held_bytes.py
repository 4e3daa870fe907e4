"""Bytes of one body that are held in memory, with their charge to the run's budget.

They come in by two ways. Chunks are kept as they came, tiny ones gathered. A large body has two blocks of its
own by turns, one of which fills while the other is hashed and written: it is received into them with no step
between, or chunks that are small beside a block are copied there, which is cheaper than to keep each and join
them. Both blocks are charged whole, to half of the budget at most.

Invariant: what is held is charged once, as chunks or as blocks, and the charge of chunks goes with them when
they are handed over.
"""

from __future__ import annotations

from fetcher.engine.budget import ByteBudget
from fetcher.engine.spool import Chunk

SMALL = 65_536  # below this a body is never asked to wait for the disk
TINY = 4_096  # chunks smaller than this are gathered: an object for each would cost more than its bytes
_SPARE = 16  # a block begins with a chunk of so much less, and has room for one behind it


class HeldBytes:
    """Holder of chunks and of what was received into blocks; `size` counts both."""

    __slots__ = ("_block", "_block_charge", "_budget", "_filled", "_other_block", "chunks", "size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.chunks: list[Chunk] = []
        self.size = self._filled = self._block_charge = 0
        self._block: bytearray | None = None
        self._other_block: bytearray | None = None

    def add(self, data: bytes, size: int) -> int:
        """Hold a chunk of `size` bytes, and return the size of all."""
        if self._filled:
            self._seal()
        chunks = self.chunks
        if not chunks:
            self.chunks = [data]
        elif size >= TINY:
            chunks.append(data)
        else:
            last = chunks[-1]
            if type(last) is bytearray and len(last) < SMALL:
                last += data
            else:
                chunks.append(bytearray(data))
        self._budget.used += size
        self.size += size
        return self.size

    def room(self, size: int) -> memoryview | None:
        """Return the free end of a block of `size`, to be filled; None if the budget has no room for two."""
        if self._block is None and not self._make_block(size):
            return None
        return memoryview(self._block or b"")[self._filled : size]

    def pour(self, data: bytes, size: int) -> int:
        """Hold a chunk, and return the size of all: in a block of `size`, if one is begun or it is small."""
        added, filled = len(data), self._filled
        if not filled and (added * _SPARE > size or (self._block is None and not self._make_block(size))):
            return self.add(data, added)
        block = self._block
        assert block is not None
        free = len(block) - filled
        if added > free:
            block[filled:] = data[:free]
            self.fill(free)
            return self.add(data[free:], added - free)
        block[filled : filled + added] = data
        return self.fill(added)

    def fill(self, size: int) -> int:
        """Hold what was received into `room`, and return the size of all."""
        self._filled += size
        self.size += size
        return self.size

    def hand_over(self) -> tuple[list[Chunk], int]:
        """Give all away, to a spool, with its charge; the spool's other block is free then."""
        chunks, charged = self.chunks, self.size - self._filled
        if self._filled and self._block is not None:
            chunks.append(memoryview(self._block)[: self._filled])
            self._block, self._other_block = self._other_block, self._block
        self.chunks, self.size, self._filled = [], 0, 0
        return chunks, charged

    def enlarge(self, size: int) -> bool:
        """Have blocks of `size` from now on, if there are blocks; nothing may be held. False if they stay."""
        charge = 2 * (size + size // _SPARE) - self._block_charge
        if not self._block_charge or self._budget.used + charge > self._budget.limit // 2:
            return False
        self._budget.reserve(charge)
        self._block_charge += charge
        self._block = self._other_block = None
        return True

    def joined(self) -> Chunk:
        """Return all as one chunk, and hold it so."""
        if len(self.chunks) != 1:
            self.chunks = [b"".join(self.chunks)]
        return self.chunks[0]

    def let_go(self) -> None:
        """Give the charge back, and drop all."""
        if charged := self.size - self._filled:
            self._budget.release(charged)
        self.chunks, self.size, self._filled = [], 0, 0
        if self._block is not None or self._block_charge:
            self.let_go_blocks()

    def let_go_blocks(self) -> None:
        """Drop the blocks, of which nothing is needed any more."""
        self._block = self._other_block = None
        if self._block_charge:
            self._budget.release(self._block_charge)
            self._block_charge = 0

    def _make_block(self, size: int) -> bool:
        """Make a block of `size`, with room behind it for a chunk. False if the budget has none for two."""
        whole = size + size // _SPARE
        if not self._block_charge:
            charge = 2 * whole
            if self._budget.used + charge > self._budget.limit // 2:
                return False
            self._budget.reserve(charge)
            self._block_charge = charge
        self._block = bytearray(whole)
        return True

    def _seal(self) -> None:
        """Make a chunk of what was filled, as another follows it."""
        if self._block is not None:
            self.chunks.append(memoryview(self._block)[: self._filled])
            self._budget.reserve(self._filled)
        self._block, self._filled = None, 0
