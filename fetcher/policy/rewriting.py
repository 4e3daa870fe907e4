"""A body with pieces of it written anew, and the way back to what it was.

Invariant: `restored` of what `Rewriting.finish` returns is the original, byte for byte. The way back has only
what was replaced, and where.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable

from fetcher.model import ConvertedFile

_STEP = struct.Struct("<III")  # bytes that stay, bytes of the new piece, bytes of the old one, which follows


class Rewriting:
    """Writes a body anew; pieces are given in order. Memory is what the result and the old pieces take."""

    def __init__(self, original: bytes) -> None:
        self._original = original
        self._at = 0
        self._written = bytearray()
        self._steps = bytearray()

    @property
    def length(self) -> int:
        """Length of what is written so far, in bytes."""
        return len(self._written)

    def replace(self, start: int, end: int, new: bytes) -> None:
        """Put `new` in the place of what stands from `start` up to `end` in the original."""
        old = self._original[start:end]
        self._written += self._original[self._at : start]
        self._written += new
        self._steps += _STEP.pack(start - self._at, len(new), len(old))
        self._steps += old
        self._at = end

    def finish(self) -> tuple[bytes, bytes]:
        """Return the whole result, and the way back; that is empty where nothing was replaced."""
        self._written += self._original[self._at :]
        return bytes(self._written), zlib.compress(self._steps, 6) if self._steps else b""


def restored(content: bytes, way_back: bytes) -> bytes:
    """Return the original of what was written anew.

    Raises:
        ValueError: the two do not belong together.
    """
    if not way_back:
        return content
    try:
        steps = zlib.decompress(way_back)
        original = bytearray()
        at = place = 0
        while place < len(steps):
            kept, new, old = _STEP.unpack_from(steps, place)
            place += _STEP.size
            original += content[at : at + kept]
            original += steps[place : place + old]
            at += kept + new
            place += old
    except (struct.error, zlib.error) as error:
        raise ValueError(f"the way back is damaged: {error}") from error
    if at > len(content):
        raise ValueError("the way back is of something longer")
    original += content[at:]
    return bytes(original)


def served_body(content: bytes, forms: Iterable[ConvertedFile]) -> bytes | None:
    """Return the body as it was served, if `content` is one of these forms of it; else None."""
    digest = None
    for form in forms:
        if len(content) != form.length:
            continue
        digest = digest or hashlib.sha256(content).digest()
        if digest == form.sha256:
            try:
                return restored(content, form.way_back)
            except ValueError:
                return None
    return None
