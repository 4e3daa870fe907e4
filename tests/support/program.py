"""The real program as a process: started in a folder with a clean environment, watched, and ended.

`run` waits for its end; `start` leaves it running, to be sent signals. Each has a time limit after which
the process is killed and the test fails, so no suite hangs. The environment holds nothing of the caller's
but the way to Python: no `FETCHER_` variable, no proxy, a home of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import warm_program

LIMIT_S = 60.0
COMMAND = (sys.executable, "-m", "fetcher")


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code as the shell would see it, and both streams."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Program:
    """The program in a folder. `variables` are added to its environment."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        home = folder / "home"
        home.mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            **(variables or {}),
        }

    def run(
        self,
        *arguments: str | Path,
        stdin: bytes = b"",
        variables: Mapping[str, str] | None = None,
        limit_s: float = LIMIT_S,
        is_fresh: bool = False,
    ) -> Ended:
        """Run to the end: a fork of a process that has imported the program, where that makes no difference."""
        environment = {**self.environment, **(variables or {})}
        if not is_fresh and warm_program.can_run(environment, stdin):
            given = [*map(str, arguments)]
            code, out, err = warm_program.run(given, self.folder, environment, stdin, limit_s)
            return Ended(_shell_code(code), out, err)
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=limit_s,
        )
        return Ended(_shell_code(done.returncode), done.stdout, done.stderr)

    @contextmanager
    def start(
        self, *arguments: str | Path, redirect: str = "", is_fresh: bool = False, **options: Any
    ) -> Iterator[Running]:
        """A run under way, forked as in `run`; whatever happens, it is gone when the block is left.

        Standard error goes to a file, so that it can be read meanwhile. `redirect` is what a shell would
        do with the streams (`2>&-`), `options` are those of `Popen`: with either, the process is a fresh one.
        """
        is_fresh = is_fresh or bool(redirect or options) or not warm_program.can_run(self.environment, b"")
        command = [*COMMAND, *map(str, arguments)]
        if redirect:
            command = ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *command]
        with tempfile.NamedTemporaryFile(prefix="stderr-") as said:
            process: subprocess.Popen[bytes] | warm_program.Started
            if is_fresh:
                chosen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": said, **options}
                process = subprocess.Popen(command, cwd=self.folder, env=self.environment, **chosen)
            else:
                given = [*map(str, arguments)]
                process = warm_program.Started(given, self.folder, self.environment, said.fileno())
            try:
                yield Running(process, Path(said.name))
            finally:
                if process.poll() is None:
                    process.kill()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream is not None:
                        stream.close()
                process.wait(LIMIT_S)


class Running:
    """A process that has not ended yet."""

    def __init__(self, process: subprocess.Popen[bytes] | warm_program.Started, said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def says(self, text: str) -> bool:
        """Whether `text` comes on standard error in time."""
        return eventually(lambda: text in self.said())

    def said(self) -> str:
        """What stands on standard error so far."""
        return self._said.read_text()

    def end(self, limit_s: float = LIMIT_S) -> Ended:
        """Wait for the end, reading standard output."""
        out, _ = self.process.communicate(timeout=limit_s)
        return Ended(_shell_code(self.process.returncode), out or b"", self._said.read_bytes())


def _shell_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def write_list(path: Path, urls: Sequence[str]) -> Path:
    """A file of URLs, one a line."""
    path.write_text("".join(f"{url}\n" for url in urls))
    return path


def records(directory: Path) -> list[dict[str, Any]]:
    """The lines of `results.jsonl`, each whole."""
    text = (directory / "results.jsonl").read_text()
    assert text == "" or text.endswith("\n"), "the last line is cut"
    return [json.loads(line) for line in text.splitlines()]


def by_url(directory: Path) -> dict[str, dict[str, Any]]:
    """The last record of every URL."""
    return {record["url"]: record for record in records(directory)}


def parts(directory: Path) -> list[Path]:
    """What lies in the folder of part files."""
    return sorted((directory / ".fetcher" / "parts").iterdir())


def stored(directory: Path) -> dict[str, Path]:
    """The user's files in a run directory, by relative path: not the tool's own."""
    return {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*")
        if path.is_file() and ".fetcher" not in path.parts and path.name != "results.jsonl"
    }


def eventually(holds: Callable[[], bool], limit_s: float = 60.0) -> bool:
    """Whether `holds()` comes true in time; for what another process does."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
