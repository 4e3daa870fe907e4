"""Checksums to be met: `sha256:…`, lists such as SHA256SUMS, and what an answer announces (RFC 9530).

A checksum is written `algorithm:hex`, in lower case. A line of a list belongs to a URL whose path ends with
the path in the line: a bare name to every URL of that name, `pool/a.deb` to those below a `pool`; where
several lines do, the longest path wins.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

from fetcher.model import Headers, PieceHashes

DIGITS: Final = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_SHOWN: Final = {name: name.upper().replace("SHA", "SHA-") for name in DIGITS}
_BY_DIGITS: Final = {number: name for name, number in DIGITS.items()}
_GNU = re.compile(r"(\\?)([0-9A-Fa-f]{32,128})[ \t]+\*?(.+)").fullmatch
_BSD = re.compile(r"(MD5|SHA1|SHA(?:2-)?(?:224|256|384|512)) ?\((.+)\) ?= ?([0-9A-Fa-f]{32,128})").fullmatch
_BARE = re.compile(r"[0-9A-Fa-f]{32,128}").fullmatch
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}  # of GNU, in a line that begins with a backslash
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
_FIELD = re.compile(r"(?:^|,)[ \t]*(sha-256|sha-512)=:([A-Za-z0-9+/=]*):")  # RFC 8941: keys are lower case
_INDEX = "index.html"
CONTENT_DIGEST: Final = ("content-digest",)
REPR_DIGEST: Final = ("repr-digest",)
DIGEST_FIELDS: Final = CONTENT_DIGEST + REPR_DIGEST
DIGEST_KEYS: Final = frozenset(name.encode() for name in DIGEST_FIELDS)  # as `Headers.first` has them


def checksum_of(text: str) -> str | None:
    """Return the checksum that a text such as `SHA-256:ab12…` stands for, or None if it is none."""
    algorithm, _, digits = text.strip().partition(":")
    algorithm = algorithm.lower().replace("-", "")
    if len(digits) == DIGITS.get(algorithm) and _BARE(digits):
        return f"{algorithm}:{digits.lower()}"
    return None


def number_of_pieces(pieces: PieceHashes) -> int:
    """Return how many hashes of pieces there are."""
    return 2 * len(pieces.digests) // DIGITS[pieces.algorithm]


def algorithms_of(checksums: Iterable[str]) -> frozenset[str]:
    """Return the names of the algorithms of some checksums, as hashlib has them."""
    return frozenset(checksum.partition(":")[0] for checksum in checksums)


def mismatch(wanted: Iterable[str], found: Mapping[str, str]) -> str | None:
    """Say which of the `wanted` checksums is not met; `found` has hexadecimal digests by algorithm.

    One whose algorithm is not there counts as met.
    """
    for checksum in wanted:
        algorithm, _, digits = checksum.partition(":")
        if found.get(algorithm, digits) != digits:
            return f"{_SHOWN[algorithm]} is {found[algorithm]}, not {digits}"
    return None


def announced(headers: Headers, names: Iterable[str] = DIGEST_FIELDS) -> str | None:
    """Return the checksum that the fields `names` announce, SHA-256 before SHA-512, or None.

    Both are of bytes with the coding still on. Content-Digest is of what came, Repr-Digest of the whole; so
    of a part only the one, of a whole that was put together only the other holds.
    """
    found: dict[str, str] = {}
    for name in names:
        if headers.find(name.encode()) is None:
            continue
        for key, text in _FIELD.findall(", ".join(headers.get_all(name))):
            try:
                digits = base64.b64decode(text, validate=True).hex()
            except binascii.Error:
                continue
            algorithm = key.replace("-", "")
            if len(digits) == DIGITS[algorithm]:
                found[algorithm] = digits
    return next((f"{name}:{found[name]}" for name in ("sha256", "sha512") if name in found), None)


class ChecksumLists:
    """Lists of checksums: what they say of a URL, and which of their lines were of use.

    `lines` counts those that hold a checksum.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}  # by path: digits by algorithm
        self._used: set[str] = set()
        self._depth = 0
        self.lines = 0

    def add(self, text: str, name: str) -> int:
        """Take in a list, called `name`; returns how many lines could not be read.

        Raises `ValueError`, saying which line, for one that contradicts another.
        """
        unread = 0
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            if line == _SIGNATURE:
                break
            if not line or line[0] == "#":
                continue
            found = _line(line, name)
            if found is None:
                unread += 1
                continue
            path, algorithm, digits = found
            known = self._known.setdefault(path, {})
            if known.setdefault(algorithm, digits) != digits:
                raise ValueError(f"line {number} says otherwise of {path} than another line")
            self._depth = max(self._depth, path.count("/") + 1)
            self.lines += 1
        return unread

    def of(self, url: str, name: str | None = None) -> tuple[str, ...]:
        """Return the checksums for a URL as it goes on the wire, or else for the file's `name`."""
        path = unquote(url.partition("?")[0].partition("://")[2].partition("/")[2])
        return self._find(path) or (self._find(name) if name else ())

    @property
    def unused(self) -> int:
        """Number of lines that no URL has met so far."""
        return sum(len(known) for path, known in self._known.items() if path not in self._used)

    def _find(self, path: str) -> tuple[str, ...]:
        segments = path.split("/")
        segments[-1] = segments[-1] or _INDEX
        for length in range(min(self._depth, len(segments)), 0, -1):
            key = "/".join(segments[-length:])
            if (known := self._known.get(key)) is not None:
                self._used.add(key)
                return tuple(f"{algorithm}:{digits}" for algorithm, digits in known.items())
        return ()


def _line(line: str, list_name: str) -> tuple[str, str, str] | None:
    """Return path, algorithm and digits of a line, or None."""
    algorithm: str | None
    if (bsd := _BSD(line)) is not None:
        algorithm, path, digits = bsd[1].lower().replace("sha2-", "sha"), bsd[2], bsd[3]
    elif (gnu := _GNU(line)) is not None:
        path, digits = gnu[3], gnu[2]
        algorithm = _BY_DIGITS.get(len(digits))
        if gnu[1]:
            path = re.sub(r"\\[\\nr]", lambda match: _ESCAPES[match[0]], path)
    elif _BARE(line):  # the one line of `a.tar.gz.sha256`
        path, digits = list_name.rpartition("/")[2].rpartition(".")[0], line
        algorithm = _BY_DIGITS.get(len(digits))
    else:
        return None
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            segments.clear()
        elif segment not in {"", "."}:
            segments.append(segment)
    if algorithm is None or len(digits) != DIGITS[algorithm] or not segments:
        return None
    return "/".join(segments), algorithm, digits.lower()
