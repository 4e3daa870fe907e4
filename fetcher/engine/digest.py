"""Digests of a body: the one that the user chose, and those of the checksums that it has to meet.

Invariant: with `none`, and no checksum to be met, no byte is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Algorithm = Literal["sha256", "blake3", "none"]


# `sha256` in hexadecimal or ""; `digest` as a record has it, "" where SHA-256 alone was computed; others that
# were asked for, in hexadecimal, by algorithm.
Digests = tuple[str, str, Mapping[str, str]]
_NO_OTHERS: Mapping[str, str] = {}
NO_DIGESTS: Final[Digests] = "", "", _NO_OTHERS


class Hashers:
    """The hashes of one body under way."""

    __slots__ = ("_blake3", "_others", "_sha256", "is_empty")

    def __init__(self, sha256: Any, blake3: Any, others: Sequence[Any] = ()) -> None:
        self._sha256 = sha256
        self._blake3 = blake3
        self._others = others
        self.is_empty = sha256 is None and blake3 is None and not others

    def update(self, block: ReadableBuffer) -> None:
        if self._sha256 is not None:
            self._sha256.update(block)
        if self._blake3 is not None:
            self._blake3.update(block)
        for other in self._others:
            other.update(block)

    def digests(self) -> Digests:
        sha256 = "" if self._sha256 is None else self._sha256.hexdigest()
        others = {other.name: other.hexdigest() for other in self._others}
        if self._blake3 is not None:
            return sha256, f"blake3:{self._blake3.hexdigest()}", others
        return sha256, "" if sha256 else "none", others


class Algorithms:
    """Hash algorithms of a body: the user's, and `more` of hashlib's by name."""

    __slots__ = ("_algorithm", "_blake3", "_has_sha256", "_more", "_others")

    def __init__(self, algorithm: Algorithm, more: frozenset[str] = frozenset()) -> None:
        self._algorithm = algorithm
        self._more = more
        self._has_sha256 = algorithm == "sha256" or "sha256" in more
        self._others = sorted(more - {"sha256"})
        self._blake3 = _blake3() if algorithm == "blake3" else None

    def also(self, more: frozenset[str]) -> Algorithms:
        """Return these and `more` of hashlib's."""
        is_enough = more <= self._more or (more == {"sha256"} and self._has_sha256)
        return self if is_enough else Algorithms(self._algorithm, self._more | more)

    def begin(self) -> Hashers:
        return Hashers(
            hashlib.sha256() if self._has_sha256 else None,
            None if self._blake3 is None else self._blake3(),
            [hashlib.new(name, usedforsecurity=False) for name in self._others],
        )

    def of(self, data: ReadableBuffer) -> Digests:
        """The digests of a body that is in memory."""
        if self._blake3 is None and self._has_sha256 and not self._others:  # the usual case
            return hashlib.sha256(data).hexdigest(), "", _NO_OTHERS
        hashers = self.begin()
        hashers.update(data)
        return hashers.digests()


def _blake3() -> Callable[[], Any]:
    from blake3 import blake3  # noqa: PLC0415  an extra; the settings have seen that it is there

    made: Callable[[], Any] = blake3
    return made


SHA256_ALONE: Final = Algorithms("sha256")
