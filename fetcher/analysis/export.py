"""Export of a run directory's records, their bodies, or what the parser returned, to one table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

import msgspec

from fetcher.analysis.final_records import FinalRecords
from fetcher.analysis.stored_bodies import LARGEST_BODY, StoredBodies
from fetcher.analysis.table_files import Row, write_table
from fetcher.errors import ConfigError, StorageError
from fetcher.kept_output import read_output
from fetcher.policy.table_columns import FieldColumn, FoundColumns, fit, record_columns
from fetcher.run_dir import RunDirectory
from fetcher.verification.records import Line, lines_of


class Exported(msgspec.Struct):
    """The rows that were written, and what was not as it should be."""

    rows: int = 0
    not_records: int = 0  # lines
    missing: int = 0  # bodies that are not there as they were stored
    too_large: int = 0  # bodies beyond `LARGEST_BODY`, left out


def export_records(roots: Sequence[Path], path: Path, *, bodies: bool, overwrite: bool) -> Exported:
    """Write the last record of each URL to the table at `path`; with `bodies`, also what was stored.

    The columns are those of the records; those of the input (`meta`) follow as `meta.NAME`. Of several
    directories, the paths of files begin with their own.

    Raises:
        ConfigError: it is no run directory, or no table can have that name.
        StorageError: the records can't be read, or the table not written.
    """
    if bodies:
        for kept in filter(None, map(read_output, map(RunDirectory, roots))):
            raise ConfigError(
                f"--bodies: those are objects of {kept.url}",
                hint="export without them: the column path says which object belongs to a row",
            )
    exported = Exported()
    columns = [column for column in record_columns() if column.name != "meta"]
    with FinalRecords(*roots) as records, contextlib.closing(_Bodies(exported)) as stored:
        found = FoundColumns()
        for record in records:
            found.see(record.meta or {})
        all_columns = columns + (
            [FieldColumn("meta", "json")] if found.are_too_many else found.columns("meta.")
        )
        if bodies:
            all_columns.append(FieldColumn("body", "bytes"))

        def row_of(at: int, record: Line) -> list[Any]:
            root = records.root_at(at)
            body = [stored.of(root, record)] if bodies else []
            if len(roots) > 1 and record.path is not None:
                record.path = str(root / record.path)
            row = [fit(getattr(record, column.name), column.kind) for column in columns]
            row += [fit(record.meta, "json")] if found.are_too_many else found.row(record.meta)
            return row + body

        rows = starmap(row_of, records.located())
        exported.rows = write_table(path, all_columns, rows, overwrite=overwrite)
        exported.not_records = records.not_records
    return exported


def export_data(roots: Sequence[Path], path: Path, *, overwrite: bool) -> Exported:
    """Write what the parser returned (`data.jsonl`) to the table at `path`.

    An object is a row with a column for each of its keys; anything else is a row with the column `value`.

    Raises:
        ConfigError: there is no such data, or no table can have that name.
        StorageError: it can't be read, or the table not written.
    """
    sources = [path.with_name("data.jsonl") for path in FinalRecords(*roots).paths]
    if not any(source.is_file() for source in sources):
        raise ConfigError(f"{roots[0]} has no data.jsonl", hint="it is written by a run with --parser")
    exported = Exported()
    found = FoundColumns()
    for item in _items(sources, Exported()):
        found.see(item)
    columns = [FieldColumn("value", "json")] if found.are_too_many else found.columns()
    if not columns:
        columns = [FieldColumn("value", "text")]

    def rows() -> Iterator[Row]:
        for item in _items(sources, exported):
            yield [fit(item, "json")] if found.are_too_many else found.row(item)

    exported.rows = write_table(path, columns, rows(), overwrite=overwrite)
    return exported


def _items(sources: Sequence[Path], exported: Exported) -> Iterator[dict[str, Any]]:
    for source in sources:
        try:
            yield from _items_of(source, exported)
        except OSError as error:
            raise StorageError(f"cannot read {source}: {error.strerror}") from error


def _items_of(source: Path, exported: Exported) -> Iterator[dict[str, Any]]:
    decode = msgspec.json.Decoder().decode
    for _, line in lines_of(source):
        try:
            item = decode(line)
        except (msgspec.MsgspecError, UnicodeError):
            exported.not_records += 1
            continue
        yield item if isinstance(item, dict) else {"value": item}


class _Bodies:
    """The bodies of several run directories; those of one are open at a time."""

    def __init__(self, exported: Exported) -> None:
        self._exported = exported
        self._root: Path | None = None
        self._bodies: StoredBodies | None = None

    def of(self, root: Path, record: Line) -> bytes | None:
        """Read what was served for a record, and count what is not there."""
        if root != self._root or self._bodies is None:
            self.close()
            self._root, self._bodies = root, StoredBodies(root)
        if not self._bodies.keep(record):
            return None
        if record.bytes > LARGEST_BODY:
            self._exported.too_large += 1
            return None
        body = self._bodies.of(record)
        self._exported.missing += body is None
        return body

    def close(self) -> None:
        if self._bodies is not None:
            self._bodies.close()
            self._bodies = None
