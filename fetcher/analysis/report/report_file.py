"""The file of a report: it appears whole or not at all, and stands for nothing but an earlier report."""

from __future__ import annotations

import os
from pathlib import Path

from fetcher.analysis.report.report_page import MARK
from fetcher.errors import ConfigError, StorageError
from fetcher.whole_file import write_whole


def write_report(path: Path, page: str) -> None:
    """Write a page to `path`, in the place of an earlier report.

    Raises:
        ConfigError: another file stands there.
        StorageError: it can't be written; nothing is left.
    """
    if not _may_be_written(path):
        raise ConfigError(
            f"{path} is there already, and is no report", hint="choose another --output, or move it away"
        )
    try:
        write_whole(str(path), page.encode())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _may_be_written(path: Path) -> bool:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="choose another --output") from error
