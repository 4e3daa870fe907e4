"""Lengths of archives for a state that is made anew: of one that was growing, up to its last whole record."""

from __future__ import annotations

import zlib
from pathlib import Path

from fetcher.run_dir import RunDirectory
from fetcher.stores.growing_file import OPEN

_BLOCK = 1024 * 1024


def lengths_of_archives(directory: RunDirectory) -> dict[str, int]:
    """Return the length of each archive by its path in the directory. Raises `OSError`."""
    lengths = {}
    for path in sorted((directory.root / "archive").glob("*.warc.gz*")):
        is_growing = path.name.endswith(OPEN)
        name = f"archive/{path.name.removesuffix(OPEN)}"
        lengths[name] = _whole_members(path) if is_growing else path.stat().st_size
    for path in (directory.root / "bodies").glob("bodies-*.parquet"):
        lengths[f"bodies/{path.name}"] = path.stat().st_size
    for path in (directory.own / "rows").glob("*.arrows*"):
        number = path.name.removesuffix(OPEN).removesuffix(".arrows")
        lengths[f"bodies/bodies-{number}.parquet"] = _whole_batches(path)
    return lengths


def _whole_members(path: Path) -> int:
    """Return where the last gzip member that is whole ends."""
    whole = at = 0
    member = zlib.decompressobj(31)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            at += len(block)
            while block:
                try:
                    member.decompress(block)
                except zlib.error:
                    return whole
                if not member.eof:
                    break
                block = member.unused_data
                whole = at - len(block)
                member = zlib.decompressobj(31)
    return whole


def _whole_batches(path: Path) -> int:
    """Return where the last batch of rows that is whole ends."""
    import pyarrow as pa  # noqa: PLC0415  (an extra)

    whole = 0
    try:
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
            for _ in reader:
                whole = file.tell()
    except (pa.ArrowException, OSError):
        pass
    return whole
