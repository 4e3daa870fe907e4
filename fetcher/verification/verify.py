"""A verification from its beginning to its end: the lock, the check, and what is mended by it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable

from fetcher.errors import StorageError
from fetcher.frontiers.soundness import damage_of, damaged
from fetcher.frontiers.sqlite.schema import NewerState, is_lost, open_state, read_state, storage_error
from fetcher.policy.checksums import ChecksumLists
from fetcher.run_dir import OWN, RunDirectory
from fetcher.verification.check import Check, CheckProgress
from fetcher.verification.findings import OF_DATA, OF_FILES, OF_PARTS, OF_RECORDS, Finding, Verdict
from fetcher.verification.object_checks import stored_objects
from fetcher.verification.rebuild_records import RecordsRebuild
from fetcher.verification.rebuild_state import Rebuilt, StateRebuild
from fetcher.verification.records import length_of
from fetcher.verification.repair import Repair

_AT_ONCE = 256
_BLOCK = 1 << 20


class Verification:
    """One verification of a run directory. `tell` gets every finding, `say` what was done.

    `fast` leaves the content of files out. `repair` puts back what is off, and makes records anew that are;
    `rebuild` makes a state that can't be used anew first, or else only the records. `lists` have checksums
    that files have to meet too.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        fast: bool = False,
        repair: bool = False,
        rebuild: bool = False,
        tell: Callable[[Finding], None],
        say: Callable[[str], None],
        progress: Callable[[CheckProgress], None],
        lists: ChecksumLists | None = None,
    ) -> None:
        self._lists = lists
        self._directory = directory
        self._fast = fast
        self._repairs = repair
        self._rebuilds = rebuild
        self._tell = tell
        self._say = say
        self._progress = progress
        self._verdict = Verdict()
        self._waiting: list[Finding] = []

    def run(self) -> Verdict:
        """Check, and mend what was asked for.

        Raises:
            ConfigError: it is no run directory.
            DirectoryInUse: a run is under way there.
            StorageError: the state can't be read, or the disk failed.
        """
        begun = time.monotonic()
        directory = self._directory
        if not (self._rebuilds and length_of(directory.results)):
            directory.require()
        directory.acquire()
        try:
            if self._rebuilds and self._is_unusable():
                self._tell_rebuilt(StateRebuild(directory, self._progress).run())
            self._verify()
        finally:
            directory.release()
        self._verdict.elapsed = round(time.monotonic() - begun, 3)
        return self._verdict

    def _is_unusable(self) -> bool:
        """Tell whether the state is lost, damaged or no state. One of a newer version is none of them."""
        if is_lost(self._directory.state) or not self._directory.state.exists():
            return True
        try:
            db = read_state(self._directory.state)
        except NewerState:
            raise
        except StorageError as error:
            if isinstance(error.__cause__, OSError):
                raise
            return True
        try:
            return damage_of(db) is not None
        finally:
            db.close()

    def _tell_rebuilt(self, rebuilt: Rebuilt) -> None:
        self._say(
            f"the state was made anew from {self._directory.results.name}: {rebuilt.urls:,} URLs "
            f"of a {rebuilt.command}, {rebuilt.pending:,} of them to be fetched by the next run"
        )
        if rebuilt.pages_put_back:
            self._say(
                f"the links of a crawl are in its state only, so its pages are to be read again: "
                f"{rebuilt.pages_put_back:,}"
            )
        if rebuilt.kept_as is not None:
            self._say(f"the damaged state is kept as {OWN}/{rebuilt.kept_as}")

    def _verify(self) -> None:
        state = self._directory.state
        writes = self._repairs or self._rebuilds
        db = read_state(state)
        try:
            if (damage := damage_of(db, quick=self._fast)) is not None:
                raise damaged(state, damage)
            if writes:
                db.close()
                db = open_state(state, fsync=True)
            self._check(db)
        except sqlite3.Error as error:
            raise storage_error(error, "verifying", state) from error
        finally:
            db.close()

    def _check(self, db: sqlite3.Connection) -> None:
        verdict = self._verdict
        objects = stored_objects(self._directory)
        repair = Repair(self._directory, db, objects) if self._repairs else None
        records = RecordsRebuild(self._directory, db) if self._repairs or self._rebuilds else None
        check = Check(
            self._directory,
            db,
            verdict,
            fast=self._fast,
            progress=self._progress,
            lists=self._lists,
            objects=objects,
        )
        try:
            for finding in check.run():
                verdict.found[finding.kind] += 1
                self._tell(finding)
                if repair is not None and finding.kind in OF_FILES | OF_PARTS:
                    self._waiting.append(finding)
                    if len(self._waiting) >= _AT_ONCE:
                        self._put_back(repair)
                elif repair is not None and finding.kind in OF_DATA:
                    self._accept_data(db)
                    verdict.mended[finding.kind] += 1
                elif records is not None and finding.kind in OF_RECORDS:
                    records.add(finding)
            lists = self._lists
            if lists is not None and lists.unused:
                self._say(f"of {lists.lines:,} checksums, {lists.unused:,} belong to no file")
            if repair is not None:
                self._put_back(repair)
            if records is not None and records.is_wanted:
                made = records.run()
                self._say(
                    f"{self._directory.results.name} was made anew; records made from the state: {made:,}"
                )
                for kind in OF_RECORDS:
                    if verdict.found[kind]:
                        verdict.mended[kind] = verdict.found[kind]
            elif records is not None:  # a start had noticed what has been mended since
                db.execute("UPDATE meta SET value = 0 WHERE name = 'records_lost'")
        finally:
            if records is not None:
                records.close()
            if objects is not None:
                objects.close()

    def _put_back(self, repair: Repair) -> None:
        for finding in repair.put_back(self._waiting):
            self._verdict.mended[finding.kind] += 1
        self._waiting.clear()

    def _accept_data(self, db: sqlite3.Connection) -> None:
        """Let the state know how long `data.jsonl` is, up to its last whole line; the torn one goes."""
        path = self._directory.results.with_name("data.jsonl")
        length = length_of(path) or 0
        if length:
            with path.open("rb") as file:
                end = length
                while end:
                    begin = max(0, end - _BLOCK)
                    file.seek(begin)
                    found = file.read(end - begin).rfind(b"\n")
                    if found >= 0:
                        length = begin + found + 1
                        break
                    end = length = begin
        db.execute("UPDATE meta SET value = ? WHERE name = 'data_length'", (length,))
        if path.is_file():
            os.truncate(path, length)


__all__ = ["CheckProgress", "Finding", "Verdict", "Verification"]
