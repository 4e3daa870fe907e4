"""The exit codes: what each tells a script, as the documents say it.

`MEANINGS` is what `docs/reference.md` shows; the codes of signals are 128 and their number.
"""

from __future__ import annotations

import signal
from typing import Final

from fetcher.errors import DISK_FAULTS, ConfigError, DirectoryInUse, FetcherError, StorageError
from fetcher.open_files import EXHAUSTED

FAILED, USAGE, IN_USE, STOPPED_CLEANLY, STORAGE, DEFECT = 1, 2, 3, 4, 5, 70
SIGNALS: Final = {name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")}  # a clean stop
_BY_SIGNAL = tuple(sorted(128 + int(number) for number in (*SIGNALS.values(), signal.SIGPIPE)))

MEANINGS: Final[tuple[tuple[tuple[int, ...], str], ...]] = (
    ((0,), "every URL is `done` or `unchanged`; a crawl may have found dead links (404 and the like)"),
    ((FAILED,), "the run ended, and some URLs failed or were refused; or a check found something wrong"),
    ((USAGE,), "wrong usage or configuration; nothing was fetched"),
    ((IN_USE,), "another run holds the directory"),
    (
        (STOPPED_CLEANLY,),
        "stopped by `--deadline`, `--max-failures` or the dashboard; the same command continues",
    ),
    ((STORAGE,), "the disk or the state failed, or would fill up, or workers died; what was settled is safe"),
    ((DEFECT,), "a defect of the program, with a line that says where the trace is"),
    (_BY_SIGNAL, "stopped by SIGHUP, SIGINT, a closed pipe, SIGTERM; the same command continues"),
)

_OF_ERRORS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (ConfigError, USAGE),
    (DirectoryInUse, IN_USE),
    (StorageError, STORAGE),
    (FetcherError, FAILED),
    (KeyboardInterrupt, 128 + signal.SIGINT),
    (BrokenPipeError, 128 + signal.SIGPIPE),
)


def code_of(error: BaseException) -> int:
    """Return the exit code of a run that an error ended."""
    if isinstance(error, OSError) and error.errno in DISK_FAULTS | EXHAUSTED:
        return STORAGE
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), DEFECT)
