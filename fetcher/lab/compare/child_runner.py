"""Child processes of a comparison: each in a process group of its own, watched, and never left behind.

A child takes one trial on standard input, and puts its measurement out. It ends, with all of its group, with
the pipe to its standard input, however the command that started it ends; a hung one is killed at the limit,
and so is the one that runs when the runner is left by an exception (Ctrl-C).
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property

import msgspec

from fetcher.lab.compare.meter import settled
from fetcher.lab.compare.results import Measured, Trial
from fetcher.lab.compare.workloads import ALL_WORKLOADS
from fetcher.subprocesses.parent_watch import end_with_parent

_LONGEST_FOLDER = 50


class ChildRunner(ExitStack):
    """Runner of trials in child processes, one at a time, `with ChildRunner(limit_s) as runner:`."""

    def __init__(self, limit_s: float) -> None:
        super().__init__()
        self._limit_s = limit_s

    @cached_property
    def _folder(self) -> str:
        """Folder for what a killed child leaves behind, such as the sockets of its pool.

        Their names must be short, so a long TMPDIR is no place for them.
        """
        place = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108
        return self.enter_context(tempfile.TemporaryDirectory(prefix="fetcher-", dir=place))

    @cached_property
    def site(self) -> str:
        """`http://127.0.0.1:port` of the loopback server, which is started when it is first asked for."""
        server = self.enter_context(self._child("latency_server", subprocess.PIPE, subprocess.DEVNULL))
        assert server.stdout is not None
        return f"http://127.0.0.1:{int(server.stdout.readline())}"

    def measure(self, trial: Trial) -> Measured:
        """Run a trial in a child to its end. One that dies or takes too long has a `failure`.

        The user's own URLs are fetched without this limit: theirs are the timeouts of each exchange.
        """
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as report:
            with self._child("child_runner", report.fileno(), said.fileno()) as child:
                assert child.stdin is not None
                try:
                    with suppress(BrokenPipeError):
                        child.stdin.write(msgspec.json.encode(trial) + b"\n")
                        child.stdin.flush()
                    child.wait(None if trial.urls else self._limit_s)
                except subprocess.TimeoutExpired:
                    return Measured(failure=f"stopped after {self._limit_s:g} s")
            report.seek(0)
            if figures := report.read():
                return msgspec.json.decode(figures, type=Measured)
            said.seek(0)
            words = deque([f"died with exit code {child.returncode}".encode()], maxlen=1)
            words.extend(filter(bytes.strip, said))  # of a trace the last line tells the most
            return Measured(failure=words[0].decode(errors="replace").strip())

    @contextmanager
    def _child(self, module: str, stdout: int, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run a child with this process's `sys.path`, whatever modules the current folder has.

        At the end its group is killed: its workers, and those of them that outlived it.
        """
        program = f"import sys; sys.path[:] = {sys.path!r}; from {__package__}.{module} import main; main()"
        child = subprocess.Popen(  # noqa: S603  (our own interpreter)
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            process_group=0,
            env={**os.environ, "TMPDIR": self._folder},
        )
        try:
            yield child
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
            with suppress(BrokenPipeError):
                child.communicate()


def main() -> None:
    """Be a child: measure and report; a failure is reported too."""
    trial = msgspec.json.decode(sys.stdin.buffer.readline(), type=Trial)
    end_with_parent(lambda: os.read(0, 1), lambda: os.killpg(0, signal.SIGKILL))
    report = os.dup(1)
    os.dup2(2, 1)  # whatever is printed by mistake is not taken for figures
    try:
        module = ALL_WORKLOADS[trial.workload].module
        run = importlib.import_module(f"fetcher.lab.compare.workloads.{module}").run
        measured = settled(run(trial))
    except Exception as error:  # noqa: BLE001  (it is a figure of this model that it fails)
        measured = Measured(failure=str(error) or type(error).__name__)
    with os.fdopen(report, "wb") as pipe:
        pipe.write(msgspec.json.encode(measured))
