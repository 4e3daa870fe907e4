"""Bodies of run directories as they were served, wherever they are kept: in files, web archives or tables.

Invariant: what is given is as long as its record says, and has its SHA-256, where it has one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fetcher.engine.decoding import Decoder
from fetcher.errors import ConfigError, FetcherError, StorageError
from fetcher.frontiers.sqlite.converted_rows import ConvertedRows, has_converted
from fetcher.frontiers.sqlite.schema import archive_lengths, read_state
from fetcher.model import ConvertedFile, Headers
from fetcher.policy.content_encoding import content_codings
from fetcher.policy.fingerprint import text_fingerprint
from fetcher.policy.rewriting import served_body
from fetcher.run_dir import RunDirectory
from fetcher.stores.cdxj import Capture, CaptureIndex
from fetcher.verification.file_checks import read_file
from fetcher.verification.records import Line

LARGEST_BODY = 256 * 1024**2
_MOST_HEAD = 1024**2  # bytes of a record of an archive beside its body


class StoredBodies:
    """The bodies of one run directory."""

    def __init__(self, root: Path) -> None:
        self._files = _Files(root)
        self._archives: list[_WebArchives | _Shards] = []
        if (root / "indexes" / "index.cdxj").is_file():
            self._archives.append(_WebArchives(root))
        if shards := sorted((root / "bodies").glob("bodies-*.parquet")):
            self._archives.append(_Shards(shards))

    def keep(self, record: Line) -> bool:
        """Tell whether the body of a record was stored here."""
        if record.path is not None:
            return True
        return self._files.has_archives and (record.sha256 or record.digest) is not None

    def of(self, record: Line) -> bytes | None:
        """Read the body of a record; None if it is not there as it was stored. No link is followed."""
        if record.path is not None:
            return _matching(record, self._files.read(record.path, record.bytes))
        for archives in self._archives:
            if (body := _matching(record, archives.read(record))) is not None:
                return body
        return None

    def close(self) -> None:
        """Close what is open."""
        for one in (self._files, *self._archives):
            one.close()


def _matching(record: Line, bodies: Iterable[bytes]) -> bytes | None:
    for body in bodies:
        if len(body) == record.bytes and (
            record.sha256 is None or hashlib.sha256(body).hexdigest() == record.sha256
        ):
            return body
    return None


class _Files:
    """Files, and what the state says of those whose links were converted, and of archives."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._db: sqlite3.Connection | None = None
        self.has_archives = True
        with contextlib.suppress(ConfigError, StorageError, sqlite3.Error):  # the files are there
            db = read_state(RunDirectory(root).state)
            self.has_archives = bool(archive_lengths(dict(db.execute("SELECT name, value FROM meta"))))
            if has_converted(db):
                self._db = db
            else:
                db.close()

    def read(self, path: str, length: int) -> Iterable[bytes]:
        forms: Sequence[ConvertedFile] = ()
        if self._db is not None:
            forms = ConvertedRows(self._db).of_path(path)
        content = read_file(self._root, path, max(length, *(form.length for form in forms), 0))
        if content is not None:
            yield served_body(content, forms) or content

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


class _WebArchives:
    """Web archives, by their index."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "archive"
        self._index = CaptureIndex(root / "indexes" / "index.cdxj")

    def read(self, record: Line) -> Iterable[bytes]:
        """Yield the bodies of the captures, the last first, their coding undone."""
        for found in self._index.latest_of(record.final_url or record.url):
            yield from self._read(found.capture, record.bytes)

    def _read(self, capture: Capture, size: int) -> Iterator[bytes]:
        from warcio.archiveiterator import ArchiveIterator  # noqa: PLC0415  an extra
        from warcio.exceptions import ArchiveLoadFailed  # noqa: PLC0415

        if "/" in capture.filename:
            return
        begin, length = int(capture.offset), int(capture.length)
        if length > LARGEST_BODY + _MOST_HEAD:
            return
        try:
            with (self._folder / capture.filename).open("rb") as file:
                data = os.pread(file.fileno(), length, begin)
        except (OSError, ValueError):
            return
        with contextlib.suppress(FetcherError, ArchiveLoadFailed):
            for kept in ArchiveIterator(io.BytesIO(data)):
                body = kept.raw_stream.read(LARGEST_BODY + 1)
                fields = [] if kept.http_headers is None else kept.http_headers.headers
                headers = Headers(
                    [(name.encode(), value.encode("latin-1", "replace")) for name, value in fields]
                )
                codings = content_codings(headers, urlsplit(capture.url).path)
                yield _decoded(body, codings, size) if codings else body

    def close(self) -> None:
        self._index.close()


def _decoded(body: bytes, codings: Sequence[str], length: int) -> bytes:
    """Undo codings, until there is more than `length`."""
    decoder = Decoder(codings)
    decoder.feed(body)
    decoded = bytearray()
    while decoder.is_pending and len(decoded) <= length:
        decoded += decoder.step()
    return bytes(decoded + decoder.finish())


class _Shards:
    """Parquet files with a row for each body; of several of one URL, the last counts."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(
            "CREATE TABLE body (url INTEGER PRIMARY KEY, shard INTEGER, part INTEGER, row INTEGER)"
        )
        for number, path in enumerate(paths):
            shard = _opened(path)
            for part in range(shard.num_row_groups):
                urls = shard.read_row_group(part, columns=["url"]).column("url").to_pylist()
                rows = [(text_fingerprint(url), number, part, row) for row, url in enumerate(urls)]
                self._db.executemany("INSERT OR REPLACE INTO body VALUES (?, ?, ?, ?)", rows)
        self._at = -1, -1
        self._bodies: Any = None

    def read(self, record: Line) -> Iterable[bytes]:
        place = self._db.execute(
            "SELECT shard, part, row FROM body WHERE url = ?", (text_fingerprint(record.url),)
        ).fetchone()
        if place is None:
            return
        shard, part, row = place
        if self._at != (shard, part):
            self._bodies = _opened(self._paths[shard]).read_row_group(part, columns=["body"]).column("body")
            self._at = shard, part
        yield self._bodies[row].as_py()

    def close(self) -> None:
        self._db.close()


def _opened(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415  an extra

    return ParquetFile(path)
