"""The index of web archives as sorted lines (CDXJ): key, time, and a JSON object that says where it is.

The lines of an archive are written beside the state as it grows, in the order of their offsets. When it is
finished they move into the sorted index: merged with what is there, beside it, renamed, and only then
removed; so a kill costs nothing, and merging again changes nothing. What is sorted at once is bounded.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from fetcher.policy.surt import surt
from fetcher.whole_file import replacing

INDEX = "indexes/index.cdxj"  # below the root of a collection
CAPTURES = "captures"  # the folder of lines that are not in it yet
CDXJ = ".cdxj"
_SORTED_AT_ONCE = 50_000  # lines
_NEAR = 4096  # bytes of the index that are read without looking further
_encode = msgspec.json.Encoder(order="sorted").encode


class Capture(msgspec.Struct):
    """Fields of a line on a capture; figures are text, as the format has it."""

    url: str
    digest: str
    filename: str
    offset: str
    length: str
    mime: str
    status: str = ""

    @property
    def is_revisit(self) -> bool:
        return self.mime == "warc/revisit"


class Found(NamedTuple):
    """A capture and its time, 14 digits."""

    timestamp: str
    capture: Capture


_decode = msgspec.json.Decoder(Capture).decode


def line_of(timestamp: str, capture: Capture) -> bytes:
    """Return the line of a capture, with its end."""
    return b"%b %b %b\n" % (surt(capture.url).encode(), timestamp.encode(), _encode(capture))


def captures_in(path: Path, settled: int) -> Iterator[bytes]:
    """Yield the whole lines of a file whose captures begin before `settled` bytes of their archive."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                with contextlib.suppress(ValueError, msgspec.DecodeError):
                    if int(_decode(line.split(b" ", 2)[2]).offset) < settled:
                        yield line


def merge(index: Path, lines: Iterable[bytes], scratch: Path) -> None:
    """Merge lines in any order into the sorted `index`, each once. `scratch` is for files meanwhile.

    Raises `OSError`; the index is then as it was.
    """
    with contextlib.ExitStack() as stack:
        runs: list[Iterable[bytes]] = [
            stack.enter_context(_spilled(run, scratch)) for run in _sorted_runs(lines)
        ]
        if not runs:
            return
        with contextlib.suppress(FileNotFoundError):
            runs.append(stack.enter_context(index.open("rb")))
        index.parent.mkdir(exist_ok=True)
        with replacing(index, scratch / f"{index.name}.new") as file:
            last = b""
            for line in heapq.merge(*runs):
                if line != last:
                    file.write(line)
                    last = line
            file.flush()
            os.fsync(file.fileno())


def index_left(index: Path, folder: Path, lengths: Mapping[str, int], scratch: Path) -> None:
    """Merge the lines that `folder` has of archives, up to their settled lengths, and remove them there.

    Raises `OSError`; done again, it makes the same.
    """
    left = sorted(folder.glob(f"*{CDXJ}"))
    lines = itertools.chain.from_iterable(
        captures_in(path, lengths.get(path.name.removesuffix(CDXJ), 0)) for path in left
    )
    merge(index, lines, scratch)
    for path in left:
        path.unlink()


def _sorted_runs(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    run: list[bytes] = []
    for line in lines:
        run.append(line)
        if len(run) >= _SORTED_AT_ONCE:
            yield sorted(run)
            run = []
    if run:
        yield sorted(run)


def _spilled(run: list[bytes], scratch: Path) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  (the caller closes it)
    file.writelines(run)
    file.seek(0)
    return file


class CaptureIndex:
    """Reader of a sorted index that finds the captures of a URL by bisection. Reads nothing until asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._size = 0

    def last_of(self, url: str) -> Found | None:
        """Return the last capture of `url` with a body and a status of success, or None."""
        return next(iter(self.latest_of(url, 1)), None)

    def latest_of(self, url: str, most: int = 50) -> list[Found]:
        """Return captures as `last_of` does, the last first. Those of one second have no order."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return []
            self._size = os.fstat(self._file.fileno()).st_size
        key = surt(url).encode() + b" "
        self._seek(self._file, key)
        found: deque[Found] = deque(maxlen=most)
        for line in self._file:
            if not line.startswith(key):
                if line > key:
                    break
                continue
            timestamp, _, rest = line[len(key) :].partition(b" ")
            capture = _decode(rest)
            if capture.url == url and not capture.is_revisit and capture.status.startswith("2"):
                found.appendleft(Found(timestamp.decode(), capture))
        return list(found)

    def close(self) -> None:
        """Close the file; it is opened again when it is asked for."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _seek(self, file: IO[bytes], key: bytes) -> None:
        """Stand at the beginning of a line that is not behind the first with `key`, and near it."""
        low, high = 0, self._size  # a line that begins at `low` is before the key, or `low` is 0
        while high - low > _NEAR:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline()
            begin = file.tell()
            line = file.readline()
            if line and begin < high and line < key:
                low = begin
            else:
                high = middle
        file.seek(low)
