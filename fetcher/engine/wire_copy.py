"""The copy of a body with its content-coding still on, for a store that keeps exchanges.

It grows beside the decoded body, held by the same budget and spooled by the same rules. No step of it waits:
`add` says when the caller is to await `drain`, as the body itself does.
"""

from __future__ import annotations

from collections.abc import Callable

from fetcher.engine.budget import ByteBudget
from fetcher.engine.digest import SHA256_ALONE
from fetcher.engine.held_bytes import HeldBytes
from fetcher.engine.spool import Spool


class WireCopy:
    """Wire bytes of one body, as `ports.Body` has them. `most` of them are kept where that is given.

    From `spool_at` bytes on, or from `press_at` while the budget is spent, they go to a file of `new_spool`;
    without one they stay in memory. Once finished, `sha256` is of what it holds.
    """

    def __init__(
        self,
        budget: ByteBudget,
        *,
        spool_at: int,
        press_at: int,
        most: int | None,
        new_spool: Callable[[], Spool] | None,
    ) -> None:
        self.length = 0
        self.sha256 = ""
        self.is_cut = False
        self.wire = None
        self._budget = budget
        self._spool_at = spool_at
        self._press_at = press_at
        self._most = most
        self._new_spool = new_spool
        self._held = HeldBytes(budget)
        self._spool: Spool | None = None

    def add(self, data: bytes) -> bool:
        """Hold a chunk. True if the caller must drain."""
        if self._most is not None and self.length + len(data) > self._most:
            self.is_cut = True
            data = data[: self._most - self.length]
        self.length += len(data)
        if data:
            self._held.add(data, len(data))
        return self._is_much

    @property
    def _is_much(self) -> bool:
        most = self._press_at if self._budget.is_spent else self._spool_at
        return self._new_spool is not None and self._held.size >= most

    async def drain(self) -> None:
        """Write what is held, where that is much. Raises `StorageError`."""
        if not self._is_much:
            return
        if self._spool is None:
            assert self._new_spool is not None
            self._spool = self._new_spool()
        await self._write(self._spool, is_last=False)

    async def finish(self) -> None:
        """The body is whole: write the rest, set `sha256`. Raises `StorageError`."""
        spool = self._spool
        if spool is None:
            self.sha256 = SHA256_ALONE.of(self._held.joined())[0]
            return
        await self._write(spool, is_last=True)
        self.sha256 = (await spool.digests())[0]

    async def _write(self, spool: Spool, *, is_last: bool) -> None:
        await spool.wait()
        if spool.fault is None:
            spool.write(*self._held.hand_over(), is_last=is_last)
            await spool.wait()
        if spool.fault is not None:
            raise spool.fault

    def hash(self) -> tuple[str, str]:
        """See `ports.Body.hash`."""
        return self.sha256, ""

    def data(self) -> bytes | None:
        """See `ports.Body.data`."""
        return None if self._spool is not None else bytes(self._held.joined())

    def part(self) -> str | None:
        """See `ports.Body.part`."""
        return None if self._spool is None else self._spool.path

    def discard(self) -> None:
        """Let go of memory, charge and file: any time, any number of times."""
        self._held.let_go()
        if self._spool is not None:
            self._spool.abandon()
