"""What a stretch of work costs: wall time, CPU time and peak memory, of this process and its workers.

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
from contextlib import suppress
from pathlib import Path
from typing import Self

_IS_LINUX = sys.platform == "linux"
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_TICK_S = 0.005


class Meter:
    """Begins to measure when it is made; `stop` fixes the figures, while the workers still live.

    `starved_s` is how long the thread that had the least luck was ready and had no core; 0 if unknown.
    """

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = -cpu_seconds()
        self.peak_bytes = 0
        self.starved_s = 0.0
        self._starved = _waits_for_cores()
        self.begun = time.perf_counter()

    def stop(self) -> Self:
        self.wall_s = time.perf_counter() - self.begun
        self.cpu_s += cpu_seconds()
        before = self._starved
        self.starved_s = (
            max((ns - before.get(thread, 0) for thread, ns in _waits_for_cores().items()), default=0) / 1e9
        )
        self.peak_bytes = peak_memory()
        return self


def cpu_seconds() -> float:
    """CPU time so far, of this process and of its living workers."""
    total = time.process_time()
    if _IS_LINUX:
        for pid in _workers():
            total += time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) gives
    return total


def _waits_for_cores() -> dict[str, int]:
    """How long each living thread, here and in the workers, was ready and had no core; nanoseconds."""
    waits: dict[str, int] = {}
    for pid in ["self", *map(str, _workers())] if _IS_LINUX else []:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended, or the kernel does not count
                waits[file.parent.name] = int(file.read_text("ascii").split()[1])
    return waits


def peak_memory() -> int:
    """The most memory that was resident, of this process and of its living workers together."""
    if not _IS_LINUX:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    # Not ru_maxrss: through exec it keeps what the parent had before.
    workers = [_kilobytes(f"/proc/{pid}/status") | _shared(pid) for pid in _workers()]
    own = _kilobytes("/proc/self/status")["VmHWM"]
    shared = max((worker["shared"] for worker in workers), default=0)
    return 1024 * (own + shared + sum(worker["VmHWM"] - worker["shared"] for worker in workers))


def resident_memory() -> int:
    """The memory that is resident now; where the system does not tell, the most so far."""
    return 1024 * _kilobytes("/proc/self/status")["VmRSS"] if _IS_LINUX else peak_memory()


def settled(cpu_s: float, peak_bytes: int, workers: float) -> tuple[float, int]:
    """The figures once all workers have ended; see the module."""
    if _IS_LINUX:
        return cpu_s, peak_bytes
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    largest = ended.ru_maxrss * _MAXRSS_UNIT
    return cpu_s + ended.ru_utime + ended.ru_stime, peak_bytes + int(workers * largest)


def _workers() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def _shared(pid: int) -> dict[str, int]:
    try:
        pages = _kilobytes(f"/proc/{pid}/smaps_rollup")
    except OSError:  # kernels before 4.14
        return {"shared": 0}
    return {"shared": pages["Shared_Clean"] + pages["Shared_Dirty"]}


def _kilobytes(path: str) -> dict[str, int]:
    """The lines `Name:  123 kB` of a file."""
    found: dict[str, int] = {}
    with Path(path).open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if value.endswith(" kB\n"):
                found[name] = int(value.split()[0])
    return found


class StallWatch:
    """`async with StallWatch() as watch:` finds the longest time in which the loop ran nothing else.

    A task wakes every few milliseconds; how late it is, is how long the loop was blocked.
    """

    _longest_s = 0.0
    _task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    def forget(self) -> None:
        """What was before the measurement does not count."""
        self._longest_s = 0.0

    async def longest(self) -> float:
        """Seconds. Waits until the watch has had its turn, since a blocked loop gives it none."""
        await asyncio.sleep(2 * _TICK_S)
        return self._longest_s

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._longest_s = max(self._longest_s, time.perf_counter() - due)
