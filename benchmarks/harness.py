"""Running commands as processes of their own, in interleaved rounds, and showing what they cost.

A contender's rounds alternate with those of the others (A B C A B C …), so that what else happens on the
machine falls on all alike, and a ratio is the median of the ratios within a round. Nothing is left behind:
a child that overruns its time is killed by its id, and the folder of a measurement is removed.

The peak memory of a child can't be read lower than that of this process when it was started (the kernel
counts the moment between fork and exec), so nothing here holds much or imports much.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST_S = 180.0
_MAXRSS_PER_MB = 1024 if sys.platform == "linux" else 2**20


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process took, and what it printed."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Contender:
    """A command that takes part. `before` and `after` run outside the measured time, in each round."""

    name: str
    command: Sequence[str]
    before: Callable[[], None] = lambda: None
    after: Callable[[Usage], None] = lambda _: None
    lines: Callable[[], Iterable[bytes]] | None = None  # fed to its standard input through a pipe


@dataclass(frozen=True, slots=True)
class Goal:
    """A number to hold. `measured` is None where it was not measured, and `why` says why."""

    text: str
    limit: float
    unit: str
    measured: float | None
    is_least: bool = False  # the limit is a floor, not a ceiling
    why: str = ""

    @property
    def is_held(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.is_least else self.measured <= self.limit

    def line(self) -> str:
        if self.measured is None:
            return f"not measured  {self.text}: {self.why}"
        verdict = "held" if self.is_held else "NOT HELD"
        bound = "at least" if self.is_least else "at most"
        return (
            f"{verdict:<12}  {self.text}: {self.measured:.3g}{self.unit} ({bound} {self.limit:g}{self.unit})"
        )


class Overran(Exception):
    """A measured process did not end in time, or failed."""


def measure(contender: Contender, *, longest_s: float = LONGEST_S) -> Usage:
    """Run a contender once, to its end. Raises `Overran` if it fails or takes too long."""
    feeds = contender.lines is not None
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            contender.command, stdin=subprocess.PIPE if feeds else subprocess.DEVNULL, stdout=out, stderr=err
        )
        overdue = threading.Timer(longest_s, child.kill)
        overdue.start()
        try:
            if contender.lines is not None:
                assert child.stdin is not None
                with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
                    pipe.writelines(contender.lines())
            _, status, usage = os.wait4(child.pid, 0)
            wall_s = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            overdue.cancel()
            if child.returncode is None:
                child.kill()
                child.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if child.returncode != 0:
        raise Overran(f"{contender.name} ended with {child.returncode}:\n{''.join(texts)[-2000:]}")
    return Usage(
        wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / _MAXRSS_PER_MB, texts[0], texts[1]
    )


def interleaved(
    contenders: Sequence[Contender], rounds: int, *, longest_s: float = LONGEST_S
) -> dict[str, list[Usage]]:
    """The usages of every contender, by name, one for each round."""
    usages: dict[str, list[Usage]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            progress(f"round {number + 1} of {rounds}: {contender.name}")
            contender.before()
            usage = measure(contender, longest_s=longest_s)
            contender.after(usage)
            usages[contender.name].append(usage)
    progress("")
    return usages


def progress(text: str) -> None:
    """Say on a terminal what is being measured; an empty text takes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: Iterable[float], digits: int = 2) -> str:
    """`1.52 (1.50–1.61)`: median, least and most."""
    kept = list(values)
    if len(kept) == 1:
        return f"{kept[0]:.{digits}f}"
    return f"{median(kept):.{digits}f} ({min(kept):.{digits}f}–{max(kept):.{digits}f})"


def ratios(tops: Iterable[float], bottoms: Iterable[float]) -> list[float]:
    """The ratio of each round. Of rates: pass the times the other way round."""
    return [top / bottom for top, bottom in zip(tops, bottoms, strict=True)]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal of any width: the first column left, the others right."""
    cells = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = []
    for row in cells:
        first, *rest = row
        padded = [f"{text:>{width}}" for text, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return "\n".join([title, "", lines[0], "  ".join("-" * width for width in widths), *lines[1:], ""])


@contextlib.contextmanager
def ram_folder() -> Iterator[Path]:
    """A folder in memory (`/dev/shm`), or the system's temporary one where there is none; then removed."""
    memory = Path("/dev/shm")
    is_usable = memory.is_dir() and os.access(memory, os.W_OK)
    folder = Path(tempfile.mkdtemp(prefix="fetcher-bench-", dir=memory if is_usable else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def emptied(folder: Path) -> None:
    """Remove what a round left."""
    shutil.rmtree(folder, ignore_errors=True)
