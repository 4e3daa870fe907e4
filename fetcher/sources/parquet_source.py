"""A Parquet file as a list of URLs: a row is an entry, and its columns are those of a JSON object.

It is read in small batches, a row group at a time, in a thread; so memory is bounded by a row group's pages,
however long the table is. Columns of bytes can't be a part of a record, and are not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import decimal
from collections.abc import AsyncIterator, Collection, Generator, Sequence
from pathlib import Path
from typing import Any

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.native import argument_text
from fetcher.sources.validation import BATCH, RULES, from_columns, readable

MAGIC = b"PAR1"


def is_parquet(path: str) -> bool:
    """Tell whether a regular file begins as Parquet does."""
    try:
        if not Path(path).is_file():  # to open a FIFO would be seen by its writer
            return False
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):  # a NUL in the path
        return False


class ParquetSource:
    """The entries of the Parquet file `path`; `Entry.line` is the 1-based number of the row.

    `url_column` names the column of URLs.

    Iterating raises `ConfigError` when this is no table of URLs, and when reading fails later on.
    """

    def __init__(self, path: str, *, url_column: str = "url") -> None:
        self._path = path
        self._url_column = url_column
        self._is_closed = False

    def check(self) -> Collection[str]:
        """Return the columns that the contract does not name. Raises `ConfigError` if there is no URL."""
        with self._open() as table:
            return self._others(self._columns(table))

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        batches = self._batches()
        try:
            while batch := await asyncio.to_thread(next, batches, None):
                if self._is_closed:
                    return
                yield batch
        finally:
            with contextlib.suppress(ValueError):  # cancelled: the thread is in it still
                batches.close()

    async def aclose(self) -> None:
        """Read no more."""
        self._is_closed = True

    def _batches(self) -> Generator[list[Entry]]:
        import pyarrow as pa  # noqa: PLC0415  (an extra)

        source, number = readable(argument_text(self._path)), 0
        with self._open() as table:
            columns = self._columns(table)
            try:
                for batch in table.iter_batches(batch_size=BATCH, columns=columns):
                    rows = batch.to_pylist()
                    yield [
                        from_columns(_plain(row), source, number + index, url_column=self._url_column)
                        for index, row in enumerate(rows, 1)
                    ]
                    number += len(rows)
            except (OSError, pa.ArrowException) as error:
                raise self._unreadable(error, after=number) from error

    def _open(self) -> Any:
        try:
            import pyarrow as pa  # noqa: PLC0415  (an extra)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                f"{self._path}: Parquet needs a library", hint="pip install 'fetcher[table]'"
            ) from error
        try:
            return pq.ParquetFile(self._path)
        except (OSError, pa.ArrowException) as error:
            raise self._unreadable(error) from error

    def _columns(self, table: Any) -> list[str]:
        import pyarrow.types as kinds  # noqa: PLC0415

        names = [
            field.name
            for field in table.schema_arrow
            if not (kinds.is_binary(field.type) or kinds.is_large_binary(field.type))
        ]
        if self._url_column.lower() not in {name.lower() for name in names}:
            raise ConfigError(
                f"{self._path}: it has no column {self._url_column!r}",
                hint=f"name one of its columns with --url-column: {', '.join(names)}",
            )
        return names

    def _others(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset(name for name in names if name.lower() not in {*RULES, self._url_column.lower()})

    def _unreadable(self, error: Exception, *, after: int = 0) -> ConfigError:
        reached = f" (after row {after:,})" if after else ""
        return ConfigError(
            f"cannot read {self._path}: {str(error).splitlines()[0]}{reached}",
            hint="every row before that was taken" if after else "--input takes a file of URLs",
        )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without its nulls, with values as JSON has them."""
    return {name: _plain_value(value) for name, value in row.items() if value is not None}


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain_value(inner) for inner in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, dt.timedelta, bytes)):
        return str(value)
    return value
