"""Exchanges as web archives: WARC/1.1 in `archive/`, and their sorted index in `indexes/index.cdxj`.

The layout is that of a pywb collection. Every exchange whose answer came whole is kept, redirects, errors and
robots.txt included; what is cut short on the way is tried again and leaves nothing. An answer that the index
knows with the same digest, or that was not modified, becomes a `revisit`.

Invariant: an archive is a row of whole records, and what is settled is a prefix of it; see `growing_file`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fetcher.errors import StorageError
from fetcher.model import Exchange, Outcome
from fetcher.ports import ArchivableBody
from fetcher.stores.archive_store import ArchiveStore
from fetcher.stores.cdxj import CAPTURES, CDXJ, INDEX, Capture, CaptureIndex, Found, index_left, line_of
from fetcher.stores.growing_file import GrowingFile, finish_left
from fetcher.stores.warc_records import Content, WarcWriter, digest_from_hex, digest_of, timestamp_of

SIZE = 1_000_000_000  # bytes from which on another archive is begun
FOLDER = "archive"
_SUFFIX = ".warc.gz"


class WarcStore(ArchiveStore):
    """An archive store of exchanges below `root`; captures that are not indexed yet are in `own`.

    `info` is what the archives say of the program that made them; the rest is as in `ArchiveStore`.
    """

    keeps_exchanges = True

    def __init__(
        self,
        root: Path,
        *,
        own: Path,
        info: Mapping[str, str],
        fsync: bool,
        size: int = SIZE,
        label: str = "",
        published: Path | None = None,
    ) -> None:
        super().__init__(
            root / FOLDER, own / CAPTURES, fsync=fsync, size=size, label=label, published=published
        )
        self._index_path = (published or root) / INDEX
        self._info = info
        self._index = CaptureIndex(self._index_path)  # on the loop only
        # In the executor only:
        self._original = CaptureIndex(self._index_path)
        self._current: _Archive | None = None
        self._full: list[_Archive] = []

    def holds(self, url: str) -> bool:
        return self._index.last_of(url) is not None

    async def aclose(self) -> None:
        """Close the archives; the directory's owner finishes them all, and brings the index up to date."""
        try:
            await super().aclose()
        finally:
            self._index.close()

    # ---- in the executor ----

    def _put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        while self._full:
            self._full.pop().finish()
        begun = self._current
        lengths = None if begun is None else begun.lengths
        made: list[_Archive] = []
        try:
            for outcome in batch:
                archive = self._current
                if archive is None or archive.file.length >= self._size:
                    archive = self._current = _Archive(self._folder, self._own, self._info, self._label)
                    made.append(archive)
                for number, exchange in enumerate(outcome.exchanges, 1):
                    if exchange.response is None or exchange.error is not None:
                        continue
                    is_last = number == len(outcome.exchanges)
                    with _content(exchange, outcome.body if is_last else None) as content:
                        archive.write(exchange, content, self._original_of(outcome, exchange, content))
                outcome.archived = f"{FOLDER}/{archive.file.name}", archive.file.length
            for archive in {begun, *made} - {None}:
                assert archive is not None
                archive.flush(fsync=self._fsync)
        except BaseException:
            for archive in made:
                archive.drop()
            if begun is not None and lengths is not None:
                begun.cut(lengths)
            self._current = begun
            raise
        self._full = [archive for archive in (begun, *made) if archive not in {None, self._current}]
        return [None] * len(batch)

    def _original_of(self, outcome: Outcome, exchange: Exchange, content: Content) -> Found | None:
        """Find what a record of an unchanged page may refer to."""
        record, response = outcome.record, exchange.response
        if record is None or record.state != "unchanged" or exchange is not outcome.exchanges[-1]:
            return None
        assert response is not None
        found = self._original.last_of(exchange.request.url)
        if found is None or (response.status != 304 and found.capture.digest != content.digest):
            return None
        return found

    def _close(self) -> None:
        for archive in (self._current, *self._full):
            if archive is not None:
                archive.close()
        self._current, self._full = None, []
        self._original.close()

    def _finish_all(self, archives: Mapping[str, int]) -> None:
        lengths = {
            name: length
            for path, length in archives.items()
            for folder, _, name in [path.partition("/")]
            if folder == FOLDER
        }
        finish_left(self._folder, f"*{_SUFFIX}", lengths)
        index_left(self._index_path, self._own, lengths, self._own)


