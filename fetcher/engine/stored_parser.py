"""The parsing of stored pages, without a request: fetched when there was no parser, or another.

Invariant: a batch is settled, data and all, before the next is begun; what a stop or a kill leaves is
parsed by the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from fetcher.engine.record_builder import encode_record
from fetcher.engine.run_context import RunContext
from fetcher.events import LogMessage, OutcomesSettled
from fetcher.model import Headers, Job, Outcome, Record, StoredPage
from fetcher.policy.redaction import shown
from fetcher.policy.rewriting import served_body
from fetcher.ports import Reader, StoredPageFrontier

TOLD_EVERY_S = 10.0


class StoredBody:
    """A body that stands in its file already, as it was served or converted. The port `Body`."""

    sha256 = ""

    def __init__(self, file: str, length: int, served: bytes | None = None) -> None:
        self._file = file
        self._served = served
        self.length = length

    def hash(self) -> tuple[str, str]:
        return "", ""

    def data(self) -> bytes | None:
        return self._served

    def part(self) -> str | None:
        return self._file if self._served is None else None


class StoredParser:
    """Has stored pages below `root` read by the reader that `make_reader` makes, if there are any."""

    def __init__(self, frontier: StoredPageFrontier, root: Path, make_reader: Callable[[], Reader]) -> None:
        self._frontier = frontier
        self._root = root
        self._make_reader = make_reader

    async def run(self, context: RunContext, on_found: Callable[[int], None]) -> None:
        """Parse all of them. `on_found` is told by how many URLs their links raised what is pending.

        Raises:
            StorageError: the state failed; what was settled is safe.

        Cancelling abandons the batch under way.
        """
        frontier, events = self._frontier, context.events
        number = await frontier.find_stored()
        if not number:
            return
        events.emit(LogMessage("info", f"stored pages that are parsed without a request: {number:,}"))
        reader = self._make_reader()
        done = failed = 0
        told = context.clock.now()
        try:
            while pages := await frontier.next_stored(reader.batch * reader.most_at_once):
                whole = await asyncio.to_thread(self._found, pages)
                chunks = [whole[at : at + reader.batch] for at in range(0, len(whole), reader.batch)]
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._read(reader, chunk)) for chunk in chunks]
                outcomes = [outcome for task in tasks for outcome in task.result()]
                on_found(await frontier.settle_stored(outcomes))
                changed = [(outcome.record, outcome.line) for outcome in outcomes if outcome.line]
                records = [record for record, _ in changed if record is not None]
                events.emit(OutcomesSettled(records, [line for _, line in changed]))
                done += len(outcomes)
                failed += sum(outcome.error is not None for outcome in outcomes)
                if context.clock.now() - told >= TOLD_EVERY_S:
                    told = context.clock.now()
                    events.emit(LogMessage("info", f"stored pages parsed: {done:,} of {number:,}"))
            await frontier.finish_stored()
        finally:
            await reader.aclose()
        if done < number:
            text = f"stored pages whose files are not as they were left: {number - done:,}"
            events.emit(LogMessage("warning", f"{text}; --refresh fetches them"))
        events.emit(LogMessage("info", f"stored pages parsed: {done:,}, {failed:,} of them failed"))

    def _found(self, pages: list[StoredPage]) -> list[tuple[Job, Record, StoredBody]]:
        """Return the pages whose files are as they were left."""
        found = []
        for page in pages:
            record = page.record
            try:
                file = self._root.joinpath(record.path or "")
                length = file.lstat().st_size
                served = None
                if any(length == form.length for form in page.forms):
                    served = served_body(file.read_bytes(), page.forms)
                if record.path is not None and (served is not None or length == record.bytes):
                    found.append((page.job, record, StoredBody(str(file), record.bytes, served)))
            except (OSError, ValueError):
                continue
        return found

    async def _read(self, reader: Reader, pages: list[tuple[Job, Record, StoredBody]]) -> list[Outcome]:
        read = [(job, record, _headers(record), body) for job, record, body in pages]
        outcomes = []
        for (job, record, _), reading in zip(pages, await reader.read(read), strict=True):
            before = record.state, record.message
            outcome = Outcome(
                job=job, record=record, data=reading.data, links=reading.links, error=reading.error
            )
            if reading.error is not None:
                message = shown(reading.error.message)
                record.state, record.error, record.message = "failed", reading.error.slug, message
            else:
                record.state, record.error, record.message = "done", None, None
            if (record.state, record.message) != before:
                outcome.line = encode_record(record)
            outcomes.append(outcome)
        return outcomes


def _headers(record: Record) -> Headers:
    """Return the header fields that the record keeps."""
    kept = (
        ("Content-Type", record.content_type),
        ("ETag", record.etag),
        ("Last-Modified", record.last_modified),
    )
    return Headers([(name.encode(), value.encode("latin-1", "replace")) for name, value in kept if value])
