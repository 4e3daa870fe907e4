"""Meter of a stretch of work: wall time, CPU time and peak memory, of this process and its workers.

On Linux the living are asked: each worker's CPU clock and the high-water mark of its memory, so that
starting them is not in the figures. Elsewhere only `getrusage` is there, which knows the workers once
they have ended: `settled` adds them then, their start included. Pages that a worker shares with others (those
it was forked with) count once, where the system tells them apart.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from fetcher.lab.compare.results import Measured

_IS_LINUX = sys.platform == "linux"
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_TICK_S = 0.005


class Meter:
    """Meter of a block, `with Meter() as meter:`, at whose end the workers must still live.

    As `async with` it also watches the loop: a task wakes every few milliseconds, and the most that it was
    late is `stall_s`, how long the loop was blocked. Among the other `details` are `starved_s`, how long the
    thread that had the least luck was ready and had no core, and `syns_resent`, how often a connect was sent
    again by this system, whoever made it.
    """

    def __enter__(self) -> Self:
        self.details: dict[str, float] = {}
        self._before = _cpu_seconds(), _syns_resent(), _waits_for_cores()
        self.begun = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = self.elapsed_s
        cpu_s, resent, waits = self._before
        self.cpu_s = _cpu_seconds() - cpu_s
        self.details["syns_resent"] = _syns_resent() - resent
        waited = [ns - waits.get(thread, 0) for thread, ns in _waits_for_cores().items()]
        self.details["starved_s"] = max(waited, default=0) / 1e9
        self.peak_bytes = peak_memory()

    async def __aenter__(self) -> Self:
        self._stall_s = 0.0
        self._watch = asyncio.create_task(self._watches())
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()
        await asyncio.sleep(2 * _TICK_S)  # a blocked loop gives the watch no turn
        self.details["stall_s"] = self._stall_s
        self._watch.cancel()
        await asyncio.wait((self._watch,))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the block began."""
        return time.perf_counter() - self.begun

    def measured(self, results: Sequence[str], *, of: int | None = None) -> Measured:
        """Make the figures; with `of`, extrapolated to so many results, of which the first few are there."""
        operations = len(results) if of is None else of
        factor = operations / len(results)
        if factor != 1:
            self.details |= {"measured": len(results), "starved_s": self.details["starved_s"] * factor}
        return Measured(
            wall_s=self.wall_s * factor,
            cpu_s=self.cpu_s * factor,
            peak_bytes=self.peak_bytes,
            operations=operations,
            results=list(results),
            is_extrapolated=factor != 1,
            details=self.details,
        )

    async def _watches(self) -> None:
        while True:
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._stall_s = max(self._stall_s, time.perf_counter() - due)


def peak_memory() -> int:
    """Return the most memory that was resident, of this process and of its living workers together."""
    if not _IS_LINUX:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    # Not ru_maxrss: through exec it keeps what the parent had before.
    peak, most_shared = _kilobytes("self/status")["VmHWM"], 0
    for pid in _workers():
        pages = {"Shared_Clean": 0, "Shared_Dirty": 0}
        with suppress(OSError):  # kernels before 4.14
            pages = _kilobytes(f"{pid}/smaps_rollup")
        shared = pages["Shared_Clean"] + pages["Shared_Dirty"]
        peak += _kilobytes(f"{pid}/status")["VmHWM"] - shared
        most_shared = max(most_shared, shared)
    return 1024 * (peak + most_shared)


def resident_memory() -> int:
    """Return the memory that is resident now; where the system does not tell, the most so far."""
    return 1024 * _kilobytes("self/status")["VmRSS"] if _IS_LINUX else peak_memory()


def settled(one: Measured) -> Measured:
    """Add to the figures what is known once all workers have ended; see the module."""
    if not _IS_LINUX:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        one.cpu_s += ended.ru_utime + ended.ru_stime
        one.peak_bytes += int(one.details.get("workers", 0) * ended.ru_maxrss * _MAXRSS_UNIT)
    return one


def _cpu_seconds() -> float:
    """CPU time so far, of this process and of its living workers."""
    clocks = [(~pid << 3) | 2 for pid in _workers()] if _IS_LINUX else []  # as clock_getcpuclockid(3) does
    return time.process_time() + sum(map(time.clock_gettime, clocks))


def _waits_for_cores() -> dict[str, int]:
    """Measure the time that each living thread, here and in the workers, was ready without a core, in ns."""
    waits: dict[str, int] = {}
    for pid in ["self", *map(str, _workers())] if _IS_LINUX else []:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended, or the kernel does not count
                waits[file.parent.name] = int(file.read_text("ascii").split()[1])
    return waits


def _syns_resent() -> int:
    with suppress(OSError, ValueError, KeyError):
        names, values = Path("/proc/net/netstat").read_text("ascii").splitlines()[:2]
        return int(dict(zip(names.split(), values.split(), strict=True))["TCPSynRetrans"])
    return 0


def _workers() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def _kilobytes(file: str) -> dict[str, int]:
    """Return the lines `Name:  123 kB` of a file in `/proc`."""
    lines = Path("/proc", file).read_text("ascii", "replace").splitlines()
    split = [line.replace(":", " ").split() for line in lines if line.endswith(" kB")]
    return {words[0]: int(words[1]) for words in split if len(words) == 3}
