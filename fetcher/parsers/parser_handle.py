"""One worker process for a parser as its parent sees it, from its start to its end.

Invariant: a process that was started is either idle, busy with one batch, or ended; what it was busy
with when it ended is in its crash note. Every wait has an end: the worker's own alarm, and behind that our
patience with a silent one.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import tempfile
from collections.abc import AsyncGenerator, Sequence

import msgspec

from fetcher.errors import WorkerDied
from fetcher.parsers.crash_note import CrashNote
from fetcher.parsers.loader import location_of
from fetcher.parsers.parser_worker import Answers, FromParserWorker, LoadFailed, ParserConfig, Ready
from fetcher.parsers.run_parser import ParseResult, ParseTask
from fetcher.subprocesses.kernel import ChildProcess

_PATIENCE_S = 5.0  # with a silent worker, beyond the time that its page has
_START_S = 60.0
_EXIT_S = 2.0
_CODE = "from fetcher.parsers.parser_worker import main; main()"

_decode = msgspec.msgpack.Decoder(FromParserWorker).decode


class WorkerCrashed(Exception):
    """A worker has ended, or was given up. `page` is the index in its batch of what it was busy with.

    `is_excusable` says that it need not be the page's doing: something killed it, or stopped it;
    `is_early` that it never answered at all.
    """

    def __init__(
        self, why: str, *, page: int | None = None, is_excusable: bool = False, is_early: bool = False
    ) -> None:
        super().__init__(why)
        self.why = why
        self.page = page
        self.is_excusable = is_excusable
        self.is_early = is_early


class ParserHandle:
    """One worker process, from its start to its end."""

    def __init__(self, config: ParserConfig, source: str | None) -> None:
        self._config = config
        self._source = source
        self._note: CrashNote | None = None
        self._heard: asyncio.Queue[FromParserWorker | None] = asyncio.Queue()  # None: there is no more
        self._child = ChildProcess(self._on_frame, self._on_end)
        self._wrong = ""
        self._has_answered = False
        self.is_idle = False

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            WorkerCrashed: it ended before that.
            WorkerDied: the parser can't be loaded in it.
        """
        try:
            self._note = note = CrashNote(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  (`kill` closes it)
            await self._child.start(_CODE, keep=[note.fd], own_session=True)
        except OSError as error:
            raise WorkerDied(f"a worker process for the parser can't be started: {error}") from error
        self._child.send(pickle.dumps(self._config))
        first = await self._receive(_START_S)
        if isinstance(first, LoadFailed):
            raise WorkerDied(
                f"the parser can't be loaded in a worker process: {first.message}",
                hint="make its module importable by itself, or choose --offload inline",
            )
        self.is_idle = isinstance(first, Ready)

    async def read(self, tasks: Sequence[ParseTask]) -> AsyncGenerator[list[ParseResult], None]:
        """The results of a batch as they come; fewer than there are pages if the process is to be replaced.

        Raises:
            WorkerCrashed: the process has ended. Unless it says which page did that, none did.
        """
        self.is_idle = False
        self._child.send(pickle.dumps(list(tasks)))
        missing = len(tasks)
        while missing:
            message = await self._receive(self._config.timeout_s + _PATIENCE_S)
            if not isinstance(message, Answers) or len(message.answers) > missing:
                raise await self._crashed("answered out of turn")
            missing -= len(message.answers)
            self._has_answered = True
            yield message.answers
            if message.retires:
                await self.exited()
                return
        self.is_idle = True

    def _on_frame(self, frame: memoryview) -> None:
        try:
            self._heard.put_nowait(_decode(frame))
        except msgspec.MsgspecError:
            self._wrong = "answered nonsense"
            self._on_end()

    def _on_end(self) -> None:
        self._heard.put_nowait(None)

    async def _receive(self, patience_s: float) -> FromParserWorker:
        """Return the next message. A worker that stays silent is killed."""
        try:
            async with asyncio.timeout(patience_s):
                message = await self._heard.get()
        except TimeoutError:
            await asyncio.sleep(0)  # the loop may have been held up while the answer was there
            if self._heard.empty():
                why = f"was still busy after {patience_s:g} s and had to be killed"
                raise await self._crashed(why, is_excusable=True) from None
            message = self._heard.get_nowait()
        if message is None:
            raise await self._crashed(self._wrong)
        return message

    async def _crashed(self, why: str = "", *, is_excusable: bool = False) -> WorkerCrashed:
        """Return the error for a process that ended; if it has not, end it."""
        assert self._note is not None
        if why:
            self._child.kill()
        code = await self._child.wait(_EXIT_S)  # it may have closed the socket and live on
        number, frames = self._note.read()
        at = location_of(frames, self._source)
        return WorkerCrashed(
            f"the parser {why or self._ending(code)}{f' ({at})' if at else ''}",
            page=number - 1 if number else None,
            is_excusable=is_excusable or (code == -signal.SIGKILL and not why),
            is_early=not self._has_answered,
        )

    def _ending(self, code: int | None) -> str:
        if code is None:
            return "left its worker process in a state that can't be ended"
        if code == -signal.SIGALRM:
            return f"was still busy after {self._config.timeout_s:g} s"
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            return f"ended its worker process by {name}"
        return f"ended its worker process with exit code {code}"

    def close_input(self) -> None:
        """Let it end by itself."""
        self._child.close_input()

    async def exited(self) -> None:
        """Return when it has ended; it is killed if it does not within a moment."""
        await self._child.wait(_EXIT_S)

    def kill(self) -> None:
        """End it, if it has not ended. Its exit status is collected by `is_gone` or `exited`."""
        self.is_idle = False
        self._child.kill()
        self._child.hang_up()
        if self._note is not None:
            self._note.close()

    @property
    def is_gone(self) -> bool:
        """True once a killed process has left the table of processes."""
        return not self._child.was_started or self._child.exit_code is not None
