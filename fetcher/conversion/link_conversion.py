"""The pass over the saved pages of a crawl that has ended, in which their links are converted.

Invariants: each page is made of what was served, so a second pass gives the same; a file is replaced whole,
and the state knows beforehand what it becomes (`converted_rows`). So the pass may be killed at any moment,
and the next one goes on where it was. A file that is neither as served nor as converted is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from fetcher.conversion.page_conversion import LARGEST, NotConvertible, convert_page
from fetcher.engine.digest import Algorithms
from fetcher.engine.room import DiskRoom, blocks
from fetcher.engine.stored_parser import StoredBody
from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.converted_rows import Conversion, ConvertedRows, forms_of_rows
from fetcher.frontiers.sqlite.crawl.crawl_options import CrawlOptions
from fetcher.frontiers.sqlite.crawl.saved_files import SavedFiles
from fetcher.frontiers.sqlite.digests import pack_digest, unpack_digest
from fetcher.frontiers.sqlite.schema import open_state, storage_error
from fetcher.model import ConvertedFile, Job, Outcome, Record
from fetcher.policy.rewriting import served_body
from fetcher.ports import Store
from fetcher.run_dir import RunDirectory
from fetcher.verification.file_checks import read_file
from fetcher.verification.records import lines_of

TOLD_EVERY_S = 10.0
_BATCH = 64  # pages, or what first reaches `_BATCH_BYTES`
_BATCH_BYTES = 16 * 1024**2
_LINES = 4096
_PAGE_TYPES = ("text/html", "text/css", "application/xhtml", "application/xml", "text/xml")

_CREATE_PAGES = "CREATE TEMP TABLE page (path TEXT PRIMARY KEY, content_type TEXT) WITHOUT ROWID"
_PUT_PAGE = """INSERT INTO temp.page VALUES (?, ?) ON CONFLICT (path)
 DO UPDATE SET content_type = coalesce(excluded.content_type, content_type)"""
_DROP_PAGE = "DELETE FROM temp.page WHERE path = ?"
_WANTED = """FROM url CROSS JOIN temp.page ON page.path = url.path WHERE url.id > ? AND url.sha256 IS NOT NULL
 AND NOT EXISTS (SELECT 1 FROM converted WHERE converted.url = url.id AND made_for = ? AND is_there
 AND served = url.sha256)"""
_COUNT = f"SELECT count(*) {_WANTED}"
_NEXT = f"""SELECT url.id, url.url, url.path, url.bytes, url.sha256, last_modified, content_type {_WANTED}
 ORDER BY url.id LIMIT ?"""


class _Line(msgspec.Struct, gc=False):
    path: str | None = None
    content_type: str | None = None
    state: str = ""


class _Page(msgspec.Struct, gc=False):
    id: int
    url: str
    path: str
    length: int
    served: bytes  # the digest, as the state packs it
    last_modified: str | None
    content_type: str | None


class _Made(msgspec.Struct, gc=False):
    """A page as it is to be; without `content` it is so already."""

    page: _Page
    conversion: Conversion
    content: bytes | None


class LinkConversion:
    """Converts links below a run directory, whose lock is held and whose run has ended.

    Files go through `store`, charged to `room`. `is_stopped` is asked before each page. `notice` is told, by
    level and text, what was done and what was not.
    """

    def __init__(
        self,
        directory: RunDirectory,
        store: Store,
        options: CrawlOptions,
        *,
        notice: Callable[[str, str], None],
        is_stopped: Callable[[], bool],
        room: DiskRoom | None,
        fsync: bool,
    ) -> None:
        self._directory = directory
        self._store = store
        self._options = options
        self._notice = notice
        self._is_stopped = is_stopped
        self._room = room
        self._fsync = fsync
        self._db: sqlite3.Connection
        self._rows: ConvertedRows
        self._files: SavedFiles
        self._left: Counter[str] = Counter()
        self._done = self._written = 0
        self._is_whole = True  # what is left would be so the next time

    async def run(self) -> bool:
        """Convert what is not converted yet; False if that was stopped before its end.

        Raises:
            StorageError: the disk or the state failed, or has no room; what was converted is so.
        """
        state = self._directory.state
        self._db = await asyncio.to_thread(open_state, state, fsync=self._fsync)
        try:
            return await self._convert()
        except sqlite3.Error as error:
            raise storage_error(error, "converting links", state) from error
        finally:
            self._db.close()

    async def _convert(self) -> bool:
        made_for, seen, number = await asyncio.to_thread(self._begin)
        if not number:
            return True
        loop = asyncio.get_running_loop()
        told = loop.time()
        last = 0
        while True:
            if self._is_stopped():
                return False
            batch, last = await asyncio.to_thread(self._make, last, made_for)
            if not last:
                break
            await self._put(batch, made_for)
            if loop.time() - told >= TOLD_EVERY_S:
                told = loop.time()
                self._notice("info", f"links converted in {self._done:,} of {number:,} files")
        if self._is_whole:
            await asyncio.to_thread(self._rows.complete, made_for, seen)
        self._notice("info", f"saved files whose links were converted: {self._written:,} of {self._done:,}")
        for why, count in self._left.items():
            self._notice("warning", f"saved files whose links stay as they were: {count:,} ({why})")
        return True

    def _begin(self) -> tuple[int, int, int]:
        """Return what this pass is for, the length of the records, and how many files are to be converted."""
        rows = self._rows = ConvertedRows(self._db)
        self._db.execute("BEGIN IMMEDIATE")
        rows.create()
        self._db.execute("COMMIT")
        self._files = SavedFiles(self._db, self._options)
        [length] = self._db.execute("SELECT value FROM meta WHERE name = 'results_length'").fetchone()
        made_for = self._files.fingerprint()
        if rows.is_complete(made_for, length):
            return made_for, length, 0
        number = self._find(made_for)
        if not number:
            rows.complete(made_for, length)
        return made_for, length, number

    def _find(self, made_for: int) -> int:
        """Find the pages among the saved files, by their records. Returns how many are to be converted."""
        self._db.execute("PRAGMA temp_store = DEFAULT")
        self._db.execute(_CREATE_PAGES)
        decode = msgspec.json.Decoder(_Line).decode
        for _, text in lines_of(self._directory.results):
            try:
                line = decode(text)
            except (msgspec.MsgspecError, UnicodeError):
                continue
            if line.path is None or (line.content_type is None and line.state == "unchanged"):
                continue
            kind = (line.content_type or "").partition(";")[0].strip().lower()
            if not kind or kind.startswith(_PAGE_TYPES) or kind.endswith("+xml"):
                self._db.execute(_PUT_PAGE, (line.path, line.content_type))
            else:
                self._db.execute(_DROP_PAGE, (line.path,))
        number: int = self._db.execute(_COUNT, (0, made_for)).fetchone()[0]
        return number

    def _make(self, last: int, made_for: int) -> tuple[list[_Made], int]:
        """Make the next pages. Returns them and the last row that was looked at, 0 at the end."""
        rows = self._db.execute(_NEXT, (last, made_for, _BATCH)).fetchall()
        forms = forms_of_rows(self._db, [row[0] for row in rows])
        made: list[_Made] = []
        size = last = 0  # from here on that of this batch
        for row in rows:
            if last and (size >= _BATCH_BYTES or self._is_stopped()):
                break
            page = _Page(*row)
            last = page.id
            self._done += 1
            try:
                one = self._made(page, forms.get(page.id, []))
            except NotConvertible as why:
                self._left[str(why)] += 1
                continue
            if one is not None:
                made.append(one)
                size += page.length + len(one.content or b"")
        return made, last

    def _made(self, page: _Page, forms: list[ConvertedFile]) -> _Made | None:
        """Convert one page; None if the file is none.

        Raises:
            NotConvertible: its links have to stay.
        """
        if page.length > LARGEST:
            raise NotConvertible("too large")
        content = read_file(self._directory.root, page.path, LARGEST)
        served = None
        if content is not None:
            served = served_body(content, forms)
            if served is None and _is_served(content, page):
                served = content
        if content is None or served is None:
            self._is_whole = False
            raise NotConvertible("not as they were saved; fetcher verify names them")
        made = convert_page(
            served, url=page.url, path=page.path, content_type=page.content_type, find=self._files.find
        )
        if made is None:
            return None
        form = ConvertedFile(hashlib.sha256(made[0]).digest(), len(made[0]), made[1])
        conversion = Conversion(page.id, page.path, form, page.served)
        return _Made(page, conversion, None if made[0] == content else made[0])

    async def _put(self, batch: list[_Made], made_for: int) -> None:
        """Put pages in the place of what stands there: announced, written, settled."""
        conversions = [one.conversion for one in batch]
        await asyncio.to_thread(self._rows.announce, conversions, made_for)
        written = [one for one in batch if one.content is not None]
        failed: set[int] = set()
        if written:
            size = sum(blocks(len(one.content or b"")) for one in written)
            with charged(self._room, size):
                for one, stored in zip(
                    written, await self._store.put(list(map(_outcome, written))), strict=True
                ):
                    if isinstance(stored, StorageError):
                        failed.add(one.page.id)
                        self._is_whole = False
                        self._left["they could not be written"] += 1
                        self._notice("warning", stored.message)
            self._written += len(written) - len(failed)
        await asyncio.to_thread(self._rows.settle, [one for one in conversions if one.url not in failed])


@contextlib.contextmanager
def charged(room: DiskRoom | None, size: int) -> Iterator[None]:
    """Charge what is written meanwhile to the room that there is."""
    if room is None:
        yield
        return
    room.take(size)
    try:
        yield
    finally:
        room.written(size)


def _is_served(content: bytes, page: _Page) -> bool:
    if len(content) != page.length:
        return False
    other = unpack_digest(page.served.hex())[1]
    name = (other or "sha256").partition(":")[0]
    if name not in {"sha256", "blake3"}:
        return True
    found, digest, _ = Algorithms("blake3" if name == "blake3" else "sha256").of(content)
    return pack_digest(found or None, digest or None) == page.served


def _outcome(made: _Made) -> Outcome:
    page, content = made.page, made.content or b""
    return Outcome(
        job=Job(id=page.id, url=page.url, target=None, path=page.path),
        record=Record(url=page.url, last_modified=page.last_modified),
        body=StoredBody("", len(content), content),
    )
