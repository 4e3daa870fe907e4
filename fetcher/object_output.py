"""An object store as the output of a run: opened before anything is fetched, and given the records too.

Invariant: `results.jsonl` is there as an object that ends with a whole line: first as the run begins, which
shows that the store may be written, then now and then, and at the end. Each line tells of an object that is
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fetcher.errors import ConfigError, StorageError
from fetcher.events import Event, OutcomesSettled
from fetcher.kept_output import JOURNALS, KeptOutput, keep_output, read_output
from fetcher.policy.object_urls import ObjectUrl
from fetcher.run_dir import RunDirectory
from fetcher.stores.object_client import PART_BYTES, ObjectClient

_EVERY_S = 60.0
_MOST_OF_TIME = 20  # an upload may take a twentieth of it
_BLOCK = 1024**2


class ObjectOutput:
    """The store that a run's objects go to: an observer that uploads the records while it goes on.

    `notice` is told, by level and text, what should be known. Waits `every_s` seconds between two uploads, or
    longer where one takes long.
    """

    def __init__(
        self,
        directory: RunDirectory,
        url: ObjectUrl,
        notice: Callable[[str, str], None],
        *,
        overwrite: bool,
        every_s: float = _EVERY_S,
    ) -> None:
        self.client = ObjectClient(url, directory.own)
        self.was_empty = False
        self._directory = directory
        self._url = url
        self._notice = notice
        self._overwrite = overwrite
        self._every_s = every_s
        self._sent: dict[str, int] = {}
        self._is_behind = False
        self._over = asyncio.Event()

    async def open(self) -> None:
        """See that the store can be listed and written, and end what a kill has left there.

        Raises:
            ConfigError: there are the records of another run.
            StorageError: the store refuses, or can't be reached.
        """
        kept = read_output(self._directory)
        client = self.client
        await asyncio.to_thread(client.connect)
        is_empty = await client.is_empty()
        if kept is None:
            kept = KeptOutput(str(self._url), was_empty=is_empty)
            keep_output(self._directory, kept)
        self.was_empty = kept.was_empty
        is_first = not self._directory.state.exists()
        if is_first and not is_empty and not self._overwrite and await client.length_of(JOURNALS[0]):
            raise ConfigError(
                f"output: {self._url.at(JOURNALS[0])} is there, and this state does not know of it",
                hint=f"choose another prefix, or --overwrite; to go on from it, copy it to"
                f" {self._directory.root} and run: fetcher verify {self._directory.root} --rebuild",
            )
        try:
            if number := await asyncio.to_thread(client.abort_left):
                self._notice("info", f"uploads that were cut off are ended: {number:,}")
        except StorageError as error:
            self._notice("warning", f"{error.message}; a lifecycle rule of the bucket does it")
        await self.upload()

    def on_event(self, event: Event) -> None:
        """Note that there are new lines."""
        if isinstance(event, OutcomesSettled):
            self._is_behind = True

    async def keep_up(self) -> None:
        """Upload the records now and then until `finish`; one that fails is told, and tried again.

        Cancelling leaves those that are there.
        """
        took = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), max(self._every_s, took * _MOST_OF_TIME))
                return
            if not self._is_behind:
                continue
            self._is_behind = False
            begun = time.monotonic()
            try:
                await self.upload()
            except StorageError as error:
                self._is_behind = True
                self._notice("warning", f"{error.message}; the records are written again later")
            took = time.monotonic() - begun

    async def finish(self, keeping_up: asyncio.Future[None]) -> None:
        """Let what is under way end, then upload the records as they are now. Raises `StorageError`."""
        self._over.set()
        await keeping_up
        await self.upload()

    async def upload(self) -> None:
        """Write the records, as far as their lines are whole. Raises `StorageError`."""
        for name in JOURNALS:
            path = self._directory.root / name
            try:
                length = _whole_length(path)
                size = length or 0
                if self._sent.get(name) == size or (length is None and name != JOURNALS[0]):
                    continue
                source = _blocks_of(path, size) if size > PART_BYTES else b"".join(_blocks_of(path, size))
                await self.client.put(name, source, size, "application/jsonl")
            except OSError as error:
                raise StorageError(f"cannot read {path}: {error.strerror}") from error
            self._sent[name] = size


def _blocks_of(path: Path, length: int) -> Iterator[bytes]:
    """Yield the first `length` bytes of a file that may be growing."""
    if not length:
        return
    with path.open("rb", buffering=0) as file:
        while length and (block := file.read(min(_BLOCK, length))):
            length -= len(block)
            yield block


def _whole_length(path: Path) -> int | None:
    """Measure a file of lines up to the end of its last whole one; None if it is not there."""
    try:
        with path.open("rb", buffering=0) as file:
            end = file.seek(0, 2)
            while end:
                begin = max(0, end - _BLOCK)
                file.seek(begin)
                found = file.read(end - begin).rfind(b"\n")
                if found >= 0:
                    return begin + found + 1
                end = begin
            return 0
    except FileNotFoundError:
        return None
