"""A trial: a run meets one fault at one call, the same command is run again, and nothing may differ.

What must hold: the faulted run ends in time, with its ordinary exit code or one that says what happened, and with
no word of a defect; `verify` finds nothing off after the next run, and then every URL has the state, file and
number of records that an undisturbed run gives it.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torture.faults import CALLS, FAULTS, KILL, LIMIT, Strace, counted, was_met
from torture.ground import TortureSite, listed, write_list
from torture.modes import LIST, MODES, OUT, Mode
from torture.outcome import Outcome, completed, outcome_of
from torture.warm import HANGS, Warm

NO_LIST, STOPPED, KILLED = 2, 5, 137
_DEFECTS = (
    "Traceback",
    "defect of the program",
    "never retrieved",
    "Exception ignored",
    "Task was destroyed",
)
_LIMITS = (20_000, 3_000_000)  # bytes of the largest file that is allowed


@dataclass(frozen=True)
class Trial:
    """One fault of one run. `number` is that of the call, or the longest file allowed."""

    mode: str
    backend: str
    fault: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.mode} {self.backend} {self.fault} {self.call} {self.number}"

    @classmethod
    def parse(cls, words: list[str]) -> Self:
        mode, backend, fault, call, number = words
        return cls(mode, backend, fault, call, int(number))


@dataclass
class Result:
    """How a trial went. `was_met`: the run came to that call."""

    trial: Trial
    code: int
    was_met: bool
    differences: list[str]
    said: str = ""


@dataclass
class _Known:
    """What is known of a mode on a backend: its undisturbed outcome, code and calls, and the folder before."""

    outcome: Outcome
    code: int
    calls: Counter[str]
    before: Path | None
    session: int  # that made the folder before


class Sweep:
    """Trials in `folder`, one after another. Opening it starts the site and the process that is forked."""

    def __init__(self, folder: Path, *, urls: int = 200) -> None:
        self._folder = folder
        self._urls = urls
        self._known: dict[tuple[str, str], _Known] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._site = self._stack.enter_context(TortureSite())
        self._warm = self._stack.enter_context(Warm())
        urls = listed(self._site, self._urls)
        (self._folder / LIST).write_text(write_list(urls))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        assert not self._site.errors, self._site.errors

    @property
    def out(self) -> Path:
        """The run directory of the last trial."""
        return self._folder / "run" / OUT

    def trials(self, mode: str, backend: str, fault: str) -> list[Trial]:
        """Every call that the fault may be injected into, of a mode on a backend."""
        if fault == LIMIT:
            lengths = range(_LIMITS[0], _LIMITS[1], (_LIMITS[1] - _LIMITS[0]) // 100)
            return [Trial(mode, backend, fault, "-", length) for length in lengths]
        calls = self._learn(mode, backend).calls
        return [
            Trial(mode, backend, fault, call, number)
            for call in FAULTS[fault].calls
            for number in range(1, calls[call] + 1)
        ]

    def sample(self, mode: str, backend: str, fault: str, number: int, seed: int) -> list[Trial]:
        """So many of them by chance, each call as likely as any other however often it is made."""
        trials = self.trials(mode, backend, fault)
        chance = random.Random(f"{seed} {mode} {backend} {fault}")
        by_call: dict[str, list[Trial]] = {}
        for trial in trials:
            by_call.setdefault(trial.call, []).append(trial)
        return [chance.choice(chance.choice(list(by_call.values()))) for _ in range(number if by_call else 0)]

    def run(self, trial: Trial) -> Result:
        """Do one trial; its folder is left if anything differs."""
        mode, fault = MODES[trial.mode], FAULTS[trial.fault]
        known = self._learn(trial.mode, trial.backend)
        folder = self._fresh(known.before)
        self._site.begin(mode.version)
        command = self._command(mode, trial.backend)
        if trial.fault == LIMIT:
            run = self._warm.start(command, folder, file_limit=trial.number)
            code = self._warm.go(run)
            is_met = True
        else:
            run = self._warm.start(command, folder)
            injection = fault.injection.format(n=trial.number)
            calls = folder / "calls.txt"
            tracer = Strace(run.pid, traced=[trial.call], injection=injection, calls=calls)
            code = self._warm.go(run)
            tracer.close()
            is_met = code == KILLED or was_met(calls, folder, code)
        said = run.output()
        found = _amiss(code, known.code, said, trial) if is_met else []
        if is_met and code != HANGS:
            found += self._compare(folder, mode, trial, known, code)
        return Result(trial, code, is_met, found, said)

    def _compare(self, folder: Path, mode: Mode, trial: Trial, known: _Known, code: int) -> list[str]:
        out = folder / OUT
        found: list[str] = []
        must_be_whole = not FAULTS[trial.fault].may_stop and code == known.code
        is_limited = trial.fault == LIMIT
        is_over = mode.is_again and completed(out) > known.session
        is_unconverted = is_over and not must_be_whole and "--convert-links" in mode.before
        if is_limited or is_unconverted or not (must_be_whole or is_over):
            again = self._command(mode, trial.backend)
            if is_unconverted:  # only what follows the run was cut short
                again = mode.command_before(trial.backend, self._seed())
            if (
                is_limited
            ):  # what is too large for a limit on files fails, and that is all that a limit may do
                again = mode.command_before(trial.backend, self._seed()) if is_over else again
                again.append("--retry-failed")
            code, said = self._warm.run(again, folder)
            if code != known.code:
                found.append(f"the next run ended with {code} and not {known.code}: {said}")
        code, said = self._warm.run(["verify", OUT], folder)
        if code:
            found.append(f"verify: {said}")
        try:
            outcome = outcome_of(out)
            if is_limited:
                outcome.lines = known.outcome.lines
            found += outcome.differences(known.outcome)
        except (ValueError, OSError) as error:
            found.append(f"it can't be read: {error!r}")
        return found

    def _learn(self, name: str, backend: str) -> _Known:
        """Run a mode undisturbed, once to see its outcome and once to count its calls."""
        known = self._known.get((name, backend))
        if known is not None:
            return known
        mode = MODES[name]
        before, session = None, 0
        if mode.before:
            self._site.begin(1)
            folder = self._fresh(None)
            self._warm.run(mode.command_before(backend, self._seed()), folder)
            before = self._folder / f"before-{name}-{backend}"
            shutil.copytree(folder, before)
            session = completed(before / OUT)
        outcomes = []
        calls: Counter[str] = Counter()
        for is_counted in (False, True):
            folder = self._fresh(before)
            self._site.begin(mode.version)
            run = self._warm.start(self._command(mode, backend), folder)
            if is_counted:
                tracer = Strace(run.pid, traced=CALLS, calls=folder / "calls.txt")
                code = self._warm.go(run)
                tracer.close()
                calls = counted(folder / "calls.txt")
            else:
                code = self._warm.go(run)
            outcomes.append(outcome_of(folder / OUT))
        if different := outcomes[1].differences(outcomes[0]):
            raise RuntimeError(f"{name} on {backend} does not end alike: {different}")
        known = self._known[name, backend] = _Known(outcomes[0], code, calls, before, session)
        return known

    def _command(self, mode: Mode, backend: str) -> list[str]:
        return mode.command(backend, self._seed())

    def _seed(self) -> str:
        return self._site.url("/tree/0")

    def _fresh(self, before: Path | None) -> Path:
        """A new folder for a run, in the place of the last one."""
        folder = self._folder / "run"
        if folder.exists():
            shutil.rmtree(folder)
        if before is None:
            folder.mkdir()
        else:
            shutil.copytree(before, folder)
        shutil.copy2(self._folder / LIST, folder)
        return folder


def _amiss(code: int, ordinary: int, said: str, trial: Trial) -> list[str]:
    """What was wrong with the faulted run itself."""
    fault = FAULTS[trial.fault]
    allowed = {ordinary}
    if fault.may_stop:
        allowed.add(STOPPED)
    if fault.name == KILL:
        allowed.add(KILLED)
    if trial.call == "openat" and trial.number == 1:
        allowed.add(NO_LIST)
    found = []
    if code == HANGS:
        found.append("it did not end")
    elif code not in allowed:
        found.append(f"it ended with {code}")
    # A worker process whose interpreter can't start has no other way to say so.
    is_excused = MODES[trial.mode].starts_processes and code == STOPPED
    found += [f"it said: {said.strip()}" for word in _DEFECTS if word in said and not is_excused][:1]
    return found
