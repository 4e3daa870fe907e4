"""Metalink 4 (RFC 5854) as a list: each file with its name, size, hashes, hashes of its pieces, and mirrors.

URLs go by their priority, the smallest first, then by their order; only http and https count. Of several
hashes SHA-256 counts, which is computed anyway, else the strongest; of pieces the strongest; those of unknown
types are passed over. Pieces that can't be right are passed over where the whole has a hash, else the file's
entry is bad; their digests are packed as they come. The XML is read as a sitemap's is: no DTD, nothing
expanded, nothing fetched. A document longer than `LARGEST` is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from fetcher.extract.to_utf8 import to_utf8
from fetcher.extract.xml import Stopped, read
from fetcher.model import Entry, PieceHashes
from fetcher.policy.checksums import DIGITS, checksum_of, number_of_pieces
from fetcher.sources.validation import refused, shortened, typed

LARGEST = 16 * 1024**2  # bytes

_MOST_URLS = 1000  # of one file
_LAST = 999_999  # RFC 5854 §4.2.16.1: the largest priority, and the default
_NUMBER = re.compile(r"[0-9]{1,18}").fullmatch


class MetalinkFormat:
    """A document, from blocks of bytes: its entries come when it is all there."""

    columns = frozenset[str]()
    is_cut = False
    number = 0

    def __init__(self, source: str) -> None:
        self._source = source
        self._document = bytearray()

    def feed(self, block: bytes) -> Iterator[list[Entry]]:
        """Yield nothing: an element may be a part of what is not there yet."""
        if len(self._document) <= LARGEST:
            self._document += block
        return iter(())

    def finish(self) -> Iterator[list[Entry]]:
        """Yield the entries of all files, and one that is bad where the document is."""
        if len(self._document) > LARGEST:
            why = f"a Metalink file longer than {LARGEST >> 20} MiB"
            yield [refused(self._source, why, self._source, None)]
            return
        visitors: list[_Files] = []

        def begin() -> _Files:
            visitors.append(_Files(self._source))
            return visitors[-1]

        document, _ = to_utf8(bytes(self._document), None)
        said = read(document, begin)
        entries = visitors[-1].entries
        if said is not None:
            entries.append(refused(self._source, said, self._source, None))
        yield entries


class _Files:
    """The visitor of one document: an entry for each of its files."""

    def __init__(self, source: str) -> None:
        self.texts = frozenset({"url", "hash", "size"})
        self._source = source
        self.entries: list[Entry] = []
        self._columns: dict[str, object] = {}
        self._urls: list[tuple[int, int, str]] = []
        self._attributes: dict[str, str] = {}
        self._hashes: dict[str, str] = {}  # of the whole, by algorithm
        self._pieces: PieceHashes | None = None
        self._digests: bytearray | None = None  # of the pieces that are being read
        self._of_pieces = "", ""  # their algorithm and length, as they stand there
        self._wrong: str | None = None

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._attributes = attributes
        if name == "metalink" and "xmlns" in attributes and "metalinker.org" in attributes["xmlns"]:
            raise Stopped("it is Metalink 3; only version 4 (RFC 5854) is read")
        if name == "file":
            self._columns, self._urls, self._hashes = {"name": attributes.get("name")}, [], {}
            self._pieces = self._digests = self._wrong = None
        elif name == "pieces":
            self._digests = bytearray()
            self._of_pieces = _algorithm(attributes), attributes.get("length", "")

    def end(self, name: str, text: str) -> None:
        text = text.strip()
        if name == "pieces":
            self._end_pieces()
        elif name == "hash" and self._digests is None:
            self._hashes[_algorithm(self._attributes)] = text
        elif name == "hash":
            self._add_piece(text)
        elif name == "size" and _NUMBER(text):
            self._columns["size"] = int(text)
        elif name == "url" and text[:8].lower().startswith(("http://", "https://")):
            said = self._attributes.get("priority", "")
            priority = int(said) if _NUMBER(said) else _LAST
            if len(self._urls) < _MOST_URLS:
                self._urls.append((priority, len(self._urls), text))
        elif name == "file":
            self._add()

    def _add_piece(self, text: str) -> None:
        algorithm = self._of_pieces[0]
        if self._digests is None or algorithm not in DIGITS:
            return
        checksum = checksum_of(f"{algorithm}:{text}")
        if checksum is None:
            self._wrong = f"pieces: expected {DIGITS[algorithm]} hex digits, got {shortened(text)!r}"
        else:
            self._digests += bytes.fromhex(checksum.partition(":")[2])

    def _end_pieces(self) -> None:
        (algorithm, length), digests = self._of_pieces, self._digests
        self._digests = None
        if not digests or algorithm not in DIGITS:
            return
        if not _NUMBER(length) or not int(length):
            self._wrong = f"pieces: expected a length, got {shortened(length)!r}"
        elif self._pieces is None or DIGITS[algorithm] > DIGITS[self._pieces.algorithm]:
            self._pieces = PieceHashes(algorithm, int(length), bytes(digests))

    def _hash_columns(self) -> dict[str, str]:
        if "sha256" in self._hashes:
            return {"sha256": self._hashes["sha256"]}
        best = max(self._hashes.keys() & DIGITS.keys(), key=lambda name: DIGITS[name], default=None)
        return {} if best is None else {"checksum": f"{best}:{self._hashes[best]}"}

    def _misfit(self, size: object) -> str | None:
        """Say what is wrong with the pieces, or None."""
        pieces = self._pieces
        if self._wrong is not None or pieces is None or not isinstance(size, int):
            return self._wrong
        wanted, found = -(-size // pieces.length), number_of_pieces(pieces)
        return None if found == wanted else f"pieces: expected {wanted} hashes for {size} bytes, got {found}"

    def _add(self) -> None:
        urls = [url for _, _, url in sorted(self._urls)]
        if not urls:
            shown = str(self._columns.get("name") or "a file")
            self.entries.append(refused(shown, "no http or https URL", self._source, None))
            return
        size = self._columns.pop("size", None)
        hashes, pieces, wrong = self._hash_columns(), self._pieces, self._misfit(size)
        if wrong is not None and not hashes:
            self.entries.append(refused(urls[0], wrong, self._source, None))
            return
        columns = {**self._columns, **hashes, "url": urls[0], "mirrors": urls[1:] or None}
        entry = typed(columns, {}, self._source, None)
        if entry.bad is None:
            entry = msgspec.structs.replace(
                entry,
                size=size if isinstance(size, int) else None,
                pieces=pieces if wrong is None else None,
            )
        self.entries.append(entry)


def _algorithm(attributes: dict[str, str]) -> str:
    """Return hashlib's name of an element's type of hash (RFC 5854 §4.2.7.1)."""
    return attributes.get("type", "").lower().replace("-", "")