class _Archive:
    """One archive that grows, and the lines of its captures."""

    def __init__(self, folder: Path, own: Path, info: Mapping[str, str], label: str) -> None:
        folder.mkdir(exist_ok=True)
        own.mkdir(exist_ok=True)
        self.file = _made(folder, label)
        self._captures_path = own / f"{self.file.name}{CDXJ}"
        self._captures = self._captures_path.open("wb")
        self._writer = WarcWriter(self.file.file)
        self._writer.info(self.file.name, info)

    @property
    def lengths(self) -> tuple[int, int]:
        return self.file.length, self._captures.tell()

    def write(self, exchange: Exchange, content: Content, original: Found | None) -> None:
        """Write one exchange; one that a reader may replay is indexed."""
        response = exchange.response
        assert response is not None
        begin = self.file.length
        if original is not None and response.status == 304:
            digest = original.capture.digest
            content = Content(content.stream, content.length, digest)
        answer = self._writer.response(exchange, content, original)
        end = self.file.length
        self._writer.request(exchange, answer)
        if exchange.request.method != "GET":
            return
        kind = response.headers.get("content-type", "") or ""
        capture = Capture(
            url=exchange.request.url,
            digest=content.digest,
            filename=self.file.name,
            offset=str(begin),
            length=str(end - begin),
            mime="warc/revisit" if original is not None else kind.partition(";")[0].strip() or "unk",
            status=str(response.status),
        )
        self._captures.write(line_of(timestamp_of(exchange.started_at), capture))

    def flush(self, *, fsync: bool) -> None:
        self._captures.flush()
        self.file.flush(fsync=fsync)

    def cut(self, lengths: tuple[int, int]) -> None:
        """Take back what was written after these lengths."""
        self.file.cut(lengths[0])
        with contextlib.suppress(OSError):
            self._captures.flush()
        self._captures.truncate(lengths[1])
        self._captures.seek(lengths[1])

    def finish(self) -> None:
        self._captures.close()
        self.file.finish()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._captures.close()
        self.file.close()

    def drop(self) -> None:
        """Remove it: nothing of it is settled."""
        self.close()
        self.file.remove()
        self._captures_path.unlink(missing_ok=True)


def _made(folder: Path, label: str) -> GrowingFile:
    """Make the next archive: named by time and number, as other crawlers do, whoever else makes some."""
    stamp = timestamp_of(time.time())
    for number in itertools.count():
        with contextlib.suppress(FileExistsError):
            return GrowingFile(folder, f"fetcher-{stamp}-{label}{number:05}{_SUFFIX}")
    raise AssertionError


@contextlib.contextmanager
def _content(exchange: Exchange, body: ArchivableBody | None) -> Iterator[Content]:
    """The body of an answer as it came: kept with the exchange, or that of its outcome."""
    if exchange.content is not None or body is None:
        data = exchange.content or b""
        yield Content(io.BytesIO(data), len(data), digest_of(data), exchange.is_cut)
        return
    wire: ArchivableBody = body.wire or body
    data_held = wire.data()
    is_cut = body.is_cut or wire.is_cut
    if data_held is not None:
        digest = digest_from_hex(wire.sha256) if wire.sha256 else digest_of(data_held)
        yield Content(io.BytesIO(data_held), len(data_held), digest, is_cut)
        return
    part = wire.part()
    if part is None:
        raise ValueError("the body was discarded before it was archived")
    with Path(part).open("rb") as stream:
        digest = wire.sha256 or hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        yield Content(stream, wire.length, digest_from_hex(digest), is_cut)
