"""Repair: what is off is put back, to be fetched again by the next run.

Nothing is destroyed: what stands at the name of a URL is moved below `.fetcher/damaged` first, then its row
becomes pending, without validators. A kill between the two leaves a file that is missing, which the next
repair finds. The name stays with its URL.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.run_dir import RunDirectory
from fetcher.verification.file_checks import is_within
from fetcher.verification.findings import OF_FILES, OF_PARTS, Finding
from fetcher.verification.object_checks import StoredObjects

_PUT_BACK = sql("""UPDATE url SET state = :PENDING, attempts = 0, waited = 0, not_before = 0, history = NULL,
 status = NULL, error = NULL, bytes = NULL, sha256 = NULL, etag = NULL, last_modified = NULL, is_foreign = 0
 WHERE id = ?""")
_MOST_SUFFIXES = 10_000


class Repair:
    """Puts findings back, by batches. The directory is locked, and `db` its state.

    Where bodies are `objects`, those that are off are moved within their store.
    """

    def __init__(
        self, directory: RunDirectory, db: sqlite3.Connection, objects: StoredObjects | None = None
    ) -> None:
        self._directory = directory
        self._objects = objects
        self._db = db
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._has_links = "links" in tables

    def put_back(self, findings: Sequence[Finding]) -> list[Finding]:
        """Put back what is off of files and parts, in one transaction. Returns what was.

        Raises:
            StorageError: a file can't be moved; what was put back before is safe.
        """
        files = [finding for finding in findings if finding.kind in OF_FILES]
        parts = [finding for finding in findings if finding.kind in OF_PARTS]
        for finding in files:
            assert finding.path is not None
            if finding.kind != "missing" and is_within(finding.path):
                if self._objects is None:
                    set_aside(self._directory, finding.path)
                else:
                    self._objects.put_aside(finding.path)
        self._db.execute("BEGIN IMMEDIATE")
        rows = [(finding.id,) for finding in files]
        self._db.executemany(_PUT_BACK, rows)
        if self._has_links:  # those of the page as it was
            self._db.executemany("DELETE FROM links WHERE url = ?", rows)
        if parts:
            self._db.executemany("DELETE FROM part WHERE url = ?", [(finding.id,) for finding in parts])
        self._db.execute("COMMIT")
        return files + parts


def set_aside(directory: RunDirectory, path: str) -> Path | None:
    """Move what stands at a path of the run directory below `.fetcher/damaged`; None if nothing does.

    Raises:
        StorageError: it can't be moved.
    """
    source = directory.root / path
    target = directory.own / "damaged" / path
    try:
        if not os.path.lexists(source):
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        free = target
        for number in range(2, _MOST_SUFFIXES):
            if not os.path.lexists(free):
                break
            free = target.with_name(f"{target.name}.{number}")
        source.rename(free)
    except (FileNotFoundError, NotADirectoryError):  # what stands in the way is no folder, and is not ours
        return None
    except OSError as error:
        raise StorageError(
            f"cannot move {source} to {target}: {error.strerror}", hint="check the folder's permissions"
        ) from error
    return free
