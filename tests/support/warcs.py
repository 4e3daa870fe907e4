"""What the web archives of a run directory hold, read by warcio."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import msgspec
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker


class Kept(NamedTuple):
    """One record: type and URL, status (of answers), its fields, its head, its body as it came and as shown."""

    kind: str
    url: str
    status: str
    fields: dict[str, str]
    head: dict[str, str]
    raw_head: bytes
    wire: bytes
    body: bytes


def archives(root: Path) -> list[Path]:
    """The archives, in the order of their names."""
    return sorted((root / "archive").iterdir())


def kept(root: Path, *kinds: str) -> list[Kept]:
    """All records of these kinds."""
    return [one for path in archives(root) for one in _records(path.read_bytes()) if one.kind in kinds]


def replayed(root: Path, line: bytes) -> Kept:
    """The record that a line of the index leads to, read from its bytes alone."""
    where = msgspec.json.decode(line.split(b" ", 2)[2])
    data = (root / "archive" / where["filename"]).read_bytes()
    begin = int(where["offset"])
    (found,) = _records(data[begin : begin + int(where["length"])])
    return found


def is_sound(root: Path) -> bool:
    """Whether `warcio check` passes: every record whole, every digest right."""

    given = SimpleNamespace(inputs=[str(path) for path in archives(root)], verbose=False)
    return bool(Checker(given).process_all() == 0)


def _records(data: bytes) -> Iterator[Kept]:
    for record in ArchiveIterator(io.BytesIO(data), no_record_parse=True):
        fields = dict(record.rec_headers.headers)
        raw_head, wire = b"", record.raw_stream.read()
        if fields["Content-Type"].startswith("application/http"):
            raw_head, _, wire = wire.partition(b"\r\n\r\n")
            raw_head += b"\r\n\r\n"
        first, *lines = raw_head.decode("latin-1").splitlines() or [""]
        head = dict(line.split(": ", 1) for line in lines if line)
        status = first.split(" ")[1] if first.startswith("HTTP/") else ""
        is_coded = head.get("Content-Encoding") == "gzip" and wire
        body = gzip.decompress(wire) if is_coded else wire
        url = fields.get("WARC-Target-URI", "")
        yield Kept(record.rec_type, url, status, fields, head, raw_head, wire, body)
