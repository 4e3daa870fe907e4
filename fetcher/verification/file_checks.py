"""Stored files against what the state recorded of them: lengths, and hashes by several threads.

Invariant: no link is followed on the way to a file, and nothing is waited for: what became a FIFO or a
device is told, not opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from fetcher.model import ConvertedFile
from fetcher.policy.checksums import algorithms_of, mismatch
from fetcher.policy.filenames import parents
from fetcher.policy.rewriting import served_body
from fetcher.verification.findings import Finding

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 1024 * 1024
_AHEAD = 4  # batches for each thread, so that none waits for the one that reads rows
_MOST_FOLDERS = 4096


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One file as the state has it. `bytes` and `digest` may not be known.

    The latter is SHA-256 in hexadecimal, or as a record's `digest`. `wanted` are the checksums that lists
    have for it. `forms` are what it may be instead, with its links converted.
    """

    id: int
    url: str
    path: str
    bytes: int | None
    digest: str | None
    wanted: tuple[str, ...] = ()
    forms: Sequence[ConvertedFile] = ()


def is_within(path: str) -> bool:
    """Tell whether a path names something below the run directory, and not the program's own folder."""
    segments = path.split("/")
    return (
        "\0" not in path
        and segments[0] != ".fetcher"
        and not any(segment in {"", ".", ".."} for segment in segments)
    )


def read_file(root: Path, path: str, most: int) -> bytes | None:
    """Read a file below `root`, with no link on the way to it.

    None where there is none, or it is longer than `most` bytes.
    """
    try:
        if is_within(path) and all(stat.S_ISDIR((root / folder).lstat().st_mode) for folder in parents(path)):
            with os.fdopen(os.open(root / path, _READ), "rb") as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    content = file.read(most + 1)
                    return content if len(content) <= most else None
    except OSError:
        pass
    return None


class FileCheck:
    """Checks files below `root`; `fast` looks at lengths only. `on_read` is told the bytes of each batch."""

    def __init__(self, root: Path, *, fast: bool, on_read: Callable[[int, int], None]) -> None:
        self._root = root
        self._fast = fast
        self._on_read = on_read
        self._threads = 1 if fast else max(2, min(8, 2 * (os.cpu_count() or 1)))

    def findings(self, batches: Iterable[Sequence[Stored]]) -> Iterator[Finding]:
        """Yield what is off, in the order of the files. A few batches are held at a time."""
        under_way: deque[Future[tuple[list[Finding], int, int]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="fetcher-verify") as threads:
            try:
                for batch in batches:
                    under_way.append(threads.submit(self._check, batch))
                    if len(under_way) >= _AHEAD * self._threads:
                        yield from self._taken(under_way.popleft())
                while under_way:
                    yield from self._taken(under_way.popleft())
            finally:
                for future in under_way:
                    future.cancel()

    def _taken(self, future: Future[tuple[list[Finding], int, int]]) -> list[Finding]:
        found, files, read = future.result()
        self._on_read(files, read)
        return found

    def _check(self, batch: Sequence[Stored]) -> tuple[list[Finding], int, int]:
        found, read = [], 0
        folders: dict[str, bool] = {}
        for file in batch:
            kind, message, octets = self._judge(file, folders)
            read += octets
            if kind:
                found.append(Finding(kind, file.path, file.url, message=message, id=file.id))
        return found, len(batch), read

    def _judge(self, file: Stored, folders: dict[str, bool]) -> tuple[str, str | None, int]:
        """Return the kind of what is off (or nothing), more words on it, and the bytes that were read."""
        if not is_within(file.path):
            return "not-a-file", "the name leads out of the run directory", 0
        try:
            for folder in parents(file.path):
                is_folder = folders.get(folder)
                if is_folder is None:
                    if len(folders) > _MOST_FOLDERS:
                        folders.clear()
                    is_folder = folders[folder] = stat.S_ISDIR((self._root / folder).lstat().st_mode)
                if not is_folder:
                    return "not-a-file", f"{folder} is no folder", 0
            path = self._root / file.path
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                return "not-a-file", None, 0
            length = status.st_size
            is_converted = any(length == form.length for form in file.forms)
            if not is_converted and file.bytes is not None and length != file.bytes:
                expected = file.forms[-1].length if file.forms else file.bytes
                return "short" if length < expected else "long", f"{length:,} of {expected:,} bytes", 0
            algorithms = algorithms_for(file)
            if self._fast or not (algorithms or is_converted):
                return "", None, 0
            served = served_body(path.read_bytes(), file.forms) if is_converted else None
            if is_converted and served is None and length != file.bytes:
                return "changed", None, length
            found, read = _hashed(path if served is None else io.BytesIO(served), algorithms)
        except (FileNotFoundError, NotADirectoryError):
            return "missing", None, 0
        except OSError as error:
            return "unreadable", error.strerror, 0
        return *unmet(file, found), read


def algorithms_for(body: Stored) -> set[str]:
    """Name the hashes that a body is to be held to."""
    algorithm = _algorithm_of(body.digest)
    return {*algorithms_of(body.wanted), *([algorithm] if algorithm else [])}


def unmet(body: Stored, found: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the kind of what is off by its hashes (or nothing), and more words on it."""
    algorithm = _algorithm_of(body.digest)
    if algorithm and found[algorithm] != (body.digest or "").rpartition(":")[2]:
        return "changed", None
    message = mismatch(body.wanted, found)
    return "" if message is None else "checksum", message


def _algorithm_of(digest: str | None) -> str | None:
    """Name the hash that a file can be held to; None if there is none, or its library is not here."""
    if digest is None or digest == "none":
        return None
    name = digest.partition(":")[0] if ":" in digest else "sha256"
    return None if name == "blake3" and find_spec("blake3") is None else name


def new_hash(name: str) -> Any:
    """Make a hash object by the name of its algorithm."""
    if name == "blake3":
        from blake3 import blake3  # noqa: PLC0415  an extra

        return blake3()
    return hashlib.new(name, usedforsecurity=False)


def _hashed(source: Path | io.BytesIO, algorithms: Collection[str]) -> tuple[dict[str, str], int]:
    digests = {name: new_hash(name) for name in algorithms}
    read = 0
    with source if isinstance(source, io.BytesIO) else os.fdopen(os.open(source, _READ), "rb", 0) as file:
        while block := file.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
            read += len(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}, read


def files_below(root: Path) -> Iterator[str]:
    """Yield the paths of all that is no folder below a run directory, the program's own left out.

    A folder that can't be read is passed over.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = os.scandir(root / folder)
        except OSError:
            continue
        with entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in _OWN:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    yield path


_OWN = frozenset(
    {".fetcher", "results.jsonl", "results.jsonl.1", "data.jsonl", "data.jsonl.1", "broken-links.jsonl"}
)
