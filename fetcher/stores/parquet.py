"""Bodies as rows of Parquet files of their own, in `bodies/`: shards, as people who build data sets expect.

The columns are `url`, `status`, `content_type`, `sha256`, `body`, and those of the input (`meta`); one that
has the name of another is `meta.NAME`. Until a shard is full, its rows grow in an Arrow stream beside the
state, cut back to what is settled by the next start (see `growing_file`); then it is written whole, renamed,
and only then are its rows removed. So a kill never loses or doubles a settled row.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from fetcher.errors import StorageError
from fetcher.model import Outcome, Record
from fetcher.policy.table_columns import FieldColumn, FoundColumns, fit
from fetcher.ports import Body
from fetcher.stores.archive_store import ArchiveStore
from fetcher.stores.growing_file import GrowingFile, finish_left

SIZE = 256 * 1024**2  # bytes of rows from which on another shard is begun
LARGEST_BODY = 256 * 1024**2  # in one row
FOLDER = "bodies"
_GROUP_BYTES = 32 * 1024**2  # of bodies in one row group, at which it ends
_GROUP_ROWS = 10_000
ROWS = "rows"  # the folder of rows that are in no shard yet
_ROWS = ".arrows"
_COLUMNS = (
    pa.field("url", pa.string()),
    pa.field("status", pa.int64()),
    pa.field("content_type", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("body", pa.binary()),
)
_GROWING = pa.schema([*_COLUMNS, pa.field("meta", pa.string())])
_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class ParquetStore(ArchiveStore):
    """An archive store with shards below `root`; rows that are in none yet are in `own`.

    A body beyond `LARGEST_BODY` is an error.
    """

    def __init__(
        self,
        root: Path,
        *,
        own: Path,
        fsync: bool,
        size: int = SIZE,
        label: str = "",
        published: Path | None = None,
    ) -> None:
        super().__init__(root / FOLDER, own / ROWS, fsync=fsync, size=size, label=label, published=published)
        # In the executor only:
        self._rows: GrowingFile | None = None
        self._writer: Any = None

    # ---- in the executor ----

    def _put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        if not batch:
            return []
        if self._rows is not None and self._rows.length >= self._size:  # all in it is settled
            full, self._rows = self._rows, None
            full.finish()
            if not self._is_staged:
                self._make_shard(self._own / full.name)
        rows = self._rows or self._begin()
        begin = rows.length
        results: list[str | StorageError | None] = []
        try:
            for piece in _pieces(batch):
                kept = [one for one in piece if _fault_of(one) is None]
                if kept:
                    self._writer.write_batch(_table_of(kept))
                results += map(_fault_of, piece)
            rows.flush(fsync=self._fsync)
        except BaseException:
            if begin:
                rows.cut(begin)
            else:  # not even its schema is there
                rows.close()
                rows.remove()
                self._rows = None
            raise
        for outcome in batch:
            outcome.archived = f"{FOLDER}/{_shard_name(rows.name)}", rows.length
        return results

    def _begin(self) -> GrowingFile:
        """Begin the rows of the next shard, whoever else begins some."""
        for folder in (self._folder, self._own):
            folder.mkdir(exist_ok=True)
        for number in itertools.count():
            name = f"{self._label}{number:05}{_ROWS}"
            if (self._folder / _shard_name(name)).exists():
                continue
            with contextlib.suppress(FileExistsError):
                rows = self._rows = GrowingFile(self._own, name)
                self._writer = pa.ipc.new_stream(rows.file, _GROWING)
                return rows
        raise AssertionError

    def _close(self) -> None:
        if self._rows is not None:
            self._rows.close()
            self._rows = None

    def _finish_all(self, archives: Mapping[str, int]) -> None:
        lengths = {
            rows_name(path): length
            for path, length in archives.items()
            if path.startswith(f"{FOLDER}/") and not (self._folder.parent / path).exists()
        }
        finish_left(self._own, f"*{_ROWS}", lengths)
        for path in sorted(self._own.glob(f"*{_ROWS}")):
            self._make_shard(path)

    def _make_shard(self, rows: Path) -> None:
        """Write a shard whole, and remove its rows. Done again after a kill, it makes the same."""
        shard = self._folder / _shard_name(rows.name)
        if not shard.exists():
            part = rows.with_suffix(".part")
            write_shard(rows, part)
            part.rename(shard)
        rows.unlink()


def _shard_name(rows: str) -> str:
    return f"bodies-{rows.removesuffix(_ROWS)}.parquet"


def rows_name(shard: str) -> str:
    """Return the name of the rows that become a shard."""
    return f"{Path(shard).stem.removeprefix('bodies-')}{_ROWS}"


def _pieces(batch: Sequence[Outcome]) -> Iterator[list[Outcome]]:
    """Yield outcomes whose bodies may be in memory together."""
    piece: list[Outcome] = []
    size = 0
    for outcome in batch:
        piece.append(outcome)
        size += outcome.body.length
        if size >= _GROUP_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _table_of(outcomes: Sequence[Outcome]) -> Any:
    records = [outcome.record or Record(url=outcome.job.url) for outcome in outcomes]
    columns: list[list[Any]] = [
        [record.url for record in records],
        [record.status for record in records],
        [record.content_type for record in records],
        [outcome.body.hash()[0] or None for outcome in outcomes],
        [_read(outcome.body) for outcome in outcomes],
        [None if record.meta is None else _encode(record.meta).decode() for record in records],
    ]
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, _GROWING, strict=True)]
    return pa.record_batch(arrays, schema=_GROWING)


def _read(body: Body) -> bytes:
    data = body.data()
    if data is not None:
        return data
    part = body.part()
    if part is None:
        raise ValueError("the body was discarded before it was stored")
    return Path(part).read_bytes()


def _fault_of(outcome: Outcome) -> StorageError | None:
    if outcome.body.length <= LARGEST_BODY:
        return None
    return StorageError(
        f"a body of {outcome.body.length:,} bytes is too large for a row of a table",
        hint="keep such bodies as files",
        systemic=False,
    )


def write_shard(rows: Path, part: Path) -> None:
    """Write the rows of an Arrow stream as Parquet, with a column for each of the input's."""
    found = FoundColumns()
    for batch in _batches_of(rows):
        for text in batch.column("meta").to_pylist():
            if text is not None:
                found.see(_decode(text))
    names = {field.name for field in _COLUMNS}
    own = [FieldColumn("meta", "json")] if found.are_too_many else found.columns()
    fields = [
        pa.field(f"meta.{column.name}" if column.name in names else column.name, _TYPES[column.kind])
        for column in own
    ]
    schema = pa.schema([*_COLUMNS, *fields])
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for group in _groups(_batches_of(rows)):
            metas = [
                None if text is None else _decode(text)
                for batch in group
                for text in batch.column("meta").to_pylist()
            ]
            values = [[fit(meta, "json")] if found.are_too_many else found.row(meta) for meta in metas]
            table = pa.Table.from_batches(group).drop_columns(["meta"])
            for index, field in enumerate(fields):
                table = table.append_column(field, pa.array([row[index] for row in values], type=field.type))
            writer.write_table(table, row_group_size=max(1, table.num_rows))


def _batches_of(rows: Path) -> Iterator[Any]:
    with pa.OSFile(str(rows), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _groups(batches: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield batches that become one row group."""
    group: list[Any] = []
    size = count = 0
    for batch in batches:
        group.append(batch)
        size += batch.nbytes
        count += batch.num_rows
        if size >= _GROUP_BYTES or count >= _GROUP_ROWS:
            yield group
            group, size, count = [], 0, 0
    if group:
        yield group
