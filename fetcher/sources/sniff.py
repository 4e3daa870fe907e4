"""Format of a list: the named one, else by its name, else by its first bytes."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from fetcher.extract.xml import root_of
from fetcher.sources.csv_format import is_header

Format = Literal["text", "jsonl", "csv", "metalink"]
Found = Literal["text", "jsonl", "array", "csv", "metalink", "html", "binary"]

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".meta4": "metalink",
    ".metalink": "metalink",
}
_MOST = 65_536  # a first line longer than this is no header
_JUDGED = 8_192  # bytes that show whether this is text
_BOM = b"\xef\xbb\xbf"
_URL = re.compile(rb"https?:", re.IGNORECASE).match
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE).match
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]").search


def format_by_name(path: str) -> Format | None:
    """Return the format of the extension, `.gz` apart; None if it says nothing."""
    name = path.lower().removesuffix(".gz")
    return next((format_ for suffix, format_ in _SUFFIXES.items() if name.endswith(suffix)), None)


def format_of(
    head: bytes, *, is_all: bool, named: Format | None, path: str, url_column: str = "url"
) -> Found | None:
    """The format of a list that begins with `head`; None if more of it is needed, which `is_all` rules out.

    `named` is what the user said. JSON that begins with a bracket is an array, whatever its name.
    """
    text = head.removeprefix(_BOM).lstrip()
    by_name = named or format_by_name(path)
    if not text and not is_all and len(head) <= _MOST and named != "text":
        return None
    if by_name == "metalink" or (by_name is None and text.startswith(b"<") and root_of(text) == "metalink"):
        return "metalink"
    if by_name is None and _HTML(text):
        return "html"
    if text.startswith(b"[") and by_name in {None, "jsonl"}:
        return "array"
    if by_name == "jsonl" or (by_name is None and text.startswith(b"{")):
        return "jsonl"
    if named == "text":
        return "text"
    line, newline, _ = text.partition(b"\n")
    if not newline and not is_all and len(head) <= _MOST:
        return None
    if by_name == "csv":
        return "csv" if named or b"\0" not in line else "binary"
    if is_header(line[:_MOST].decode("utf-8", "surrogateescape"), url_column):
        return "csv"
    return "binary" if first_line_of_binary(head) else "text"


def first_line_of_binary(head: bytes) -> int:
    """Return the number of the first line that says something, if `head` is no text at all; else 0.

    One line that begins as a URL makes it a list of URLs: what is wrong elsewhere costs its own line.
    """
    sample = head[:_JUDGED]
    first = 0
    for number, line in enumerate(sample.split(b"\n"), 1):
        text = line.strip()
        if text and not text.startswith(b"#"):
            if _URL(text):
                return 0
            first = first or number
    return first if _NO_TEXT(sample) or not _is_utf8(sample) else 0


def _is_utf8(sample: bytes) -> bool:
    """Return True if `sample` is UTF-8, its last character perhaps cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True
