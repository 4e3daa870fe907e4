"""Files of tables: CSV, SQLite, Parquet and Arrow, by the ending of their names.

A file appears whole or not at all: it grows beside its name and is renamed at the end. Memory stays flat:
rows are written by batches, bounded in number and in bytes.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from fetcher.errors import ConfigError, StorageError
from fetcher.policy.table_columns import FieldColumn, plain

BATCH_ROWS = 10_000
BATCH_BYTES = 32 * 1024**2
TABLE = "records"  # in SQLite
_ARROW = "pyarrow is not installed"
_SQL_TYPES = {"integer": "INTEGER", "boolean": "INTEGER", "number": "REAL", "bytes": "BLOB"}

Row: TypeAlias = Sequence[Any]


class TableWriter(Protocol):
    """Writer of one file."""

    def write(self, rows: Sequence[Row]) -> None: ...
    def close(self) -> None: ...


class _CsvWriter:
    """RFC 4180, UTF-8, with a line of names; null is empty. Packed where the name ends so."""

    def __init__(self, path: Path, columns: Sequence[FieldColumn], *, packed: bool) -> None:
        if any(column.kind == "bytes" for column in columns):
            raise ConfigError(
                "CSV holds no bodies", hint="choose a file that ends in .parquet, .sqlite or .arrow"
            )
        opened = gzip.open if packed else open
        self._file = opened(path, "wt", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerow([column.name for column in columns])

    def write(self, rows: Sequence[Row]) -> None:
        self._csv.writerows(plain(row) for row in rows)

    def close(self) -> None:
        self._file.close()


class _SqliteWriter:
    """One table, `records`; times, lists and objects are text."""

    def __init__(self, path: Path, columns: Sequence[FieldColumn]) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        names = ", ".join(
            f"{name} {_SQL_TYPES.get(column.kind, 'TEXT')}"
            for name, column in zip(_sql_names(columns), columns, strict=True)
        )
        self._db.execute(f"CREATE TABLE {TABLE} ({names})")
        self._insert = f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
        self._db.execute("BEGIN")

    def write(self, rows: Sequence[Row]) -> None:
        self._db.executemany(self._insert, (tuple(plain(row)) for row in rows))

    def close(self) -> None:
        self._db.execute("COMMIT")
        self._db.close()


class _ArrowWriter:
    """Parquet with zstd, or an Arrow file (which Feather is too)."""

    def __init__(self, path: Path, columns: Sequence[FieldColumn], *, parquet: bool) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415  (an extra)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(_ARROW, hint="install fetcher[table], or choose .csv or .sqlite") from error
        kinds = {
            "text": pa.string(),
            "json": pa.string(),
            "integer": pa.int64(),
            "number": pa.float64(),
            "boolean": pa.bool_(),
            "time": pa.timestamp("ms", tz="UTC"),
            "texts": pa.list_(pa.string()),
            "bytes": pa.binary(),
        }
        self._pa = pa
        self._schema = pa.schema([(column.name, kinds[column.kind]) for column in columns])
        self._sink = pa.OSFile(str(path), "wb")
        self._writer: Any = (
            pq.ParquetWriter(self._sink, self._schema, compression="zstd")
            if parquet
            else pa.ipc.new_file(self._sink, self._schema)
        )

    def write(self, rows: Sequence[Row]) -> None:
        pa = self._pa
        arrays = [
            pa.array([row[index] for row in rows], type=field.type)
            for index, field in enumerate(self._schema)
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._sink.close()


_WRITERS: dict[str, Callable[[Path, Sequence[FieldColumn]], TableWriter]] = {
    ".parquet": lambda path, columns: _ArrowWriter(path, columns, parquet=True),
    ".arrow": lambda path, columns: _ArrowWriter(path, columns, parquet=False),
    ".feather": lambda path, columns: _ArrowWriter(path, columns, parquet=False),
    ".csv": lambda path, columns: _CsvWriter(path, columns, packed=False),
    ".csv.gz": lambda path, columns: _CsvWriter(path, columns, packed=True),
    ".sqlite": _SqliteWriter,
    ".db": _SqliteWriter,
}


def write_table(path: Path, columns: Sequence[FieldColumn], rows: Iterable[Row], *, overwrite: bool) -> int:
    """Write rows to a new file, and return how many there were.

    Raises:
        ConfigError: the name's ending is unknown, an extra is missing, or the file is there already.
        StorageError: it can't be written; nothing is left.
    """
    ending = next((ending for ending in _WRITERS if path.name.lower().endswith(ending)), None)
    if ending is None or path.name.lower() == ending:
        raise ConfigError(f"{path}: the ending says no format", hint=f"one of {', '.join(_WRITERS)}")
    if path.is_file():
        if not overwrite:
            raise ConfigError(f"{path} is there already", hint="name another file, or use --overwrite")
    elif path.exists():
        what = "a folder" if path.is_dir() else "no regular file"
        raise ConfigError(f"{path} is {what}", hint="name another file")
    part = path.with_name(f".{path.name}.part")
    try:
        return _write(part, path, _WRITERS[ending], columns, rows)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"cannot write {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _write(
    part: Path,
    path: Path,
    make: Callable[[Path, Sequence[FieldColumn]], TableWriter],
    columns: Sequence[FieldColumn],
    rows: Iterable[Row],
) -> int:
    part.unlink(missing_ok=True)
    writer = make(part, columns)
    number = 0
    try:
        for batch in _batches(columns, rows):
            writer.write(batch)
            number += len(batch)
    except BaseException:
        with contextlib.suppress(Exception):
            writer.close()
        raise
    writer.close()
    part.replace(path)
    return number


def _batches(columns: Sequence[FieldColumn], rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield batches of rows, bounded by what their bodies hold too."""
    bodies = [index for index, column in enumerate(columns) if column.kind == "bytes"]
    batch: list[Row] = []
    octets = 0
    for row in rows:
        batch.append(row)
        octets += sum(len(row[index] or b"") for index in bodies)
        if len(batch) >= BATCH_ROWS or octets >= BATCH_BYTES:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch


def _sql_names(columns: Sequence[FieldColumn]) -> Iterator[str]:
    """Yield the quoted names; SQL takes two that differ by case alone for one, so the later gets a number."""
    used: set[str] = set()
    for column in columns:
        name, number = column.name, 1
        while name.casefold() in used:
            number += 1
            name = f"{column.name}_{number}"
        used.add(name.casefold())
        quoted = name.replace('"', '""')
        yield f'"{quoted}"'
