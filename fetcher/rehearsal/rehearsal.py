"""A rehearsal from its beginning to its end: the run as a process, its kills, and its continuations.

Invariant: it ends within its limit and a run's grace, and no process of it is left. When a run is killed
follows from the seed: after so many requests, or so many seconds, whichever comes first.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fetcher.rehearsal.rehearsed_job import RehearsedJob
from fetcher.rehearsal.trouble_site import TroubleSite

_RUN = (sys.executable, "-P", "-m", "fetcher", "run", "/dev/stdin")
_CONTINUED = frozenset({3, 4})  # the killed run's workers are not gone yet; the user's own limits
_ENDED = frozenset({0, 1})
_STARTING_S = 5.0  # without a request by then, the seconds to a kill count all the same
_MOST_STARTS = 1000


class Start(msgspec.Struct):
    """One start of the run. `code` is None if it was killed; `first` counts the requests before it."""

    first: int = 0
    requests: int = 0
    elapsed: float = 0.0
    code: int | None = None
    is_kill: bool = False
    is_stop: bool = False  # its time was over
    had_ended: frozenset[str] = frozenset()  # URLs that had a record when it began


class Course(msgspec.Struct, kw_only=True):
    """The course of a rehearsal. `is_over` says that the run ended by itself, before the time did."""

    starts: list[Start]
    elapsed: float
    is_over: bool
    memory: int

    @property
    def kills(self) -> int:
        """Number of kills."""
        return sum(start.is_kill for start in self.starts)


class Rehearsal:
    """Runs `job` against `site` in `folder`, where `listing` and `out` are, and kills it `kills` times.

    `say` gets a line for each start that ended.
    """

    def __init__(
        self,
        site: TroubleSite,
        folder: Path,
        job: RehearsedJob,
        *,
        seed: int,
        kills: int,
        limit_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._site = site
        self._folder = folder
        self._job = job
        self._limit_s = limit_s
        self._say = say
        draw = random.Random(seed)
        share = 2 * len(site.planned) // (kills + 1)
        self._kills = [
            (draw.randrange(1, share + 2), draw.uniform(0.05, limit_s / (kills + 1))) for _ in range(kills)
        ]

    def run(self) -> Course:
        """Start, kill and continue until the run has ended, or the time has.

        Raises:
            OSError: the run can't be started, or the folder can't be written.
        """
        begun = time.monotonic()
        end = begun + self._limit_s
        starts: list[Start] = []
        while time.monotonic() < end and len(starts) < _MOST_STARTS:
            is_late = time.monotonic() > begun + self._limit_s * 2 / 3
            kill = self._kills.pop(0) if self._kills and not is_late else None
            start = self._start(len(starts) + 1, kill, end)
            starts.append(start)
            self._say(_told(len(starts), start))
            if start.code is not None and start.code not in _CONTINUED:
                break
            if start.code == 3 and kill is not None:
                self._kills.insert(0, kill)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        return Course(
            starts=starts,
            elapsed=time.monotonic() - begun,
            is_over=starts[-1].code in _ENDED,
            memory=memory * (1 if sys.platform == "darwin" else 1024),
        )

    def _start(self, number: int, kill: tuple[int, float] | None, end: float) -> Start:
        before, begun = len(self._site.log), time.monotonic()
        start = Start(first=before, had_ended=frozenset(recorded(self._folder / "out")))
        environ = {name: value for name, value in os.environ.items() if not name.startswith("FETCHER_")}
        with (self._folder / f"run-{number}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  (this program)
                _RUN,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environ,
                start_new_session=True,  # a Ctrl-C is ours
            )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(self._job.toml().encode("utf-8", "surrogateescape"))
            self._watch(process, start, kill, end)
        finally:
            _end(process)
        start.requests = len(self._site.log) - before
        start.elapsed = time.monotonic() - begun
        start.code = None if start.is_kill else process.returncode
        return start

    def _watch(
        self, process: subprocess.Popen[bytes], start: Start, kill: tuple[int, float] | None, end: float
    ) -> None:
        """Wait for its end, its kill, or the end of the time."""
        clock = time.monotonic() + _STARTING_S
        while process.poll() is None:
            now, came = time.monotonic(), len(self._site.log) - start.first
            if came:
                clock = min(clock, now)
            if kill is not None and (came >= kill[0] or now > clock + kill[1]):
                start.is_kill = True
                process.kill()
                process.wait()
            elif now > end:
                start.is_stop = True
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._job.settings.grace + 10)
                return
            time.sleep(0.005)


def recorded(output: Path) -> list[str]:
    """Return the URL of each whole line of `results.jsonl`, repeated ones too."""
    try:
        lines = (output / "results.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    urls = []
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError):
            urls.append(msgspec.json.decode(line)["url"])
    return urls


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a start: its workers end with it, and it ends at the latest now."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(number: int, start: Start) -> str:
    how = "killed" if start.is_kill else "stopped" if start.is_stop else f"ended with exit {start.code}"
    return f"start {number}: {how} after {start.requests:,} requests and {start.elapsed:.1f} s"
