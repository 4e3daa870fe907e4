"""The program started by a fork of a process that has imported it already.

Thousands of runs are made, and an interpreter's start is most of a small one. What runs is the program's own
`main`, with its own arguments, streams, working folder and exit; only its imports were done before, and what is
tried again is tried almost at once: the wait in between was most of a run, and no call is made in it. A run waits
before its first step until it is let go, so that a tracer may be attached to it.

    with Warm() as warm:
        run = warm.start(["get", url], folder)
        warm.go(run, limit_s=60)     # its exit code, as the shell would see it
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from support.warm_program import end_with, import_program

from fetcher.policy import retry

_SET_TRACER = 0x59616D61  # PR_SET_PTRACER
_FIRST_WINDOW_S = 0.02  # of the backoff; the next ones are twice as long each
HANGS = -1  # the code of what had to be killed, because it did not end


@dataclass
class WarmRun:
    """A run that waits to be let go, or has ended; `said` holds what it wrote to both streams."""

    pid: int
    said: Path

    def output(self) -> str:
        return self.said.read_text(errors="replace")


class Warm:
    """The process that is forked. One run at a time."""

    def __init__(self) -> None:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), _python_path()])),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "torture.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(60)

    def start(self, arguments: Sequence[str], folder: Path, *, file_limit: int | None = None) -> WarmRun:
        """Fork a run, which waits. `file_limit` is the most bytes of a file, as `ulimit -f` sets it."""
        said = folder / "said.txt"
        self._tell(arguments=[*arguments], folder=str(folder), said=str(said), file_limit=file_limit)
        return WarmRun(self._hear()["pid"], said)

    def go(self, run: WarmRun, *, limit_s: float = 60.0) -> int:
        """Let it go, and wait for its end. `HANGS` if it had to be killed."""
        del run
        self._tell(limit_s=limit_s)
        return int(self._hear()["code"])

    def run(self, arguments: Sequence[str], folder: Path, *, limit_s: float = 60.0) -> tuple[int, str]:
        """Run to the end, untraced; its code and what it said."""
        run = self.start(arguments, folder)
        return self.go(run, limit_s=limit_s), run.output()

    def _tell(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process to be forked is gone: {self._process.wait(60)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _serve() -> list[str] | None:
    """Fork a child for each message. Returns in the child, with its arguments; None at the end."""
    for line in sys.stdin.buffer:
        message = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(writing)
            _become(message)
            os.read(reading, 1)
            os.close(reading)
            return ["fetcher", *message["arguments"]]
        os.close(reading)
        _answer(pid=pid)
        limit_s = json.loads(sys.stdin.buffer.readline())["limit_s"]
        os.write(writing, b"g")
        os.close(writing)
        _answer(code=_ended(pid, limit_s))
    return None


def _become(message: dict[str, Any]) -> None:
    """Make of a fork what a shell would have made: its streams, folder and limit."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(
        _SET_TRACER, ctypes.c_ulong(-1)
    )  # by whom it may be traced: anybody of the user's
    os.chdir(message["folder"])
    said = os.open(message["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(old, new)
    os.close(said)
    os.close(nothing)
    os.environ["HOME"] = os.environ["TMPDIR"] = message["folder"]
    if message["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (message["file_limit"], resource.RLIM_INFINITY))


def _ended(pid: int, limit_s: float) -> int:
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], limit_s)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return HANGS
    finally:
        os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _answer(**message: Any) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    import_program()
    retry.FIRST_WINDOW_S = _FIRST_WINDOW_S
    given = _serve()
    if given is not None:
        from fetcher.cli.main import main

        sys.argv = given
        end_with(main)
