"""Lines of `results.jsonl` as they are read back: streamed, bounded, and judged one by one."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from fetcher.model import FinalState, Record, State
from fetcher.policy.fingerprint import text_fingerprint

LONGEST_LINE = 64 * 1024 * 1024
_BLOCK = 1024 * 1024


class Line(Record, kw_only=True, gc=False):
    """A record that was read back. One without a state is none."""

    state: FinalState


_decode = msgspec.json.Decoder(Line).decode


def record_of(line: bytes) -> Line | None:
    """Return the record in a line, or None if it is none."""
    try:
        if not line.isascii():
            line.decode()  # what is not looked at may be damaged too
        record = _decode(line)
    except (msgspec.MsgspecError, UnicodeError, ValueError):
        return None
    return record if record.url else None


def says(state: int, error: str | None, path: str | None, digest: str | None) -> int:
    """Digest what a record and its row must agree on: state, and path and hash of a file that is stored."""
    is_stored = digest is not None and (state <= State.UNCHANGED or error == "parse-failed")
    return text_fingerprint(f"{state:d}\0{path or ''}\0{digest}" if is_stored else f"{state:d}")


def length_of(path: Path) -> int | None:
    """Return the length of a file, or None where no regular one stands."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def lines_of(path: Path, end: int | None = None, *, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the place of each line and the line, without its end, from `begin`; the last may be cut at `end`.

    A line that is longer than any record is cut off. Where no regular file stands there are no lines.

    Raises:
        OSError: the file can't be read.
    """
    if length_of(path) is None:
        return
    with _opened(path) as file:
        file.seek(begin)
        at = begin
        while end is None or at < end:
            most = LONGEST_LINE if end is None else min(LONGEST_LINE, end - at)
            line = file.readline(most)
            if not line:
                return
            yield at, line.removesuffix(b"\n")
            at += len(line)


def lines_with(path: Path, texts: Collection[bytes]) -> Iterator[bytes]:
    """Yield the lines, without their ends, that hold one of some texts without a line break.

    Blocks are searched, not lines: so a file of any length costs a thread beside the loop's little of the
    interpreter. Where no regular file stands there are no lines.

    Raises:
        OSError: the file can't be read.
    """
    if length_of(path) is None:
        return
    with _opened(path) as file:
        while block := file.read(_BLOCK):
            lines = block + file.readline(LONGEST_LINE).removesuffix(b"\n") + b"\n"
            found: set[tuple[int, int]] = set()
            for text in texts:
                end = 0
                while (at := lines.find(text, end)) >= 0:
                    end = lines.index(b"\n", at)
                    found.add((lines.rfind(b"\n", 0, at) + 1, end))
            for begin, end in sorted(found):
                yield lines[begin:end]


def _opened(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    return os.fdopen(descriptor, "rb", buffering=_BLOCK)


def ends_line(path: Path, length: int) -> bool:
    """Tell whether a line ends at `length` of a file."""
    if not length:
        return True
    try:
        with path.open("rb") as file:
            file.seek(length - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False
