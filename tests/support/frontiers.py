"""Jobs, outcomes and sessions for the suites of frontiers.

`Place` is a run directory without its engine. `Place.killed` is what a SIGKILL at this instant would have
left: a copy of the files, taken while the session goes on.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fetcher.engine.job_factory import JobFactory
from fetcher.engine.record_builder import encode_record
from fetcher.frontiers.sqlite.filename_allocator import FilenameAllocator
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.model import Deferral, Entry, Job, Outcome, Record, Wait
from fetcher.ports import Frontier
from fetcher.serial_executor import SerialExecutor

PLENTY = 10_000
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a folder where a hundred states are made at once


def job(url: str, **columns: Any) -> Job:
    """The job of a line of input, as the intake makes it."""
    return JobFactory().job_of(Entry(url, **columns))


def jobs(urls: Iterable[str], **columns: Any) -> list[Job]:
    return [job(url, **columns) for url in urls]


def ended(job: Job, state: Any = "done", **fields: Any) -> Outcome:
    """A final outcome, with its line for the journal."""
    history = fields.pop("history", ())
    if state == "done":
        fields = {"bytes": 4, "sha256": "ab" * 32, "path": job.path, "status": 200, **fields}
    elif state == "failed":
        fields = {"error": "http-status", "status": 404, **fields}
    record = Record(url=job.url, state=state, attempts=fields.pop("attempts", 1), **fields)
    return Outcome(job=job, record=record, line=encode_record(record), history=history)


def deferred(
    job: Job, *, not_before: float = 1e9, attempts: int = 1, waited_s: float = 0.0, reason: str = "backoff"
) -> Outcome:
    """A deferral, as a failed attempt leaves it."""
    history = (*job.history, Wait(reason, 1.5, attempts, "timed-out"))
    return Outcome(job=job, deferral=Deferral(not_before, attempts, waited_s, history))


async def claim_all(frontier: Frontier, *, per_host: int = PLENTY) -> list[Job]:
    """Everything that can be claimed, in the order in which it is given."""
    claimed: list[Job] = []
    while some := await frontier.claim(PLENTY, per_host=per_host, now=0.0):
        claimed += some
    return claimed


async def finish(frontier: Frontier, state: Any = "done") -> list[Job]:
    """Claim and settle until nothing is left."""
    claimed = await claim_all(frontier)
    await frontier.settle([ended(job, state) for job in claimed])
    return claimed


def urls_of(jobs: Iterable[Job]) -> list[str]:
    return [job.url for job in jobs]


def by_path(job: Job) -> str:
    """A name template: the URL's path, without its first slash."""
    assert job.target is not None
    if job.overrides is not None and job.overrides.name:
        return job.overrides.name
    return job.target.url.partition("://")[2].partition("/")[2] or "index.html"


def nothing(_: Collection[str]) -> Collection[str]:
    return ()


class Place:
    """A run directory, or what is left of one."""

    def __init__(
        self,
        root: Path,
        *,
        candidate: Callable[[Job], str] | None = None,
        existing: Callable[[Collection[str]], Collection[str]] = nothing,
        kind: type[SqliteFrontier] = SqliteFrontier,
    ) -> None:
        self.root = root
        self.state = root / ".fetcher" / "state.db"
        self.results = root / "results.jsonl"
        self.candidate = candidate
        self.existing = existing
        self.kind = kind
        self.state.parent.mkdir(parents=True, exist_ok=True)

    def frontier(self, *, fsync: bool = False, **mode: Any) -> SqliteFrontier:
        """A session that is not open yet. Keywords are those of `Mode`."""
        names = None if self.candidate is None else FilenameAllocator(self.candidate, self.existing)
        return self.kind(
            self.state,
            self.results,
            mode=Mode(**mode),
            lane=SerialExecutor("state"),
            names=names,
            fsync=fsync,
        )

    @asynccontextmanager
    async def session(self, *, complete: bool = False, **mode: Any) -> AsyncIterator[SqliteFrontier]:
        """An open session, closed as interrupted or as `complete`."""
        frontier = self.frontier(**mode)
        try:
            await frontier.open()
            yield frontier
        except BaseException:
            await frontier.aclose(complete=False)
            raise
        await frontier.aclose(complete=complete)

    async def run(self, jobs: Sequence[Job] = (), state: Any = "done", **mode: Any) -> list[str]:
        """A whole run: list, fetch everything, end. Returns what was fetched."""
        async with self.session(complete=True, **mode) as frontier:
            await frontier.add(jobs)
            return urls_of(await finish(frontier, state))

    def killed(self) -> Place:
        """A copy of the files as they are now: what the next process would find."""
        number = 1
        while (left := self.root.with_name(f"{self.root.name}-killed-{number}")).exists():
            number += 1
        shutil.copytree(self.root, left, ignore=shutil.ignore_patterns("*-shm"), symlinks=True)
        return Place(left, candidate=self.candidate, existing=self.existing, kind=self.kind)

    def lines(self) -> list[str]:
        """The URLs of the records, in the order of their lines."""
        return [json.loads(line)["url"] for line in self.results.read_bytes().splitlines()]

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the state says. Only while no session is open."""
        with contextlib.closing(sqlite3.connect(self.state, isolation_level=None)) as db:
            return db.execute(statement, parameters).fetchall()
