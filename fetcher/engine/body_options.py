"""Options that all bodies of a run share, and where their part files are made.

A body's limits, what it spools to, and what its bytes are charged to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from fetcher.engine.budget import Bandwidth, ByteBudget
from fetcher.engine.descriptors import DescriptorLimit
from fetcher.engine.digest import SHA256_ALONE, Algorithms
from fetcher.engine.held_bytes import SMALL
from fetcher.engine.room import DiskRoom
from fetcher.engine.spool import Spool, part_names
from fetcher.model import Part


@dataclass(slots=True, kw_only=True, eq=False)
class BodyOptions:
    """Options that all bodies of a run share. `parts` and `executor` are None where bodies stay in memory.

    `now` is the loop's clock. `executor` is for the part files alone: on the loop's default one a slow
    disk would delay whatever else runs there.
    """

    budget: ByteBudget
    now: Callable[[], float]
    max_size: int | None = None
    spool_at: int = 262_144
    block: int = 262_144
    largest_block: int = 0  # to which blocks grow where the disk is behind the network
    parts: str | None = None
    executor: Executor | None = None
    bandwidth: Bandwidth | None = None
    room: DiskRoom | None = None  # on the disk; None is no limit
    descriptors: DescriptorLimit | None = None  # the pool's
    keep_error_bodies: bool = False
    keeps_wire: bool = False  # redirects' bodies too, and all with their content-coding on
    resumes: bool = False  # a part that was cut off is left for a later attempt
    connections: int = 1  # for one body of at least `split_size` bytes
    split_size: int = 64 * 1024**2
    syncs: bool = False  # parts reach the disk before they count
    algorithms: Algorithms = SHA256_ALONE
    growth: asyncio.Event = field(default_factory=asyncio.Event)  # set when a part begins to grow
    names: Iterator[str] = field(default_factory=part_names)  # of part files
    press_at: int = field(init=False)  # held bytes from which a body looks at the disk and the budget

    def __post_init__(self) -> None:
        if self.parts is not None and self.executor is None:
            raise ValueError("part files need an executor of their own")
        self.press_at = min(SMALL, self.spool_at, self.block)

    def new_spool(self, algorithms: Algorithms = SHA256_ALONE) -> Spool:
        """Make a part file that a body spools to. Raises `StorageError`."""
        while True:
            try:
                return self._spool(next(self.names), None, algorithms)
            except FileExistsError:
                continue

    def open_spool(
        self, part: Part, offset: int, algorithms: Algorithms, *, is_shared: bool = False
    ) -> Spool:
        """Open the file of `part`, to go on at `offset`; `is_shared` with other exchanges.

        Raises:
            StorageError: it can't be opened, or is shorter.
        """
        return self._spool(part.name, offset, algorithms, is_shared=is_shared)

    def _spool(
        self, name: str, offset: int | None, algorithms: Algorithms, *, is_shared: bool = False
    ) -> Spool:
        assert self.parts is not None
        assert self.executor is not None
        return Spool(
            self.parts,
            name,
            self.executor,
            self.budget,
            offset=offset,
            syncs=self.syncs,
            algorithms=algorithms,
            is_shared=is_shared,
            room=self.room,
            descriptors=self.descriptors,
        )

    def remove(self, part: Part) -> None:
        """Remove the file of a part that nothing will continue."""
        if self.parts is not None:
            with contextlib.suppress(OSError):
                Path(self.parts, part.name).unlink()
