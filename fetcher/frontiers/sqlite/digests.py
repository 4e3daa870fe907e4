"""The column `sha256`, which holds any digest: 32 bytes are SHA-256; others have their name in front.

Invariant: it is NULL exactly where no body is stored; one that was not hashed has a digest named `none`.
"""

from __future__ import annotations

_SHA256_DIGITS = 64


def pack_digest(sha256: str | None, digest: str | None) -> bytes | None:
    """The column's value. Where both were computed, that which the user chose is kept."""
    if digest:
        name, _, digits = digest.partition(":")
        return b"%b:%b" % (name.encode(), bytes.fromhex(digits))
    return bytes.fromhex(sha256) if sha256 else None


def unpack_digest(column: str) -> tuple[str | None, str | None]:
    """`sha256` and `digest` of a record, from the column's hex digits."""
    if len(column) == _SHA256_DIGITS:
        return column.lower(), None
    name, _, digest = bytes.fromhex(column).partition(b":")
    return None, f"{name.decode()}:{digest.hex()}" if digest else name.decode()
