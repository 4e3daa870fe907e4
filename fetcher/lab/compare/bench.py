"""Where children are run: each in a process group of its own, watched, and never left behind.

A child ends with the pipe to its standard input, a hung one is killed after the limit with all its
workers, and so is the one that runs when the bench is left by an exception (Ctrl-C).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

import msgspec

from fetcher.lab.compare.jobs import Job, Measured

_LAST_WORDS = 4096
_LONGEST_FOLDER = 50


class Bench:
    """`with Bench(limit_s) as bench:` measures jobs, one at a time."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._server: subprocess.Popen[bytes] | None = None
        self._site = ""
        self.load = os.getloadavg()[0]  # before anything of ours has run
        self._folder: tempfile.TemporaryDirectory[str]

    def __enter__(self) -> Self:
        # What a killed child leaves behind (the sockets of its pool) goes with this folder. Their names
        # must be short, so a long TMPDIR is no place for them.
        folder = tempfile.gettempdir()
        self._folder = tempfile.TemporaryDirectory(
            prefix="fetcher-",
            dir=folder if len(folder) <= _LONGEST_FOLDER else "/tmp",  # noqa: S108
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            _end(self._server)
        self._folder.cleanup()

    def site(self) -> str:
        """The loopback server, started when it is first asked for: `http://127.0.0.1:port`."""
        if self._server is None:
            self._server = _start("fetcher.lab.compare.server", subprocess.DEVNULL, self._folder.name)
            assert self._server.stdout is not None
            self._site = f"http://127.0.0.1:{int(self._server.stdout.readline())}"
        return self._site

    def measure(self, job: Job) -> Measured:
        """Run a job in a child to its end. One that dies or takes too long has a `failure`."""
        with tempfile.TemporaryFile() as said:
            child = _start("fetcher.lab.compare.child", said.fileno(), self._folder.name)
            killer = threading.Timer(self._limit_s, _kill, (child,))
            try:
                killer.start()
                assert child.stdin is not None
                assert child.stdout is not None
                with suppress(BrokenPipeError):
                    child.stdin.write(msgspec.json.encode(job) + b"\n")
                    child.stdin.flush()
                report = child.stdout.read()
                child.wait()
                is_late = killer.finished.is_set()
            finally:
                killer.cancel()
                _end(child)
            if report:
                return msgspec.json.decode(report, type=Measured)
            if is_late:
                return Measured(failure=f"stopped after {self._limit_s:g} s")
            return Measured(failure=_last_line(said) or f"died with exit code {child.returncode}")


def _start(module: str, stderr: int, folder: str) -> subprocess.Popen[bytes]:
    """A child with this process's way to modules, whatever folder or folder's modules it was called in."""
    program = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
    return subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        process_group=0,
        env={**os.environ, "TMPDIR": folder},
    )


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child's group, its workers and those of them that outlived it, and collect it."""
    if child.returncode is None:
        _kill(child)
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    child.wait()


def _last_line(said: IO[bytes]) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _LAST_WORDS))
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
