"""The program as a fork of a process that has imported it: a process of its own, but for its imports.

An interpreter's start is most of a small run, and the tests make thousands. What runs is the program's `main`
with its own arguments, streams, environment, folder, signals and exit (but see `end_with`). The process that
is forked has no thread, and is asked over a socket; a helper of each run waits for it and tells how it ended.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

MOST_INPUT = 60_000  # bytes that a pipe takes at once
_NOT_AT_START = ("PYTHON", "LC_", "LANGUAGE", "TZ")  # what an interpreter reads when it starts
_LEFT_OUT = (
    "fetcher.lab",
    "fetcher.__main__",
    "fetcher.parsers.__main__",
    "fetcher.observers.live",
    "fetcher.stores.parquet",  # pyarrow has threads of its own, and a fork has none of them
)


def can_run(environment: Mapping[str, str], stdin: bytes) -> bool:
    """Tell whether a fork is what a fresh process would be."""
    is_ordinary = environment.get("LANG") == "C.UTF-8"
    return (
        is_ordinary
        and len(stdin) <= MOST_INPUT
        and not any(key.startswith(_NOT_AT_START) for key in environment)
    )


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: bytes, limit_s: float
) -> tuple[int, bytes, bytes]:
    """Run to the end. Returns the code as `subprocess` has it, and both streams.

    Raises `subprocess.TimeoutExpired`; the run is dead then.
    """
    source, sink = os.pipe()
    os.write(sink, stdin)
    os.close(sink)
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    with _launch(arguments, folder, environment, (source, out_end, err_end)) as said:
        streams = {out: b"", err: b""}
        pid = 0
        until = time.monotonic() + limit_s
        waited = [out, err]
        try:
            while waited:
                ready, _, _ = select.select(waited, [], [], max(0.0, until - time.monotonic()))
                if not ready:
                    _give_up(arguments, limit_s)
                for descriptor in ready:
                    data = os.read(descriptor, 1 << 20)
                    streams[descriptor] += data
                    if not data:
                        waited.remove(descriptor)
            said.settimeout(max(0.01, until - time.monotonic()))
            with said.makefile("r") as lines:
                pid, code = int(lines.readline()), int(lines.readline())
        except BaseException:
            said.settimeout(5)
            with contextlib.suppress(OSError, ValueError):
                pid = pid or int(said.recv(20).split(b"\n")[0])
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(out)
            os.close(err)
    return code, streams[out], streams[err]


class Started:
    """A run under way: of `subprocess.Popen`, what the tests use. `stdout` is a pipe, standard error a file."""

    stdin = stderr = None

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stderr: int
    ) -> None:
        out, out_end = os.pipe()
        streams = (os.open(os.devnull, os.O_RDONLY), out_end, os.dup(stderr))
        self._arguments = arguments
        self._said = _launch(arguments, folder, environment, streams)
        self._told = b""
        self.stdout = open(out, "rb")  # noqa: SIM115
        self.returncode: int | None = None
        self._said.settimeout(60)
        while not self._told.endswith(b"\n"):
            self._hear(1)
        self.pid = int(self._told)
        self._told = b""

    def poll(self) -> int | None:
        return self._ended_in(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended_in(timeout)
        if code is None:
            assert timeout is not None
            _give_up(self._arguments, timeout)
        return code

    def communicate(self, timeout: float) -> tuple[bytes, None]:
        until = time.monotonic() + timeout
        read = b""
        while not self.stdout.closed:
            if not select.select([self.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                _give_up(self._arguments, timeout)
            data = self.stdout.read1()
            if not data:
                break
            read += data
        self.wait(max(0.01, until - time.monotonic()))
        return read, None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended, and is nobody's child
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_in(self, seconds: float | None) -> int | None:
        until = None if seconds is None else time.monotonic() + seconds
        while self.returncode is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._said], [], [], left)[0]:
                return None
            self._hear(100)
            if self._told.endswith(b"\n"):
                self.returncode = int(self._told)
                self._said.close()
        return self.returncode

    def _hear(self, most: int) -> None:
        said = self._said.recv(most)
        assert said, "the helper of the run is gone"
        self._told += said


def _launch(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], streams: Sequence[int]
) -> socket.socket:
    """Have a run forked, whose three streams are closed here. Returns where its helper says its pid and its code."""
    said, said_end = socket.socketpair()
    message = {"arguments": [*arguments], "folder": str(folder), "environment": dict(environment)}
    try:
        socket.send_fds(_server(), [json.dumps(message).encode()], [*streams, said_end.fileno()])
    except BaseException:
        said.close()
        raise
    finally:
        for descriptor in streams:
            os.close(descriptor)
        said_end.close()
    return said


def _give_up(arguments: Sequence[str], limit_s: float) -> NoReturn:
    raise subprocess.TimeoutExpired(["fetcher", *arguments], limit_s)


_started: list[socket.socket] = []


def _server() -> socket.socket:
    """Return the socket of the process that is forked, which is started the first time."""
    if not _started:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "support.warm_program", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,  # pipes, as every run has: the objects for the streams are made at the start
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        process.communicate(
            timeout=60
        )  # it has forked: what is left is no child of ours, and ends with the socket
        _started.append(ours)
    return _started[0]


def _serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork for each message. Returns the message in the fork; None at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # helpers are not waited for
    while True:
        packed, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
        if not packed:
            return None
        if not os.fork():
            break
        for descriptor in descriptors:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, said = descriptors
    pid = os.fork()
    if pid:
        for descriptor in streams:
            os.close(descriptor)
        with contextlib.suppress(OSError):  # nobody waits any more
            os.write(said, b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            os.write(said, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, 256)
    message: dict[str, Any] = json.loads(packed)
    return message


def import_program() -> None:
    """Import all of the program that runs may need."""
    import importlib
    import pkgutil

    import fetcher

    for module in pkgutil.walk_packages(fetcher.__path__, "fetcher."):
        if not module.name.startswith(_LEFT_OUT):
            importlib.import_module(module.name)
    for name in ("encodings.idna", "stringprep", "filelock", "sqlite3", "netrc"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def end_with(main: Callable[[], object]) -> NoReturn:
    """Run `main` to its `SystemExit` and end as an interpreter does, up to the taking down of its modules.

    Threads are waited for, exit handlers run, what nobody holds any more is collected, and streams are
    flushed. What is left out does nothing for the user, and in a fork it is more than all the rest of a small
    run: it writes to, and so copies, every page of memory.
    """
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    else:
        code = 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    for number in range(3):  # the pipes stay pipes, and nobody waits for their end
        source, sink = os.pipe()
        os.dup2(sink if number else source, number)
        os.close(source)
        os.close(sink)
    import_program()
    control = socket.socket(fileno=int(sys.argv[1]))
    given = _serve(control)
    if given is not None:
        control.detach()
        os.chdir(given["folder"])
        os.environ.clear()
        os.environ.update(given["environment"])
        paths = {os.getcwd(), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])}
        sys.path[:] = [given["folder"], *(path for path in sys.path if path not in paths)]
        sys.argv = ["fetcher", *given["arguments"]]
        from fetcher.__main__ import main

        end_with(main)
