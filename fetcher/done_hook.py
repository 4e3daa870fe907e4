"""The hook of `--on-done`: a command, or a function, for each file that is there.

It follows `results.jsonl`: a line is its turn when it is settled, and how far all turns are over is kept in
`.fetcher/on-done`. Invariant: after any end, the next run begins with the first line whose turn is not known
to be over; so each file has its turn at least once, and none waits in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from fetcher.errors import ConfigError, StorageError
from fetcher.events import Event, OutcomesSettled, RunStarted
from fetcher.model import Record
from fetcher.option_types.command import command_line
from fetcher.policy.redaction import shown
from fetcher.run_dir import RunDirectory
from fetcher.verification.records import ends_line, length_of, lines_of, record_of
from fetcher.whole_file import own_file

_MOST_TOLD = 10
_LONGEST = 100_000  # bytes of a variable; the system takes 131,072
_KILL_AFTER_S = 2.0


class HookAction(Protocol):
    """One turn. Raises whatever it fails of; cancelling it ends what it began."""

    async def __call__(self, record: Record) -> None: ...


class DoneHook:
    """Observer that gives each new file of a run its turn, at most `most` at once.

    `most` is the number of cores unless given. `failed` counts the turns that failed.
    """

    def __init__(
        self,
        directory: RunDirectory,
        action: HookAction,
        notice: Callable[[str, str], None],
        *,
        most: int = 0,
    ) -> None:
        self._results = directory.results
        self._place = directory.own / "on-done"
        self._action = action
        self._notice = notice
        self._slots = asyncio.Semaphore(most or os.cpu_count() or 1)
        self._wake = asyncio.Event()
        self._settled = self._read = self._kept = 0  # lengths of the file
        self._begun: set[int] = set()  # where the lines begin whose turns are under way
        self._is_closed = False
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turns: set[asyncio.Task[None]] = set()
        self.failed = 0

    @property
    def left(self) -> bool:
        """True while turns are due or under way; after the end they are for the next run."""
        return min(self._begun, default=self._read) < self._settled

    def on_event(self, event: Event) -> None:
        """Take note of what is settled."""
        if isinstance(event, RunStarted):
            self._settled = length_of(self._results) or 0
            self._read, self._kept = self._begin(), -1
            self._keep()
            self._task = asyncio.create_task(self._follow())
        elif isinstance(event, OutcomesSettled):
            self._settled += sum(len(line) + 1 for line in event.lines)
        self._wake.set()

    def stop(self) -> None:
        """Begin no more turns."""
        self._stopped.set()
        if self._task is not None:
            self._task.cancel()

    def kill(self) -> None:
        """End the turns that are under way, too; they are for the next run."""
        self.stop()
        for turn in self._turns:
            turn.cancel()

    async def finish(self, grace_s: float) -> None:
        """Wait until every turn is over, or `grace_s` seconds from the moment on that it is stopped.

        Cancelling it ends what is under way.
        """
        self._is_closed = True
        self._wake.set()
        over = asyncio.create_task(self._over())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({over, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({over}, timeout=grace_s)
        finally:
            self.kill()
            stopped.cancel()
            await asyncio.gather(over, return_exceptions=True)

    async def _over(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})
        while self._turns:
            await asyncio.wait(self._turns)

    def _begin(self) -> int:
        """Find where the first turn is due. What was there before the hook was asked for has had none."""
        try:
            place = int(self._place.read_text())
        except (OSError, ValueError):
            return self._settled
        if place <= self._settled and ends_line(self._results, place):
            return place
        if self._settled:  # of `--restart` nothing is left
            self._notice("warning", "on-done: results.jsonl was made anew; what was due before is left out")
        return self._settled

    async def _follow(self) -> None:
        """Begin turns in the order of the lines."""
        while True:
            self._wake.clear()
            if self._read < self._settled:
                await self._go_on()
            elif self._is_closed:
                return
            else:
                await self._wake.wait()

    async def _go_on(self) -> None:
        for at, line in lines_of(self._results, self._settled, begin=self._read):
            record = record_of(line)
            if record is not None and record.state == "done" and record.path is not None:
                await self._slots.acquire()
                self._begun.add(at)
                turn = asyncio.create_task(self._turn(at, record))
                self._turns.add(turn)
                turn.add_done_callback(self._turns.discard)
            self._read = at + len(line) + 1
        self._keep()

    async def _turn(self, at: int, record: Record) -> None:
        try:
            await self._action(record)
        except asyncio.CancelledError:
            raise  # it stays in `_begun`: its turn comes again
        except Exception as error:  # noqa: BLE001  (the user's own code)
            self.failed += 1
            if self.failed <= _MOST_TOLD:
                why = shown(f"{error}" if type(error) is HookFailed else repr(error))
                self._notice("warning", f"on-done: {record.path}: {why}")
                if self.failed == _MOST_TOLD:
                    self._notice("warning", "on-done: further failures are only counted")
        finally:
            self._slots.release()
        self._begun.discard(at)
        self._keep()

    def _keep(self) -> None:
        """Write down how far all turns are over."""
        place = min(self._begun, default=self._read)
        if place == self._kept:
            return
        try:
            with own_file(self._place) as file:
                file.write(b"%d" % place)
        except StorageError as error:  # then they come again
            self._notice("warning", f"on-done: {error.message}")
        else:
            self._kept = place


class HookFailed(Exception):
    """The command of a turn ended in failure; its message says how."""


class CommandAction:
    """A command for each file, by no shell; the record is in its environment.

    `RECORD_URL`, `RECORD_SHA256` and so on are the record's fields, lists and objects as JSON, what is null
    left out; `RECORD_FILE` is the file's path as the program can open it, or the address of the object. It
    also stands for `{path}`.
    """

    def __init__(self, text: str, place: str) -> None:
        self._words = command_line(text)
        program = self._words[0]
        if "/" not in program and "{" not in program and shutil.which(program) is None:
            raise ConfigError(f"on_done: there is no program {program}", hint="name it by its path")
        self._place = place

    async def __call__(self, record: Record) -> None:
        file = f"{self._place}/{record.path or ''}"
        words = [word.replace("{path}", file).replace("{url}", record.url) for word in self._words]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,  # standard output is for data
                env={**os.environ, **_variables(record), "RECORD_FILE": file},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise HookFailed(f"cannot run {words[0]}: {getattr(error, 'strerror', None) or error}") from error
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _KILL_AFTER_S)
            if process.returncode is None:
                _signal(process.pid, signal.SIGKILL)
                await process.wait()
            raise
        if code:
            raise HookFailed(f"exit code {code}" if code > 0 else f"ended by signal {-code}")


class CallbackAction:
    """A function of the library's user for each file: awaited if it is asynchronous, else in a thread."""

    def __init__(self, function: Callable[[Record], Any]) -> None:
        self._function = function

    async def __call__(self, record: Record) -> None:
        function = self._function
        if inspect.iscoroutinefunction(function):
            await function(record)
            return
        result = await asyncio.to_thread(function, record)
        if inspect.isawaitable(result):
            await result


def _variables(record: Record) -> Mapping[str, str]:
    found = {}
    for name, value in msgspec.to_builtins(record).items():
        if value is None:
            continue
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if len(text.encode()) <= _LONGEST:
            found[f"RECORD_{name.upper()}"] = text.replace("\0", "")
    return found


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
