"""Which format a list has: by its name, else by how it begins."""

from __future__ import annotations

from typing import Literal

from fetcher.sources.table import is_header

Format = Literal["text", "jsonl", "csv"]

_SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
_MOST = 65_536  # a first line longer than this is no header
_BOM = b"\xef\xbb\xbf"


def format_by_name(path: str) -> Format | None:
    """What the extension says, `.gz` apart; None if it says nothing."""
    name = path.lower().removesuffix(".gz")
    return next((format_ for suffix, format_ in _SUFFIXES.items() if name.endswith(suffix)), None)


def format_by_content(head: bytes, *, is_all: bool) -> Format | None:
    """What the first bytes say; None if more of them are needed, which `is_all` rules out."""
    text = head.removeprefix(_BOM).lstrip()
    if text.startswith(b"{"):
        return "jsonl"
    line, newline, _ = text.partition(b"\n")
    if not newline and not is_all and len(head) <= _MOST:
        return None
    return "csv" if is_header(line[:_MOST].decode("utf-8", "surrogateescape")) else "text"
